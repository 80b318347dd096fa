"""What passes of workflows may spend, as rows: each live call reserves before it starts, and is settled at its end.

A reservation is a row, so that a killed server forgets none; all that a pass reserved and took is looked at and
changed in one transaction, so that no two branches take the same rest. Who decides how much a call gets is given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import BudgetExceeded, WorkflowRunNotFound
from ..records import Principal, StoredCall, WorkflowBudget, WorkflowRun, clean, utc_now
from . import queries
from .database import Database, patient
from .tables import Row
from .workflow_tables import (
    call_claims,
    call_of,
    call_results,
    call_spending,
    is_of_workflow,
    workflow_named,
    workflow_run_of,
    workflow_runs,
)

PAST_CALLS: Final = 50
"""As many finished calls of a workflow, the newest, say what another one may take."""
WAITING: Final = "waiting"
RESERVED: Final = "reserved"
SETTLED: Final = "settled"


class Spend(NamedTuple):
    """Tokens and US dollars."""

    tokens: int = 0
    cost: float = 0.0

    def plus(self, other: "Spend") -> "Spend":
        return Spend(self.tokens + other.tokens, self.cost + other.cost)


class PastCall(NamedTuple):
    """What a finished call of the workflow took, in tokens, US dollars and seconds; None where unknown."""

    key: str
    label: str | None
    tokens: int
    cost: float | None
    seconds: float | None = None


class Ledger(Struct, kw_only=True):
    """A pass at an instant: its limits, what its calls took, what those in flight reserved, in all and by phase.

    `is_cost_known` is False where a price of what was taken is unknown: for the limit its reservation counts then.
    `past` is what finished calls of the workflow took, the newest first.
    """

    budget: WorkflowBudget
    settled: Spend = Spend()
    reserved: Spend = Spend()
    in_phases: dict[str, Spend] = {}
    reserved_in_phases: dict[str, Spend] = {}
    is_cost_known: bool = True
    past: Sequence[PastCall] = ()

    def reserve(self, phase: str | None, spend: Spend) -> None:
        """Counts a reservation that was just granted."""
        self.reserved = self.reserved.plus(spend)
        if phase is not None:
            before = self.reserved_in_phases.get(phase, Spend())
            self.reserved_in_phases = {**self.reserved_in_phases, phase: before.plus(spend)}


class Grant(NamedTuple):
    """What a call may take, None for what has no limit; or why it may not start. With neither it waits: others may
    give back what they reserved."""

    reserved: WorkflowBudget | None = None
    refusal: BudgetExceeded | None = None


Decide = Callable[[StoredCall, Ledger], Grant]
"""What a call gets of a pass that stands so. Done more than once where a transaction is."""


class SqlSpending(Database):
    """The part of SqlRows that keeps what passes spend."""

    async def reserve_call(self, call: StoredCall, *, decide: Decide) -> Grant:
        """Returns what a call of a pass gets: what it has reserved before, or what is decided now.

        A call that no pass with a budget started may take what it wants.
        """

        async def reserve(db: AsyncConnection) -> Grant:
            row = await queries.first(db, sa.select(call_spending).where(call_spending.c.call_id == call.call_id))
            if row is None or row["status"] == SETTLED:
                return Grant(reserved=WorkflowBudget())
            if row["status"] == RESERVED:
                return Grant(reserved=WorkflowBudget(tokens=row["reserved_tokens"], cost=row["reserved_cost"]))
            its = workflow_runs.c.workflow_run_id == row["workflow_run_id"]
            run = workflow_run_of((await db.execute(sa.select(workflow_runs).where(its))).mappings().one())
            grant = decide(call, await ledger_of(db, run))
            if grant.reserved is not None:
                await db.execute(
                    sa.update(call_spending)
                    .where(call_spending.c.call_id == call.call_id)
                    .values(
                        status=RESERVED, reserved_tokens=grant.reserved.tokens, reserved_cost=grant.reserved.cost
                    )
                )  # fmt: skip
            return grant

        return await self._write(reserve)

    @patient
    async def ledger(self, workflow_run_id: str, *, by: Principal) -> Ledger:
        """Returns how a pass stands. Raises WorkflowRunNotFound."""
        async with self._reading() as db:
            return await ledger_of(db, workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by)))

    @patient
    async def past_calls(self, run: WorkflowRun) -> Sequence[PastCall]:
        """Returns what the newest finished calls of a pass's workflow took."""
        async with self._reading() as db:
            return await _past(db, run)

    @patient
    async def stored_results(self, run: WorkflowRun, keys: Sequence[str]) -> list[StoredCall]:
        """Returns the finished calls of a workflow with these keys, in the order in which a pass claims them."""
        table = call_results.c
        mine = (table.user_id == run.user_id, table.project == run.project, table.workflow == run.workflow)
        query = sa.select(call_results).where(*mine, table.key.in_(keys), table.is_done)
        async with self._reading() as db:
            rows = await db.execute(query.order_by(table.number, table.call_id))
            return [call_of(row) for row in rows.mappings()]

    @patient
    async def last_pass(self, workflow: str, project: str, *, by: Principal) -> WorkflowRun | None:
        """Returns the newest pass of a workflow that made calls, or the one before where that made more: the newest may
        have come only half of the way. None where there is none."""
        claimed = call_claims.c.workflow_run_id == workflow_runs.c.workflow_run_id
        count = sa.select(sa.func.count()).where(claimed).scalar_subquery().label("claims")
        its = (workflow_runs.c.workflow == clean(workflow), workflow_runs.c.project == project)
        query = sa.select(workflow_runs, count).where(
            queries.is_of(workflow_runs, by), *its, sa.exists().where(claimed)
        )
        newest = (workflow_runs.c.created_at.desc(), workflow_runs.c.workflow_run_id.desc())
        async with self._reading() as db:
            rows = (await db.execute(query.order_by(*newest).limit(2))).mappings().all()
        if not rows:
            return None
        most = max(rows, key=lambda one: int(one["claims"]))
        return WorkflowRun(**{name: most[name] for name in WorkflowRun.__struct_fields__})

    @patient
    async def count_lost_calls(self, workflow_run_id: str) -> int:
        """Returns how many calls that a pass started have no row any more: they failed, or were forgotten."""
        its = call_results.c.call_id == call_spending.c.call_id
        lost = sa.select(sa.func.count()).where(
            call_spending.c.workflow_run_id == workflow_run_id, sa.not_(sa.exists().where(its))
        )
        async with self._reading() as db:
            return int((await db.execute(lost)).scalar_one())

    async def set_workflow_budget(self, workflow_run_id: str, budget: WorkflowBudget, *, by: Principal) -> WorkflowRun:
        """Gives a pass another budget, from now on. Raises WorkflowRunNotFound."""

        async def change(db: AsyncConnection) -> WorkflowRun:
            await workflow_run_row(db, workflow_run_id, by=by)
            its = workflow_runs.c.workflow_run_id == clean(workflow_run_id)
            values = {"budget_tokens": budget.tokens, "budget_cost": budget.cost, "updated_at": utc_now()}
            await db.execute(sa.update(workflow_runs).where(its).values(**values))
            return workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))

        return await self._write(change)


