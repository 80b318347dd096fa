"""Calls of workflows as rows: results in a list per key, and claims of them by passes.

A pass claims each result once, the oldest first; passes do not compete. A call in flight can be claimed like a result:
whoever claims it waits for the same answer.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import Conflict
from ..records import Principal, RunStatus, StoredCall, WorkflowRun, clean, utc_now
from . import queries
from .contract import Holder
from .database import Database, patient
from .leases import FREE, Leases, check_lease, first_lease, is_free
from .spending import Decide, open_spending, settle, workflow_run_row
from .tables import runs
from .workflow_tables import (
    call_claims,
    call_of,
    call_results,
    call_spending,
    call_values,
    headless_runs,
    is_in_flight,
    is_of_workflow,
    workflow_named,
    workflow_run_of,
    workflow_runs,
)

KEYS_AT_ONCE: Final = 400
"""Databases bound how many values a statement may name."""
NEAREST: Final = 20


Took = tuple[int | None, float | None]
"""Tokens and US dollars that a call took, None where unknown."""


class Claim(NamedTuple):
    """What a pass asks for: the first unclaimed result of a key, for a cell. With `fresh` none is taken. A `token` that
    claimed something in this pass before has the same again; a miss is explained by calls of this `label`."""

    key: str
    cell: str | None = None
    fresh: bool = False
    token: str | None = None
    label: str | None = None


class Taken(NamedTuple):
    """What became of calls that a pass asked for: each one's call, None where it has none; the places of those that
    were started, and for what had no result the nearest earlier calls of its label."""

    run: WorkflowRun
    calls: Sequence[StoredCall | None]
    started: Set[int]
    nearest: Mapping[str | None, Sequence[StoredCall]]


class Watched(NamedTuple):
    """A call, and whether anybody may carry it out: its server is gone, or let go of it."""

    call: StoredCall
    is_free: bool


class SqlCalls(Database):
    """The part of SqlRows that keeps what workflows were answered."""

    @property
    def call_leases(self) -> Leases:
        """Who carries the calls in flight out, where several servers may."""
        return Leases(self, call_results.c.call_id, sa.not_(call_results.c.is_done))

    # --- passes -------------------------------------------------------------------------------------------------

    async def create_workflow_run(self, run: WorkflowRun) -> WorkflowRun:
        """Keeps a pass; the same one twice is one. Raises Conflict where its id is another's."""

        async def create(db: AsyncConnection) -> WorkflowRun:
            its = workflow_runs.c.workflow_run_id == run.workflow_run_id
            if await queries.first(db, sa.select(workflow_runs).where(its)) is None:
                await db.execute(sa.insert(workflow_runs).values(**clean(msgspec.structs.asdict(run))))
            made = workflow_run_of((await db.execute(sa.select(workflow_runs).where(its))).mappings().one())
            if (made.user_id, made.workflow, made.project) != (run.user_id, run.workflow, run.project):
                raise Conflict(f"The id {run.workflow_run_id!r} is taken: leave it out, or choose another.")
            return made

        return await self._write(create)

    @patient
    async def get_workflow_run(self, workflow_run_id: str, *, by: Principal) -> WorkflowRun:
        """Raises WorkflowRunNotFound."""
        return workflow_run_of(await self._read(lambda db: workflow_run_row(db, workflow_run_id, by=by)))

    # --- claims -------------------------------------------------------------------------------------------------

    async def take_calls(
        self,
        workflow_run_id: str,
        wanted: Sequence[Claim],
        *,
        by: Principal,
        new: Sequence[StoredCall] = (),
        may: Callable[[int], object] = lambda _: None,
        decide: Decide | None = None,
        holder: Holder | None = None,
        lease_no: int | None = None,
    ) -> Taken:
        """Claims for each the first result of its key that this pass has not claimed. What has none left is started
        with the call of `new` at its place, where that is given; all of it in one transaction.

        `may` is told how many calls the pass holds, and raises where that is too much; then nothing is taken. A started
        call whose said call is `fresh` is to replace the first unclaimed result of its key. `decide` says what each
        reserves of the pass's budget, as in `start_calls`. What is started is leased to the `holder`; `lease_no` is
        that of the script's run whose pass it is. Raises WorkflowRunNotFound, LeaseLost.
        """

        async def take(db: AsyncConnection) -> Taken:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            await check_lease(db, headless_runs.c.workflow_run_id, workflow_run_id, lease_no)
            may(int((await db.execute(_HELD, {"its_pass": workflow_run_id})).scalar_one()))
            found = await _claimed(db, run, wanted)
            missed = [place for place, call in enumerate(found) if call is None]
            nearest = await _nearest(db, run, {wanted[place].label for place in missed}) if missed else {}
            started: set[int] = set()
            if new and missed:
                tokens = [wanted[place].token for place in missed]
                lease = await first_lease(self, db, holder)
                begun = await _started(db, run, [new[place] for place in missed], tokens, decide, lease)
                started.update(missed)
                for place, call in zip(missed, begun, strict=True):
                    found[place] = call
            return Taken(run, found, started, nearest)

        return await self._write(take)

    async def claim_calls(
        self, workflow_run_id: str, wanted: Sequence[Claim], *, by: Principal
    ) -> Sequence[StoredCall | None]:
        """Claims for each the first result of its key that this pass has not claimed, in order; None where there is
        none left. Raises WorkflowRunNotFound."""

        async def claim(db: AsyncConnection) -> Sequence[StoredCall | None]:
            return await _claimed(db, workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by)), wanted)

        return await self._write(claim)

    async def start_calls(
        self,
        workflow_run_id: str,
        calls: Sequence[StoredCall],
        *,
        by: Principal,
        tokens: Sequence[str | None] = (),
        decide: Decide | None = None,
    ) -> Sequence[StoredCall]:
        """Keeps calls that are about to run and claims them for this pass; returns them with their numbers. `tokens`
        are those of their claims. `decide` says what each gets of the pass's budget, reserved together with them.

        One whose said call is `fresh` is to replace the first result of its key that this pass has not claimed. Raises
        WorkflowRunNotFound.
        """

        async def start(db: AsyncConnection) -> Sequence[StoredCall]:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            return await _started(db, run, calls, tokens or [None] * len(calls), decide)

        return await self._write(start)

    async def record_calls(
        self, workflow_run_id: str, calls: Sequence[StoredCall], *, tokens: Sequence[str], most: int, by: Principal
    ) -> dict[str | None, list[StoredCall]] | None:
        """Keeps calls that are done already and claims them for this pass; one whose token claimed something in it
        before is not kept again. Returns what was there of their labels before, as `nearest_calls`; None, and nothing
        kept, where the pass would hold more than `most` calls. Raises WorkflowRunNotFound."""

        async def record(db: AsyncConnection) -> dict[str | None, list[StoredCall]] | None:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            nearest = await _nearest(db, run, {call.label for call in calls})
            had = await _claimed_by(db, run, set(tokens))
            new = [(call, token) for call, token in zip(calls, tokens, strict=True) if clean(token) not in had]
            if not new:
                return nearest
            if (await db.execute(_HELD, {"its_pass": run.workflow_run_id})).scalar_one() + len(new) > most:
                return None
            number = (await db.execute(_HIGHEST, workflow_named(run))).scalar_one()
            mine = {"user_id": run.user_id, "workflow": run.workflow, "project": run.project}
            kept = [msgspec.structs.replace(call, **mine, number=number + at) for at, (call, _) in enumerate(new, 1)]
            await db.execute(sa.insert(call_results), [call_values(call) for call in kept])
            claims = [Claim(call.key, call.cell, token=token) for call, token in new]
            await claim_all(db, run, list(zip(kept, claims, strict=True)))
            return nearest

        return await self._write(record)

    @patient
    async def step_keys(self, workflow_run_id: str, *, by: Principal) -> list[str]:
        """Returns the keys of what the workflow of a pass has stored that no run answered. Raises
        WorkflowRunNotFound."""

        async def read(db: AsyncConnection) -> list[str]:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            return list((await db.execute(sa.select(call_results.c.key).where(_is_step_of(run)).distinct())).scalars())

        return await self._read(read)

    @patient
    async def steps_left(self, workflow_run_id: str, *, by: Principal, most: int) -> list[StoredCall]:
        """Returns what no run answered and this pass has not claimed, at most so many, in the order in which a pass
        claims them. Raises WorkflowRunNotFound."""

        async def read(db: AsyncConnection) -> list[StoredCall]:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            its = sa.and_(
                call_claims.c.call_id == call_results.c.call_id, call_claims.c.workflow_run_id == workflow_run_id
            )
            free = sa.select(call_results).where(_is_step_of(run), sa.not_(sa.exists().where(its)))
            rows = await db.execute(free.order_by(call_results.c.number, call_results.c.call_id).limit(most))
            return [call_of(row) for row in rows.mappings()]

        return await self._read(read)

    async def release_claims(self, workflow_run_id: str, *, by: Principal, cell: str | None = None) -> int:
        """Lets go of what a cell claimed in this pass, or of all without one; returns how many."""

        async def release(db: AsyncConnection) -> int:
            await workflow_run_row(db, workflow_run_id, by=by)
            its = call_claims.c.workflow_run_id == workflow_run_id
            if cell is not None:
                its &= call_claims.c.cell == clean(cell)
            return int((await db.execute(sa.delete(call_claims).where(its))).rowcount)

        return await self._write(release)

    @patient
    async def count_claims(self, workflow_run_id: str) -> int:
        """Returns how many calls this pass holds."""
        async with self._reading() as db:
            return int((await db.execute(_HELD, {"its_pass": workflow_run_id})).scalar_one())

    # --- results ------------------------------------------------------------------------------------------------

    async def update_call(self, call_id: str, **changed: Any) -> None:
        """Says which run answers a call in flight, and which try that is."""
        values = {name: clean(value) for name, value in changed.items()}
        await self._write(
            lambda db: db.execute(
                sa.update(call_results)
                .where(call_results.c.call_id == call_id, sa.not_(call_results.c.is_done))
                .values(**values)
            )
        )

    async def finish_call(self, call: StoredCall, *, lease_no: int | None = None) -> None:
        """Stores the answer of a call and settles what it took; once done it stays as it is. The call that it replaces
        goes, and it takes its place. Raises LeaseLost, and writes nothing, where it is leased under another number."""

        async def finish(db: AsyncConnection) -> None:
            await check_lease(db, call_results.c.call_id, call.call_id, lease_no)
            values = call_values(call)
            if call.replaces is not None:
                its = sa.select(call_results.c.number).where(call_results.c.call_id == call.replaces)
                place = (await db.execute(its)).scalar()
                values["number"] = call.number if place is None else place
                await _delete(db, [call.replaces])
            new = {f"new_{name}": values[name] for name in _OF_ANSWER}
            await db.execute(_FINISH, new | {"its_call": call.call_id})
            await settle(db, call.call_id, tokens=call.tokens, cost=call.cost)

        await self._write(finish)

    async def drop_calls(self, call_ids: Iterable[str]) -> None:
        """Deletes calls in flight with their claims, for good; what is done stays."""
        named = list(call_ids)

        async def drop(db: AsyncConnection) -> None:
            flying = sa.select(call_results.c.call_id).where(sa.not_(call_results.c.is_done))
            found: list[str] = []
            for at in range(0, len(named), KEYS_AT_ONCE):
                its = call_results.c.call_id.in_(named[at : at + KEYS_AT_ONCE])
                found += (await db.execute(flying.where(its))).scalars()
            await _delete(db, found)

        await self._write(drop)

    async def fail_call(
        self, call_id: str, *, took: Took, fault: Mapping[str, Any] | None = None, lease_no: int | None = None
    ) -> None:
        """Deletes a call that failed, with its claims. What it took stays counted, and why it failed; the rest of its
        reservation is given back. Raises LeaseLost, and writes nothing, where it is leased under another number."""

        async def fail(db: AsyncConnection) -> None:
            await check_lease(db, call_results.c.call_id, call_id, lease_no)
            await _delete(db, [call_id])
            await settle(db, call_id, tokens=took[0], cost=took[1], fault=fault)

        await self._write(fail)

    @patient
    async def faults_of_calls(self, call_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Returns why calls failed that are gone, of those of which it is known."""
        its = (call_spending.c.call_id.in_(list(call_ids)), call_spending.c.fault.is_not(None))
        async with self._reading() as db:
            rows = await db.execute(sa.select(call_spending.c.call_id, call_spending.c.fault).where(*its))
            return {row.call_id: dict(row.fault) for row in rows}

    @patient
    async def get_calls(self, call_ids: Sequence[str], *, by: Principal) -> Sequence[StoredCall]:
        """Returns those of the calls that there are, in any order."""
        found: list[StoredCall] = []
        async with self._reading() as db:
            for at in range(0, len(call_ids), KEYS_AT_ONCE):
                its = call_results.c.call_id.in_(call_ids[at : at + KEYS_AT_ONCE])
                rows = await db.execute(sa.select(call_results).where(queries.is_of(call_results, by), its))
                found += map(call_of, rows.mappings())
        return found

    @patient
    async def calls_in_flight(self) -> Sequence[StoredCall]:
        """Returns all calls that have no answer yet, oldest first."""
        async with self._reading() as db:
            query = sa.select(call_results).where(is_in_flight()).order_by(call_results.c.created_at)
            return [call_of(row) for row in (await db.execute(query)).mappings()]

    @patient
    async def unattended_calls(self, project: str) -> Sequence[str]:
        """Returns the ids of the calls of a workspace that have no answer and that nobody carries out, oldest first."""
        its = (is_in_flight(), call_results.c.project == project)
        async with self._reading() as db:
            free = is_free(call_results, await self.backend.clock(db))
            query = sa.select(call_results.c.call_id).where(*its, free).order_by(call_results.c.created_at)
            return list((await db.execute(query)).scalars())

    @patient
    async def watched_calls(self, call_ids: Sequence[str]) -> dict[str, Watched]:
        """Returns those of the calls that there are, and which of them anybody may take up."""
        found: dict[str, Watched] = {}
        async with self._reading() as db:
            free = is_free(call_results, await self.backend.clock(db)).label("is_free")
            for at in range(0, len(call_ids), KEYS_AT_ONCE):
                its = call_results.c.call_id.in_(call_ids[at : at + KEYS_AT_ONCE])
                rows = (await db.execute(sa.select(call_results, free).where(its))).mappings()
                found |= {row["call_id"]: Watched(call_of(row), bool(row["is_free"])) for row in rows}
        return found

    @patient
    async def statuses_of(self, run_ids: Sequence[str]) -> dict[str, RunStatus]:
        """Returns where runs of agents and of scripts stand, by their ids."""
        found: dict[str, RunStatus] = {}
        async with self._reading() as db:
            for name in (runs.c.run_id, headless_runs.c.workflow_run_id):
                query = sa.select(name, name.table.c.status)
                for at in range(0, len(run_ids), KEYS_AT_ONCE):
                    rows = await db.execute(query.where(name.in_(run_ids[at : at + KEYS_AT_ONCE])))
                    found |= {run_id: RunStatus(status) for run_id, status in rows}
        return found

    @patient
    async def passes_in_flight(self) -> dict[str, str]:
        """Returns for each call that has no answer yet a pass that holds it, the last one to claim it."""
        its = call_claims.c.call_id == call_results.c.call_id
        query = sa.select(call_claims.c.call_id, call_claims.c.workflow_run_id).join(call_results, its)
        query = query.where(is_in_flight()).order_by(call_claims.c.claimed_at)
        async with self._reading() as db:
            return {row["call_id"]: row["workflow_run_id"] for row in (await db.execute(query)).mappings()}

    @patient
    async def list_calls(self, workflow: str, project: str, *, by: Principal) -> Sequence[StoredCall]:
        """Returns the results of a workflow, in the order of their numbers."""
        its = (queries.is_of(call_results, by), call_results.c.workflow == clean(workflow))
        query = sa.select(call_results).where(*its, call_results.c.project == project, call_results.c.is_done)
        async with self._reading() as db:
            rows = await db.execute(query.order_by(call_results.c.number, call_results.c.call_id))
            return [call_of(row) for row in rows.mappings()]

    @patient
    async def nearest_calls(self, run: WorkflowRun, labels: Iterable[str | None]) -> dict[str | None, list[StoredCall]]:
        """Returns the newest done calls of each label, newest first: what a call is compared with to explain a miss."""
        async with self._reading() as db:
            return await _nearest(db, run, labels)

    async def forget_calls(self, workflow: str, project: str, *, by: Principal, label: str | None = None) -> int:
        """Deletes the results of a workflow, or those with this label; what is in flight stays. Returns how many."""

        async def forget(db: AsyncConnection) -> int:
            its = queries.is_of(call_results, by) & (call_results.c.workflow == clean(workflow))
            its &= (call_results.c.project == project) & call_results.c.is_done
            if label is not None:
                its &= call_results.c.label == clean(label)
            gone = list((await db.execute(sa.select(call_results.c.call_id).where(its))).scalars())
            await _delete(db, gone)
            return len(gone)

        return await self._write(forget)

    async def trim_calls(self, *, unused_since: datetime | None = None, larger_than: int | None = None) -> int:
        """Deletes results that nobody used since then, and the least recently used ones until all of them together
        take no more than this many bytes. Returns how many."""

        async def trim(db: AsyncConnection) -> int:
            gone: list[str] = []
            done = sa.select(call_results.c.call_id).where(call_results.c.is_done)
            if unused_since is not None:
                gone += (await db.execute(done.where(call_results.c.used_at < unused_since))).scalars()
                await _delete(db, gone)
            if larger_than is not None:
                newest = (call_results.c.used_at.desc(), call_results.c.call_id)
                sums = sa.func.sum(call_results.c.size).over(order_by=newest, rows=(None, 0))
                ranked = sa.select(call_results.c.call_id, sums.label("total")).where(call_results.c.is_done).subquery()
                over = (await db.execute(sa.select(ranked.c.call_id).where(ranked.c.total > larger_than))).scalars()
                more = list(over)
                await _delete(db, more)
                gone += more
            return len(gone)

        return await self._write(trim)


def is_in(run: WorkflowRun) -> sa.ColumnElement[bool]:
    return sa.and_(
        call_results.c.user_id == run.user_id,
        call_results.c.project == run.project,
        call_results.c.workflow == run.workflow,
    )


def _is_step_of(run: WorkflowRun) -> sa.ColumnElement[bool]:
    return sa.and_(is_in(run), call_results.c.is_done, call_results.c.run_id.is_(None))


# Built once: to build a statement takes longer than to carry it out.
_HELD: Final = sa.select(sa.func.count()).where(call_claims.c.workflow_run_id == sa.bindparam("its_pass"))
_HIGHEST: Final = sa.select(sa.func.coalesce(sa.func.max(call_results.c.number), 0)).where(is_of_workflow())
_DONE: Final = sa.select(call_results).where(is_of_workflow(), call_results.c.is_done)
_NEWEST: Final = _DONE.order_by(call_results.c.number.desc()).limit(NEAREST)
_NEWEST_OF_LABEL: Final = _NEWEST.where(call_results.c.label == sa.bindparam("its_label"))
_NEWEST_OF_NONE: Final = _NEWEST.where(call_results.c.label.is_(None))
_IS_CLAIMED: Final = sa.exists().where(
    call_claims.c.call_id == call_results.c.call_id, call_claims.c.workflow_run_id == sa.bindparam("its_pass")
)
_newer: Final = call_results.alias("newer")
# By the index of what is in flight, which is little: so nothing else narrows it.
_REPLACED: Final = sa.select(_newer.c.replaces).where(
    is_in_flight(_newer),
    _newer.c.replaces.is_not(None),
    sa.exists().where(
        call_claims.c.call_id == _newer.c.call_id, call_claims.c.workflow_run_id == sa.bindparam("its_pass")
    ),
)
_UNCLAIMED: Final = (
    sa.select(call_results)
    .where(
        is_of_workflow(),
        sa.not_(_IS_CLAIMED),
        call_results.c.key.in_(sa.bindparam("its_keys", expanding=True)),
        call_results.c.call_id.not_in(_REPLACED),
    )
    .order_by(call_results.c.number.desc(), call_results.c.call_id.desc())
)
_CLAIMED_BY: Final = (
    sa.select(call_results, call_claims.c.token)
    .join(call_claims, call_claims.c.call_id == call_results.c.call_id)
    .where(
        call_claims.c.workflow_run_id == sa.bindparam("its_pass"),
        call_claims.c.token.in_(sa.bindparam("its_tokens", expanding=True)),
    )
)
_USED: Final = (
    sa.update(call_results)
    .where(call_results.c.call_id.in_(sa.bindparam("its_calls", expanding=True)))
    .values(used_at=sa.bindparam("now"))
)
_OF_ANSWER: Final = (
    "number", "is_done", "run_id", "tries", "answer", "tokens", "cost", "seconds", "size", "done_at"
)  # fmt: skip
_FINISH: Final = (
    sa.update(call_results)
    .where(call_results.c.call_id == sa.bindparam("its_call"), sa.not_(call_results.c.is_done))
    .values(replaces=None, **FREE, **{name: sa.bindparam(f"new_{name}") for name in _OF_ANSWER})
)


async def _nearest(
    db: AsyncConnection, run: WorkflowRun, labels: Iterable[str | None]
) -> dict[str | None, list[StoredCall]]:
    found: dict[str | None, list[StoredCall]] = {}
    for label in set(labels):
        query = _NEWEST_OF_NONE if label is None else _NEWEST_OF_LABEL
        rows = await db.execute(query, workflow_named(run) | {"its_label": clean(label)})
        found[label] = [call_of(row) for row in rows.mappings()]
    return found


async def _claimed(db: AsyncConnection, run: WorkflowRun, wanted: Sequence[Claim]) -> list[StoredCall | None]:
    had = await _claimed_by(db, run, {one.token for one in wanted if one.token is not None})
    left = await unclaimed(db, run, {one.key for one in wanted if one.token not in had})
    found: list[StoredCall | None] = []
    new: list[tuple[StoredCall, Claim]] = []
    for one in wanted:
        call = had.get(one.token) if one.token is not None else None
        if call is None and not one.fresh and left[one.key]:
            new.append((call := left[one.key].pop(), one))
        found.append(call)
    await claim_all(db, run, new)
    await mark_used(db, [call.call_id for call, _ in new])
    return found


async def _started(
    db: AsyncConnection,
    run: WorkflowRun,
    calls: Sequence[StoredCall],
    tokens: Sequence[str | None],
    decide: Decide | None,
    lease: Mapping[str, Any] = MappingProxyType({}),
) -> Sequence[StoredCall]:
    number = (await db.execute(_HIGHEST, workflow_named(run))).scalar_one()
    fresh = {call.key for call in calls if call.said.get("fresh")}
    left = await unclaimed(db, run, fresh) if fresh else {}
    mine = {"user_id": run.user_id, "workflow": run.workflow, "project": run.project}
    started = []
    for place, call in enumerate(calls, 1):
        old = left[call.key].pop() if call.said.get("fresh") and left[call.key] else None
        replaces = old.call_id if old is not None else None
        started.append(msgspec.structs.replace(call, **mine, number=number + place, replaces=replaces))
    if started:
        await db.execute(sa.insert(call_results), [{**call_values(call), **lease} for call in started])
        if decide is not None:
            await open_spending(db, run, started, decide)
    tokened = zip(started, tokens, strict=True)
    await claim_all(db, run, [(call, Claim(call.key, call.cell, token=token)) for call, token in tokened])
    return started


async def unclaimed(db: AsyncConnection, run: WorkflowRun, keys: set[str]) -> defaultdict[str, list[StoredCall]]:
    """Returns the results of each key that this pass has not claimed, the first one last. One that a fresh call of the
    pass is about to replace is that call's."""
    left: defaultdict[str, list[StoredCall]] = defaultdict(list)
    its = workflow_named(run) | {"its_pass": run.workflow_run_id}
    ordered = sorted(keys)
    for at in range(0, len(ordered), KEYS_AT_ONCE):
        rows = await db.execute(_UNCLAIMED, its | {"its_keys": ordered[at : at + KEYS_AT_ONCE]})
        for row in rows.mappings():
            left[row["key"]].append(call_of(row))
    return left


async def _claimed_by(db: AsyncConnection, run: WorkflowRun, tokens: set[str]) -> dict[str, StoredCall]:
    """Returns what these tokens claimed in this pass."""
    found: dict[str, StoredCall] = {}
    ordered = sorted(clean(token) for token in tokens)
    for at in range(0, len(ordered), KEYS_AT_ONCE):
        its = {"its_pass": run.workflow_run_id, "its_tokens": ordered[at : at + KEYS_AT_ONCE]}
        rows = await db.execute(_CLAIMED_BY, its)
        found |= {row["token"]: call_of(row) for row in rows.mappings()}
    return found


async def claim_all(db: AsyncConnection, run: WorkflowRun, claimed: Sequence[tuple[StoredCall, Claim]]) -> None:
    if not claimed:
        return
    now = utc_now()
    await db.execute(
        sa.insert(call_claims),
        [
            {
                "workflow_run_id": run.workflow_run_id, "call_id": call.call_id, "cell": clean(one.cell),
                "token": clean(one.token), "claimed_at": now,
            }
            for call, one in claimed
        ],
    )  # fmt: skip


async def mark_used(db: AsyncConnection, call_ids: Sequence[str]) -> None:
    now = utc_now()
    for at in range(0, len(call_ids), KEYS_AT_ONCE):
        await db.execute(_USED, {"its_calls": list(call_ids[at : at + KEYS_AT_ONCE]), "now": now})


async def _delete(db: AsyncConnection, call_ids: Sequence[str]) -> None:
    for at in range(0, len(call_ids), KEYS_AT_ONCE):
        named = call_ids[at : at + KEYS_AT_ONCE]
        await db.execute(sa.delete(call_claims).where(call_claims.c.call_id.in_(named)))
        await db.execute(sa.delete(call_results).where(call_results.c.call_id.in_(named)))
