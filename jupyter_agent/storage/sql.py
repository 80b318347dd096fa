"""Rows: threads, runs, turns, tool calls and references to blobs, over SQLAlchemy. Who asks is part of every query.

How a database is read and written stands in database.py, feedback in feedback.py, leases in leases.py, errands in
errands.py.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import Conflict, RunActive, ThreadBusy, ThreadNotFound
from ..records import (
    SYSTEM,
    Approval,
    InputNeeded,
    Multitask,
    Page,
    Principal,
    Run,
    RunStatus,
    RunTotals,
    Thread,
    ToolTrace,
    Turn,
    TurnSegment,
    clean,
    utc_now,
)
from . import queries
from .ahead import SqlAhead
from .asks import SqlAsks
from .contract import FIRST_LEASE_NO, Archived, Holder
from .cursors import Key, encode_cursor
from .database import Clash, checked, numbers_after, patient
from .errands import SqlErrands
from .feedback import SqlFeedback
from .flows import SqlFlows
from .headless import SqlHeadless
from .leases import SqlLeases, is_free
from .listing import runs_chosen
from .queries import TOMBSTONE
from .retention import SqlRetention
from .search import found_by
from .spending import SqlSpending
from .tables import (
    PROJECTED,
    approvals,
    blob_refs,
    inputs,
    run_of,
    run_values,
    runs,
    segment_of,
    thread_of,
    thread_values,
    threads,
    tool_traces,
    trace_of,
    turn_of,
    turn_segments,
    turns,
)

_WAITING_ON: Final = (
    sa.select(runs.c.run_id)
    .where(
        runs.c.thread_id == sa.bindparam("its_thread_id"),
        runs.c.status.in_(queries.ACTIVE_STATUSES),
        runs.c.queued,
    )
    .limit(1)
)


class SqlRows(SqlFeedback, SqlAsks, SqlLeases, SqlErrands, SqlRetention, SqlFlows, SqlAhead, SqlHeadless, SqlSpending):
    """The RowStore over a database. Raises StorageError for whatever the database cannot do."""

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

    @patient
    async def get_thread(self, thread_id: str, *, by: Principal) -> Thread:
        async with self._reading() as db:
            return thread_of(await queries.thread_row(db, thread_id, by=by))

    @patient
    async def list_threads(
        self,
        *,
        by: Principal,
        search: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Thread]:
        query = sa.select(threads).where(queries.is_of(threads, by), *found_by(search, metadata or {}))
        return await self._page("threads", threads.c.thread_id, [query], thread_of, limit=limit, cursor=cursor)

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

    async def create_run(self, run: Run, *, holder: Holder | None = None, thread: Thread | None = None) -> Run:
        async def create(db: AsyncConnection) -> Run:
            if thread is not None:
                await db.execute(sa.insert(threads), thread_values(thread))
            else:
                there = await queries.thread_row(db, run.thread_id, by=SYSTEM)
                if there["user_id"] != run.user_id:
                    raise ThreadNotFound(f"There is no thread {run.thread_id!r}.")
            if await queries.existing(db, [run.run_id]):
                raise Conflict(f"There is a run {run.run_id!r} already.")
            lease: dict[str, Any] = {}
            if holder is not None:
                until = await self.backend.clock(db) + holder.ttl_s
                lease = {"lease_owner": holder.owner, "lease_no": FIRST_LEASE_NO, "lease_expires_at": until}
            await db.execute(sa.insert(runs), run_values(run) | lease)
            await queries.update_threads(db, [run.thread_id])
            return run_of(await queries.run_row(db, run.run_id, by=SYSTEM))

        try:
            return await self._write(create)
        except Clash as fault:
            raise ThreadBusy(
                f"Thread {run.thread_id} has an active run. Wait for it, interrupt it, or choose what happens with "
                "`multitask`: interrupt, rollback or enqueue.",
                details={"threadId": run.thread_id},
            ) from fault

    @patient
    async def get_run(self, run_id: str, *, by: Principal) -> Run:
        return run_of(await self._read(lambda db: queries.run_row(db, run_id, by=by)))

    @patient
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
        parts = runs_chosen(by=by, thread_id=thread_id, parent_run_id=parent_run_id, statuses=statuses, model=model)
        return await self._page("runs", runs.c.run_id, parts, run_of, limit=limit, cursor=cursor)

    async def save_run(self, run: Run, *, lease_no: int | None = None) -> Run:
        async def save(db: AsyncConnection) -> Run:
            values = run_values(run)
            fixed = ("run_id", "thread_id", "user_id")
            changed = {name: values[name] for name in values if name not in fixed}
            await queries.update_run(db, run.run_id, changed, lease_no=lease_no)
            await queries.update_threads(db, [run.thread_id])
            return run_of(await queries.run_row(db, run.run_id, by=SYSTEM))

        try:
            return await self._write(save)
        except Clash as fault:
            raise ThreadBusy(f"Thread {run.thread_id} has another active run.") from fault

    async def project(
        self,
        found: Sequence[Run],
        lines: Sequence[Turn],
        refs: Sequence[tuple[str, str, str]],
        *,
        traces: Sequence[ToolTrace] = (),
        asked: Sequence[Approval | InputNeeded] = (),
        segments: Sequence[TurnSegment] = (),
        lease_nos: Mapping[str, int] = MappingProxyType({}),
        archived: Mapping[str, Archived] = MappingProxyType({}),
    ) -> None:
        async def project(db: AsyncConnection) -> None:
            there = await queries.existing(db, [run.run_id for run in found])
            for run in found:
                if run.run_id in there:
                    values = run_values(run)
                    changed = {name: values[name] for name in PROJECTED}
                    if (end := archived.get(run.run_id)) is not None:
                        changed["detail_blob"] = end.detail
                        changed |= {"lease_owner": None, "lease_expires_at": None} if end.is_given_back else {}
                    await queries.update_run(db, run.run_id, changed, lease_no=lease_nos.get(run.run_id))
            for turn in lines:
                if turn.run_id in there:
                    await queries.put_turn(db, turn)
            await queries.put_traces(db, [trace for trace in traces if trace.run_id in there])
            await queries.put_asks(db, [one for one in asked if one.run_id in there])
            await queries.put_segments(db, [segment for segment in segments if segment.run_id in there])
            await queries.put_refs(db, refs)
            await queries.take_uploads(db, refs)
            await queries.update_threads(db, {run.thread_id for run in found})

        await self._write(project)

    async def restore_run(
        self,
        run: Run,
        lines: Sequence[Turn],
        refs: Sequence[tuple[str, str, str]],
        *,
        traces: Sequence[ToolTrace] = (),
        asked: Sequence[Approval | InputNeeded] = (),
        segments: Sequence[TurnSegment] = (),
    ) -> None:
        async def restore(db: AsyncConnection) -> None:
            await queries.restore_thread(db, run)
            values = run_values(run)
            if await queries.existing(db, [run.run_id]):
                await db.execute(sa.update(runs).where(runs.c.run_id == run.run_id).values(**values))
                for table in (turns, turn_segments, tool_traces, approvals, inputs):
                    await db.execute(sa.delete(table).where(table.c.run_id == run.run_id))
            else:
                await db.execute(sa.insert(runs).values(**values))
            for turn in lines:
                await queries.put_turn(db, turn)
            await queries.put_traces(db, traces)
            await queries.put_asks(db, asked)
            await queries.put_segments(db, segments)
            await queries.put_refs(db, refs)
            await queries.take_uploads(db, refs)
            await queries.update_threads(db, [run.thread_id])

        try:
            await self._write(restore)
        except Clash as fault:
            raise ThreadBusy(f"Thread {run.thread_id} has another active run than {run.run_id}.") from fault

    @patient
    async def run_totals(self, run_id: str, *, by: Principal) -> RunTotals:
        async def total(db: AsyncConnection) -> RunTotals:
            return await queries.totals(db, await queries.run_row(db, run_id, by=by))

        return await self._read(total)

    async def delete_run(self, run_id: str, *, by: Principal) -> None:
        async def delete(db: AsyncConnection) -> None:
            run = await queries.run_row(db, run_id, by=by)
            if not RunStatus(run["status"]).is_terminal:
                raise RunActive(f"Run {run_id} is {run['status']}: interrupt it before deleting it.")
            await queries.delete_run(db, run_id)
            await queries.update_threads(db, [run["thread_id"]])

        await self._write(delete)

    @patient
    async def thread_runs(self, thread_id: str, *, until: datetime | None = None) -> Sequence[Run]:
        is_part = sa.or_(sa.not_(runs.c.rolled_back), runs.c.past_blob.is_not(None))
        query = sa.select(runs).where(runs.c.thread_id == thread_id, is_part)
        if until is not None:
            query = query.where(runs.c.created_at <= until)
        return await self._all(query.order_by(runs.c.created_at, runs.c.run_id))

    async def next_queued(self, thread_id: str, *, owner: str = "") -> Run | None:
        of_thread = sa.select(runs).where(runs.c.thread_id == thread_id, runs.c.status.in_(queries.ACTIVE_STATUSES))

        async def take(db: AsyncConnection) -> Run | None:
            if await queries.first(db, of_thread.where(sa.not_(runs.c.queued)).limit(1)):
                return None
            waits = runs.c.multitask == Multitask.ENQUEUE
            oldest = of_thread.where(runs.c.queued).order_by(waits, runs.c.created_at, runs.c.run_id).limit(1)
            row = await queries.first(db, oldest)
            if row is None:
                return None
            free = is_free(runs, await self.backend.clock(db), owner=owner)
            its = (runs.c.run_id == row["run_id"], free)
            if not (await db.execute(sa.update(runs).where(*its).values(queued=False))).rowcount:
                return None
            return run_of(await queries.run_row(db, row["run_id"], by=SYSTEM))

        # Most threads have nobody who waits, and to see that takes no turn at writing. Who begins to wait after this
        # look looks for itself.
        if not await self._waits(thread_id):
            return None
        return await self._write(take)

    @patient
    async def _waits(self, thread_id: str) -> bool:
        async def read(db: AsyncConnection) -> bool:
            return (await db.execute(_WAITING_ON, {"its_thread_id": thread_id})).first() is not None

        return await self._read(read)

    @patient
    async def active_run(self, thread_id: str) -> Run | None:
        query = sa.select(runs).where(runs.c.thread_id == thread_id, queries.IS_UNFINISHED, sa.not_(runs.c.queued))
        return next(iter(await self._all(query)), None)

    @patient
    async def active_runs(self) -> Sequence[Run]:
        query = sa.select(runs).where(queries.IS_UNFINISHED)
        return await self._all(query.order_by(runs.c.created_at, runs.c.run_id))

    # --- turns --------------------------------------------------------------------------------------------------

    async def save_turn(self, turn: Turn) -> None:
        async def save(db: AsyncConnection) -> None:
            await queries.run_row(db, turn.run_id, by=SYSTEM)
            await queries.put_turn(db, turn)

        await self._write(save)

    @patient
    async def list_turns(self, run_id: str, *, by: Principal, limit: int = 50, cursor: str | None = None) -> Page[Turn]:
        async with self._reading() as db:
            run = await queries.run_row(db, run_id, by=by)
            query = sa.select(turns).where(turns.c.run_id == run_id).order_by(turns.c.turn)
            if cursor is not None:
                query = query.where(turns.c.turn > numbers_after("turns", run_id, cursor, 1)[0])
            rows = (await db.execute(query.limit(checked(limit) + 1))).mappings().all()
            items = tuple(turn_of(row) for row in rows[:limit])
            more = (
                encode_cursor("turns", Key(run["created_at"], f"{run_id}.{items[-1].turn}")) if rows[limit:] else None
            )
            return Page(items=items, next_cursor=more)

    @patient
    async def list_traces(
        self, run_id: str, *, by: Principal, turn: int | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[ToolTrace]:
        place = (tool_traces.c.turn, tool_traces.c.position, tool_traces.c.attempt)
        async with self._reading() as db:
            run = await queries.run_row(db, run_id, by=by)
            query = sa.select(tool_traces).where(tool_traces.c.run_id == run_id)
            if turn is not None:
                query = query.where(tool_traces.c.turn == turn)
            if cursor is not None:
                query = query.where(sa.tuple_(*place) > sa.tuple_(*numbers_after("traces", run_id, cursor, 3)))
            rows = (await db.execute(query.order_by(*place).limit(checked(limit) + 1))).mappings().all()
        more = None
        if rows[limit:]:
            last = rows[limit - 1]
            more = encode_cursor(
                "traces", Key(run["created_at"], f"{run_id}.{last['turn']}.{last['position']}.{last['attempt']}")
            )
        return Page(items=tuple(trace_of(row) for row in rows[:limit]), next_cursor=more)

    async def list_segments(self, run_id: str, *, by: Principal) -> Sequence[TurnSegment]:
        query = sa.select(turn_segments).where(turn_segments.c.run_id == run_id)
        async with self._reading() as db:
            await queries.run_row(db, run_id, by=by)
            rows = await db.execute(query.order_by(turn_segments.c.turn, turn_segments.c.position))
            return [segment_of(row) for row in rows.mappings()]

    # --- blobs --------------------------------------------------------------------------------------------------

    @patient
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
            shared = await queries.referred(db, sorted(keys), by=SYSTEM)
            await queries.drop_refs(db, run_id, shared)
            return sorted(keys - shared - {TOMBSTONE})

        return await self._write(release)

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        await self._write(lambda db: queries.drop_refs(db, run_id, [*keys, TOMBSTONE]))

    @patient
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
                if key != TOMBSTONE:
                    yield key, run_id

    async def _all(self, query: sa.Select[Any]) -> list[Run]:
        async def read(db: AsyncConnection) -> list[Run]:
            return [run_of(row) for row in (await db.execute(query)).mappings()]

        return await self._read(read)
