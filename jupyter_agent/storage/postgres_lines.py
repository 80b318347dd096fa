"""Journals in tables of PostgreSQL: a row an event, with the very bytes that a file would have.

One session of a server holds the locks of all journals that are open in it, and writes all their lines: what was given
meanwhile goes in one round trip. So nothing can be written by whoever lost a lock: it is lost with the session.
"""

import asyncio
import contextlib
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from ..chain import Chain, Mark, Survey, damaged, good_lines, survey
from ..exceptions import InvalidRequest, RunActive, RunNotFound, StorageError, StorageUnavailable
from ..failpoints import failpoint
from .contract import Recovered
from .faults import make_folder, storage_fault
from .journals import SUFFIX, is_id
from .pool import Pool, again
from .postgres import lock_number
from .session import Session

log = logging.getLogger(__name__)

T = TypeVar("T")

ROWS: Final = 1024
READ_BYTES: Final = 256 * 1024
BATCH_BYTES: Final = 4 * 1024 * 1024
LOCK_WAIT_S: Final = 1.0
"""How long a lock is waited for whose holder may be letting it go."""
EXPELLED_WITHIN_S: Final = 5.0
"""How long it may take until a session is ended; then it is told to end again."""

_USED_BY_SERVERS: Final = "A Jupyter server uses the database {name}. Stop all servers that use it, then try again."
_USED_ALONE: Final = (
    "The database {name} is kept from servers while `jupyter agent` repairs or rebuilds it. Try again when it is done."
)
_LINES: Final = """
SELECT seq, line FROM (
    SELECT seq, line, sum(octet_length(line)) OVER (ORDER BY seq) - octet_length(line) AS before FROM (
        SELECT seq, line FROM run_events WHERE run_id = :run_id AND seq > :after ORDER BY seq LIMIT :rows
    ) AS next_rows
) AS counted WHERE before < :bytes ORDER BY seq
"""
_APPEND: Final = """
INSERT INTO run_events (run_id, seq, epoch, line)
SELECT given.* FROM unnest(%s::text[], %s::bigint[], %s::int[], %s::bytea[]) AS given (run_id, seq, epoch, line)
WHERE EXISTS (SELECT FROM journals WHERE journals.run_id = given.run_id)
ON CONFLICT DO NOTHING RETURNING run_id, seq
"""
_HOLDERS: Final = """
FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND datname = current_database()
  AND classid::bigint = (:number >> 32) & 4294967295 AND objid::bigint = :number & 4294967295
"""
_IS_HELD: Final = f"SELECT EXISTS (SELECT {_HOLDERS})"
_EXPEL: Final = f"SELECT pid, pg_terminate_backend(pid) {_HOLDERS}"


class _Line(NamedTuple):
    run_id: str
    seq: int
    epoch: int
    line: bytes


