"""The queries that several operations share, each on the connection it is given, inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import Conflict, RunNotFound, ThreadNotFound
from ..records import ACTIVE, TERMINAL, Principal, Run, RunStatus, Thread, ThreadStatus, Turn, clean
from .tables import Row, blob_refs, runs, thread_values, threads, turn_values, turns

ACTIVE_STATUSES: Final = sorted(ACTIVE)
TERMINAL_STATUSES: Final = sorted(TERMINAL)
IS_UNFINISHED: Final = runs.c.status.in_(
    sa.bindparam("unfinished", ACTIVE_STATUSES, expanding=True, literal_execute=True)
)
"""In the very words of the partial index, not as parameters: only so does the database know that it may use it."""
CHUNK: Final = 500
"""Values in one `IN`: databases bound their number."""
TITLE_CHARS: Final = 80


def is_of(table: sa.Table, by: Principal) -> sa.ColumnElement[bool]:
    """The condition that rows belong to whoever asks; the explicit system context sees all."""
    return sa.true() if by.is_system else table.c.user_id == by.user_id


async def first(db: AsyncConnection, query: sa.Select[Any]) -> Row | None:
    """Returns the query's first row."""
    row: Row | None = (await db.execute(query)).mappings().first()
    return row


async def thread_row(db: AsyncConnection, thread_id: str, *, by: Principal) -> Row:
    """Returns a thread's row. Raises ThreadNotFound, for another's too."""
    row = await first(db, sa.select(threads).where(threads.c.thread_id == clean(thread_id), is_of(threads, by)))
    if row is None:
        raise ThreadNotFound(f"There is no thread {clean(thread_id)!r}.")
    return row


async def run_row(db: AsyncConnection, run_id: str, *, by: Principal | None = None) -> Row:
    """Returns a run's row. Raises RunNotFound, for another's too."""
    query = sa.select(runs).where(runs.c.run_id == clean(run_id))
    row = await first(db, query.where(is_of(runs, by)) if by else query)
    if row is None:
        raise RunNotFound(f"There is no run {clean(run_id)!r}.")
    return row


async def existing(db: AsyncConnection, run_ids: Sequence[str]) -> set[str]:
    """Returns those of the runs that have a row."""
    found: set[str] = set()
    for start in range(0, len(run_ids), CHUNK):
        query = sa.select(runs.c.run_id).where(runs.c.run_id.in_(run_ids[start : start + CHUNK]))
        found |= set((await db.execute(query)).scalars())
    return found


async def update_run(db: AsyncConnection, run_id: str, values: dict[str, Any]) -> None:
    """Updates a run; its status moves only forward, and never out of a terminal one."""
    if values["status"] == RunStatus.PENDING:
        values["status"] = runs.c.status
    else:
        values["status"] = sa.case((runs.c.status.in_(TERMINAL_STATUSES), runs.c.status), else_=values["status"])
    await db.execute(sa.update(runs).where(runs.c.run_id == run_id).values(**values))


async def put_turn(db: AsyncConnection, turn: Turn) -> None:
    """Inserts or replaces a turn's row, in words that every database knows."""
    await db.execute(sa.delete(turns).where(turns.c.run_id == turn.run_id, turns.c.turn == turn.turn))
    await db.execute(sa.insert(turns).values(**turn_values(turn)))


async def put_refs(db: AsyncConnection, refs: Iterable[tuple[str, str, str]]) -> None:
    """Records (blob key, run id or "", user id), each once."""
    for key, run_id, user_id in sorted(set(refs)):
        values = {"key": key, "run_id": run_id, "user_id": user_id}
        there = sa.select(blob_refs.c.key).where(*(blob_refs.c[name] == value for name, value in values.items()))
        if await first(db, there) is None:
            await db.execute(sa.insert(blob_refs).values(**values))


async def drop_refs(db: AsyncConnection, run_id: str, keys: Iterable[str]) -> None:
    for key in keys:
        await db.execute(sa.delete(blob_refs).where(blob_refs.c.key == key, blob_refs.c.run_id == run_id))


