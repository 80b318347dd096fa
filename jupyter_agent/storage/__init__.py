"""Keeps records, events and blobs. Everybody else sees only the contract, and `open_storage` as the front door."""

from dataclasses import dataclass
from pathlib import Path

from .blobs import FileBlobs
from .faults import make_folder, storage_fault
from .journals import FileLines
from .sql import SqlRows

DATABASE = "jupyter_agent.db"


@dataclass(frozen=True)
class Storage:
    """The three stores of one data folder."""

    folder: Path
    rows: SqlRows
    lines: FileLines
    blobs: FileBlobs

    async def close(self) -> None:
        await self.rows.close()
        self.lines.close()


def open_storage(folder: Path) -> Storage:
    """Returns the stores of a data folder, which is made if need be. `await storage.rows.open()` comes next: it brings
    the database to the newest schema. Raises StorageError for a folder that cannot be made."""
    make_folder(folder)
    return Storage(folder=folder, rows=SqlRows(folder / DATABASE), lines=FileLines(folder), blobs=FileBlobs(folder))


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


__all__ = ["DATABASE", "Storage", "open_storage", "set_database_aside"]
