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
from weakref import WeakValueDictionary

import msgspec

from ..exceptions import AgentError, LeaseLost, StorageError, TooManyCalls
from ..journal import Journal
from ..records import Principal, RunStatus, StoredCall, WorkflowBudget, WorkflowRun, new_id, utc_now
from ..runtime import Runner
from ..script import MAX_AT_ONCE, MAX_CALLS
from ..script.key import key_of
from ..script.placed import IN_FLIGHT, CallState, PlacedCall
from ..storage import Storage
from ..storage.calls import Claim
from ..storage.clock import machine_clock
from .answering import TRY_AGAIN_S, Answering, CalledWorkflows
from .budget import TOKENS
from .call_states import missed, run_of, state_of
from .listeners import Listeners
from .reserving import Reserving
from .resolving import Resolver, said_of
from .shared_calls import SharedCalls
from .silence import SILENT_AFTER_S

log = logging.getLogger(__name__)


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
        self.resolver = resolver
        self.project = project
        self.budget = budget if budget is not None else WorkflowBudget(tokens=TOKENS)
        self.reserving = Reserving(storage.rows, run_budget=resolver.run_budget)
        self.listeners = Listeners()
        self.feeds = self.listeners.feeds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._at_once: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._shared: SharedCalls | None = None
        if lease_ttl_s is not None:
            self._shared = SharedCalls(storage.rows, self, project=project, ttl_s=lease_ttl_s)
        self._answering = Answering(
            rows=storage.rows, journal=journal, runner=runner, resolver=resolver, reserving=self.reserving,
            listeners=self.listeners, shared=self._shared, silent_after_s=silent_after_s,
        )  # fmt: skip

    @property
    def workflows(self) -> CalledWorkflows | None:
        """What carries out the workflows that calls call; None where nothing does."""
        return self._answering.workflows

    @workflows.setter
    def workflows(self, workflows: CalledWorkflows) -> None:
        self._answering.workflows = workflows

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
            self.listeners.add(call.call_id, workflow_run_id)
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
        self.listeners.add(call.call_id, run.workflow_run_id)
        if call.call_id not in self._tasks:
            if self._shared is None:
                self.take_up(call, run.workflow_run_id)
            else:
                self._shared.watch(call.call_id)
        return msgspec.structs.replace(self.listeners.running(call), why=None if is_own else IN_FLIGHT)

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
        self._answering.stopped.update(call.call_id for call in flying)
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
                await self._answering.interrupt(call.run_id or run_of(call), by=by)
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
                self._answering.stopped.discard(call.call_id)

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
        self._answering.taken_up.add(call.call_id)
        self._carry(call, workflow_run_id)

    def let_go(self, call_id: str) -> None:
        """Stops carrying out what another server may carry out by now. What is stopped ends by itself."""
        task = self._tasks.get(call_id)
        if task is not None and call_id not in self._answering.stopped:
            task.cancel()
            self._left(call_id)

    def _left(self, call_id: str) -> None:
        self.listeners.forget(call_id)
        self._answering.taken_up.discard(call_id)
        self._answering.stopped.discard(call_id)
        if self._shared is not None and self.listeners.has(call_id):
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
            reserved = await self.reserving.reserved(call, is_stopped=lambda: call.call_id in self._answering.stopped)
            done = await self._answering.answer(call, workflow_run_id, reserved)
            await self._lasting(lambda: self._rows.finish_call(done, lease_no=lease_no))
            return state_of(done, "done")
        except AgentError as fault:
            if isinstance(fault, LeaseLost) and lease_no is not None:
                raise
            return await self._failed(call, fault, lease_no)
        except Exception:
            log.exception("Call %s could not be carried out.", call.call_id)
            return await self._failed(call, AgentError("The server's log says what went wrong."), lease_no)

    def tell_waiting(self, call: StoredCall, status: RunStatus) -> None:
        """Tells those who wait for a call that it begins to wait for a person, or does so no more."""
        self.listeners.tell_waiting(call, status)

    def tell_end(self, state: CallState) -> None:
        """Tells those who wait for a call how it ended."""
        call_id = str(state.call_id)
        self._answering.stopped.discard(call_id)
        self._answering.taken_up.discard(call_id)
        self.listeners.tell_end(state)

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


def _may_hold(held: int, more: int) -> None:
    """Raises TooManyCalls where so many more calls are too many for one run of a workflow."""
    if held + more > MAX_CALLS:
        raise too_many(more)


def too_many(count: int) -> TooManyCalls:
    """Returns the fault of a pass that would have more calls than it may."""
    return TooManyCalls(
        f"One run of a workflow may have {MAX_CALLS:,} calls, and with {count:,} asked for now it would "
        "have more: none of these was started. Begin a new pass, or make fewer.",
        details={"allowed": MAX_CALLS},
    )