class PostgresLines:
    """The LineStore of a database. What it sets aside goes to a folder of this machine."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.quarantine = folder / "quarantine"
        self._pool = pool
        self._name = pool.server.name
        self._session = Session(pool.server)
        self._writers: dict[str, PostgresWriter] = {}
        # All work of the session, in the order given.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journals")
        self._fault: StorageUnavailable | None = None
        self._is_alone: bool | None = None

    @property
    def fault(self) -> StorageUnavailable | None:
        """Why nothing could be written just now, or None."""
        return self._fault

    def open(self, run_id: str, *, repair: bool = False) -> "PostgresWriter":
        writer = self._thread.submit(self._reserve, _check(run_id)).result()
        try:
            self._pool.changed("INSERT INTO journals (run_id) VALUES (:id) ON CONFLICT DO NOTHING", id=run_id)
            failpoint("journal.created")
            found = self.look(run_id)
            if found.is_damaged and not repair:
                raise damaged(self._place(run_id), found.good)
            if found.torn_bytes:
                self._cut(run_id, found)
            kept = self._pool.rows("SELECT top_epoch FROM journals WHERE run_id = :id", id=run_id)
            top_epoch = max(found.top_epoch, *(row[0] for row in kept), 0)
        except BaseException:
            writer.close()
            raise
        writer.begin(Recovered(found.good.seq + 1, top_epoch + 1, found.torn_bytes))
        return writer

    def read(self, run_id: str, *, after_seq: int = 0, batch_bytes: int = 256 * 1024) -> Iterator[list[bytes]]:
        _check(run_id)
        # Nothing is known of the epoch there; the chain takes it from the first line.
        chain = Chain(run_id, self._place(run_id), Mark(0, after_seq, 0))
        yield from good_lines(self._file(run_id, after_seq), chain, batch_bytes=batch_bytes)

    def look(self, run_id: str) -> Survey:
        """Returns what is good in a journal and what is not, and changes nothing. Blocking. Raises RunNotFound."""
        return survey(self._file(_check(run_id)), run_id, self._place(run_id))

    def is_held(self, run_id: str) -> bool:
        """Tells whether a writer has the journal, here or in another process."""
        return bool(self._pool.rows(_IS_HELD, number=_lock_of(_check(run_id)))[0][0])

    def expel(self, run_id: str) -> None:
        """Ends the session that has the journal's lock, if it keeps it: it may be of a process that is stopped, and
        would go on where it stopped. With its session all of its locks are gone, and nothing of it is written."""
        number = _lock_of(_check(run_id))
        if run_id in self._writers:
            return  # the session is this one, and all other journals here are written through it
        until = time.monotonic() + LOCK_WAIT_S
        while self.is_held(run_id):
            if time.monotonic() > until:
                for row in self._pool.rows(_EXPEL, number=number):
                    log.warning("Session %d kept the journal of run %s, which is taken over: ended.", row[0], run_id)
                until += EXPELLED_WITHIN_S
            time.sleep(0.05)

    def exists(self, run_id: str) -> bool:
        return bool(self._pool.rows("SELECT 1 FROM journals WHERE run_id = :run_id", run_id=_check(run_id)))

    def delete(self, run_id: str) -> None:
        _check(run_id)
        self._pool.changed(
            "WITH gone AS (DELETE FROM journals WHERE run_id = :run_id) DELETE FROM run_events WHERE run_id = :run_id",
            run_id=run_id,
        )
        for one in self.quarantine.glob(f"{run_id}.*{SUFFIX}"):
            one.unlink(missing_ok=True)

    def size(self, run_id: str) -> int:
        found = "SELECT coalesce(sum(pg_column_size(line)), 0) FROM run_events WHERE run_id = :run_id"
        return int(self._pool.rows(found, run_id=_check(run_id))[0][0])

    def run_ids(self) -> Iterator[str]:
        for row in self._pool.rows("SELECT run_id FROM journals ORDER BY run_id"):
            yield row[0]

    def enter(self, *, alone: bool) -> None:
        """Begins to use the database together with other servers, or `alone`. The session holds a lock for it.

        Blocking. Raises StorageUnavailable while somebody else uses it, or uses it alone.
        """
        self._thread.submit(self._do_again, lambda: self._enter(alone=alone)).result()

    def leave(self) -> None:
        """Lets others use the database. Blocking."""
        with contextlib.suppress(RuntimeError):  # it was closed before
            self._thread.submit(self._leave).result()

    def close(self) -> None:
        """Lets the session go, and with it the locks of journals that are still open."""
        with contextlib.suppress(RuntimeError):  # it was closed before
            self._thread.submit(self._session.close)
        self._thread.shutdown(wait=False)

    # --- for the writers

    def forget(self, writer: "PostgresWriter") -> None:
        """Lets a writer's lock go, behind what is being written."""
        try:
            self._thread.submit(self._unlock, writer)
        except RuntimeError:
            return  # the session is closed, and the lock gone with it

    async def flush(self) -> None:
        """Returns when the server has all lines that were given before. Their writers know what became of them."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._flush)
        except RuntimeError as fault:
            raise StorageUnavailable(f"The store of journals in {self._name} is closed.") from fault

    # --- in the session's thread

    def _enter(self, *, alone: bool) -> None:
        schema = self._session.run("SELECT current_schema()")[0][0]
        lock = f"SELECT pg_try_advisory_lock{'' if alone else '_shared'}(%s)"
        until = time.monotonic() + LOCK_WAIT_S
        while not self._session.run(lock, lock_number(f"use of {schema}"))[0][0]:
            if time.monotonic() > until:
                told = (_USED_BY_SERVERS if alone else _USED_ALONE).format(name=self._name)
                raise StorageUnavailable(told, details={"path": self._name})
            time.sleep(0.02)
        self._is_alone = alone

    def _leave(self) -> None:
        self._is_alone = None
        self._session.close()

    def _reserve(self, run_id: str) -> "PostgresWriter":
        if run_id in self._writers:
            raise self._active(run_id)
        self._do_again(lambda: self._lock(run_id))
        writer = self._writers[run_id] = PostgresWriter(self, run_id)
        return writer

    def _lock(self, run_id: str) -> None:
        """Takes the lock of a journal. Raises RunActive when another server has it and keeps it."""
        until = time.monotonic() + LOCK_WAIT_S
        while not self._session.run("SELECT pg_try_advisory_lock(%s)", _lock_of(run_id))[0][0]:
            if time.monotonic() > until:
                raise self._active(run_id)
            time.sleep(0.02)

    def _unlock(self, writer: "PostgresWriter") -> None:
        if self._writers.get(writer.run_id) is writer:
            del self._writers[writer.run_id]
            self._release(writer.run_id)

    def _release(self, run_id: str) -> None:
        try:
            self._session.run("SELECT pg_advisory_unlock(%s)", _lock_of(run_id))
        except StorageError:
            log.debug("The lock of run %s went with its session.", run_id)

    def _flush(self) -> None:
        while batch := self._take():
            try:
                failpoint("journal.sync")
                self._do_again(lambda batch=batch: self._append(batch))  # type: ignore[misc]
                failpoint("journal.after_sync")
            except StorageError as fault:
                self._fault = fault if isinstance(fault, StorageUnavailable) else None
                for run_id in {one.run_id for one in batch}:
                    if run_id in self._writers:
                        self._writers[run_id].refuse(fault)
            else:
                self._fault = None

    def _take(self) -> list[_Line]:
        """Returns the next lines of all writers, each writer's in order."""
        batch: list[_Line] = []
        size = 0
        for writer in tuple(self._writers.values()):
            for one in writer.take(BATCH_BYTES - size):
                batch.append(one)
                size += len(one.line)
            if size >= BATCH_BYTES:
                break
        return batch

    def _append(self, given: list[_Line]) -> None:
        # Without those of writers that lost their lock with the session before this one.
        batch = [one for one in given if not (one.run_id in self._writers and self._writers[one.run_id].is_refused)]
        if not batch:
            return
        columns = [list(column) for column in zip(*batch, strict=True)]
        written = {(row[0], row[1]) for row in self._session.run(_APPEND, *columns)}
        for one in batch:
            # What is there already was written before the connection was lost, or by whoever took the journal over.
            if (one.run_id, one.seq) not in written and not self._has(one) and one.run_id in self._writers:
                self._writers[one.run_id].refuse(self._taken_over(one.run_id))

    def _has(self, one: _Line) -> bool:
        found = "SELECT line FROM run_events WHERE run_id = %s AND seq = %s"
        return [bytes(row[0]) for row in self._session.run(found, one.run_id, one.seq)] == [one.line]

    def _do_again(self, work: Callable[[], T]) -> T:
        """Does the work in the session; in a new one with the same locks when it was lost."""

        def locked() -> T:
            if self._session.is_new:
                self._lock_again()
            return work()

        return again(locked)

    def _lock_again(self) -> None:
        self._session.open()
        if self._is_alone is not None:
            self._enter(alone=self._is_alone)
        for run_id, writer in self._writers.items():
            try:
                self._lock(run_id)
            except RunActive:
                log.warning("The journal of run %s was taken over while the database was away.", run_id)
                writer.refuse(self._taken_over(run_id))
        self._session.is_new = False

    # --- recovery

    def _cut(self, run_id: str, found: Survey) -> None:
        """Takes what is not good away, after a copy of the whole was kept where that is damage."""
        if found.is_damaged:
            kept = self.set_aside(run_id, found)
            log.error("The journal of run %s is damaged behind event %d; it was kept as %s.", run_id, found.good.seq,
                      kept)  # fmt: skip
        # At once: from then on nobody knows of the epochs that stood there.
        statement = (
            "WITH kept AS (UPDATE journals SET top_epoch = greatest(top_epoch, :top) WHERE run_id = :id) "
            "DELETE FROM run_events WHERE run_id = :id AND seq > :seq"
        )
        self._pool.changed(statement, top=found.top_epoch, id=run_id, seq=found.good.seq)

    def set_aside(self, run_id: str, found: Survey) -> Path:
        """Copies a damaged journal to a file in the quarantine, durably."""
        make_folder(self.quarantine)
        stem, number = f"{run_id}.{found.good.offset}.e{found.top_epoch}", 0
        while (kept := self.quarantine / f"{stem}.{number}{SUFFIX}").exists():
            number += 1
        try:
            handle = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.writelines(self._file(run_id))
                file.flush()
                os.fsync(handle)
        except OSError as fault:
            raise storage_fault(fault, kept, "setting a journal aside") from fault
        failpoint("journal.quarantined")
        return kept

    # --- inside

    def _file(self, run_id: str, after_seq: int = 0) -> io.BufferedReader:
        """Returns a journal's bytes behind an event, as a file would have them."""
        return io.BufferedReader(_Rows(self._pool, run_id, after_seq), READ_BYTES)

    def _place(self, run_id: str) -> str:
        return f"{run_id} in {self._name}"

    def _active(self, run_id: str) -> RunActive:
        return RunActive(
            f"The journal {self._place(run_id)} is being written by another process. Stop that one, or follow the run "
            "there.",
            details={"path": self._name},
        )

    def _taken_over(self, run_id: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"The journal {self._place(run_id)} was taken over by another process while the database was away. Follow "
            "the run there.",
            details={"path": self._name},
        )


