"""How to talk to SQLite: connections, pragmas, transactions and what its errors mean. Everything that only SQLite needs
stands here."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..exceptions import StorageError, StorageFull, StorageUnavailable
from ..facts.query import SQLITE, Words
from .backend import to_json
from .clock import machine_clock
from .faults import storage_fault
from .in_thread import READERS
from .reading import ProcessReader

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS: Final = 10_000
BRIEFLY_MS: Final = 100
MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ncpfs", "davfs", "sshfs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "orangefs", "pvfs2"),
        *("s3fs", "gcsfuse", "rclone", "blobfuse", "vboxsf", "prl_fs", "vmhgfs"),
    }
)
WRITES: Final = "writes"
"""The execution option of a connection that is going to write: its transaction takes the lock at once."""


@dataclass(frozen=True)
class SqliteFile:
    """The Backend of a SQLite file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        return (sa.exc.SQLAlchemyError, sqlite3.Error)

    @property
    def reading(self) -> dict[str, Any]:
        return {}

    @property
    def writing(self) -> dict[str, Any]:
        return {WRITES: True}

    def open_engine(self) -> AsyncEngine:
        is_shared = is_on_network(self.path)
        if is_shared:
            log.warning(
                "%s is on a network file system: SQLite keeps a rollback journal there instead of a WAL.", self.path
            )
        engine = create_async_engine(
            sa.URL.create("sqlite+aiosqlite", database=str(self.path)),
            hide_parameters=True,
            json_serializer=to_json,
            json_deserializer=msgspec.json.decode,
            pool_size=1 if is_shared else 5,
            max_overflow=0,
            pool_timeout=60,
        )
        _prepare(engine.sync_engine, is_shared=is_shared)
        return engine

    def open_threads_engine(self) -> sa.Engine | None:
        if is_on_network(self.path):
            # The one connection that has the file there has it for itself.
            return None
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self.path)),
            hide_parameters=True,
            json_serializer=to_json,
            json_deserializer=msgspec.json.decode,
            connect_args={"check_same_thread": False},
            poolclass=sa.pool.QueuePool,
            pool_size=READERS + 1,
            max_overflow=0,
        )
        _prepare(engine, is_shared=False)
        return engine

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        create_file(self.path)
        engine = open_blocking_engine(self.path)
        try:
            with _lock(self.path.with_name("migrations.lock")), engine.connect() as plain:
                connection = plain.execution_options(**self.writing)
                with connection.begin():
                    yield connection
        finally:
            engine.dispose()

    def fault(self, fault: Exception) -> StorageError:
        return sql_fault(fault, self.path)

    def is_overtaken(self, fault: sa.exc.DBAPIError) -> bool:  # noqa: ARG002 - who writes is alone
        return False

    async def clock(self, db: AsyncConnection) -> float:  # noqa: ARG002 - a file has no clock of its own
        # Only processes of one machine use a file. The wall clock would do until somebody sets it.
        return machine_clock()

    async def stamp(self, db: AsyncConnection) -> int | None:  # noqa: ARG002 - a file is not lost in between
        return None

    async def was_committed(self, db: AsyncConnection, stamp: int) -> bool:  # noqa: ARG002
        return False

    async def empty_log(self, db: AsyncConnection) -> bool:
        """Moves the write-ahead log into the file: until then the log holds pages with what was deleted."""
        driver: Any = (await db.get_raw_connection()).driver_connection
        await driver.execute(f"PRAGMA busy_timeout={BRIEFLY_MS}")
        try:
            async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
                is_busy, *_ = await cursor.fetchone()
            return not is_busy
        finally:
            await driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

    async def vacuum(self, db: AsyncConnection) -> None:
        driver: Any = (await db.get_raw_connection()).driver_connection
        await driver.execute("VACUUM")

    @property
    def words(self) -> Words:
        return SQLITE

    def reader(self) -> ProcessReader:
        return ProcessReader(self.path)


def open_blocking_engine(path: Path) -> sa.Engine:
    """Returns an engine for a thread: what migrations use."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)), hide_parameters=True, poolclass=sa.pool.NullPool
    )
    _prepare(engine, is_shared=is_on_network(path))
    return engine


def create_file(path: Path) -> None:
    """Makes an empty database file that only its owner can read, unless there is one. Raises StorageError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as fault:
        raise storage_fault(fault, path, "opening the database") from fault


def is_on_network(path: Path, mounts: Path = MOUNTS) -> bool:
    """Tells whether a path is on a file system whose memory maps and locks are not to be relied on."""
    try:
        table = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return False
    place, kind = "", ""
    wanted = path.resolve()
    for row in table:
        head, _, tail = row.partition(" - ")
        point = head.split(" ")[4].encode().decode("unicode_escape") if head.count(" ") >= 5 else ""
        if point and wanted.is_relative_to(point) and len(point) >= len(place):
            place, kind = point, tail.split(" ")[0]
    return kind.removeprefix("fuse.") in NETWORK_FILE_SYSTEMS


def sql_fault(fault: Exception, path: Path) -> StorageError:
    """Returns the exception to raise for a database error. Its text never holds what was to be stored."""
    origin = getattr(fault, "orig", fault)
    code = getattr(origin, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    details = {"path": str(path), "sqlite": getattr(origin, "sqlite_errorname", type(origin).__name__)}
    match primary:
        case sqlite3.SQLITE_FULL:
            sentence = f"The disk is full: the database {path} could not be written. Make room and try again."
            return StorageFull(sentence, details=details)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StorageError(
                f"{path} is damaged or is no database. Stop the server, run `jupyter agent rebuild` (it keeps the file "
                "aside and makes a new one from the journals and blobs), and start again.",
                details=details,
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StorageError(
                f"The database {path} cannot be opened for writing. Make its folder writable for this user, or choose "
                "another data folder.",
                details=details,
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageUnavailable(
                f"The database {path} is locked by another process. Stop that one, or try again.", details=details
            )
        case _:
            return StorageUnavailable(
                f"The database {path} failed with {details['sqlite']}. Check the disk, then try again.",
                details=details,
            )


def _prepare(engine: sa.Engine, *, is_shared: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # Transactions are begun here, by hand: the driver's own begin is late and deferred.
        connection.isolation_level = None
        # SQLite's own knows the letters of ASCII alone.
        connection.create_function("lower", 1, _lower, deterministic=True)
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        if is_shared:
            cursor.execute("PRAGMA locking_mode=EXCLUSIVE")
        cursor.execute(f"PRAGMA journal_mode={'DELETE' if is_shared else 'WAL'}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later would fail at once when somebody else writes in between.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise storage_fault(fault, path, "locking the database for its migration") from fault
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lower(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else text
