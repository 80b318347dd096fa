"""Puts bytes where a store keeps them, or takes them away, behind its back: what a disk or a stranger may do."""

import sqlalchemy as sa

from jupyter_agent.storage.postgres_lines import PostgresLines


def journal_bytes(storage, run_id):
    """The bytes of a journal, whatever is wrong with them."""
    if not isinstance(storage.lines, PostgresLines):
        return storage.lines.path(run_id).read_bytes()
    rows = storage.pool.rows("SELECT line FROM run_events WHERE run_id = :id ORDER BY seq", id=run_id)
    return b"".join(bytes(row[0]) + b"\n" for row in rows)


def plant_journal(storage, run_id, data):
    """Makes a journal of these bytes. In a table a row is a line: one without its end is a line as well."""
    if not isinstance(storage.lines, PostgresLines):
        storage.lines.folder.mkdir(exist_ok=True)
        storage.lines.path(run_id).write_bytes(data)
        return

    def plant(db):
        db.execute(sa.text("DELETE FROM run_events WHERE run_id = :id"), {"id": run_id})
        db.execute(sa.text("INSERT INTO journals (run_id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": run_id})
        for seq, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], 1):
            db.execute(
                sa.text("INSERT INTO run_events (run_id, seq, epoch, line) VALUES (:id, :seq, 1, :line)"),
                {"id": run_id, "seq": seq, "line": line},
            )

    storage.pool.run(plant)


def remove_journal(storage, run_id):
    storage.lines.delete(run_id)


def blob_bytes(storage, key):
    """What stands under a key, as it is kept."""
    if storage.pool is None:
        return storage.blobs.path(key).read_bytes()
    return bytes(storage.pool.rows("SELECT data FROM blobs WHERE key = :key", key=key)[0][0])


def plant_blob(storage, key, data):
    """Puts these bytes under a key, be they its own or not; None takes away what stands there."""
    if storage.pool is None:
        path = storage.blobs.path(key)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        return
    storage.pool.changed("DELETE FROM blobs WHERE key = :key", key=key)
    if data is not None:
        storage.pool.changed("INSERT INTO blobs (key, data) VALUES (:key, :data)", key=key, data=data)


def flipped(data, at=-30):
    """The bytes with one bit turned over."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def everything_kept(storage):
    """All bytes of journals, blobs and of what was set aside, by where they are."""
    folders = [storage.folder / name for name in ("journals", "blobs", "quarantine")]
    found = {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
    if storage.pool is not None:
        found |= {f"journal {run_id}": journal_bytes(storage, run_id) for run_id in storage.lines.run_ids()}
        found |= {f"blob {row[0]}": bytes(row[1]) for row in storage.pool.rows("SELECT key, data FROM blobs")}
    return found
