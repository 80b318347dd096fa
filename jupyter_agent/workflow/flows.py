"""The flows of a server: those that its operator registered, started over REST, and gone on with after a restart.

A flow is Python, with functions that run in the server's process: only the operator names them, by module and name.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from ..exceptions import AgentError, FlowInvalid, FlowNotFound, InvalidRequest, RunFinished
from ..flow import Context, Flow, FlowRun, FlowRunner, Kind, Step, StepState, StepStatus
from ..flow.decisions import context_of
from ..flow.runner import TTL_S, over_fault
from ..records import Page, Principal
from ..runtime.errands import Errands
from ..storage import Storage
from ..storage.contract import Errand
from .calls import Calls
from .flow_agents import CallAgents

log = logging.getLogger(__name__)


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that the configuration names. `error` says why it cannot start; `flow` is None where it was not found."""

    name: str
    place: str
    flow: Flow | None = None
    error: str | None = None


class Flows:
    """All flows that this server carries out. `by` is on whose behalf something is done."""

    def __init__(
        self, *, storage: Storage, calls: Calls, named: Mapping[str, str], lease_ttl_s: float | None = None
    ) -> None:
        """`named` has places of flows, `module:flow`, by their names; `lease_ttl_s` is for how many seconds a run is a
        server's where several share the store, None for who is alone with it."""
        self._rows = storage.rows
        self._lease_ttl_s = lease_ttl_s
        self._errands = Errands(storage.rows, self._carried_here, self._do)
        self._named = named
        self._agents = CallAgents(calls)
        self._runner: FlowRunner | None = None
        self.registered: tuple[Registered, ...] = ()

    async def open(self) -> None:
        """Imports the flows, and takes up the runs that a stopped server left. What cannot be imported is kept with its
        reason: its runs wait until it can."""
        if not self._named:
            return
        self.registered = await asyncio.to_thread(lambda: tuple(map(_found, self._named.items())))
        for one in self.registered:
            if one.error is not None:
                log.error("The flow %s cannot be used: %s", one.name, one.error)
        flows = [one.flow for one in self.registered if one.flow is not None and one.error is None]
        ttl_s = TTL_S if self._lease_ttl_s is None else self._lease_ttl_s
        self._runner = FlowRunner(flows, agents=self._agents, keeper=self._rows, ttl_s=ttl_s)
        await self._runner.open()
        if self._lease_ttl_s is not None:
            self._errands.open()

    async def close(self) -> None:
        """Lets go of all runs, so that a server that starts again takes them up, or another one."""
        await self._errands.close()
        if self._runner is not None:
            await self._runner.close()

    def get(self, name: str) -> Registered:
        """Raises FlowNotFound naming those that there are."""
        found = next((one for one in self.registered if one.name == name), None)
        if found is None:
            known = ", ".join(one.name for one in self.registered) or "none: AgentGateway.flows names them"
            raise FlowNotFound(f"There is no flow {name[:80]!r}. There are: {known}.")
        return found

    async def start(self, name: str, args: Mapping[str, Any], *, by: Principal) -> FlowRun:
        """Starts a flow and returns its run. Raises FlowNotFound, FlowInvalid with all that is wrong with it."""
        found = self.get(name)
        if found.error is not None:
            raise FlowInvalid(f"The flow {name!r} cannot start: {found.error}")
        return await self._its_runner().start(name, args, by=by)

    async def get_run(self, flow_run_id: str, *, by: Principal) -> tuple[FlowRun, Sequence[StepState]]:
        """Returns a run with its steps. Raises FlowRunNotFound."""
        run = await self._rows.get_flow_run(flow_run_id, by=by)
        return run, await self._rows.list_flow_steps(flow_run_id, by=by)

    async def list_runs(self, *, by: Principal, limit: int, cursor: str | None) -> Page[FlowRun]:
        """Returns runs of flows, newest first."""
        return await self._rows.list_flow_runs(by=by, limit=limit, cursor=cursor)

    def asks(self, run: FlowRun, steps: Sequence[StepState]) -> dict[str, str]:
        """Returns what waits for a person in a run: the question of each approval, by its step."""
        flow = next((one.flow for one in self.registered if one.name == run.flow), None)
        if flow is None or flow.shape != run.shape or run.status.is_terminal:
            return {}
        states = {one.step_id: one for one in steps}
        waiting = [flow.by_id[one.step_id] for one in steps if one.status is StepStatus.RUNNING]
        return {
            step.id: _question(step, context_of(flow, step, run.args, states))
            for step in waiting
            if step.kind is Kind.APPROVAL
        }

    async def resolve(
        self, flow_run_id: str, step_id: str, *, approve: bool, reason: str | None, by: Principal
    ) -> StepState:
        """Decides an approval, wherever its run is carried out; kept when it returns. Raises FlowRunNotFound,
        Forbidden, RunFinished, AlreadyResolved, Conflict; RunElsewhere where the server that has it does not answer."""
        if not await self._is_elsewhere(flow_run_id, by=by):
            return await self._its_runner().resolve(flow_run_id, step_id, approve=approve, reason=reason, by=by)
        given = {"step_id": step_id, "approve": approve, "reason": reason}
        return msgspec.convert((await self._passed_on(flow_run_id, "resolve", given, by=by))["step"], StepState)

    async def cancel(self, flow_run_id: str, *, by: Principal) -> int:
        """Ends a run for good, wherever it is carried out, and returns how many of its steps were running. Raises
        FlowRunNotFound, RunFinished, RunElsewhere."""
        if not await self._is_elsewhere(flow_run_id, by=by):
            return await self._its_runner().cancel(flow_run_id, by=by)
        return int((await self._passed_on(flow_run_id, "cancel", {}, by=by))["count"])

    async def _passed_on(
        self, flow_run_id: str, deed: str, given: dict[str, Any], *, by: Principal
    ) -> Mapping[str, Any]:
        async def over() -> RunFinished | None:
            run = await self._rows.get_flow_run(flow_run_id, by=by)
            return over_fault(run) if run.status.is_terminal else None

        return await self._errands.pass_on(flow_run_id, deed, given, by=by, over=over)

    async def _do(self, errand: Errand) -> dict[str, Any]:
        """Does what another server asks of a run that is carried out here. Raises AgentError."""
        runner, run_id, by = self._its_runner(), errand.run_id, errand.by
        match errand.deed:
            case "resolve":
                step = await runner.resolve(run_id, by=by, **errand.arguments)
                return {"step": msgspec.to_builtins(step)}
            case "cancel":
                return {"count": await runner.cancel(run_id, by=by)}
        raise InvalidRequest(f"This server is older than the one that asks it to {errand.deed!r}: update it.")

    async def _is_elsewhere(self, flow_run_id: str, *, by: Principal) -> bool:
        """Tells whether another server carries a run out, or will take it up in a moment. Raises FlowRunNotFound."""
        if self._lease_ttl_s is None or flow_run_id in self._carried_here():
            return False
        return not (await self._rows.get_flow_run(flow_run_id, by=by)).status.is_terminal

    def _carried_here(self) -> tuple[str, ...]:
        return self._runner.flow_run_ids if self._runner is not None else ()

    def _its_runner(self) -> FlowRunner:
        if self._runner is None:
            raise FlowNotFound("This server has no flows: its operator names them in AgentGateway.flows.")
        return self._runner


