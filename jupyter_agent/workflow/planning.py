"""Plans: what a workflow would do, from its script or from calls that were made. Nothing is claimed, nothing starts."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final, Literal

import msgspec

from ..exceptions import AgentError
from ..records import Principal, StoredCall, WorkflowRun, new_id, utc_now
from ..script import PEOPLE, AgentCall, BudgetView
from ..script.key import CallFields, key_of
from ..script.placed import PlacedCall
from ..script.plan import PlannedCall, WorkflowPlan
from ..storage.spending import PastCall
from .budget import like
from .call_states import missed
from .calls import Calls
from .forecast import Pool, forecast
from .meta import Meta
from .resolving import placed_of, said_of

UNITS: Final = ("tokens", "cost", "seconds")
AFTERWARDS: Final = (
    "What comes after a call that runs live is not known: prompts that hold its answer are other calls then."
)


class Plan:
    """A plan in the making: calls are told one by one, and answered from the store as a pass would claim them."""

    def __init__(self, calls: Calls, workflow: str, *, by: Principal) -> None:
        now = utc_now()
        # It is looked at as a pass that has claimed nothing; no row of it is written.
        self._pass = WorkflowRun(
            workflow_run_id=new_id("wfr"), user_id=by.user_id, workflow=workflow, project=calls.project,
            created_at=now, updated_at=now,
        )  # fmt: skip
        self._calls = calls
        self._by = by
        self._left: dict[str, list[StoredCall]] = {}
        self._lives: list[tuple[int, PlacedCall]] = []
        self._items: list[PlannedCall] = []
        self.unknown: list[str] = []

    async def answer(self, call: PlacedCall) -> StoredCall | None:
        """Returns the stored answer of a call; None where it would run live. Raises InvalidRequest, and
        WorkflowNotFound and WorkflowNotApproved for another workflow that could not run."""
        said_of(call)
        digests = await self._calls.digests(self._pass, [call])
        fields = self._calls.resolver.fields(call, workflow=digests.get(call.prompt))
        key = key_of(fields)
        if key not in self._left:
            found = await self._calls.rows.stored_results(self._pass, [key])
            self._left.setdefault(key, found)
        hit = None
        if not call.fresh and self._left[key]:
            hit = self._left[key].pop(0)
        if hit is None and call.kind in PEOPLE:
            self.unknown.append(
                f"A person is to be asked {call.prompt[:80]!r}: what they say, and what comes after it, is not known."
            )
            return None
        await self._tell(call, key, fields, is_reused=hit is not None)
        return hit

    async def _tell(self, call: PlacedCall, key: str, fields: CallFields, *, is_reused: bool) -> None:
        why, apart = "unchanged", None
        if not is_reused:
            nearest = await self._calls.rows.nearest_calls(self._pass, [call.label])
            state = missed(call, key, fields, nearest[call.label])
            why, apart = str(state.why), state.difference
            self._lives.append((len(self._items), call))
        self._items.append(
            PlannedCall(
                number=len(self._items) + 1, prompt=call.prompt, reused=is_reused, why=why, label=call.label,
                phase=call.phase, cell=call.cell, key=key, model=fields.model, difference=apart,
            )
        )  # fmt: skip

    def cannot(self, call: PlacedCall, fault: AgentError) -> None:
        """Says that a call would be refused."""
        self._items.append(
            PlannedCall(
                number=len(self._items) + 1, prompt=call.prompt, reused=False, why=f"refused: {fault.message}",
                label=call.label, phase=call.phase, cell=call.cell,
            )
        )  # fmt: skip

    async def made(
        self, basis: Literal["script", "calls", "lastPass"], *, workflow_run_id: str | None = None
    ) -> WorkflowPlan:
        """Returns the plan of what was told."""
        past = await self._calls.rows.past_calls(self._pass)
        items = list(self._items)
        wanted: dict[str, Counter[Pool]] = defaultdict(Counter)
        strangers = 0
        for at, call in self._lives:
            pools = _pools(str(items[at].key), call.label, past)
            strangers += not pools["tokens"]
            for unit, pool in pools.items():
                wanted[unit][pool] += 1
            means = {unit: fmean(pool) if pool else None for unit, pool in pools.items()}
            items[at] = msgspec.structs.replace(items[at], **means, likened_to=len(pools["tokens"]))
        live = sum(not item.reused for item in items)
        unknown = list(dict.fromkeys(self.unknown))
        if strangers:
            unknown.append(f"Nothing is known of what {strangers} of the live calls take: no call of the workflow has "
                           "finished yet.")  # fmt: skip
        if live:
            unknown.append(AFTERWARDS)
        tokens, cost, seconds = (forecast(wanted[unit], seed=f"{self._pass.workflow} {unit}") for unit in UNITS)
        return WorkflowPlan(
            workflow=self._pass.workflow, basis=basis, items=tuple(items), hits=len(items) - live, live=live,
            tokens=tokens, cost=cost, seconds=seconds, unknown=tuple(unknown), workflow_run_id=workflow_run_id,
        )  # fmt: skip


def _pools(key: str, label: str | None, past: Sequence[PastCall]) -> dict[str, Pool]:
    alike = like(key, label, past)
    return {
        unit: tuple(sorted(value for one in alike if (value := getattr(one, unit)) is not None)) for unit in UNITS
    }  # fmt: skip


async def plan_of_calls(calls: Calls, workflow: str, placed: Sequence[PlacedCall], *, by: Principal) -> WorkflowPlan:
    """Returns what it would take to make these calls in a new pass."""
    plan = Plan(calls, workflow, by=by)
    await _answer_all(plan, placed)
    return await plan.made("calls")


async def plan_of_last_pass(calls: Calls, workflow: str, args: Mapping[str, Any], *, by: Principal) -> WorkflowPlan:
    """Returns what it would take to make the calls of the workflow's last pass again in a new one."""
    plan = Plan(calls, workflow, by=by)
    run = await calls.rows.last_pass(workflow, calls.project, by=by)
    if run is None:
        plan.unknown.append("No pass of this workflow has made calls yet: there is nothing to go by.")
        return await plan.made("lastPass")
    held = await calls.rows.held_calls(run.workflow_run_id)
    await _answer_all(plan, [placed_of(one) for one in held if one.fields.get("model")])
    plan.unknown.append("Cells that were edited since are not known: these are the calls of the last pass.")
    if run.args != dict(args):
        plan.unknown.append("The arguments are others than in the last pass: prompts that use them are other calls.")
    if lost := await calls.rows.count_lost_calls(run.workflow_run_id):
        plan.unknown.append(f"Calls of it that failed, or whose answers were forgotten, are not in this plan: {lost}.")
    return await plan.made("lastPass", workflow_run_id=run.workflow_run_id)


