"""Keeps records, events and blobs. Everybody else sees only the contract, and `open_storage` as the front door."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .blobs import FileBlobs
from .contract import BlobStore, LineStore
from .facts import FactReader
from .faults import make_folder, storage_fault
from .folder import FolderLock
from .journals import FileLines
from .pool import Pool
from .postgres import PostgresServer
from .postgres_blobs import PostgresBlobs
from .postgres_lines import PostgresLines
from .sql import SqlRows

DATABASE: Final = "jupyter_agent.db"
DATABASE_URL: Final = "JUPYTER_AGENT_DATABASE_URL"
"""The variable that names a PostgreSQL database."""


@dataclass(frozen=True)
class Storage:
    """The three stores of one data folder, or of one database that several servers share; and what reads many rows at
    once."""

    folder: Path
    rows: SqlRows
    lines: LineStore
    blobs: BlobStore
    facts: FactReader
    lock: FolderLock
    pool: Pool | None = None

    @property
    def name(self) -> str:
        """Where it is, as people and errors call it."""
        return self.rows.backend.name if self.is_shared else str(self.folder)

    @property
    def is_shared(self) -> bool:
        """Tells whether other servers may use it at the same time; its folder then holds nothing of it."""
        return self.pool is not None

    def has_tables(self) -> bool:
        """Tells whether a database was ever used, without a change to it. Blocking. Raises StorageError."""
        return self.pool is None or self.pool.server.has_tables()

    def enter(self, *, alone: bool = False) -> None:
        """Begins to use the stores: a folder for this process only, a database together with other servers, but
        `alone` without any. Until `leave` or `close`. Blocking. Raises StorageUnavailable while it may not."""
        if isinstance(self.lines, PostgresLines):
            self.lines.enter(alone=alone)
        else:
            self.lock.take()

    def leave(self) -> None:
        """Lets others use the stores. Blocking."""
        if isinstance(self.lines, PostgresLines):
            self.lines.leave()
        else:
            self.lock.release()

    async def close(self) -> None:
        await asyncio.to_thread(self.facts.close)
        await self.rows.close()
        self.lines.close()
        if self.pool is not None:
            self.pool.close()
        self.lock.release()


def open_storage(folder: Path, database_url: str = "") -> Storage:
    """Returns the stores of a data folder, which is made if need be, or of a PostgreSQL database where its URL is
    given; the folder then keeps what was set aside. `await storage.rows.open()` comes next: it brings the database to
    the newest schema.

    Raises StorageError for a folder that cannot be made, or what is no URL of a database.
    """
    make_folder(folder)
    if not database_url:
        return Storage(
            folder=folder,
            rows=SqlRows(folder / DATABASE),
            lines=FileLines(folder),
            blobs=FileBlobs(folder),
            facts=FactReader(folder / DATABASE),
            lock=FolderLock(folder),
        )
    server = PostgresServer.of(database_url)
    pool = Pool(server)
    return Storage(
        folder=folder,
        rows=SqlRows(server),
        lines=PostgresLines(pool, folder),
        blobs=PostgresBlobs(pool, folder),
        facts=FactReader(server),
        lock=FolderLock(folder),
        pool=pool,
    )


def set_database_aside(folder: Path) -> Path:
    """Moves the database of a data folder, which nobody has open, to the quarantine; returns where it is now.

    Raises StorageError.
    """
    make_folder(folder / "quarantine")
    number = 0
    while (kept := folder / "quarantine" / f"{DATABASE}.{number}").exists():
        number += 1
    for suffix in ("", "-wal", "-shm", "-journal"):
        path = folder / f"{DATABASE}{suffix}"
        try:
            if path.exists():
                path.rename(kept.with_name(kept.name + suffix))
        except OSError as fault:
            raise storage_fault(fault, path, "setting the database aside") from fault
    return kept


__all__ = ["DATABASE", "DATABASE_URL", "Storage", "open_storage", "set_database_aside"]