def _question(step: Step, ctx: Context) -> str:
    try:
        said = step.prompt(ctx) if callable(step.prompt) else step.prompt
    except Exception as fault:  # noqa: BLE001 - the flow's own function
        return f"{step.id} (its question could not be made: {type(fault).__name__}: {fault})"
    return said or step.id


def _found(named: tuple[str, str]) -> Registered:
    """Imports a flow and checks it."""
    name, place = named
    flow: Flow | None = None
    try:
        flow = _imported(place)
        if flow.name != name:
            raise InvalidRequest(f"it calls itself {flow.name!r}: name it so in AgentGateway.flows")
        flow.check()
    except FlowInvalid as fault:
        return Registered(name=name, place=place, flow=flow, error=fault.message)
    except AgentError as fault:
        return Registered(name=name, place=place, error=fault.message)
    except Exception as fault:  # whatever the module does when it is imported
        log.exception("The flow %s could not be imported.", name)
        return Registered(name=name, place=place, error=f"{type(fault).__name__}: {fault}")
    return Registered(name=name, place=place, flow=flow)


def _imported(place: str) -> Flow:
    module, colon, attribute = place.partition(":")
    if not colon or not module or not attribute:
        raise InvalidRequest(f"{place!r} is no place of a flow: write module:name")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as fault:
        raise InvalidRequest(f"{place} cannot be imported: {fault}") from fault
    if not isinstance(found, Flow):
        raise InvalidRequest(f"{place} is a {type(found).__name__}, no Flow")
    return found
