"""One session of PostgreSQL that lasts: what it locks is locked as long as it does. For one thread."""

import logging
from typing import Any, Final

from .backend import Disconnected
from .postgres import PostgresServer

log = logging.getLogger(__name__)

_END_OLD: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s
"""


class Session:
    """A connection outside of any pool, each statement a transaction. `is_new` until its user has set it up again."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._connection: Any = None
        self._known: tuple[int, Any] | None = None
        self.is_new = True

    def open(self) -> None:
        """Connects, unless it is connected. Raises StorageError."""
        if self._connection is not None:
            return
        import psycopg

        try:
            connection = psycopg.connect(self._server.libpq_url(), autocommit=True)
            try:
                if self._known is not None:
                    # The server may not have noticed yet that the session before is lost, and keep its locks.
                    connection.execute(_END_OLD, self._known)
                found = connection.execute(
                    "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
                ).fetchone()
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as fault:
            raise self._server.fault(fault) from fault
        self._known = (found[0], found[1]) if found else None
        self._connection = connection

    def run(self, statement: str, *values: Any) -> list[Any]:
        """Runs a statement and returns its rows. Raises Disconnected when the session is lost, StorageError."""
        import psycopg

        self.open()
        try:
            cursor = self._connection.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []
        except psycopg.Error as fault:
            told = self._server.fault(fault)
            if isinstance(told, Disconnected) or self._connection.broken or self._connection.closed:
                self.close()
                told = Disconnected(told.message, details=told.details)
            raise told from fault

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self.is_new = True
