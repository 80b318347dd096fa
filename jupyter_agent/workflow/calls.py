"""Calls of workflows: reused from the store, or run live by a task of the server's own.

The server stores an answer when the call's run completes, so that a kernel that is gone loses nothing; a call that was
in flight when the server was killed is taken up when it starts again, under the same key, or by another server that
shares the store (shared_calls.py). Failures are not stored.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final, Protocol, TypeGuard
from weakref import WeakValueDictionary

import msgspec

from ..events import StatusChange, decode_line
from ..exceptions import (
    AgentError,
    CallTimedOut,
    Conflict,
    LeaseLost,
    RunFailed,
    RunFinished,
    RunNotFound,
    SchemaNotSatisfied,
    StorageError,
    ThreadBusy,
    TooManyCalls,
)
from ..journal import Journal
from ..records import (
    SYSTEM,
    Principal,
    Run,
    RunRequest,
    RunStatus,
    StoredCall,
    WorkflowBudget,
    WorkflowRun,
    new_id,
    utc_now,
)
from ..runtime import Runner
from ..script import DEFAULT_TIMEOUT_S, MAX_AT_ONCE, MAX_CALLS, MAX_TRIES, PEOPLE
from ..script.key import CallFields, difference, key_of
from ..script.placed import IN_FLIGHT, CallState, PlacedCall
from ..storage import Storage
from ..storage.calls import Claim
from ..storage.clock import machine_clock
from ..transcript import Transcript
from . import people
from .budget import TOKENS, within
from .call_states import run_of, state_of
from .feeds import Feeds
from .reserving import Reserving
from .resolving import Resolver, checked_answer, placed_of, request_again, request_for, said_of
from .shared_calls import SharedCalls
from .silence import SILENT_AFTER_S, Silence

log = logging.getLogger(__name__)

TRY_AGAIN_S: Final = 1.0
START_TRIES: Final = 10
WAITING: Final = (RunStatus.WAITING_CONFIRMATION, RunStatus.WAITING_INPUT)
_STATUS: Final = b'"status_change"'


class CalledWorkflows(Protocol):
    """Workflows that calls call: scripts of the server, each carried out as a run of its own."""

    async def digest_of(self, name: str, *, called_by: str) -> str:
        """Returns the digest of what would run. Raises InvalidRequest, WorkflowNotFound, WorkflowNotApproved."""

    async def result_of(
        self, call: StoredCall, *, by: Principal, budget: WorkflowBudget, told: Callable[[RunStatus], None]
    ) -> tuple[str, int, float | None]:
        """Carries it out within the budget and returns its result as JSON, and the tokens and dollars that it took.
        `told` hears where it stands. Raises what it ended with."""

    async def stop(self, call: StoredCall, *, by: Principal) -> None:
        """Ends it with its calls, if it goes on."""


class Calls:
    """All calls of workflows that this server carries out. `by` is on whose behalf something is done."""

    def __init__(
        self,
        *,
        storage: Storage,
        journal: Journal,
        runner: Runner,
        resolver: Resolver,
        project: str,
        budget: WorkflowBudget | None = None,
        lease_ttl_s: float | None = None,
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        """`budget` is what a pass may spend that says nothing of it; `lease_ttl_s` is for how many seconds a call is a
        server's where several share the store, None for who is alone with it. A call of which nothing comes for
        `silent_after_s` is told as stalled."""
        self.rows = self._rows = storage.rows
        self._journal = journal
        self._runner = runner
        self.resolver = resolver
        self.project = project
        self.budget = budget if budget is not None else WorkflowBudget(tokens=TOKENS)
        self._silent_after_s = silent_after_s
        self.reserving = Reserving(storage.rows, run_budget=resolver.run_budget)
        self.feeds = Feeds()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, set[str]] = {}
        self._stopped: set[str] = set()
        self._taken_up: set[str] = set()
        self._waits: dict[str, RunStatus] = {}
        self._silent: dict[str, datetime] = {}
        self.workflows: CalledWorkflows | None = None
        self._at_once: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._shared: SharedCalls | None = None
        if lease_ttl_s is not None:
            self._shared = SharedCalls(storage.rows, self, project=project, ttl_s=lease_ttl_s)

    # --- passes ---------------------------------------------------------------------------------------------

    async def open(self, run: WorkflowRun, *, budget: WorkflowBudget | None = None) -> WorkflowRun:
        """Begins a pass, with this server's own budget where none is given; the same one twice is one. Raises
        Conflict."""
        limits = budget if budget is not None else self.budget
        return await self._rows.create_workflow_run(
            msgspec.structs.replace(run, budget_tokens=limits.tokens, budget_cost=limits.cost)
        )

    async def claim(
        self,
        workflow_run_id: str,
        placed: Sequence[PlacedCall],
        *,
        start: bool,
        by: Principal,
        wait_s: float = 0.0,
        lease_no: int | None = None,
    ) -> list[CallState]:
        """Claims results for the calls, in order. What has none is `missed`, or with `start` runs live from now on:
        those that end within `wait_s` are told as they ended. `lease_no` is that of the script's run whose pass it is.

        Raises WorkflowRunNotFound, TooManyCalls, InvalidRequest, LeaseLost; then nothing was claimed or started.
        """
        digests = await self._digests_for(workflow_run_id, placed, by=by)
        fields = [self.resolver.fields(call, workflow=digests.get(call.prompt)) for call in placed]
        keys = [key_of(one) for one in fields]
        said = [said_of(call) for call in placed]
        wanted = [
            Claim(key, call.cell, call.fresh, call.token, call.label) for key, call in zip(keys, placed, strict=True)
        ]
        now = utc_now()
        new = [
            StoredCall(
                call_id=new_id("call"), user_id=by.user_id, workflow="", project=self.project, key=keys[at],
                fields=msgspec.to_builtins(fields[at]), said=said[at], label=call.label, cell=call.cell,
                position=call.position, created_at=now, used_at=now,
            )
            for at, call in enumerate(placed if start else ())
        ]  # fmt: skip
        asked_at = machine_clock()
        taken = await self._rows.take_calls(
            workflow_run_id, wanted, by=by, new=new, may=lambda held: _may_hold(held, len(placed)),
            decide=self.reserving.decide, lease_no=lease_no,
            holder=self._shared.leases.holder if self._shared is not None else None,
        )  # fmt: skip
        states: list[CallState] = []
        for at, call in enumerate(taken.calls):
            if call is not None and at not in taken.started:
                is_own = placed[at].token is not None and call.said.get("token") == placed[at].token
                states.append(self._told(taken.run, call, is_own=is_own))
                continue
            lacking = missed(placed[at], keys[at], fields[at], taken.nearest[placed[at].label])
            if call is None:
                states.append(lacking)
                continue
            self._waiting[call.call_id] = {workflow_run_id}
            if self._shared is not None:
                self._shared.leases.created(call.call_id, asked_at=asked_at)
            self._carry(call, workflow_run_id)
            running = state_of(call, "running", why=lacking.why)
            states.append(msgspec.structs.replace(running, difference=lacking.difference))
        return await self._ended_within(wait_s, workflow_run_id, states) if wait_s else states

    async def _ended_within(self, wait_s: float, workflow_run_id: str, states: list[CallState]) -> list[CallState]:
        """Returns the states with the ends of those that run and end in this time; why they ran stays said."""
        flying = {state.call_id: at for at, state in enumerate(states) if state.status == "running"}
        cursor: str | None = self.feeds.cursor(workflow_run_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while flying:
                    cursor, news, _ = await self.feeds.after(workflow_run_id, cursor, wait_s=wait_s)
                    for state in news:
                        if state.status != "running" and (at := flying.pop(state.call_id, None)) is not None:
                            why, apart = states[at].why, states[at].difference
                            states[at] = msgspec.structs.replace(state, why=why, difference=apart)
        return states

    def _told(self, run: WorkflowRun, call: StoredCall, *, is_own: bool) -> CallState:
        """Returns the state of a call that this pass has claimed, and sees that somebody carries it out. One of
        its own is not joined: what began it is asked once more."""
        if call.is_done:
            return state_of(call, "hit", why="unchanged")
        self._waiting.setdefault(call.call_id, set()).add(run.workflow_run_id)
        if call.call_id not in self._tasks:
            if self._shared is None:
                self.take_up(call, run.workflow_run_id)
            else:
                self._shared.watch(call.call_id)
        return msgspec.structs.replace(self._running(call), why=None if is_own else IN_FLIGHT)

    def _running(self, call: StoredCall) -> CallState:
        """Returns the state of a call in flight, with what it waits for a person with, or since when it is silent."""
        running = state_of(call, "running")
        waits_for: Any = self._waits.get(call.call_id)
        silent_since = None if waits_for is not None else self._silent.get(call.call_id)
        if waits_for is None and silent_since is None:
            return running
        # The row of a first try does not say its run.
        run_id = call.run_id or run_of(call)
        return msgspec.structs.replace(running, waits_for=waits_for, silent_since=silent_since, run_id=run_id)

    async def _digests_for(
        self, workflow_run_id: str, placed: Sequence[PlacedCall], *, by: Principal
    ) -> dict[str, str]:
        if all(call.kind != "workflow" for call in placed):
            return {}
        return await self.digests(await self._rows.get_workflow_run(workflow_run_id, by=by), placed)

    async def digests(self, run: WorkflowRun, placed: Sequence[PlacedCall]) -> dict[str, str]:
        """Returns the digests of the workflows that these calls call. Raises as `CalledWorkflows.digest_of`."""
        names = {call.prompt for call in placed if call.kind == "workflow"}
        if not names or self.workflows is None:
            return {}
        return {name: await self.workflows.digest_of(name, called_by=run.workflow) for name in names}

    async def look(self, workflow_run_id: str, call_ids: Sequence[str], *, by: Principal) -> list[CallState]:
        """Returns where these calls stand now, in order; one that was in flight and that nobody carries out is taken
        up. What there is none of is `gone`. Raises WorkflowRunNotFound."""
        run = await self._rows.get_workflow_run(workflow_run_id, by=by)
        found = {call.call_id: call for call in await self._rows.get_calls(call_ids, by=by)}
        missing = [call_id for call_id in call_ids if call_id not in found]
        gone = {state.call_id: state for state in await self._shared.faults_of(missing)} if self._shared else {}
        states = []
        for call_id in call_ids:
            call = found.get(call_id)
            if call is None:
                states.append(gone.get(call_id) or CallState(call_id=call_id, status="gone"))
            elif call.is_done:
                states.append(state_of(call, "done"))
            else:
                states.append(self._told(run, call, is_own=False))
        return states

    def check_model(self, name: str) -> None:
        """Raises UnknownModel naming the closest ones, BadCredentials where a key is missing."""
        self.resolver.check_model(name)

    async def stop(self, workflow_run_id: str, call_ids: Sequence[str], *, by: Principal) -> int:
        """Stops calls in flight at once, with their runs; returns how many. Raises WorkflowRunNotFound."""
        await self._rows.get_workflow_run(workflow_run_id, by=by)
        flying = [call for call in await self._rows.get_calls(call_ids, by=by) if not call.is_done]
        self._stopped.update(call.call_id for call in flying)
        # What has no run yet is let go of at once: a server that is killed now must not begin it when it starts again.
        here = [call for call in flying if self._shared is None or self.has(call.call_id)]
        await self._rows.drop_calls([call.call_id for call in here if not self._has_begun(call)])
        await asyncio.gather(*(self._stop(call, by=by) for call in flying))
        return len(flying)

    def _has_begun(self, call: StoredCall) -> bool:
        return call.run_id is not None or call.said.get("kind") == "workflow"

    async def _stop(self, call: StoredCall, *, by: Principal) -> None:
        try:
            if self.workflows is not None and call.said.get("kind") == "workflow":
                await self.workflows.stop(call, by=by)
            else:
                await self._interrupt(call.run_id or run_of(call), by=by)
            self.reserving.wake()
            if self._shared is not None and not self.has(call.call_id) and not await self._shared.has_begun(call):
                # The server that carries it out finds it gone, and begins nothing. What has begun ends by itself there.
                await self._rows.drop_calls([call.call_id])
            task = self._tasks.get(call.call_id)
            if task is not None:
                # It notices the end of its run, or that it is stopped before it has one.
                await asyncio.wait({task}, timeout=2.0)
        finally:
            if not self.has(call.call_id):
                self._stopped.discard(call.call_id)

    async def _interrupt(self, run_id: str, *, by: Principal) -> None:
        try:
            await self._runner.interrupt(run_id, by=by)
        except (RunFinished, RunNotFound):
            log.debug("Run %s was over, or had not begun, when it was to be stopped.", run_id)

    # --- carrying out ---------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Takes up the calls that were in flight when a server stopped; returns how many. Where other servers share the
        store, what they leave is taken up from now on, too."""
        if self._shared is not None:
            return await self._shared.open()
        flying = await self._rows.calls_in_flight()
        # As before: those of a pass work sixteen at a time, and their runs say which workflow they are of.
        passes = await self._rows.passes_in_flight()
        for call in flying:
            self.take_up(call, passes.get(call.call_id))
        return len(flying)

    async def close(self) -> None:
        """Lets go of all calls: those in flight are taken up when a server starts again, or by another one."""
        if self._shared is not None:
            await self._shared.leave()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))
        if self._shared is not None:
            await self._shared.close()

    def has(self, call_id: str) -> bool:
        """Tells whether something is being done about the call here."""
        return call_id in self._tasks

    def take_up(self, call: StoredCall, workflow_run_id: str | None) -> None:
        """Goes on with a call that was begun before, here or elsewhere."""
        self._taken_up.add(call.call_id)
        self._carry(call, workflow_run_id)

    def let_go(self, call_id: str) -> None:
        """Stops carrying out what another server may carry out by now. What is stopped ends by itself."""
        task = self._tasks.get(call_id)
        if task is not None and call_id not in self._stopped:
            task.cancel()
            self._left(call_id)

    def _left(self, call_id: str) -> None:
        self._waits.pop(call_id, None)
        self._taken_up.discard(call_id)
        self._stopped.discard(call_id)
        if self._shared is not None and self._waiting.get(call_id):
            self._shared.watch(call_id)

    def _carry(self, call: StoredCall, workflow_run_id: str | None) -> None:
        lease_no = self._shared.leases.number(call.call_id) if self._shared is not None else None
        work = self._own(call, workflow_run_id, lease_no)
        task = self._tasks[call.call_id] = asyncio.create_task(work, name=f"call {call.call_id}")
        task.add_done_callback(lambda _: self._tasks.pop(call.call_id, None))

    async def _own(self, call: StoredCall, workflow_run_id: str | None, lease_no: int | None) -> None:
        """Owns a call from its start to its answer: nothing it raises is lost."""
        place = workflow_run_id or call.call_id
        at_once = self._at_once.setdefault(place, asyncio.Semaphore(MAX_AT_ONCE))
        try:
            # People take as long as they like, and a workflow has turns of its own: agents do not queue behind them.
            async with at_once if call.said.get("kind", "agent") == "agent" else nullcontext():
                state = await self._to_its_end(call, workflow_run_id, lease_no)
        except LeaseLost as fault:
            log.warning("Call %s is left to another server: %s", call.call_id, fault)
            self._left(call.call_id)
            if self._shared is not None:
                await self._shared.leases.release(call.call_id)
            return
        if self._shared is not None:
            self._shared.leases.forget(call.call_id)
        self.reserving.end(call.call_id)
        self.tell_end(state)

    async def _to_its_end(self, call: StoredCall, workflow_run_id: str | None, lease_no: int | None) -> CallState:
        """Returns how a call ended, once that is written down. Raises LeaseLost where it is another server's."""
        try:
            reserved = await self.reserving.reserved(call, is_stopped=lambda: call.call_id in self._stopped)
            done = await self._answered(call, workflow_run_id, reserved)
            await self._lasting(lambda: self._rows.finish_call(done, lease_no=lease_no))
            return state_of(done, "done")
        except AgentError as fault:
            if isinstance(fault, LeaseLost) and lease_no is not None:
                raise
            return await self._failed(call, fault, lease_no)
        except Exception:
            log.exception("Call %s could not be carried out.", call.call_id)
            return await self._failed(call, AgentError("The server's log says what went wrong."), lease_no)

    def tell_end(self, state: CallState) -> None:
        """Tells those who wait for a call how it ended."""
        call_id = str(state.call_id)
        self._waits.pop(call_id, None)
        self._stopped.discard(call_id)
        self._taken_up.discard(call_id)
        for waiting in self._waiting.pop(call_id, ()):
            self.feeds[waiting].tell(state)

    async def _failed(self, call: StoredCall, fault: AgentError, lease_no: int | None) -> CallState:
        """Drops a call that failed, with what it took, and returns its state."""
        took = self.reserving.taken(call)
        told = {"code": fault.details.get("code", fault.code), "message": fault.message}
        why = told | ({"details": fault.details} if fault.details else {})
        await self._lasting(lambda: self._rows.fail_call(call.call_id, took=took, fault=why, lease_no=lease_no))
        return msgspec.structs.replace(
            state_of(call, "failed"), **told, details=fault.details or None, tokens=took[0], cost=took[1]
        )

    @staticmethod
    async def _lasting(write: Callable[[], Awaitable[None]]) -> None:
        """Writes, and waits while the store is full or away: an answer that was paid for is not thrown away."""
        while True:
            try:
                await write()
                return
            except StorageError as fault:
                log.warning("What became of a call cannot be written down yet: %s", fault)
                await asyncio.sleep(TRY_AGAIN_S)

    async def _answered(self, call: StoredCall, workflow_run_id: str | None, reserved: WorkflowBudget) -> StoredCall:
        """Returns the call with its answer, ended where it took what is reserved. Raises RunFailed, CallTimedOut,
        BudgetExceeded, SchemaNotSatisfied and what starting a run raises."""
        placed = placed_of(call)
        by = Principal(user_id=call.user_id, actor=f"workflow {call.workflow}")
        if placed.kind == "workflow":
            return await self._nested(call, reserved, by=by)
        first = request_for(placed, call, workflow_run_id=workflow_run_id)
        request, failures, cuts, wrong = first, 0, 0, 0
        call = msgspec.structs.replace(call, tries=max(call.tries, 1))
        if placed.kind in PEOPLE:
            return await self._said_by_a_person(call, placed, first, by=by)
        own = first.budget or self.resolver.run_budget
        while True:
            left = within(own, reserved, tokens=call.tokens or 0, cost=call.cost)
            request = msgspec.structs.replace(request, budget=left)
            call = await self._run(call, request, by=by)
            try:
                ended = await self._end(call, request, placed.timeout_s or DEFAULT_TIMEOUT_S, by=by)
            except CallTimedOut:
                run_id = str(call.run_id)
                await self._charged(call, self._journal.transcript(run_id) or await self._journal.load(run_id))
                raise
            call = await self._charged(call, ended)
            if ended.status is RunStatus.COMPLETED:
                if _was_cut(ended) and not ended.tool_calls and cuts < MAX_TRIES:
                    # Its answer is in pieces: nothing was done in the world, so it is simply asked for again.
                    cuts += 1
                else:
                    answer, problems = checked_answer(_text_of(ended), placed.schema)
                    if problems is None:
                        return _done(call, answer)
                    wrong += 1
                    if wrong == MAX_TRIES:
                        raise SchemaNotSatisfied(
                            f"None of {MAX_TRIES} answers had the form that was asked for. With the last one, "
                            f"{problems}.",
                            details={"wrong": problems},
                        )
                    # The thread takes the next run when its rows know that this one is over.
                    await self._over(ended.run_id, call, wholly=True)
                    request = request_again(first, _thread_of(ended), problems)
            elif ended.status is RunStatus.INTERRUPTED or failures >= placed.retries:
                raise _fault(ended)
            else:
                failures += 1
                request = first
            call = msgspec.structs.replace(call, tries=call.tries + 1, run_id=None)

    async def _run(self, call: StoredCall, request: RunRequest, *, by: Principal) -> StoredCall:
        """Returns the call with the run of this try: the one that was started before a server stopped, or a new one."""
        if call.run_id is not None:
            return call
        if call.call_id in self._stopped:
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
        call = msgspec.structs.replace(call, run_id=run_of(call))
        if call.call_id not in self._taken_up or not await self._is_there(str(call.run_id)):
            await self._start(call, request, by=by)
        if call.tries > 1:
            # What is written with a try is what those before it took: one that is counted after a restart counts once.
            await self._rows.update_call(
                call.call_id, run_id=call.run_id, tries=call.tries, tokens=call.tokens, cost=call.cost
            )
        return call

    async def _start(self, call: StoredCall, request: RunRequest, *, by: Principal) -> None:
        """Starts the run of this try, unless it was started meanwhile. Raises what starting a run does, LeaseLost."""
        run: Run | None
        if self._shared is None:
            run = await self._runner.start(request, by=by, run_id=call.run_id)
        elif (run := await self._started_once(call, request, self._shared, by=by)) is None:
            return
        for waiting in self._waiting.get(call.call_id, ()):
            self.feeds[waiting].tell(msgspec.structs.replace(state_of(call, "running"), model=run.model))
        if call.call_id in self._stopped:
            await self._interrupt(run.run_id, by=by)

    async def _started_once(
        self, call: StoredCall, request: RunRequest, shared: SharedCalls, *, by: Principal
    ) -> Run | None:
        """Returns the run of this try, None where another server has started it: it is the same one."""
        tries = START_TRIES
        while True:
            await shared.check(call.call_id)
            try:
                return await self._runner.start(request, by=by, run_id=call.run_id)
            except (LeaseLost, ThreadBusy):
                raise
            except Conflict:
                tries -= 1
                if await self._is_there(str(call.run_id)):
                    return None
                # What a dead server left of its start is being put away.
                if not tries:
                    raise
            await asyncio.sleep(TRY_AGAIN_S)

    async def _is_there(self, run_id: str) -> bool:
        """Tells whether the run of a try was started before a server stopped."""
        try:
            await self._rows.get_run(run_id, by=SYSTEM)
        except RunNotFound:
            return False
        return True

    async def _said_by_a_person(
        self, call: StoredCall, placed: PlacedCall, request: RunRequest, *, by: Principal
    ) -> StoredCall:
        """Returns a call with what a person said, however long they take. Raises RunFailed."""
        call = await self._run(call, request, by=by)
        ended = await self._end(call, request, None, by=by)
        if ended.status is not RunStatus.COMPLETED:
            raise _fault(ended)
        return _done(msgspec.structs.replace(call, tokens=0, cost=0.0), people.answer_of(placed, ended))

    async def _nested(self, call: StoredCall, reserved: WorkflowBudget, *, by: Principal) -> StoredCall:
        """Returns a call of another workflow with its result; it may take what is reserved. Raises what that ended
        with."""
        if self.workflows is None or call.call_id in self._stopped:
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
        if self._shared is not None:
            await self._shared.check(call.call_id)
        answer, tokens, cost = await self.workflows.result_of(
            call, by=by, budget=reserved, told=lambda status: self.tell_waiting(call, status)
        )
        return _done(msgspec.structs.replace(call, tries=1, tokens=tokens, cost=cost), answer)

    async def _end(
        self, call: StoredCall, request: RunRequest, timeout_s: float | None, *, by: Principal
    ) -> Transcript:
        """Returns what the run of a call came to when it is over. Time in which it waits for people does not count.
        Raises CallTimedOut."""
        run_id = str(call.run_id)
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._over(run_id, call)
            except RunNotFound:
                if self._shared is None or call.call_id in self._stopped:
                    raise
                # Its server died before its first event: whoever took it over put it away.
                await self._start(call, request, by=by)
            except TimeoutError:
                if (await self._rows.get_run(run_id, by=SYSTEM)).status in WAITING:
                    continue
                try:
                    await self._runner.interrupt(run_id, by=by)
                except RunFinished:
                    continue
                raise CallTimedOut(
                    f"It took longer than {timeout_s:g} s and was stopped. Give it more with timeout=.",
                    details={"timeoutS": timeout_s},
                ) from None

    async def _over(self, run_id: str, call: StoredCall, *, wholly: bool = False) -> Transcript:
        """Returns what a run came to as soon as that is written; `wholly` waits for the last event. Meanwhile it tells
        when the call waits for a person, and when nothing comes of it."""
        silence = Silence(lambda since: self._tell_silence(call, since), after_s=self._silent_after_s)
        try:
            return await self._followed(run_id, call, silence, wholly=wholly)
        finally:
            silence.end()
            self._silent.pop(call.call_id, None)

    async def _followed(self, run_id: str, call: StoredCall, silence: Silence, *, wholly: bool) -> Transcript:

        def is_over(live: Transcript | None) -> TypeGuard[Transcript]:
            return live is not None and (live.is_complete if wholly else live.status.is_terminal)

        while True:
            live = self._journal.transcript(run_id)
            if is_over(live):
                return live
            status = live.status if live is not None else (await self._rows.get_run(run_id, by=SYSTEM)).status
            if live is None and status.is_terminal:
                return await self._journal.load(run_id)
            self.tell_waiting(call, status)
            async for batch in self._journal.follow(run_id, after=(live.last_event_id or None) if live else None):
                silence.heard()
                for line in batch.lines:
                    # Most lines are a model's words: only those that may tell a status are read.
                    if _STATUS in line and isinstance(event := decode_line(line), StatusChange):
                        self.tell_waiting(call, event.status)
                if is_over(live):
                    break
            if is_over(live):
                return live

    def tell_waiting(self, call: StoredCall, status: RunStatus) -> None:
        """Tells whoever waits for the call that it begins to wait for a person, or does so no more."""
        waits = status if status in WAITING else None
        if waits is self._waits.get(call.call_id):
            return
        if waits is None:
            del self._waits[call.call_id]
        else:
            self._waits[call.call_id] = waits
        for waiting in self._waiting.get(call.call_id, ()):
            self.feeds[waiting].tell(self._running(call))

    def _tell_silence(self, call: StoredCall, since: datetime | None) -> None:
        """Tells whoever waits for the call that nothing comes of it, or that something does again."""
        if since is None:
            self._silent.pop(call.call_id, None)
        else:
            self._silent[call.call_id] = since
        if call.call_id not in self._waits:
            for waiting in self._waiting.get(call.call_id, ()):
                self.feeds[waiting].tell(self._running(call))

    async def _charged(self, call: StoredCall, ended: Transcript) -> StoredCall:
        """Returns the call with what this try took added to those before it."""
        tokens, cost = _spent(ended)
        if ended.tool_calls:
            # It may have had runs below it; rows know all of them when the last event is there.
            await self._over(ended.run_id, call, wholly=True)
            totals = await self._rows.run_totals(ended.run_id, by=SYSTEM)
            tokens, cost = totals.total_tokens, totals.cost
        if call.tokens is not None:
            cost = None if cost is None or call.cost is None else cost + call.cost
        tokens += call.tokens or 0
        self.reserving.charge(call.call_id, (tokens, cost))
        return msgspec.structs.replace(call, tokens=tokens, cost=cost)


