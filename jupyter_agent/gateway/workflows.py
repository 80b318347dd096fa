"""REST of workflows: passes, and their calls in batches: claimed, started, waited for, stopped, forgotten."""

import asyncio
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType
from tornado import web

from ..exceptions import NotFound, WorkflowRunNotFound
from ..records import HeadlessRun, WorkflowBudget, WorkflowRun, new_id, utc_now
from ..script import MAX_CALLS, MAX_ITEMS
from ..script.placed import AheadResult, CallState, PlacedCall, UsedResult
from ..script.step import PlacedStep
from ..workflow.ahead import ahead_of, use
from ..workflow.steps import Steps
from .rest import AgentHandler, authorized, operation
from .threads import Id

MISSED_S: Final = 0.5
Name = Annotated[str, Meta(min_length=1, max_length=200)]
CellName = Annotated[str, Meta(min_length=1, max_length=256)]
Ids = Annotated[tuple[Id, ...], Meta(max_length=MAX_ITEMS)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pass may spend in all: null for no limit, left out for the server's own."""

    tokens: Annotated[int, Meta(gt=0)] | UnsetType | None = UNSET
    cost: Annotated[float, Meta(gt=0)] | UnsetType | None = UNSET

    def over(self, given: WorkflowBudget) -> WorkflowBudget:
        """Returns the limits with what is left out as it is given."""
        return WorkflowBudget(
            tokens=given.tokens if self.tokens is UNSET else self.tokens,
            cost=given.cost if self.cost is UNSET else self.cost,
        )


class NewWorkflowRun(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What begins a pass. One's own `workflowRunId` makes it safe to send again."""

    workflow: Name
    workflow_run_id: Id | None = None
    args: dict[str, Any] = {}
    kernel_id: Id | None = None
    budget: Limits = Limits()


class Spending(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a pass may spend and has spent: `tokens` and `cost` are the limits, null for none. `reservedTokens` and
    `reservedCost` are held by calls in flight. `spentCost` is null where a price is unknown."""

    tokens: int | None
    cost: float | None
    spent_tokens: int
    spent_cost: float | None
    reserved_tokens: int
    reserved_cost: float


class ClaimCalls(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Calls to be answered from the store, and with `start` run live where it has nothing. `wait` is how many seconds
    the answer waits for the ends of those that run. `used` are results that were told ahead and that calls have used
    since: they are claimed first. With `ahead` the answer tells at most so many of the results that are likely next."""

    calls: Annotated[tuple[PlacedCall, ...], Meta(max_length=MAX_ITEMS)]
    start: bool = False
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0
    used: Annotated[tuple[UsedResult, ...], Meta(max_length=MAX_CALLS)] = ()
    ahead: Annotated[int, Meta(ge=0, le=MAX_CALLS)] = 0


class TakeSteps(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Steps of a kernel's own code: those without an answer ask for a stored one, the others are to be stored."""

    steps: Annotated[tuple[PlacedStep, ...], Meta(max_length=MAX_ITEMS)]


class StepStates(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where steps stand, in the order asked for."""

    items: tuple[CallState, ...]


class StepKeys(Struct, frozen=True, kw_only=True, rename="camel"):
    """The keys of all steps that a workflow has stored. `left` are results that the pass has not claimed, in the order
    in which it would, and perhaps not all of them: what a step uses is claimed by `used` of the next claim of calls."""

    keys: tuple[str, ...]
    left: tuple[CallState, ...] = ()


class NamedCalls(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Calls by their ids."""

    call_ids: Ids


class CallStates(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where calls stand, in the order asked for; the news of those that run come after `cursor`. `ahead` is what calls
    would be answered that follow like before; an answer holds until other calls of the pass are claimed."""

    cursor: str
    items: tuple[CallState, ...]
    ahead: tuple[AheadResult, ...] = ()


class NewsQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`cursor` is that of the news before, `wait` how many seconds are waited for more."""

    cursor: Annotated[str, Meta(max_length=128)] | None = None
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class News(Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of calls in flight after a cursor. `missed` says that some of it is known no more: look at the calls
    themselves, and go on with this cursor."""

    cursor: str
    items: tuple[CallState, ...]
    missed: bool


class Release(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whose claims are let go of: those of a cell, or all of the pass without one."""

    cell: CellName | None = None


class Count(Struct, frozen=True, kw_only=True):
    """How many it were."""

    count: int


class HeadlessRuns(Struct, frozen=True, kw_only=True, rename="camel"):
    """Runs of scripts on the server, newest first."""

    items: tuple[HeadlessRun, ...]


class RunsQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How many, at most."""

    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class ForgetQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`label` chooses calls with this label; without it all results of the workflow are meant."""

    label: Annotated[str, Meta(max_length=1_000)] | None = None


class WorkflowRuns(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("The newest runs of workflow scripts on the server, newest first", query=RunsQuery, answer=HeadlessRuns)
    async def get(self) -> None:
        query = self.asked(RunsQuery)
        headless = (await self.rooms()).headless
        self.reply(HeadlessRuns(items=tuple(await headless.list_runs(by=self.principal, limit=query.limit))))

    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Begin a pass of a workflow: in it each stored result is claimed at most once", body=NewWorkflowRun,
               answer=WorkflowRun, status=201, faults=(409,))  # fmt: skip
    async def post(self) -> None:
        sent = self.sent(NewWorkflowRun)
        calls = (await self.rooms()).calls
        now = utc_now()
        run = WorkflowRun(
            workflow_run_id=sent.workflow_run_id or new_id("wfr"), user_id=self.principal.user_id,
            workflow=sent.workflow, project=calls.project, args=sent.args, kernel_id=sent.kernel_id, created_at=now,
            updated_at=now,
        )  # fmt: skip
        self.reply(await calls.open(run, budget=sent.budget.over(calls.budget)), 201)


class OneWorkflowRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("A pass of a workflow", answer=WorkflowRun, faults=(404,))
    async def get(self, workflow_run_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        self.reply(await rows.get_workflow_run(self.known(workflow_run_id, WorkflowRunNotFound), by=self.principal))


class BudgetOfRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("What a pass may spend, has spent and has reserved", answer=Spending, faults=(404,))
    async def get(self, workflow_run_id: str) -> None:
        await self._reply_for(self.known(workflow_run_id, WorkflowRunNotFound))

    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Give a pass another budget, from now on; what is left out stays", body=Limits, answer=Spending,
               faults=(404,))  # fmt: skip
    async def put(self, workflow_run_id: str) -> None:
        sent = self.sent(Limits)
        rooms = await self.rooms()
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        before = await rooms.storage.rows.ledger(pass_id, by=self.principal)
        await rooms.calls.reserving.set_budget(pass_id, sent.over(before.budget), by=self.principal)
        await self._reply_for(pass_id)

    async def _reply_for(self, pass_id: str) -> None:
        ledger = await (await self.rooms()).storage.rows.ledger(pass_id, by=self.principal)
        self.reply(
            Spending(
                tokens=ledger.budget.tokens, cost=ledger.budget.cost, spent_tokens=ledger.settled.tokens,
                spent_cost=ledger.settled.cost if ledger.is_cost_known else None,
                reserved_tokens=ledger.reserved.tokens, reserved_cost=ledger.reserved.cost,
            )
        )  # fmt: skip


class WorkflowCalls(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Claim results for calls, in order; what has none is `missed`, or runs live with `start`",
               body=ClaimCalls, answer=CallStates, faults=(404, 409))  # fmt: skip
    async def post(self, workflow_run_id: str) -> None:
        sent = self.sent(ClaimCalls)
        calls = (await self.rooms()).calls
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        cursor = calls.feeds.cursor(pass_id)
        by = self.principal
        if sent.used:
            await use(calls, pass_id, sent.used, by=by)
        is_report = sent.used and not sent.calls
        states = [] if is_report else await calls.claim(pass_id, sent.calls, start=sent.start, wait_s=sent.wait, by=by)
        ahead = await ahead_of(calls, pass_id, states, sent.used, by=by, most=sent.ahead) if sent.ahead else ()
        self.reply(CallStates(cursor=cursor, items=tuple(states), ahead=ahead))


class StepsOfRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation(
        "The keys of the steps that a pass's workflow has stored, and results that are left for the pass",
        answer=StepKeys,
        faults=(404,),
    )
    async def get(self, workflow_run_id: str) -> None:
        steps = Steps((await self.rooms()).storage.rows)
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        left = await steps.left(pass_id, by=self.principal)
        self.reply(StepKeys(keys=tuple(await steps.keys(pass_id, by=self.principal)), left=tuple(left)))

    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Claim or store the results of a kernel's own code, in order; no run is made", body=TakeSteps,
               answer=StepStates, faults=(404, 409))  # fmt: skip
    async def post(self, workflow_run_id: str) -> None:
        sent = self.sent(TakeSteps)
        steps = Steps((await self.rooms()).storage.rows)
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        self.reply(StepStates(items=tuple(await steps.take(pass_id, sent.steps, by=self.principal))))


class LookAtCalls(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Where calls of a pass stand now; what nobody carries out any more is taken up, or `gone`",
               body=NamedCalls, answer=CallStates, faults=(404,))  # fmt: skip
    async def post(self, workflow_run_id: str) -> None:
        sent = self.sent(NamedCalls)
        calls = (await self.rooms()).calls
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        cursor = calls.feeds.cursor(pass_id)
        states = await calls.look(pass_id, sent.call_ids, by=self.principal)
        self.reply(CallStates(cursor=cursor, items=tuple(states)))


class StopCalls(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Stop calls in flight at once, with their runs", body=NamedCalls, answer=Count, faults=(404,))
    async def post(self, workflow_run_id: str) -> None:
        sent = self.sent(NamedCalls)
        calls = (await self.rooms()).calls
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        self.reply(Count(count=await calls.stop(pass_id, sent.call_ids, by=self.principal)))


class NewsOfCalls(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("What became of the calls of a pass that run live, waiting for it", query=NewsQuery, answer=News,
               faults=(404,))  # fmt: skip
    async def get(self, workflow_run_id: str) -> None:
        query = self.asked(NewsQuery)
        rooms = await self.rooms()
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        await rooms.storage.rows.get_workflow_run(pass_id, by=self.principal)
        cursor, items, missed = await rooms.calls.feeds.after(pass_id, query.cursor, wait_s=query.wait)
        if missed and rooms.storage.is_shared:
            # Whoever is sent to one server and the other asks again at once: with the cursor of the one before.
            await asyncio.sleep(min(query.wait, MISSED_S))
        self.reply(News(cursor=cursor, items=items, missed=missed))


class ReleaseClaims(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Let go of what a cell claimed in this pass, before it runs again", body=Release, answer=Count,
               faults=(404,))  # fmt: skip
    async def post(self, workflow_run_id: str) -> None:
        sent = self.sent(Release)
        rows = (await self.rooms()).storage.rows
        pass_id = self.known(workflow_run_id, WorkflowRunNotFound)
        self.reply(Count(count=await rows.release_claims(pass_id, cell=sent.cell, by=self.principal)))


class StoredResults(AgentHandler):
    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:workflows")
    @operation("Forget the stored results of a workflow, so that its calls run live again", query=ForgetQuery,
               answer=Count, faults=(404,))  # fmt: skip
    async def delete(self, workflow: str) -> None:
        query = self.asked(ForgetQuery)
        rooms = await self.rooms()
        count = await rooms.storage.rows.forget_calls(
            workflow, rooms.calls.project, label=query.label, by=self.principal
        )
        if not count:
            raise NotFound("There are no such results of a workflow of this name.")
        await rooms.storage.rows.forget()
        self.reply(Count(count=count))
