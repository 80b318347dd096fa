"""Opening a database: from nothing, from what is newer, damaged or not ours to write."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from jupyter_agent.exceptions import SchemaTooNew, StorageError, StorageFull, StorageUnavailable
from jupyter_agent.records import SYSTEM, Thread
from jupyter_agent.storage import DATABASE, open_storage, set_database_aside
from jupyter_agent.storage.backends import backend_of
from jupyter_agent.storage.migrations import FOLDER, HEAD, migrate
from jupyter_agent.storage.postgres import PostgresServer
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.sqlite import SqliteFile, is_on_network, open_blocking_engine, sql_fault
from jupyter_agent.storage.tables import metadata, postgres_metadata

AT = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def connected(backend):
    if isinstance(backend, SqliteFile):
        engine = open_blocking_engine(backend.path)
    else:
        engine = backend.open_blocking_engine(poolclass=sa.pool.NullPool)
    with engine.connect() as connection, connection.begin():
        yield connection
    engine.dispose()


def differences(connection):
    """How a database differs from what tables.py says."""
    has = [metadata] if connection.dialect.name == "sqlite" else [metadata, postgres_metadata]
    return compare_metadata(MigrationContext.configure(connection), has)


def schema(backend):
    """Returns the tables with their columns, and the indexes."""
    with connected(backend) as connection:
        found = sa.inspect(connection)
        return {
            name: (
                [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(name)],
                sorted(index["name"] for index in found.get_indexes(name)),
            )
            for name in found.get_table_names()
        }


async def test_from_nothing_to_the_newest_schema(empty, kind):
    rows = SqlRows(empty)
    await rows.open()
    assert (await rows.list_threads(by=SYSTEM)).items == ()
    await rows.close()
    assert kind == "postgres" or empty.path.stat().st_mode & 0o777 == 0o600


def test_the_migrations_make_what_the_tables_say(empty, kind):
    migrate(empty)
    with connected(empty) as connection:
        assert differences(connection) == []
        made = {index["name"]: index for index in sa.inspect(connection).get_indexes("runs")}
    assert made.keys() == {index.name for index in metadata.tables["runs"].indexes}
    where = {"sqlite": "sqlite_where", "postgres": "postgresql_where"}[kind]
    partial = str(made["one_active_run_a_thread"]["dialect_options"][where])
    assert made["one_active_run_a_thread"]["unique"]
    assert all(
        word in partial for word in ("pending", "running", "waiting_confirmation", "waiting_input", "NOT queued")
    )


def test_postgresql_orders_every_text_by_its_code_points(postgres):
    with postgres.new_database() as url:
        migrate(url)
        found = postgres.run(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'text'",
            PostgresServer.of(url).url.database,
        )
    assert len(found) > 30
    assert [place for place in found if place[2] != "C"] == []


def test_the_newest_revision_is_known_by_name():
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_opened_again_nothing_is_lost(empty):
    for name in ("a", "b"):
        rows = SqlRows(empty)
        await rows.open()
        await rows.create_thread(Thread(thread_id=name, user_id="u", created_at=AT, updated_at=AT))
        await rows.close()
    await rows.open()
    assert len((await rows.list_threads(by=SYSTEM)).items) == 2
    await rows.close()


async def test_many_open_at_once(empty):
    stores = [SqlRows(empty) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await store.create_thread(Thread(thread_id=f"t{number}", user_id="u", created_at=AT, updated_at=AT))
    for store in stores:
        assert len((await store.list_threads(by=SYSTEM)).items) == len(stores)
        await store.close()


async def test_a_newer_database_is_refused_and_not_touched(empty):
    migrate(empty)
    with connected(empty) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    before = schema(empty)
    with pytest.raises(SchemaTooNew, match=r"'9999', made by a newer jupyter_agent.*Update jupyter_agent"):
        await SqlRows(empty).open()
    assert schema(empty) == before


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000, b"\0" * 4096])
async def test_a_damaged_file_is_named_with_what_to_do(tmp_path, content):
    path = tmp_path / DATABASE
    path.write_bytes(content)
    with pytest.raises(StorageError, match="jupyter agent rebuild") as fault:
        await SqlRows(path).open()
    assert str(path) in fault.value.message
    assert path.read_bytes() == content, "kept for whoever wants to look"
    kept = set_database_aside(tmp_path)
    assert kept.read_bytes() == content
    rows = SqlRows(path)
    await rows.open()
    await rows.close()


def test_damage_met_later_is_named_too(tmp_path):
    path = tmp_path / DATABASE
    migrate(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)

    async def use():
        rows = SqlRows(path)
        try:
            await rows.open()
            await rows.list_threads(by=SYSTEM)
        finally:
            await rows.close()

    with pytest.raises(StorageError, match="is damaged"):
        asyncio.run(use())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("what", ["folder", "database", "journals"])
def test_an_unwritable_folder_is_named_with_what_to_do(tmp_path, what):
    """In a process of its own, as somebody who may not write."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    folder = tmp_path / "data"
    if what != "folder":
        folder.mkdir()
        if what == "journals":
            (folder / "journals").mkdir(mode=0o755)
            folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(folder), what], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Not allowed" in done.stdout
    assert str(folder) in done.stdout
    assert "choose another data folder" in done.stdout


