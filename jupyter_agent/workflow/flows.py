"""The flows of a server: those that its operator registered, started over REST, and gone on with after a restart.

A flow is Python, with functions that run in the server's process: only the operator names them, by module and name.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from ..exceptions import AgentError, Conflict, FlowInvalid, FlowNotFound, InvalidRequest
from ..flow import Context, Flow, FlowRun, FlowRunner, Kind, Step, StepState, StepStatus
from ..flow.decisions import context_of
from ..records import Page, Principal
from ..storage import Storage
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

    def __init__(self, *, storage: Storage, calls: Calls, named: Mapping[str, str]) -> None:
        """`named` has places of flows, `module:flow`, by their names."""
        self._rows = storage.rows
        self._is_shared = storage.is_shared
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
        self._runner = FlowRunner(flows, agents=self._agents, keeper=self._rows)
        if not self._is_shared:
            await self._runner.open()

    async def close(self) -> None:
        """Lets go of all runs, so that a server that starts again takes them up."""
        self._agents.leave()
        if self._runner is not None and not self._is_shared:
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
        """Decides an approval. Raises FlowRunNotFound, Forbidden, RunFinished, AlreadyResolved, Conflict."""
        return await self._its_runner().resolve(flow_run_id, step_id, approve=approve, reason=reason, by=by)

    async def cancel(self, flow_run_id: str, *, by: Principal) -> int:
        """Ends a run for good and returns how many of its steps were running. Raises FlowRunNotFound, RunFinished."""
        return await self._its_runner().cancel(flow_run_id, by=by)

    def _its_runner(self) -> FlowRunner:
        if self._is_shared:
            raise Conflict("Servers that share a database do not carry flows out yet: use a FlowRunner in a notebook.")
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
