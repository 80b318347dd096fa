"""A database as rows stand on it: opened and migrated, read, written one transaction at a time, listed by pages.

A write is done wholly even when its caller goes away. It is done again when the connection to the database was lost
under it, and never twice: where the commit was not answered, the database is asked what became of it.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..exceptions import Conflict, InvalidRequest, StorageError, StorageUnavailable
from ..failpoints import failpoint
from ..flow.state import FlowRun
from ..records import Feedback, Page, Run, Thread
from .backend import Backend, Disconnected
from .backends import backend_of
from .cursors import Key, decode_cursor, encode_cursor
from .in_thread import Threads
from .listing import newest
from .migrations import migrate
from .tables import Row

log = logging.getLogger(__name__)

FORGET_EVERY_S: Final = 1.0
FORGET_TRIES: Final = 50

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R", Run, Thread, Feedback, FlowRun)


PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0)
"""Before another try, after the connection was lost: a database that restarts is waited for."""
OVERTAKEN_AT_MOST: Final = 50
"""How often a transaction may be overtaken by others."""
OVERTAKEN_S: Final = 0.05

_DIGITS: Final = 18


class Clash(Conflict):
    """What was to be written breaks a rule that the database keeps."""


class _Overtaken(Exception):
    """Another transaction was quicker."""


def patient(read: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Lets a read be done again after the connection was lost under it."""

    @wraps(read)
    async def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for pause_s in PAUSES_S:
            try:
                return await read(*args, **kwargs)
            except Disconnected:
                await asyncio.sleep(pause_s)
        return await read(*args, **kwargs)

    return again