class PostgresWriter:
    """The LineWriter of one journal. `write` only takes the line; `sync` is what brings it to the server."""

    writes_through: Final = False

    def __init__(self, store: PostgresLines, run_id: str) -> None:
        self.run_id = run_id
        self._store = store
        self._recovered = Recovered(1, 1, 0)
        self._seq = 0
        self._lines: list[_Line] = []
        self._gate = threading.Lock()
        self._fault: StorageError | None = None
        self._is_closed = False

    @property
    def recovered(self) -> Recovered:
        return self._recovered

    def write(self, line: bytes) -> None:
        failpoint("journal.before_write")
        with self._gate:
            if self._fault is not None:
                raise self._fault
            if self._is_closed:
                raise StorageUnavailable(f"The journal of run {self.run_id!r} is closed.")
            self._seq += 1
            self._lines.append(_Line(self.run_id, self._seq, self._recovered.epoch, line))
        failpoint("journal.after_write")

    async def sync(self) -> None:
        await self._store.flush()
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """Lets the journal and its lock go, behind what is being written."""
        if not self._is_closed:
            self._is_closed = True
            self._store.forget(self)

    # --- for the store

    def begin(self, recovered: Recovered) -> None:
        """Takes in what was found in the journal: only then it is written to."""
        self._recovered = recovered
        self._seq = recovered.next_seq - 1

    def take(self, size: int) -> list[_Line]:
        """Gives lines away that were not written yet, at least one where there is any."""
        with self._gate:
            number = 0
            while number < len(self._lines) and size > 0:
                size -= len(self._lines[number].line)
                number += 1
            taken, self._lines = self._lines[:number], self._lines[number:]
            return taken

    @property
    def is_refused(self) -> bool:
        """Whether nothing more may be written."""
        return self._fault is not None

    def refuse(self, fault: StorageError) -> None:
        """Nothing follows a line that could not be written."""
        with self._gate:
            self._fault = self._fault or fault
            self._lines.clear()


class _Rows(io.RawIOBase):
    """A journal's rows as the bytes of a file. Raises RunNotFound where there is no such journal."""

    def __init__(self, pool: Pool, run_id: str, after_seq: int) -> None:
        self._pool = pool
        self._run_id = run_id
        self._after = after_seq
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._fetch()
        number = min(len(buffer), len(self._left))
        buffer[:number] = self._left[:number]
        self._left = self._left[number:]
        return number

    def _fetch(self) -> None:
        rows = self._pool.rows(_LINES, run_id=self._run_id, after=self._after, rows=ROWS, bytes=READ_BYTES)
        if rows:
            self._after = rows[-1][0]
            self._left = memoryview(b"".join(bytes(row[1]) + b"\n" for row in rows))
        elif not self._pool.rows("SELECT 1 FROM journals WHERE run_id = :run_id", run_id=self._run_id):
            raise RunNotFound(f"There is no journal of run {self._run_id!r}.")


def _check(run_id: str) -> str:
    if not is_id(run_id):
        raise InvalidRequest(f"{run_id!r} is no run id: letters, digits, '_' and '-', at most 128.")
    return run_id


def _lock_of(run_id: str) -> int:
    return lock_number(f"journal of {run_id}")