async def open_spending(db: AsyncConnection, run: WorkflowRun, calls: Sequence[StoredCall], decide: Decide) -> None:
    """Writes down that a pass starts these calls, with what each gets; those that have to wait, or are refused later,
    reserve nothing yet."""
    ledger = await ledger_of(db, run)
    rows: list[dict[str, Any]] = []
    for call in calls:
        grant = decide(call, ledger)
        phase = call.said.get("phase")
        if (got := grant.reserved) is not None:
            ledger.reserve(phase, Spend(got.tokens or 0, got.cost or 0.0))
        rows.append(
            {
                "call_id": call.call_id, "workflow_run_id": run.workflow_run_id, "phase": clean(phase),
                "status": WAITING if got is None else RESERVED,
                "reserved_tokens": None if got is None else got.tokens,
                "reserved_cost": None if got is None else got.cost, "started_at": call.created_at,
            }
        )  # fmt: skip
    if rows:
        await db.execute(sa.insert(call_spending), rows)


_SETTLE: Final = (
    sa.update(call_spending)
    .where(call_spending.c.call_id == sa.bindparam("its_call_id"), call_spending.c.status != SETTLED)
    .values(
        status=SETTLED,
        tokens=sa.bindparam("took_tokens"),
        cost=sa.bindparam("took_cost"),
        fault=sa.bindparam("its_fault"),
    )
)