class Database:
    """A SQLite file, or a PostgreSQL database by its URL. Raises StorageError for whatever it cannot do."""

    def __init__(self, where: Path | str | Backend) -> None:
        self.backend = backend_of(where)
        self._engine: AsyncEngine | None = None
        self._threads: Threads | None = None
        self._gate = asyncio.Lock()
        self._forgetting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await asyncio.to_thread(migrate, self.backend)
        self._engine = self.backend.open_engine()
        if (threaded := self.backend.open_threads_engine()) is not None:
            self._threads = Threads(threaded, writing=self.backend.writing)

    async def forget(self) -> None:
        if not await self._empty_log() and (self._forgetting is None or self._forgetting.done()):
            self._forgetting = asyncio.create_task(self._forget_soon(), name="forgetting deleted rows")

    async def _forget_soon(self) -> None:
        try:
            for _ in range(FORGET_TRIES):
                await asyncio.sleep(FORGET_EVERY_S)
                if await self._empty_log():
                    return
            log.warning("Somebody reads %s without a pause: its log still holds deleted rows.", self.backend.name)
        except StorageError as fault:
            log.warning(
                "The log of %s could not be emptied, and still holds deleted rows: %s", self.backend.name, fault
            )

    async def _empty_log(self) -> bool:
        async with self._gate, self._reading() as db:
            return await self.backend.empty_log(db)

    async def shrink(self) -> None:
        async with self._gate, self._reading() as db:
            await self.backend.vacuum(db)
            await self.backend.empty_log(db)

    async def close(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
            await asyncio.wait({self._forgetting})
        if self._engine is not None:
            async with self._gate:
                await self._engine.dispose()
                if self._threads is not None:
                    await asyncio.to_thread(self._threads.close)
            self._engine = self._threads = None

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise StorageError(f"The database {self.backend.name} is not open.")
        return self._engine

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._opened().connect() as plain:
                options = self.backend.reading
                yield await plain.execution_options(**options) if options else plain
        except self.backend.faults as fault:
            raise self.backend.fault(fault) from fault

    async def _read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Does short reading on one state of the database. Raises StorageError."""
        self._opened()
        if self._threads is None:
            async with self._reading() as db:
                return await work(db)
        try:
            return await self._threads.read(work)
        except self.backend.faults as fault:
            raise self.backend.fault(fault) from fault

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Does the work in one transaction, alone; a caller that is cancelled cuts nothing. Raises StorageError.

        The work may be done more than once, and counts once: it changes nothing but the database.
        """
        task = asyncio.ensure_future(self._transact(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_look_at)
            raise

    async def _transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        lost = overtaken = 0
        # In the order asked for: one that has to be done again holds up those behind it.
        async with self._gate:
            while True:
                try:
                    return await self._once(work)
                except Disconnected:
                    if lost == len(PAUSES_S):
                        raise
                    await asyncio.sleep(PAUSES_S[lost])
                    lost += 1
                except _Overtaken as fault:
                    overtaken += 1
                    if overtaken > OVERTAKEN_AT_MOST:
                        raise StorageUnavailable(
                            f"The database {self.backend.name} is too busy: a write was overtaken {overtaken} times. "
                            "Try again."
                        ) from fault
                    await asyncio.sleep(random.uniform(0, OVERTAKEN_S))  # noqa: S311 - nothing is kept secret by it

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Does the work in one transaction. Raises Disconnected where it certainly was not committed."""
        backend = self.backend
        stamp: int | None = None
        done: list[T] = []
        try:
            engine = self._opened()
            if self._threads is not None:
                done.append(await self._threads.write(work))
            else:
                async with engine.connect() as plain:
                    db = await plain.execution_options(**backend.writing)
                    async with db.begin():
                        done.append(await work(db))
                        stamp = await backend.stamp(db)
                        failpoint("rows.before_commit")
        except sa.exc.IntegrityError as fault:
            raise Clash(f"The database {backend.name} refused a row that breaks a rule: {_rule(fault)}.") from fault
        except backend.faults as fault:
            if isinstance(fault, sa.exc.DBAPIError) and backend.is_overtaken(fault):
                raise _Overtaken from fault
            told = backend.fault(fault)
            if stamp is None or not isinstance(told, Disconnected) or not await self._was_committed(stamp):
                raise told from fault
        failpoint("rows.after_commit")
        return done[0]

    async def _was_committed(self, stamp: int) -> bool:
        """Asks what became of a transaction. Raises StorageUnavailable where nobody can tell."""

        @patient
        async def ask() -> bool:
            async with self._reading() as db:
                return await self.backend.was_committed(db, stamp)

        try:
            return await ask()
        except Disconnected as fault:
            raise StorageUnavailable(
                f"The connection to the database {self.backend.name} was lost at the end of a write, and it cannot be "
                "asked whether it has it. See that it runs, then look before you try again."
            ) from fault

    async def _page(
        self,
        kind: str,
        name: sa.Column[Any],
        parts: Sequence[sa.Select[Any]],
        record_of: Callable[[Row], R],
        *,
        limit: int,
        cursor: str | None,
    ) -> Page[R]:
        """Returns a page of all these parts together, newest first, ties by id."""
        after = decode_cursor(kind, cursor) if cursor is not None else None
        query = newest(parts, name, after=after, limit=checked(limit) + 1)
        async with self._reading() as db:
            rows = (await db.execute(query)).mappings().all()
        more = None
        if rows[limit:]:
            more = encode_cursor(kind, Key(rows[limit - 1]["created_at"], rows[limit - 1][name.name]))
        return Page(items=tuple(record_of(row) for row in rows[:limit]), next_cursor=more)


def _look_at(task: asyncio.Future[Any]) -> None:
    """Writes the failure of a write down that nobody waits for any more."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.warning("A write whose caller was cancelled failed: %s", fault)


def checked(limit: int) -> int:
    if limit < 1:
        raise InvalidRequest(f"A limit of {limit} is none: ask for at least 1.", details={"fields": {"limit": "< 1"}})
    return limit


def numbers_after(kind: str, run_id: str, cursor: str, count: int) -> list[int]:
    """Returns the numbers by which a page of a run ended. Raises InvalidRequest for a cursor of another run."""
    of_run, *numbers = decode_cursor(kind, cursor).id.split(".")
    if of_run != run_id or len(numbers) != count or not all(map(_is_number, numbers)):
        raise InvalidRequest(f"{cursor[:80]!r} is a cursor of another run's {kind}.")
    return [int(one) for one in numbers]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _rule(fault: sa.exc.IntegrityError) -> str:
    """Returns the database's first words: what follows them may be values."""
    return str(fault.orig).partition("\n")[0]
