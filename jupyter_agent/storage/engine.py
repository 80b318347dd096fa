"""How to talk to SQLite: connections, pragmas, transactions and what its errors mean. Everything that only SQLite needs
stands here."""

import json
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..exceptions import StorageError, StorageFull, StorageUnavailable
from .faults import storage_fault

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS: Final = 10_000
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


def open_engine(path: Path) -> AsyncEngine:
    """Returns an async engine over a SQLite file. Nothing is opened yet."""
    is_shared = is_on_network(path)
    if is_shared:
        log.warning("%s is on a network file system: SQLite keeps a rollback journal there instead of a WAL.", path)
    engine = create_async_engine(
        sa.URL.create("sqlite+aiosqlite", database=str(path)),
        hide_parameters=True,
        json_serializer=_to_json,
        json_deserializer=msgspec.json.decode,
        pool_size=1 if is_shared else 5,
        max_overflow=0,
        pool_timeout=60,
    )
    _prepare(engine.sync_engine, is_shared=is_shared)
    return engine


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


def sql_fault(fault: sa.exc.SQLAlchemyError | sqlite3.Error, path: Path) -> StorageError:
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
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        if is_shared:
            cursor.execute("PRAGMA locking_mode=EXCLUSIVE")
        cursor.execute(f"PRAGMA journal_mode={'DELETE' if is_shared else 'WAL'}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later would fail at once when somebody else writes in between.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
