"""Starts flows, takes up those that a dead process left, and passes on what people decide about them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from ..exceptions import AgentError, Conflict, Forbidden, InvalidRequest, LeaseLost, RunFinished
from ..records import OWNER, SYSTEM, Principal, RunStatus, clean, new_id
from .agents import Agents, Clock, FunctionAgents
from .course import Course
from .decisions import Ended, cancelled, initial
from .keeper import Keeper, Memory, Taken
from .state import FlowRun, StepState, StepStatus
from .step import Flow, Kind

log = logging.getLogger(__name__)

TTL_S: Final = 10.0
ME: Final = Principal(user_id=OWNER)


class FlowRunner:
    """Carries flows out. In a notebook: `FlowRunner([flow])`, then `start`, `wait`, `resolve`, `cancel`.

    `agents` is a coroutine function that is asked with a prompt and a step's options, or an Agents. With a keeper that
    outlives the process, `open` takes up what is unfinished. `owner` names one life of one process.
    """

    def __init__(
        self,
        flows: Iterable[Flow],
        *,
        agents: Agents | Callable[..., Awaitable[Any]] | None = None,
        keeper: Keeper | None = None,
        clock: Clock | None = None,
        ttl_s: float = TTL_S,
    ) -> None:
        self._flows = {flow.name: flow for flow in flows}
        self._agents: Agents | None = FunctionAgents(agents) if callable(agents) else agents
        self._keeper: Keeper = keeper if keeper is not None else Memory()
        self._clock = clock if clock is not None else Clock()
        self._owner, self._ttl_s = new_id("own"), ttl_s
        self._courses: dict[str, Course] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def flow_run_ids(self) -> tuple[str, ...]:
        """The runs that are carried out here."""
        return tuple(self._courses)

    async def open(self) -> None:
        """Takes up unfinished runs that nobody carries out, and goes on looking for such."""
        await self._take_up()
        self._looking = asyncio.create_task(self._look(), name="looking after flows")

    async def close(self) -> None:
        """Stops working. What is unfinished stays so, for whoever opens the same keeper next."""
        tasks = [*self._tasks.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._keeper.release_flow_runs(owner=self._owner)

    async def start(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        by: Principal = ME,
        flow_run_id: str | None = None,
    ) -> FlowRun:
        """Starts a flow and returns its run. Raises FlowInvalid with all that is wrong with it, before anything
        starts; InvalidRequest, Conflict."""
        flow = self._flow(name)
        flow.check()
        if self._agents is None and (asks := [step.id for step in flow.steps if step.kind is Kind.AGENT]):
            raise InvalidRequest(f"Steps {', '.join(asks)} ask agents, and this runner has none: give it agents=.")
        now = self._clock.now()
        run = FlowRun(
            flow_run_id=flow_run_id or new_id("flow"), user_id=by.user_id, flow=name, shape=flow.shape,
            args=clean(dict(args or {})), created_at=now, updated_at=now,
        )  # fmt: skip
        states = initial(flow)
        taken = Taken(
            *await self._keeper.create_flow_run(run, list(states.values()), owner=self._owner, ttl_s=self._ttl_s)
        )
        self._carry_out(self._course(flow, taken, states))
        return run

    async def wait(self, flow_run_id: str, *, by: Principal = ME) -> FlowRun:
        """Returns a run once it is over, or this runner carries it out no more."""
        # Before it is looked at: it may end meanwhile.
        task = self._tasks.get(flow_run_id)
        run = await self._keeper.get_flow_run(flow_run_id, by=by)
        if task is not None:
            await asyncio.wait({task})
            run = await self._keeper.get_flow_run(flow_run_id, by=by)
        return run

    async def steps(self, flow_run_id: str, *, by: Principal = ME) -> Sequence[StepState]:
        """Returns where the steps of a run stand."""
        return await self._keeper.list_flow_steps(flow_run_id, by=by)

    async def resolve(
        self, flow_run_id: str, step_id: str, *, approve: bool, by: Principal = ME, reason: str | None = None
    ) -> StepState:
        """Decides an approval; kept when it returns. A rejected one has failed. Raises FlowRunNotFound, Forbidden,
        RunFinished, AlreadyResolved, Conflict."""
        course = await self._carried(flow_run_id, by=by)
        if not by.may_approve:
            raise Forbidden("This credential may not approve: a person has to.")
        said = clean(reason) if reason else None
        if approve:
            ended = Ended(StepStatus.COMPLETED, output=True, actor=by.name)
        else:
            ended = Ended(
                StepStatus.FAILED, error=f"Rejected by {by.name}" + (f": {said}" if said else "."), actor=by.name
            )
        found: StepState = await course.ask(lambda: course.resolve(step_id, ended))
        return found

    async def cancel(self, flow_run_id: str, *, by: Principal = ME) -> int:
        """Ends a run as interrupted, for good, stops its steps and returns how many were running. Raises
        FlowRunNotFound, RunFinished."""
        course = await self._carried(flow_run_id, by=by)
        stopped: int = await course.ask(course.cancel)
        if (task := self._tasks.get(flow_run_id)) is not None:
            await asyncio.wait({task})
        return stopped

    async def _carried(self, flow_run_id: str, *, by: Principal) -> Course:
        run = await self._keeper.get_flow_run(flow_run_id, by=by)
        course = self._courses.get(flow_run_id)
        if course is None and not run.status.is_terminal:
            # It may have ended while it was looked at.
            run = await self._keeper.get_flow_run(flow_run_id, by=by)
        if run.status.is_terminal:
            raise over_fault(run)
        if course is None:
            raise Conflict(f"Flow run {flow_run_id} is carried out by another process: decide there.")
        return course

    def _flow(self, name: str) -> Flow:
        if (flow := self._flows.get(name)) is None:
            known = ", ".join(sorted(self._flows)) or "none"
            raise InvalidRequest(f"There is no flow {name!r}; there are: {known}.")
        return flow

    def _course(self, flow: Flow, taken: Taken, states: Mapping[str, StepState]) -> Course:
        agents = self._agents if self._agents is not None else FunctionAgents(_nobody)
        return Course(flow, taken, states, keeper=self._keeper, agents=agents, clock=self._clock)

    def _carry_out(self, course: Course) -> None:
        name = course.run.flow_run_id
        self._courses[name] = course
        self._tasks[name] = asyncio.create_task(self._go(course), name=f"flow {name}")

    async def _go(self, course: Course) -> None:
        name = course.run.flow_run_id
        try:
            await course.go()
        except LeaseLost:
            log.warning("Flow run %s was taken over by another process.", name)
        except AgentError as fault:
            log.warning("Flow run %s cannot go on here: %s", name, fault)
        finally:
            self._courses.pop(name, None)
            self._tasks.pop(name, None)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            try:
                mine = set(self._tasks)
                kept = await self._keeper.renew_flow_runs(mine, owner=self._owner, ttl_s=self._ttl_s)
                for name in mine - kept:
                    if (task := self._tasks.get(name)) is not None:
                        task.cancel()
                await self._take_up()
            except AgentError as fault:
                log.warning("Flows could not be looked after: %s", fault)

    async def _take_up(self) -> None:
        for taken in await self._keeper.take_flow_runs(self._flows, owner=self._owner, ttl_s=self._ttl_s):
            try:
                await self._go_on(taken)
            except AgentError as fault:
                # Its lease is not renewed: when it has passed, somebody tries again.
                log.warning("Flow run %s cannot be taken up: %s", taken.run.flow_run_id, fault)

    async def _go_on(self, taken: Taken) -> None:
        if (lost := self._tasks.get(taken.run.flow_run_id)) is not None:
            # Its lease passed under this very process, which has it again by another number.
            lost.cancel()
            await asyncio.wait({lost})
        flow = self._flows[taken.run.flow]
        steps = await self._keeper.list_flow_steps(taken.run.flow_run_id, by=SYSTEM)
        states = {one.step_id: one for one in steps}
        if flow.shape != taken.run.shape:
            await self._give_up(taken, states)
            return
        course = self._course(flow, taken, states)
        await course.recover()
        self._carry_out(course)

    async def _give_up(self, taken: Taken, states: Mapping[str, StepState]) -> None:
        """Ends a run whose flow is declared otherwise now: its steps say nothing about the new one."""
        now = self._clock.now()
        error = f"Flow {taken.run.flow!r} was declared otherwise when the server came back: start it anew."
        run = replace(taken.run, status=RunStatus.ERROR, error=error, updated_at=now, ended_at=now)
        changed = list(cancelled(states, now=now).values())
        await self._keeper.save_flow_run(run, changed, lease_no=taken.lease_no)


def over_fault(run: FlowRun) -> RunFinished:
    """Returns the fault of what comes too late for a run."""
    return RunFinished(f"Flow run {run.flow_run_id} is over: it was {run.status}.", details={"status": run.status})


async def _nobody(prompt: str, **options: Any) -> Any:  # noqa: ARG001
    raise InvalidRequest("This runner has no agents.")
