"""Transactions done whole in a thread, on connections that block: one turn of the loop for all of one's statements.

A driver that waits statement by statement takes several turns for each of them, which is most of what a short
transaction takes. The work is the same coroutine for both: on these connections it never waits for anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..failpoints import failpoint

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

READERS: Final = 4


class Threads:
    """One thread that writes and a few that read. `writing` are the execution options of what writes."""

    def __init__(self, engine: sa.Engine, *, writing: dict[str, Any]) -> None:
        self._engine = engine
        self._writing = writing
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="rows-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="rows-read")

    async def write(self, work: Work[T]) -> T:
        """Does the work in one transaction of its own. Raises what the driver raises."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._write, work)

    async def read(self, work: Work[T]) -> T:
        """Does the work on one state of the database. Raises what the driver raises."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def close(self) -> None:
        """Lets threads and connections go. Blocking."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()

    def _write(self, work: Work[T]) -> T:
        with self._engine.connect() as plain:
            db = plain.execution_options(**self._writing)
            with db.begin():
                done = _done(work, db)
                failpoint("rows.before_commit")
        return done

    def _read(self, work: Work[T]) -> T:
        with self._engine.connect() as db:
            return _done(work, db)


class _Waitless:
    """Stands in for an AsyncConnection: its statements are carried out where they are asked for."""

    def __init__(self, db: sa.Connection) -> None:
        self._db = db

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        return self._db.execute(statement, parameters)


def _done(work: Work[T], db: sa.Connection) -> T:
    """Returns what the work gives. Raises RuntimeError for work that waits for anything but its statements."""
    steps = work(cast(AsyncConnection, _Waitless(db))).__await__()
    try:
        next(steps)
    except StopIteration as done:
        return cast(T, done.value)
    steps.close()
    raise RuntimeError("What is done in a transaction waits for nothing but its statements.")