AS_NOBODY = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from jupyter_agent.storage import open_storage
from jupyter_agent.storage.migrations import migrate
from jupyter_agent.exceptions import StorageError
os.setgid(65534)
os.setuid(65534)
folder, what = Path(sys.argv[1]), sys.argv[2]
try:
    storage = open_storage(folder)
    if what == "database":
        migrate(folder / "jupyter_agent.db")
    elif what == "journals":
        storage.lines.open("run_1")
except StorageError as fault:
    print(fault.message)
"""


async def test_each_connection_is_set_up(tmp_path):
    path = tmp_path / DATABASE
    migrate(path)
    engine = SqliteFile(path).open_engine()
    async with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            found = {
                name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    await engine.dispose()


MOUNTS = """\
22 1 0:20 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / /home rw - nfs4 server:/home rw
31 30 0:31 / /home/alice/local\\040disk rw - ext4 /dev/vdb rw
32 22 0:32 / /mnt/s rw - fuse.sshfs x rw
33 22 0:33 / /mnt/s rw - tmpfs over rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "is_network"),
    [
        ("/var/lib/x.db", False),
        ("/home/alice/x.db", True),
        ("/homes/x.db", False),
        ("/home/alice/local disk/x.db", False),
        ("/mnt/s/x.db", False),
    ],
)
def test_network_file_systems_are_recognised(tmp_path, path, is_network):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert is_on_network(Path(path), mounts) is is_network
    assert not is_on_network(Path(path), tmp_path / "no such file")


