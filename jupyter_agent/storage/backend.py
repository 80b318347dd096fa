"""What a database must offer for rows to stand on it. SQLite's stands in sqlite.py, PostgreSQL's in postgres.py; nobody
else asks which of them it is."""

import json
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..exceptions import StorageError, StorageUnavailable
from ..facts.query import Query, Words


class Disconnected(StorageUnavailable):
    """The connection to the database was lost, or there was none. Nothing was half done; doing it again may help."""


class Backend(Protocol):
    """One database, opened or not."""

    @property
    def name(self) -> str:
        """What errors and people call it: a path or an address, never with a password."""

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        """What SQLAlchemy and its driver raise."""

    @property
    def reading(self) -> dict[str, Any]:
        """The execution options of a connection that only reads."""

    @property
    def writing(self) -> dict[str, Any]:
        """The execution options of a connection that is going to write: one transaction then is as if it were alone."""

    def open_engine(self) -> AsyncEngine:
        """Returns an async engine. Nothing is opened yet."""

    def open_threads_engine(self) -> sa.Engine | None:
        """Returns an engine for short transactions in threads, None where the driver itself waits well enough."""

    def migrating(self) -> AbstractContextManager[sa.Connection]:
        """Gives a connection for a thread, within a transaction, while nobody else migrates."""

    def fault(self, fault: Exception) -> StorageError:
        """Returns the exception to raise for a database error. Its text never holds what was to be stored."""

    def is_overtaken(self, fault: sa.exc.DBAPIError) -> bool:
        """Tells whether a transaction was undone only since another one was quicker: it is done again."""

    async def stamp(self, db: AsyncConnection) -> int | None:
        """Returns by what a transaction is known after a loss of the connection, None where it wrote nothing."""

    async def was_committed(self, db: AsyncConnection, stamp: int) -> bool:
        """Tells what became of a transaction whose commit was not answered. Waits while that is not decided."""

    async def empty_log(self, db: AsyncConnection) -> bool:
        """Takes deleted rows out of whatever the database keeps beside its tables; tells whether it could."""

    async def vacuum(self, db: AsyncConnection) -> None:
        """Gives the room of deleted rows back, as far as the database can while it is used."""

    async def clock(self, db: AsyncConnection) -> float:
        """Returns the time by which leases pass, in seconds: one clock for all who use the database."""

    @property
    def words(self) -> Words:
        """In which words facts are asked for."""

    def reader(self) -> "Reader":
        """Returns what reads facts."""


class Reader(Protocol):
    """Reads many rows as Arrow. Blocking."""

    def read(self, asked: Query) -> Generator[Any, None, None]:
        """Yields what a query finds as `pyarrow.RecordBatch`es, at least one. Raises StorageError."""

    def close(self) -> None: ...


def to_json(value: Any) -> str:
    """Returns a value of a JSON column as both databases keep it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
