"""The queries that several operations share, each on the connection it is given, inside the caller's transaction.

What is asked of every run is built once: to build a statement takes longer than to carry it out.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import Conflict, FeedbackNotFound, LeaseLost, RunNotFound, ThreadNotFound
from ..records import (
    ACTIVE,
    SYSTEM,
    TERMINAL,
    Approval,
    Feedback,
    InputNeeded,
    Principal,
    Run,
    RunStatus,
    RunTotals,
    Thread,
    ThreadStatus,
    ToolTrace,
    Turn,
    TurnSegment,
    clean,
    utc_now,
)
from .tables import (
    Row,
    approval_values,
    approvals,
    blob_refs,
    feedback_values,
    feedbacks,
    input_values,
    inputs,
    runs,
    segment_values,
    thread_values,
    threads,
    tool_traces,
    trace_values,
    turn_segments,
    turn_values,
    turns,
)

ACTIVE_STATUSES: Final = sorted(ACTIVE)
TERMINAL_STATUSES: Final = sorted(TERMINAL)
IS_UNFINISHED: Final = runs.c.status.in_(
    sa.bindparam("unfinished", ACTIVE_STATUSES, expanding=True, literal_execute=True)
)
"""In the very words of the partial index, not as parameters: only so does the database know that it may use it."""
CHUNK: Final = 500
"""Values in one `IN`: databases bound their number."""
TITLE_CHARS: Final = 80
TOMBSTONE: Final = ""
"""The key of a reference that every deleted run leaves until nothing of it is there any more."""


def is_of(table: sa.Table, by: Principal) -> sa.ColumnElement[bool]:
    """The condition that rows belong to whoever asks; the explicit system context sees all.

    Raises TypeError without a context: nobody sees all by forgetting to say who they are.
    """
    if not isinstance(by, Principal):
        raise TypeError(f"A query needs the Principal on whose behalf it is made, not {by!r}; SYSTEM sees all.")
    return sa.true() if by.is_system else table.c.user_id == by.user_id


class Owned:
    """A query that is built once and asked on somebody's behalf; its own parameters are named."""

    def __init__(self, table: sa.Table, query: sa.Select[Any]) -> None:
        self._all = query
        self._own = query.where(table.c.user_id == sa.bindparam("asked_by"))

    async def first(self, db: AsyncConnection, *, by: Principal, **named: Any) -> Row | None:
        """Returns the first of the rows that belong to whoever asks, as `is_of`."""
        if not isinstance(by, Principal):
            raise TypeError(f"A query needs the Principal on whose behalf it is made, not {by!r}; SYSTEM sees all.")
        query = self._all if by.is_system else self._own
        row: Row | None = (await db.execute(query, named | {"asked_by": by.user_id})).mappings().first()
        return row


async def first(db: AsyncConnection, query: sa.Select[Any]) -> Row | None:
    """Returns the query's first row."""
    row: Row | None = (await db.execute(query)).mappings().first()
    return row


_THREAD: Final = Owned(threads, sa.select(threads).where(threads.c.thread_id == sa.bindparam("its_thread_id")))
_RUN: Final = Owned(runs, sa.select(runs).where(runs.c.run_id == sa.bindparam("its_run_id")))


async def thread_row(db: AsyncConnection, thread_id: str, *, by: Principal) -> Row:
    """Returns a thread's row. Raises ThreadNotFound, for another's too."""
    row = await _THREAD.first(db, by=by, its_thread_id=clean(thread_id))
    if row is None:
        raise ThreadNotFound(f"There is no thread {clean(thread_id)!r}.")
    return row


async def run_row(db: AsyncConnection, run_id: str, *, by: Principal) -> Row:
    """Returns a run's row. Raises RunNotFound, for another's too."""
    row = await _RUN.first(db, by=by, its_run_id=clean(run_id))
    if row is None:
        raise RunNotFound(f"There is no run {clean(run_id)!r}.")
    return row


async def feedback_row(db: AsyncConnection, feedback_id: str, *, by: Principal) -> Row:
    """Returns a rating's row. Raises FeedbackNotFound, for another's too."""
    query = sa.select(feedbacks).where(feedbacks.c.feedback_id == clean(feedback_id), is_of(feedbacks, by))
    row = await first(db, query)
    if row is None:
        raise FeedbackNotFound(f"There is no feedback {clean(feedback_id)!r}.")
    return row


