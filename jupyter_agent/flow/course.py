"""One run of a flow under way: what ended and what people say comes in, decisions are kept, then carried out.

What begins is written down before it does, what ended before anything is built on it: a process that dies at any
instant leaves a state that another goes on from.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from ..exceptions import AlreadyResolved, Conflict, RunFinished
from ..records import RunStatus
from .agents import Agents, Clock
from .attempt import attempt, plain
from .context import Context
from .decisions import Ended, cancelled, context_of, decide, reconcile, settle
from .keeper import Keeper, Taken
from .state import StepState, StepStatus
from .step import Flow, Kind

STOP_S: Final = 1.5
"""How long a cancelled flow waits for its steps to stop."""

Change = Callable[[], Any]


class Course:
    """Carries one run out. The only place where its state changes."""

    def __init__(
        self, flow: Flow, taken: Taken, states: Mapping[str, StepState], *, keeper: Keeper, agents: Agents, clock: Clock
    ) -> None:
        self.flow = flow
        self.run, self._lease_no = taken
        self._kept = dict(states)
        self._states = dict(states)
        self._keeper, self._agents, self._clock = keeper, agents, clock
        self._inbox: asyncio.Queue[tuple[Change, asyncio.Future[Any] | None]] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._answers: list[tuple[asyncio.Future[Any], Any]] = []
        self._kept_status: RunStatus | None = None
        self._is_open = True

    async def go(self) -> None:
        """Carries the run out to its end. Raises LeaseLost where another process does; StorageError."""
        is_over = False
        try:
            for name, state in self._states.items():
                if state.status is StepStatus.RUNNING:
                    self._begin(name)
            while True:
                is_over = await self._decide()
                self._answer()
                if is_over:
                    return
                self._take(*await self._inbox.get())
                while not self._inbox.empty():
                    self._take(*self._inbox.get_nowait())
        finally:
            self._is_open = False
            if not is_over:
                self._agents.leave(self.run.flow_run_id)
            await self._stop()
            self._refuse_waiting()

    async def recover(self) -> None:
        """Looks at what a dead process left running, and keeps what became of it."""
        for name, state in self._states.items():
            step = self.flow.by_id[name]
            if state.status is StepStatus.RUNNING:
                found = await self._agents.find(self._key(name)) if step.kind is Kind.AGENT else False
                self._states[name] = reconcile(step, state, found, now=self._clock.now())
        await self._keep()

    async def ask(self, change: Change) -> Any:
        """Makes a change between two decisions and returns what it gives, once it is kept. Raises what it raises;
        RunFinished when the run is over."""
        if not self._is_open:
            raise self._over()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait((change, answer))
        return await answer

    def resolve(self, step_id: str, ended: Ended) -> StepState:
        """Takes a person's decision of an approval. Raises Conflict, AlreadyResolved."""
        step, state = self.flow.by_id.get(step_id), self._states.get(step_id)
        if step is None or state is None or step.kind is not Kind.APPROVAL:
            raise Conflict(f"Step {step_id!r} of flow {self.flow.name!r} asks nobody: it is no approval.")
        if state.status.is_terminal:
            raise AlreadyResolved(f"Step {step_id!r} is over: it was {state.status}.")
        if state.status is StepStatus.PENDING:
            raise Conflict(f"Step {step_id!r} does not ask yet: what it waits for is not over.")
        self._settle(step_id, ended)
        return self._states[step_id]

    def cancel(self) -> int:
        """Cancels all that is not over, for good; returns how many steps were running."""
        now = self._clock.now()
        running = sum(state.status is StepStatus.RUNNING for state in self._states.values())
        self._states |= cancelled(self._states, now=now)
        self.run = replace(self.run, status=RunStatus.INTERRUPTED, ended_at=now, error="It was cancelled.")
        return running

    async def _decide(self) -> bool:
        """Decides, keeps it and begins what is to begin; tells whether the run is over."""
        if self.run.status.is_terminal:
            await self._keep()
            return True
        said = decide(self.flow, self.run.args, self._states, now=self._clock.now())
        self._states |= said.changed
        if said.over is not None:
            self._end(said.over, said.error)
        await self._keep()
        for name in said.start:
            self._begin(name)
        return said.over is not None

    async def _keep(self) -> None:
        changed = [state for name, state in self._states.items() if state is not self._kept[name]]
        run = self.run
        if not run.status.is_terminal:
            run = replace(run, status=self._status())
        if not changed and run is self.run and run.status == self._kept_status:
            return
        self.run = replace(run, updated_at=self._clock.now())
        await self._keeper.save_flow_run(self.run, changed, lease_no=self._lease_no)
        self._kept = dict(self._states)
        self._kept_status = self.run.status

    def _status(self) -> RunStatus:
        """Returns whether the run works or only waits for people."""
        kinds = {self.flow.by_id[n].kind for n, one in self._states.items() if one.status is StepStatus.RUNNING}
        return RunStatus.WAITING_CONFIRMATION if kinds == {Kind.APPROVAL} else RunStatus.RUNNING

    def _take(self, change: Change, answer: asyncio.Future[Any] | None) -> None:
        try:
            if self.run.status.is_terminal:
                raise self._over()
            value = change()
        except Conflict as fault:
            if answer is not None and not answer.done():
                answer.set_exception(fault)
        else:
            if answer is not None:
                self._answers.append((answer, value))

    def _answer(self) -> None:
        for answer, value in self._answers:
            if not answer.done():
                answer.set_result(value)
        self._answers.clear()

    def _over(self) -> RunFinished:
        return RunFinished(
            f"Flow run {self.run.flow_run_id} is over or carried out elsewhere: it was {self.run.status}."
        )

    def _begin(self, name: str) -> None:
        self._tasks[name] = asyncio.create_task(self._carry(name), name=f"step {name} of {self.run.flow_run_id}")

    async def _carry(self, name: str) -> None:
        step, state = self.flow.by_id[name], self._states[name]
        limit_s = step.limit_s
        if step.kind is Kind.APPROVAL and limit_s is not None and state.started_at is not None:
            # People's time goes on while no server runs.
            limit_s = max(0.0, limit_s - (self._clock.now() - state.started_at).total_seconds())
        ctx = context_of(self.flow, step, self.run.args, dict(self._states))
        key = self._key(name)
        ended = await attempt(step, ctx, key=key, agents=self._agents, clock=self._clock, limit_s=limit_s)
        self._inbox.put_nowait((lambda: self._settle_attempt(name, state.attempt, ended), None))

    def _settle_attempt(self, name: str, number: int, ended: Ended) -> None:
        if self._states[name].attempt == number:
            self._settle(name, ended)

    def _settle(self, name: str, ended: Ended) -> None:
        self._states[name] = settle(self.flow.by_id[name], self._states[name], ended, now=self._clock.now())
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def _end(self, status: RunStatus, error: str | None) -> None:
        result = None
        if status is RunStatus.COMPLETED and self.flow.render is not None:
            try:
                result = plain("render", self.flow.render(Context(self.run.args, self._states, of="render")))
            except Exception as fault:  # noqa: BLE001 - the flow's own function
                status, error = RunStatus.ERROR, f"render failed: {type(fault).__name__}: {fault}"
        self.run = replace(
            self.run, status=status, error=error, result=result, output=self.flow.output, ended_at=self._clock.now()
        )

    async def _stop(self) -> None:
        tasks = {task for task in self._tasks.values() if not task.done()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)

    def _refuse_waiting(self) -> None:
        waiting = [answer for answer, _ in self._answers]
        while not self._inbox.empty():
            _, answer = self._inbox.get_nowait()
            waiting += [answer] if answer is not None else []
        for one in waiting:
            if not one.done():
                one.set_exception(self._over())

    def _key(self, name: str) -> str:
        """Names an attempt. One that is begun again after a crash is the same piece of work."""
        state = self._states[name]
        return f"{self.run.flow_run_id}:{name}:{state.retries}"
