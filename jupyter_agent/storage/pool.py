"""Connections to PostgreSQL for threads: what journals and blobs in tables stand on."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..exceptions import Conflict
from .backend import Disconnected
from .database import PAUSES_S
from .postgres import PostgresServer, end_idle_transactions

T = TypeVar("T")

SIZE: Final = 8


class Pool:
    """A few connections that threads share. Opened at its first use."""

    def __init__(self, server: PostgresServer) -> None:
        self.server: Final = server
        self._engine: sa.Engine | None = None
        self._gate = threading.Lock()

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Does the work in one transaction, and again when the connection was lost: it may be done twice. Blocking.

        Raises StorageError.
        """
        return again(lambda: self._once(work))

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Runs one statement, twice where need be, and returns its rows. Blocking. Raises StorageError."""
        return list(self.run(lambda db: db.execute(sa.text(statement), values).all()))

    def changed(self, statement: str, **values: Any) -> int:
        """Runs one statement, twice where need be, and returns how many rows it changed. Blocking."""
        return self.run(lambda db: int(db.execute(sa.text(statement), values).rowcount))

    def close(self) -> None:
        with self._gate:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._gate:
            if self._engine is None:
                self._engine = self.server.open_blocking_engine(pool_size=SIZE, max_overflow=0, pool_timeout=60)
                end_idle_transactions(self._engine)
            engine = self._engine
        try:
            with engine.begin() as db:
                return work(db)
        except sa.exc.IntegrityError as fault:
            raise Conflict(f"The database {self.server.name} refused a row that breaks a rule.") from fault
        except self.server.faults as fault:
            raise self.server.fault(fault) from fault


def again(work: Callable[[], T]) -> T:
    """Does the work, and again with pauses while the database is away. Blocking."""
    for pause_s in PAUSES_S:
        try:
            return work()
        except Disconnected:
            time.sleep(pause_s)
    return work()