async def feedback_of_run(db: AsyncConnection, run_id: str, *, user_id: str) -> Row | None:
    """Returns what a user said of a whole run."""
    of_run = (feedbacks.c.run_id == clean(run_id), feedbacks.c.user_id == user_id, feedbacks.c.message_id.is_(None))
    return await first(db, sa.select(feedbacks).where(*of_run))


async def put_feedback(db: AsyncConnection, given: Feedback) -> Row:
    """Inserts a rating; one of a whole run replaces what the user said of it before, under its id and first time."""
    by = Principal(user_id=given.user_id)
    values = feedback_values(given)
    is_of_run = given.message_id is None
    there = await feedback_of_run(db, given.run_id, user_id=given.user_id) if is_of_run else None
    if there is None:
        await db.execute(sa.insert(feedbacks).values(**values))
        return await feedback_row(db, given.feedback_id, by=by)
    changed = {name: values[name] for name in ("rating", "comment", "updated_at")}
    await db.execute(sa.update(feedbacks).where(feedbacks.c.feedback_id == there["feedback_id"]).values(**changed))
    return await feedback_row(db, there["feedback_id"], by=by)


_EXISTING: Final = sa.select(runs.c.run_id).where(runs.c.run_id.in_(sa.bindparam("wanted", expanding=True)))


async def existing(db: AsyncConnection, run_ids: Sequence[str]) -> set[str]:
    """Returns those of the runs that have a row."""
    found: set[str] = set()
    for start in range(0, len(run_ids), CHUNK):
        found |= set((await db.execute(_EXISTING, {"wanted": list(run_ids[start : start + CHUNK])})).scalars())
    return found


async def totals(db: AsyncConnection, run: Row) -> RunTotals:
    """Adds up a run and all runs below it, each once, however their parents go round."""
    below = sa.select(runs.c.run_id).where(runs.c.run_id == run["run_id"]).cte("below", recursive=True)
    below = below.union(
        sa.select(runs.c.run_id)
        .join(below, runs.c.parent_run_id == below.c.run_id)
        .where(runs.c.user_id == run["user_id"])
    )
    columns = ("run_id", "total_tokens", "requests", "cost", "helper_tokens", "helper_cost")
    query = sa.select(*(runs.c[name] for name in columns)).join(below, below.c.run_id == runs.c.run_id)
    found = (await db.execute(query)).mappings().all()
    used = sum(row["total_tokens"] + row["helper_tokens"] for row in found)
    own, helper = run["total_tokens"], run["helper_tokens"]
    return RunTotals(
        run_id=run["run_id"],
        runs=len(found),
        own_tokens=own,
        helper_tokens=helper,
        subagent_tokens=used - own - helper,
        total_tokens=used,
        cost=_cost(found),
    )


def _cost(found: Iterable[Row]) -> float | None:
    """Returns what runs cost together, None where the price of a call is unknown."""
    parts = [
        (row["requests"] or row["total_tokens"], row["cost"]) for row in found
    ] + [(row["helper_tokens"], row["helper_cost"]) for row in found]  # fmt: skip
    costs = [cost for is_used, cost in parts if is_used]
    return None if any(cost is None for cost in costs) else sum(costs)


async def update_run(db: AsyncConnection, run_id: str, values: dict[str, Any], *, lease_no: int | None) -> None:
    """Updates a run that is there; its status moves only forward, and never out of a terminal one. A status that is not
    named stays.

    Raises LeaseLost unless the lease has this number; without one, unless nobody has the lease.
    """
    if values.get("status") == RunStatus.PENDING:
        values = {name: value for name, value in values.items() if name != "status"}
    named = {f"its_{name}": value for name, value in values.items()} | {"this_run_id": run_id}
    if lease_no is not None:
        named["this_lease_no"] = lease_no
    done = await db.execute(_run_update(frozenset(values), is_leased=lease_no is not None), named)
    if not done.rowcount and await existing(db, [run_id]):
        raise LeaseLost(
            f"Run {run_id} is carried out by another process, so nothing was written. Follow it there.",
            details={"runId": run_id},
        )


@cache
def _run_update(names: frozenset[str], *, is_leased: bool) -> sa.Update:
    """Returns the statement that changes these columns of a run, given as `its_…`."""
    values: dict[str, Any] = {name: sa.bindparam(f"its_{name}", type_=runs.c[name].type) for name in sorted(names)}
    if "status" in values:
        is_over = runs.c.status.in_(TERMINAL_STATUSES)
        values["status"] = sa.case((is_over, runs.c.status), else_=values["status"])
    is_ours = runs.c.lease_no == sa.bindparam("this_lease_no") if is_leased else runs.c.lease_owner.is_(None)
    return sa.update(runs).where(runs.c.run_id == sa.bindparam("this_run_id"), is_ours).values(**values)