def _spent(ended: Transcript) -> tuple[int, float | None]:
    """Returns the tokens and the cost of a run without those below it; None where the price of a call is unknown."""
    used = [one for one in (ended.usage, ended.helper_usage) if one.requests or one.total_tokens]
    costs = [one.cost for one in used]
    total = sum(one.total_tokens for one in used)
    return total, None if any(cost is None for cost in costs) else sum(cost or 0.0 for cost in costs)


def _thread_of(ended: Transcript) -> str:
    return ended.started.thread_id if ended.started is not None else ""


def _may_hold(held: int, more: int) -> None:
    """Raises TooManyCalls where so many more calls are too many for one run of a workflow."""
    if held + more > MAX_CALLS:
        raise too_many(more)


def too_many(count: int) -> TooManyCalls:
    """Returns the fault of a pass that would have more calls than it may."""
    return TooManyCalls(
        f"{count:,} calls more would be more than the {MAX_CALLS:,} that one run of the workflow may have; nothing was "
        "started. Begin a new pass, or make fewer.",
        details={"allowed": MAX_CALLS},
    )


def missed(placed: PlacedCall, key: str, fields: CallFields, nearest: Sequence[StoredCall]) -> CallState:
    """Returns the state of a call that has nothing to reuse, and why: compared with the nearest earlier one of its
    label, at its place if there is one."""
    why, found = "first time", None
    if placed.fresh:
        why = "fresh"
    elif nearest:
        at_place = [one for one in nearest if (one.cell, one.position) == (placed.cell, placed.position)]
        # Without a label only the place says that it is the same call, changed.
        near = at_place or ([*nearest] if placed.label is not None else [])
        alike = [one for one in nearest if one.key == key]
        if alike:
            why = "one more of the same"
        elif near:
            found = difference(fields, msgspec.convert(near[0].fields, CallFields))
            why = f"{found.field} changed" if found is not None else why
    return CallState(status="missed", key=key, why=why, difference=found, model=fields.model)


CUT: Final = "cut"
"""Why a turn stopped that a killed server or a lost stream left in its middle."""


def _was_cut(transcript: Transcript) -> bool:
    """Tells whether the answer was begun in one turn and ended in another."""
    return len(transcript.turns) > 1 and transcript.turns[-2].stop_reason == CUT


def _text_of(transcript: Transcript) -> str:
    """Returns the answer, with the pieces that were cut off before its last one."""
    turns = list(transcript.turns)
    pieces = [turns.pop().text] if turns else []
    while turns and turns[-1].stop_reason == CUT:
        pieces.insert(0, turns.pop().text)
    return "".join(pieces) or transcript.text


def _done(call: StoredCall, answer: str) -> StoredCall:
    now = utc_now()
    seconds = (now - call.created_at).total_seconds()
    return msgspec.structs.replace(call, is_done=True, answer=answer, done_at=now, seconds=seconds)


def _fault(ended: Transcript) -> AgentError:
    is_interrupted = ended.status is RunStatus.INTERRUPTED
    code = ended.error.code if ended.error else str(ended.status)
    message = (ended.error.message if ended.error else None) or ("It was stopped." if is_interrupted else "It failed.")
    return RunFailed(message, details={"code": code, "runId": ended.run_id})