async def test_on_a_network_file_system_there_is_no_wal(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("jupyter_agent.storage.sqlite.is_on_network", lambda _path: True)
    rows = SqlRows(tmp_path / DATABASE)
    await rows.open()
    assert "network file system" in caplog.text
    threads = [Thread(thread_id=str(n), user_id="u", created_at=AT, updated_at=AT) for n in range(20)]
    await asyncio.gather(*(rows.create_thread(thread) for thread in threads))
    found = await asyncio.gather(*(rows.get_thread(thread.thread_id, by=SYSTEM) for thread in threads))
    assert found == threads
    assert not (tmp_path / f"{DATABASE}-wal").exists()
    await rows.close()


def test_database_errors_are_whole_sentences_without_what_was_stored(tmp_path):
    """A full disk is told from an I/O error, and no parameter gets into a message."""

    class Told(sqlite3.OperationalError):
        def __init__(self, code, name):
            super().__init__("secret canary")
            self.sqlite_errorcode, self.sqlite_errorname = code, name

    for code, name, kind in [
        (sqlite3.SQLITE_FULL, "SQLITE_FULL", StorageFull),
        (sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE", StorageUnavailable),
        (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", StorageUnavailable),
    ]:
        fault = sql_fault(sa.exc.OperationalError("INSERT", {"p": "canary"}, Told(code, name)), tmp_path)
        assert type(fault) is kind
        assert "canary" not in fault.message
        assert fault.message.endswith(".")


async def test_sql_errors_hide_what_was_to_be_stored(rows):
    async def broken(db):
        await db.execute(sa.text("INSERT INTO nowhere VALUES (:x)"), {"x": "canary"})

    with pytest.raises(StorageError) as fault:
        await rows._write(broken)
    assert "canary" not in str(fault.value)
    assert "canary" not in str(fault.value.__cause__)


async def test_a_write_after_a_read_does_not_fail_when_another_wrote_in_between(rows):
    """A deferred transaction would: it cannot be upgraded."""
    other = SqlRows(rows.backend)
    await other.open()
    thread = Thread(thread_id="t", user_id="u", created_at=AT, updated_at=AT)
    await rows.create_thread(thread)
    await asyncio.gather(
        *(store.update_thread("t", by=SYSTEM, metadata={str(n): n}) for n in range(20) for store in (rows, other))
    )
    assert (await rows.get_thread("t", by=SYSTEM)).metadata == {str(n): n for n in range(20)}
    await other.close()


def test_killed_in_the_middle_of_its_migration_a_database_is_old_or_new(tmp_path, kind, request):
    """SIGKILL before every fourth statement: what is left opens, and is migrated then."""
    number = -2
    with ExitStack() as dropped:
        while True:
            number += 4
            if kind == "sqlite":
                where = str(tmp_path / f"{number}.db")
                backend = backend_of(Path(where))
            else:
                where = dropped.enter_context(request.getfixturevalue("postgres").new_database())
                backend = backend_of(where)
            done = subprocess.run(
                [sys.executable, "-c", KILLED, where, str(number)], capture_output=True, check=False, timeout=60
            )
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            assert schema(backend) == {}
            migrate(backend)
            assert len(schema(backend)) > 5
    assert number > 10


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import sqlalchemy as sa
from jupyter_agent.storage.migrations import migrate
where, left = sys.argv[1], int(sys.argv[2])
@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def count(conn, cursor, statement, *rest):
    global left
    if statement.startswith(("CREATE", "INSERT", "ALTER")):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
migrate(where if "://" in where else Path(where))
"""


def test_a_folder_is_made_private(tmp_path):
    storage = open_storage(tmp_path / "a" / "b")
    assert storage.folder.stat().st_mode & 0o777 == 0o700
    storage.lines.close()


def at_revision(backend, revision):
    """Makes a database as the version of that revision left it."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with backend.migrating() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


FILLED = """
INSERT INTO threads VALUES ('t', 'alice', 'Title', '{"a": 1}', 'idle', '2026-01-01 00:00:00', '2026-01-01 00:00:00');
INSERT INTO runs (run_id, thread_id, user_id, agent, model, status, queued, rolled_back, multitask, input, metadata,
  kwargs, created_at, updated_at, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
  total_tokens, requests, unmeasured_requests, model_call_count, tool_call_count, message_count)
  VALUES ('r', 't', 'alice', 'default', 'echo', 'completed', false, false, 'reject', '[]', '{"n": 1}', '{}',
  '2026-01-01 00:00:00', '2026-01-01 00:00:00', 5, 2, 0, 0, 0, 7, 1, 0, 1, 0, 2);
INSERT INTO blob_refs (key, run_id, user_id) VALUES ('0000', 'r', 'alice');
"""


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009"])
async def test_what_an_earlier_version_kept_is_there_after_its_migration(empty, revision):
    at_revision(empty, revision)
    with connected(empty) as connection:
        for statement in filter(str.strip, FILLED.split(";")):
            connection.exec_driver_sql(statement)
    rows = SqlRows(empty)
    await rows.open()
    run = await rows.get_run("r", by=SYSTEM)
    assert (run.usage.total_tokens, run.metadata, run.helper_tokens, run.helper_cost) == (7, {"n": 1}, 0, None)
    assert (await rows.get_thread("t", by=SYSTEM)).metadata == {"a": 1}
    assert (await rows.list_approvals("r", by=SYSTEM), await rows.list_inputs("r", by=SYSTEM)) == ([], [])
    await rows.delete_run("r", by=SYSTEM)
    assert await rows.release("r") == ["0000"]
    await rows.close()
    with connected(empty) as connection:
        assert differences(connection) == []