_SAME_TURN: Final = sa.delete(turns).where(
    *(turns.c[name] == sa.bindparam(f"its_{name}") for name in ("run_id", "turn"))
)


async def put_turn(db: AsyncConnection, turn: Turn) -> None:
    """Inserts or replaces a turn's row, in words that every database knows."""
    await db.execute(_SAME_TURN, {"its_run_id": turn.run_id, "its_turn": turn.turn})
    await db.execute(sa.insert(turns), turn_values(turn))


_SAME_CALL: Final = sa.delete(tool_traces).where(
    *(tool_traces.c[name] == sa.bindparam(f"its_{name}") for name in ("run_id", "turn", "position"))
)
_CALLS_OF: Final = sa.select(tool_traces.c.turn, tool_traces.c.position).where(
    tool_traces.c.run_id == sa.bindparam("its_run_id"),
    tool_traces.c.turn.between(sa.bindparam("first"), sa.bindparam("last")),
)


async def put_traces(db: AsyncConnection, traces: Sequence[ToolTrace]) -> None:
    """Writes the rows of tool calls, in place of all rows of the same calls. Many at once cost few statements."""
    if not traces:
        return
    if there := await _calls_there(db, traces):
        same = [{"its_run_id": run_id, "its_turn": turn, "its_position": at} for run_id, turn, at in sorted(there)]
        await db.execute(_SAME_CALL, same)
    await db.execute(sa.insert(tool_traces), [trace_values(trace) for trace in traces])


async def _calls_there(db: AsyncConnection, traces: Sequence[ToolTrace]) -> set[tuple[str, int, int]]:
    """Returns which of these calls have rows. Most are new, and to delete what is not there costs as much as a row."""
    places: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for trace in traces:
        places[trace.run_id].add((trace.turn, trace.position))
    there: set[tuple[str, int, int]] = set()
    for run_id, wanted in places.items():
        its_turns = [turn for turn, _ in wanted]
        found = await db.execute(_CALLS_OF, {"its_run_id": run_id, "first": min(its_turns), "last": max(its_turns)})
        there |= {(run_id, turn, at) for turn, at in found if (turn, at) in wanted}
    return there


_SAME_SEGMENTS: Final = sa.delete(turn_segments).where(
    *(turn_segments.c[name] == sa.bindparam(f"its_{name}") for name in ("run_id", "turn"))
)


async def put_segments(db: AsyncConnection, segments: Sequence[TurnSegment]) -> None:
    """Writes the regions of prompts, in place of all that is there of the same turns."""
    if not segments:
        return
    places = sorted({(segment.run_id, segment.turn) for segment in segments})
    await db.execute(_SAME_SEGMENTS, [{"its_run_id": run_id, "its_turn": turn} for run_id, turn in places])
    await db.execute(sa.insert(turn_segments), [segment_values(segment) for segment in segments])


_SAME_APPROVAL: Final = sa.delete(approvals).where(
    *(approvals.c[name] == sa.bindparam(f"its_{name}") for name in ("run_id", "approval_id"))
)
_SAME_INPUT: Final = sa.delete(inputs).where(
    *(inputs.c[name] == sa.bindparam(f"its_{name}") for name in ("run_id", "request_id"))
)


async def put_asks(db: AsyncConnection, asked: Sequence[Approval | InputNeeded]) -> None:
    """Writes the rows of what people were asked, in place of those of the same questions."""
    tools = [approval_values(one) for one in asked if isinstance(one, Approval)]
    forms = [input_values(one) for one in asked if isinstance(one, InputNeeded)]
    for table, same, name, rows in ((approvals, _SAME_APPROVAL, "approval_id", tools),
                                    (inputs, _SAME_INPUT, "request_id", forms)):  # fmt: skip
        if rows:
            await db.execute(same, [{"its_run_id": row["run_id"], f"its_{name}": row[name]} for row in rows])
            await db.execute(sa.insert(table), rows)


_SAME_REF: Final = sa.delete(blob_refs).where(
    *(blob_refs.c[name] == sa.bindparam(f"its_{name}") for name in ("key", "run_id", "user_id"))
)