async def _answer_all(plan: Plan, placed: Sequence[PlacedCall]) -> None:
    for call in placed:
        try:
            await plan.answer(call)
        except AgentError as fault:
            plan.cannot(call, fault)


class _Nothing:
    """The budget of a dry pass: nothing is spent."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.cost = 0.0

    def spent(self) -> int:
        return 0

    def remaining(self) -> float:
        return float("inf") if self.total is None else self.total


class PlanHost:
    """The words of a script in a dry pass: stored answers are given, whatever else stops its branch for good."""

    def __init__(self, plan: Plan, args: Mapping[str, Any], meta: Meta, *, total: int | None) -> None:
        self._plan = plan
        self._meta = meta
        self.args = args
        self.budget: BudgetView = _Nothing(total)
        self.stopped: set[int] = set()
        self.news = asyncio.Event()

    def phase(self, title: str) -> None: ...

    def log(self, message: str) -> None: ...

    async def agent(self, call: AgentCall) -> Any:
        return await self.agent_at(call, -1)

    async def agent_at(self, call: AgentCall, place: int) -> Any:
        """Returns the stored answer of a call, or never."""
        if call.kind == "workflow":
            self._plan.unknown.append("It runs another workflow; that one's calls are not in this plan.")
            return await self.stop(place)
        placed = PlacedCall(cell=f"call {place}", position=max(0, place), **self._meta.said_for(call))
        hit = await self._plan.answer(placed)
        if hit is None:
            return await self.stop(place)
        return hit.answer if call.schema is None else json.loads(hit.answer or "null")

    async def stop(self, place: int) -> Any:
        """Stops the branch that said the word at this place."""
        self.stopped.add(place)
        self.news.set()
        return await asyncio.get_running_loop().create_future()
