"""Rows: threads, runs, turns and references to blobs, over SQLAlchemy.

Who asks is part of every query. One writer at a time; a write is one transaction, done wholly even when its caller goes
away. What only one database needs stands in engine.py.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..exceptions import Conflict, InvalidRequest, RunActive, StorageError, ThreadBusy, ThreadNotFound
from ..failpoints import failpoint
from ..records import ACTIVE, Page, Principal, Run, RunStatus, Thread, Turn, clean, utc_now
from . import queries
from .cursors import Key, decode_cursor, encode_cursor
from .engine import WRITES, open_engine, sql_fault
from .migrations import migrate
from .tables import (
    PROJECTED,
    Row,
    blob_refs,
    run_of,
    run_values,
    runs,
    thread_of,
    thread_values,
    threads,
    turn_of,
    turns,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", Run, Thread)


class _Clash(Conflict):
    """What was to be written breaks a rule that the database keeps."""


class SqlRows:
    """The RowStore over a SQLite file. Raises StorageError for whatever the database cannot do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: AsyncEngine | None = None
        self._gate = asyncio.Lock()

    async def open(self) -> None:
        await asyncio.to_thread(migrate, self.path)
        self._engine = open_engine(self.path)

    async def close(self) -> None:
        if self._engine is not None:
            async with self._gate:
                await self._engine.dispose()
            self._engine = None

    # --- threads ------------------------------------------------------------------------------------------------

    async def create_thread(self, thread: Thread) -> Thread:
        async def create(db: AsyncConnection) -> Thread:
            there = await queries.first(db, sa.select(threads).where(threads.c.thread_id == thread.thread_id))
            if there is None:
                await db.execute(sa.insert(threads).values(**thread_values(thread)))
                there = await queries.first(db, sa.select(threads).where(threads.c.thread_id == thread.thread_id))
            if there is None or there["user_id"] != thread.user_id:
                raise ThreadNotFound(f"There is no thread {thread.thread_id!r}.")
            return thread_of(there)

        return await self._write(create)

    async def get_thread(self, thread_id: str, *, by: Principal) -> Thread:
        async with self._reading() as db:
            return thread_of(await queries.thread_row(db, thread_id, by=by))

    async def list_threads(self, *, by: Principal, limit: int = 50, cursor: str | None = None) -> Page[Thread]:
        query = sa.select(threads).where(queries.is_of(threads, by))
        return await self._page("threads", threads.c.thread_id, query, thread_of, limit=limit, cursor=cursor)

    async def update_thread(
        self, thread_id: str, *, by: Principal, title: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Thread:
        async def update(db: AsyncConnection) -> Thread:
            row = await queries.thread_row(db, thread_id, by=by)
            values: dict[str, Any] = {"updated_at": utc_now()}
            if title is not None:
                values["title"] = clean(title)
            if metadata is not None:
                merged = row["metadata"] | clean(metadata)
                values["metadata"] = {key: value for key, value in merged.items() if value is not None}
            await db.execute(sa.update(threads).where(threads.c.thread_id == thread_id).values(**values))
            return thread_of(await queries.thread_row(db, thread_id, by=by))

        return await self._write(update)

    async def delete_thread(self, thread_id: str, *, by: Principal) -> Sequence[str]:
        async def delete(db: AsyncConnection) -> Sequence[str]:
            await queries.thread_row(db, thread_id, by=by)
            rows = await db.execute(sa.select(runs.c.run_id, runs.c.status).where(runs.c.thread_id == thread_id))
            found = rows.all()
            for run_id, status in found:
                if not RunStatus(status).is_terminal:
                    raise RunActive(
                        f"Run {run_id} of this thread is {status}: interrupt it before deleting the thread."
                    )
            for run_id, _ in found:
                await queries.delete_run(db, run_id)
            await db.execute(sa.delete(threads).where(threads.c.thread_id == thread_id))
            return [run_id for run_id, _ in found]

        return await self._write(delete)

    # --- runs ---------------------------------------------------------------------------------------------------

    async def create_run(self, run: Run) -> Run:
        async def create(db: AsyncConnection) -> Run:
            thread = await queries.first(db, sa.select(threads).where(threads.c.thread_id == run.thread_id))
            if thread is None or thread["user_id"] != run.user_id:
                raise ThreadNotFound(f"There is no thread {run.thread_id!r}.")
            if await queries.first(db, sa.select(runs.c.run_id).where(runs.c.run_id == run.run_id)):
                raise Conflict(f"There is a run {run.run_id!r} already.")
            await db.execute(sa.insert(runs).values(**run_values(run)))
            await queries.update_threads(db, [run.thread_id])
            return run_of(await queries.run_row(db, run.run_id))

        try:
            return await self._write(create)
        except _Clash as fault:
            raise ThreadBusy(
                f"Thread {run.thread_id} has an active run. Wait for it, interrupt it, or choose what happens with "
                "`multitask`: interrupt, rollback or enqueue.",
                details={"threadId": run.thread_id},
            ) from fault

    async def get_run(self, run_id: str, *, by: Principal) -> Run:
        async with self._reading() as db:
            return run_of(await queries.run_row(db, run_id, by=by))

    async def list_runs(
        self,
        *,
        by: Principal,
        thread_id: str | None = None,
        parent_run_id: str | None = None,
        statuses: Sequence[RunStatus] = (),
        model: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Run]:
        query = sa.select(runs).where(queries.is_of(runs, by))
        filters = {runs.c.thread_id: thread_id, runs.c.parent_run_id: parent_run_id, runs.c.model: model}
        for column, value in filters.items():
            if value is not None:
                query = query.where(column == clean(value))
        if statuses:
            query = query.where(runs.c.status.in_([str(status) for status in statuses]))
            if ACTIVE.issuperset(statuses):
                query = query.where(queries.IS_UNFINISHED)
        return await self._page("runs", runs.c.run_id, query, run_of, limit=limit, cursor=cursor)

    async def save_run(self, run: Run) -> Run:
        async def save(db: AsyncConnection) -> Run:
            values = run_values(run)
            fixed = ("run_id", "thread_id", "user_id")
            await queries.update_run(db, run.run_id, {name: values[name] for name in values if name not in fixed})
            await queries.update_threads(db, [run.thread_id])
            return run_of(await queries.run_row(db, run.run_id))

        try:
            return await self._write(save)
        except _Clash as fault:
            raise ThreadBusy(f"Thread {run.thread_id} has another active run.") from fault

    async def project(self, found: Sequence[Run], lines: Sequence[Turn], refs: Iterable[tuple[str, str, str]]) -> None:
        async def project(db: AsyncConnection) -> None:
            there = await queries.existing(db, [run.run_id for run in found])
            for run in found:
                if run.run_id in there:
                    values = run_values(run)
                    await queries.update_run(db, run.run_id, {name: values[name] for name in PROJECTED})
            for turn in lines:
                if turn.run_id in there:
                    await queries.put_turn(db, turn)
            await queries.put_refs(db, refs)
            await queries.update_threads(db, {run.thread_id for run in found})

        await self._write(project)

    async def restore_run(self, run: Run, lines: Sequence[Turn], refs: Iterable[tuple[str, str, str]]) -> None:
        async def restore(db: AsyncConnection) -> None:
            await queries.restore_thread(db, run)
            values = run_values(run)
            if await queries.existing(db, [run.run_id]):
                await db.execute(sa.update(runs).where(runs.c.run_id == run.run_id).values(**values))
                await db.execute(sa.delete(turns).where(turns.c.run_id == run.run_id))
            else:
                await db.execute(sa.insert(runs).values(**values))
            for turn in lines:
                await queries.put_turn(db, turn)
            await queries.put_refs(db, refs)
            await queries.update_threads(db, [run.thread_id])

        try:
            await self._write(restore)
        except _Clash as fault:
            raise ThreadBusy(f"Thread {run.thread_id} has another active run than {run.run_id}.") from fault

    async def delete_run(self, run_id: str, *, by: Principal) -> None:
        async def delete(db: AsyncConnection) -> None:
            run = await queries.run_row(db, run_id, by=by)
            if not RunStatus(run["status"]).is_terminal:
                raise RunActive(f"Run {run_id} is {run['status']}: interrupt it before deleting it.")
            await queries.delete_run(db, run_id)
            await queries.update_threads(db, [run["thread_id"]])

        await self._write(delete)

    async def thread_runs(self, thread_id: str, *, until: datetime | None = None) -> Sequence[Run]:
        query = sa.select(runs).where(runs.c.thread_id == thread_id, sa.not_(runs.c.rolled_back))
        if until is not None:
            query = query.where(runs.c.created_at <= until)
        return await self._all(query.order_by(runs.c.created_at, runs.c.run_id))

    async def next_queued(self, thread_id: str) -> Run | None:
        async def take(db: AsyncConnection) -> Run | None:
            of_thread = sa.select(runs).where(runs.c.thread_id == thread_id, runs.c.status.in_(queries.ACTIVE_STATUSES))
            if await queries.first(db, of_thread.where(sa.not_(runs.c.queued)).limit(1)):
                return None
            oldest = of_thread.where(runs.c.queued).order_by(runs.c.created_at, runs.c.run_id).limit(1)
            row = await queries.first(db, oldest)
            if row is None:
                return None
            await db.execute(sa.update(runs).where(runs.c.run_id == row["run_id"]).values(queued=False))
            return run_of(await queries.run_row(db, row["run_id"]))

        return await self._write(take)

    async def active_runs(self) -> Sequence[Run]:
        query = sa.select(runs).where(queries.IS_UNFINISHED)
        return await self._all(query.order_by(runs.c.created_at, runs.c.run_id))

    # --- turns --------------------------------------------------------------------------------------------------

    async def save_turn(self, turn: Turn) -> None:
        async def save(db: AsyncConnection) -> None:
            await queries.run_row(db, turn.run_id)
            await queries.put_turn(db, turn)

        await self._write(save)

    async def list_turns(self, run_id: str, *, by: Principal, limit: int = 50, cursor: str | None = None) -> Page[Turn]:
        async with self._reading() as db:
            run = await queries.run_row(db, run_id, by=by)
            query = sa.select(turns).where(turns.c.run_id == run_id).order_by(turns.c.turn)
            if cursor is not None:
                query = query.where(turns.c.turn > _turn_after(run_id, cursor))
            rows = (await db.execute(query.limit(_checked(limit) + 1))).mappings().all()
            items = tuple(turn_of(row) for row in rows[:limit])
            more = (
                encode_cursor("turns", Key(run["created_at"], f"{run_id}.{items[-1].turn}")) if rows[limit:] else None
            )
            return Page(items=items, next_cursor=more)

    # --- blobs --------------------------------------------------------------------------------------------------

    async def blob_is_referred_to(self, key: str, *, by: Principal) -> bool:
        async with self._reading() as db:
            return bool(await queries.referred(db, [key], by=by))

    async def refer(self, key: str, *, run_id: str | None, user_id: str) -> None:
        await self._write(lambda db: queries.put_refs(db, [(key, run_id or "", user_id)]))

    async def release(self, run_id: str) -> Sequence[str]:
        async def release(db: AsyncConnection) -> Sequence[str]:
            if await queries.existing(db, [run_id]):
                return ()
            of_run = blob_refs.c.run_id == run_id
            keys = set((await db.execute(sa.select(blob_refs.c.key).where(of_run))).scalars())
            shared = await queries.referred(db, sorted(keys))
            await queries.drop_refs(db, run_id, shared)
            return sorted(keys - shared)

        return await self._write(release)

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        await self._write(lambda db: queries.drop_refs(db, run_id, keys))

    async def deleted_runs(self) -> Sequence[str]:
        is_deleted = sa.not_(sa.exists().where(runs.c.run_id == blob_refs.c.run_id)) & (blob_refs.c.run_id != "")
        async with self._reading() as db:
            query = sa.select(blob_refs.c.run_id).where(is_deleted).distinct().order_by(blob_refs.c.run_id)
            return list((await db.execute(query)).scalars())

    async def referred_blobs(self) -> AsyncIterator[tuple[str, str]]:
        """Yields every (blob key, run id) that the rows know; the run id is "" for uploads."""
        queries = (
            sa.select(runs.c.detail_blob, runs.c.run_id).where(runs.c.detail_blob.is_not(None)),
            sa.select(turns.c.blob, turns.c.run_id),
            sa.select(blob_refs.c.key, blob_refs.c.run_id),
        )
        for query in queries:
            async with self._reading() as db:
                rows = (await db.execute(query)).all()
            for key, run_id in rows:
                yield key, run_id

    # --- inside -------------------------------------------------------------------------------------------------

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise StorageError(f"The database {self.path} is not open.")
        return self._engine

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._opened().connect() as db:
                yield db
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as fault:
            raise sql_fault(fault, self.path) from fault

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Does the work in one transaction, alone; a caller that is cancelled cuts nothing. Raises StorageError."""
        task = asyncio.ensure_future(self._transact(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_look_at)
            raise

    async def _transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        try:
            async with self._gate, self._opened().connect() as plain:
                db = await plain.execution_options(**{WRITES: True})
                async with db.begin():
                    result = await work(db)
                    failpoint("rows.before_commit")
                failpoint("rows.after_commit")
                return result
        except sa.exc.IntegrityError as fault:
            raise _Clash(f"The database {self.path} refused a row that breaks a rule: {fault.orig}.") from fault
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as fault:
            raise sql_fault(fault, self.path) from fault

    async def _all(self, query: sa.Select[Any]) -> list[Run]:
        async with self._reading() as db:
            return [run_of(row) for row in (await db.execute(query)).mappings()]

    async def _page(
        self,
        kind: str,
        name: sa.Column[Any],
        query: sa.Select[Any],
        record_of: Callable[[Row], R],
        *,
        limit: int,
        cursor: str | None,
    ) -> Page[R]:
        """Returns a page, newest first, ties by id."""
        at = name.table.c.created_at
        if cursor is not None:
            after = decode_cursor(kind, cursor)
            query = query.where(sa.or_(at < after.created_at, sa.and_(at == after.created_at, name < after.id)))
        query = query.order_by(at.desc(), name.desc()).limit(_checked(limit) + 1)
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


def _checked(limit: int) -> int:
    if limit < 1:
        raise InvalidRequest(f"A limit of {limit} is none: ask for at least 1.", details={"fields": {"limit": "< 1"}})
    return limit


def _turn_after(run_id: str, cursor: str) -> int:
    key = decode_cursor("turns", cursor)
    of_run, _, turn = key.id.partition(".")
    if of_run != run_id or not turn.isdigit():
        raise InvalidRequest(f"{cursor[:80]!r} is a cursor of another run's turns.")
    return int(turn)