async def delete_run(db: AsyncConnection, run_id: str) -> None:
    """Deletes a run's rows; what it refers to is remembered until its blobs are dealt with."""
    run = await run_row(db, run_id)
    keys = set((await db.execute(sa.select(turns.c.blob).where(turns.c.run_id == run_id))).scalars())
    keys |= {run["detail_blob"]} - {None}
    await put_refs(db, [(key, run_id, run["user_id"]) for key in keys])
    await db.execute(sa.delete(turns).where(turns.c.run_id == run_id))
    await db.execute(sa.delete(runs).where(runs.c.run_id == run_id))


async def referred(db: AsyncConnection, keys: Sequence[str], *, by: Principal | None = None) -> set[str]:
    """Returns those of the keys that runs, turns or uploads refer to: anybody's, or those of `by`."""
    is_own = is_of(runs, by) if by else sa.true()
    is_own_ref = is_of(blob_refs, by) if by else sa.true()
    run_exists = sa.exists().where(runs.c.run_id == blob_refs.c.run_id)
    found: set[str] = set()
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        queries = (
            sa.select(runs.c.detail_blob).where(runs.c.detail_blob.in_(some), is_own),
            sa.select(turns.c.blob).join(runs, runs.c.run_id == turns.c.run_id).where(turns.c.blob.in_(some), is_own),
            sa.select(blob_refs.c.key).where(
                blob_refs.c.key.in_(some), is_own_ref, sa.or_(blob_refs.c.run_id == "", run_exists)
            ),
        )
        for query in queries:
            found |= set((await db.execute(query)).scalars())
    return found


async def restore_thread(db: AsyncConnection, run: Run) -> None:
    """Makes the thread of a run where there is none. Raises Conflict where run or thread are another user's."""
    there = await first(db, sa.select(runs.c.user_id).where(runs.c.run_id == run.run_id))
    thread = await first(db, sa.select(threads.c.user_id).where(threads.c.thread_id == run.thread_id))
    for name, row in ((f"Run {run.run_id}", there), (f"Thread {run.thread_id}", thread)):
        if row is not None and row["user_id"] != run.user_id:
            raise Conflict(f"{name} belongs to {row['user_id']!r}, the events of run {run.run_id} to {run.user_id!r}.")
    if thread is None:
        made = Thread(
            thread_id=run.thread_id,
            user_id=run.user_id,
            title=(run.first_human_message or "")[:TITLE_CHARS].strip() or None,
            created_at=run.created_at,
            updated_at=run.updated_at,
        )
        await db.execute(sa.insert(threads).values(**thread_values(made)))


async def update_threads(db: AsyncConnection, thread_ids: Iterable[str]) -> None:
    """Sets the status of threads from their runs, and the time of their last change."""
    for thread_id in sorted(set(thread_ids)):
        of_thread = runs.c.thread_id == thread_id
        active = sa.select(runs.c.status).where(of_thread, runs.c.status.in_(ACTIVE_STATUSES), sa.not_(runs.c.queued))
        latest = sa.select(runs.c.status).where(of_thread).order_by(runs.c.created_at.desc(), runs.c.run_id.desc())
        last_change = (await db.execute(sa.select(sa.func.max(runs.c.updated_at)).where(of_thread))).scalar()
        going_on = (await db.execute(active.limit(1))).scalar()
        ended = (await db.execute(latest.limit(1))).scalar()
        row = await first(db, sa.select(threads).where(threads.c.thread_id == thread_id))
        if row is None:
            continue
        values = {"status": _thread_status(going_on, ended)}
        if last_change is not None and last_change > row["updated_at"]:
            values["updated_at"] = last_change
        await db.execute(sa.update(threads).where(threads.c.thread_id == thread_id).values(**values))


def _thread_status(active: str | None, latest: str | None) -> ThreadStatus:
    if active in (RunStatus.WAITING_CONFIRMATION, RunStatus.WAITING_INPUT):
        return ThreadStatus.WAITING
    if active is not None:
        return ThreadStatus.BUSY
    return ThreadStatus.ERROR if latest == RunStatus.ERROR else ThreadStatus.IDLE