async def settle(
    db: AsyncConnection,
    call_id: str,
    *,
    tokens: int | None,
    cost: float | None,
    fault: Mapping[str, Any] | None = None,
) -> None:
    """Puts what a call took in the place of what it reserved, once, with why it failed."""
    took = {"took_tokens": tokens or 0, "took_cost": clean(cost)}
    its_fault = None if fault is None else clean(dict(fault))
    await db.execute(_SETTLE, took | {"its_call_id": call_id, "its_fault": its_fault})


def _sums() -> sa.Select[Any]:
    table = call_spending.c
    is_settled = table.status == SETTLED
    sums = sa.select(
        table.phase, is_settled.label("is_settled"),
        sa.func.sum(sa.case((is_settled, table.tokens), else_=table.reserved_tokens)).label("tokens"),
        sa.func.sum(sa.func.coalesce(sa.case((is_settled, table.cost)), table.reserved_cost)).label("cost"),
        sa.func.sum(sa.case((is_settled & table.cost.is_(None), 1), else_=0)).label("unknown"),
    )  # fmt: skip
    return sums.where(table.workflow_run_id == sa.bindparam("its_pass")).group_by(table.phase, is_settled)


_SUMS: Final = _sums()


async def ledger_of(db: AsyncConnection, run: WorkflowRun) -> Ledger:
    """Returns how a pass stands, within a transaction."""
    ledger = Ledger(budget=WorkflowBudget(tokens=run.budget_tokens, cost=run.budget_cost))
    for row in (await db.execute(_SUMS, {"its_pass": run.workflow_run_id})).mappings():
        spend = Spend(int(row["tokens"] or 0), float(row["cost"] or 0.0))
        by_phase = ledger.in_phases if row["is_settled"] else ledger.reserved_in_phases
        if row["is_settled"]:
            ledger.settled = ledger.settled.plus(spend)
        else:
            ledger.reserved = ledger.reserved.plus(spend)
        ledger.is_cost_known &= not row["unknown"]
        if row["phase"] is not None:
            by_phase[row["phase"]] = spend
    ledger.past = await _past(db, run)
    return ledger


_PAST: Final = (
    sa.select(
        call_results.c.key, call_results.c.label, call_results.c.tokens, call_results.c.cost, call_results.c.seconds
    )
    .where(is_of_workflow(), call_results.c.is_done, call_results.c.tokens > 0)
    .order_by(call_results.c.number.desc())
    .limit(PAST_CALLS)
)


async def _past(db: AsyncConnection, run: WorkflowRun) -> Sequence[PastCall]:
    rows = await db.execute(_PAST, workflow_named(run))
    return [PastCall(key, label, int(tokens), cost, seconds) for key, label, tokens, cost, seconds in rows]


_PASS: Final = queries.Owned(
    workflow_runs, sa.select(workflow_runs).where(workflow_runs.c.workflow_run_id == sa.bindparam("its_pass"))
)


async def workflow_run_row(db: AsyncConnection, workflow_run_id: str, *, by: Principal) -> Row:
    """Returns a pass's row. Raises WorkflowRunNotFound, for another's too."""
    row = await _PASS.first(db, by=by, its_pass=clean(workflow_run_id))
    if row is None:
        raise WorkflowRunNotFound(f"There is no workflow run {workflow_run_id!r}.")
    return row
