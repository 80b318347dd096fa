"""Which database is meant by the path of a file, or by a URL."""

from pathlib import Path

from .backend import Backend
from .postgres import PostgresServer
from .sqlite import SqliteFile


def backend_of(where: Path | str | Backend) -> Backend:
    """Returns the database of a SQLite file, or of a URL like `postgresql://user:password@host/database`.

    Raises StorageError for a URL that is none; its text holds no password.
    """
    if isinstance(where, Path):
        return SqliteFile(where)
    return PostgresServer.of(where) if isinstance(where, str) else where