async def put_refs(db: AsyncConnection, refs: Iterable[tuple[str, str, str]]) -> None:
    """Records (blob key, run id or "", user id), each once, as of now."""
    if found := sorted(set(refs)):
        await _drop(db, found)
        rows = [{"key": key, "run_id": run_id, "user_id": user_id} for key, run_id, user_id in found]
        await db.execute(sa.insert(blob_refs), [row | {"created_at": utc_now()} for row in rows])


async def take_uploads(db: AsyncConnection, refs: Iterable[tuple[str, str, str]]) -> None:
    """Has runs take over what their users uploaded: from then on it is there for as long as a run that uses it."""
    if found := sorted({(key, "", user_id) for key, run_id, user_id in refs if run_id}):
        await _drop(db, found)


async def _drop(db: AsyncConnection, refs: Iterable[tuple[str, str, str]]) -> None:
    names = ("its_key", "its_run_id", "its_user_id")
    await db.execute(_SAME_REF, [dict(zip(names, ref, strict=True)) for ref in refs])


async def drop_refs(db: AsyncConnection, run_id: str, keys: Iterable[str]) -> None:
    for key in keys:
        await db.execute(sa.delete(blob_refs).where(blob_refs.c.key == key, blob_refs.c.run_id == run_id))


async def delete_run(db: AsyncConnection, run_id: str) -> None:
    """Deletes a run's rows; what it refers to is remembered until its blobs are dealt with."""
    run = await run_row(db, run_id, by=SYSTEM)
    keys = set((await db.execute(sa.select(turns.c.blob).where(turns.c.run_id == run_id))).scalars())
    keys |= {run["detail_blob"]} - {None}
    await put_refs(db, [(key, run_id, run["user_id"]) for key in (*keys, TOMBSTONE)])
    for table in (turns, turn_segments, tool_traces, approvals, inputs, feedbacks):
        await db.execute(sa.delete(table).where(table.c.run_id == run_id))
    await db.execute(sa.delete(runs).where(runs.c.run_id == run_id))


async def referred(db: AsyncConnection, keys: Sequence[str], *, by: Principal) -> set[str]:
    """Returns those of the keys that runs, turns or uploads refer to: anybody's, or those of `by`."""
    is_own, is_own_ref = is_of(runs, by), is_of(blob_refs, by)
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


_ITS_RUNS: Final = runs.c.thread_id == threads.c.thread_id
_THREAD_NOW: Final = sa.select(
    threads.c.status,
    threads.c.updated_at,
    sa.select(sa.func.max(runs.c.updated_at)).where(_ITS_RUNS).scalar_subquery().label("last_change"),
    sa.select(runs.c.status)
    .where(_ITS_RUNS, runs.c.status.in_(ACTIVE_STATUSES), sa.not_(runs.c.queued))
    .limit(1)
    .scalar_subquery()
    .label("going_on"),
    sa.select(runs.c.status)
    .where(_ITS_RUNS)
    .order_by(runs.c.created_at.desc(), runs.c.run_id.desc())
    .limit(1)
    .scalar_subquery()
    .label("ended"),
).where(threads.c.thread_id == sa.bindparam("its_thread_id"))


async def update_threads(db: AsyncConnection, thread_ids: Iterable[str]) -> None:
    """Sets the status of threads from their runs, and the time of their last change."""
    for thread_id in sorted(set(thread_ids)):
        row = (await db.execute(_THREAD_NOW, {"its_thread_id": thread_id})).mappings().first()
        if row is None:
            continue
        values: dict[str, Any] = {}
        if (status := _thread_status(row["going_on"], row["ended"])) != row["status"]:
            values["status"] = status
        if row["last_change"] is not None and row["last_change"] > row["updated_at"]:
            values["updated_at"] = row["last_change"]
        if values:
            named = {f"its_{name}": value for name, value in values.items()}
            await db.execute(_thread_update(frozenset(values)), named | {"this_thread_id": thread_id})


@cache
def _thread_update(names: frozenset[str]) -> sa.Update:
    """Returns the statement that changes these columns of a thread, given as `its_…`."""
    values = {name: sa.bindparam(f"its_{name}", type_=threads.c[name].type) for name in sorted(names)}
    return sa.update(threads).where(threads.c.thread_id == sa.bindparam("this_thread_id")).values(**values)


def _thread_status(active: str | None, latest: str | None) -> ThreadStatus:
    if active in (RunStatus.WAITING_CONFIRMATION, RunStatus.WAITING_INPUT):
        return ThreadStatus.WAITING
    if active is not None:
        return ThreadStatus.BUSY
    return ThreadStatus.ERROR if latest == RunStatus.ERROR else ThreadStatus.IDLE
