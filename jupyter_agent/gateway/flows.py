"""REST of flows: which the server has, starting one, where its steps stand, deciding its approvals, ending it."""

from typing import Annotated, Any

from msgspec import Meta, Struct
from tornado import web

from ..exceptions import FlowRunNotFound
from ..flow import FlowRun, StepState
from ..records import Page
from ..workflow.flows import Registered
from .rest import AgentHandler, authorized, operation
from .threads import PageQuery
from .workflows import Count


class FlowStep(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A step as it is declared."""

    step_id: str
    kind: str
    deps: tuple[str, ...] = ()
    trigger_rule: str = "all_success"
    batch: str | None = None


class DeclaredFlow(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A flow that the configuration names, or why it cannot start."""

    name: str
    place: str
    steps: tuple[FlowStep, ...] = ()
    error: str | None = None


class AllFlows(Struct, frozen=True, kw_only=True, rename="camel"):
    """The flows of the server."""

    items: tuple[DeclaredFlow, ...]


class StartFlow(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The arguments of a run."""

    args: dict[str, Any] = {}


class FlowRunWithSteps(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A run of a flow with its steps in order, and what its approvals ask, by step."""

    run: FlowRun
    steps: tuple[StepState, ...]
    asks: dict[str, str] = {}


class DecideStep(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A person's decision of an approval."""

    approved: bool
    reason: Annotated[str, Meta(max_length=10_000)] | None = None


def declared(one: Registered) -> DeclaredFlow:
    """Returns a flow as it is told."""
    steps = one.flow.steps if one.flow is not None else ()
    return DeclaredFlow(
        name=one.name, place=one.place, error=one.error,
        steps=tuple(
            FlowStep(step_id=step.id, kind=step.kind, deps=step.deps, trigger_rule=step.trigger_rule, batch=step.batch)
            for step in steps
        ),
    )  # fmt: skip


class FlowsOfServer(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:flows")
    @operation("The flows that the server's configuration names, with their steps", answer=AllFlows)
    async def get(self) -> None:
        flows = (await self.rooms()).flows
        self.reply(AllFlows(items=tuple(map(declared, flows.registered))))


class RunsOfFlow(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:flows")
    @operation("Start a flow", body=StartFlow, answer=FlowRun, status=201, faults=(404, 409))
    async def post(self, flow: str) -> None:
        sent = self.sent(StartFlow)
        flows = (await self.rooms()).flows
        self.reply(await flows.start(flow, sent.args, by=self.principal), 201)


class FlowRuns(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:flows")
    @operation("Runs of flows, newest first", query=PageQuery, answer=Page[FlowRun])
    async def get(self) -> None:
        query = self.asked(PageQuery)
        flows = (await self.rooms()).flows
        self.reply(await flows.list_runs(by=self.principal, limit=query.limit, cursor=query.cursor))


class OneFlowRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:flows")
    @operation(
        "A run of a flow, where its steps stand, and what it asks people", answer=FlowRunWithSteps, faults=(404,)
    )
    async def get(self, flow_run_id: str) -> None:
        flows = (await self.rooms()).flows
        run, steps = await flows.get_run(self.known(flow_run_id, FlowRunNotFound), by=self.principal)
        self.reply(FlowRunWithSteps(run=run, steps=tuple(steps), asks=flows.asks(run, steps)))


class ResolveFlowStep(AgentHandler):
    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:approvals")
    @operation("Approve or reject what a step of a flow asks", body=DecideStep, answer=StepState,
               faults=(403, 404, 409))  # fmt: skip
    async def post(self, flow_run_id: str, step: str) -> None:
        sent = self.sent(DecideStep)
        flows = (await self.rooms()).flows
        run_id = self.known(flow_run_id, FlowRunNotFound)
        decided = await flows.resolve(run_id, step, approve=sent.approved, reason=sent.reason, by=self.principal)
        self.reply(decided)


class CancelFlowRun(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:flows")
    @operation("End a flow's run for good; says how many of its steps were running", answer=Count, faults=(404, 409))
    async def post(self, flow_run_id: str) -> None:
        flows = (await self.rooms()).flows
        self.reply(Count(count=await flows.cancel(self.known(flow_run_id, FlowRunNotFound), by=self.principal)))
