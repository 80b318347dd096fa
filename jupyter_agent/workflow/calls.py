"""Calls of workflows: reused from the store, or run live by a task of the server's own.

The server stores an answer when the call's run completes, so that a kernel that is gone loses nothing; a call that was
in flight when the server was killed is taken up when it starts again, under the same key. Failures are not stored.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import msgspec

from ..events import StatusChange, decode_line
from ..exceptions import (
    AgentError,
    CallTimedOut,
    RunFailed,
    RunFinished,
    RunNotFound,
    SchemaNotSatisfied,
    StorageError,
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
from ..script.placed import CallState, CallStatus, PlacedCall
from ..storage import Storage
from ..storage.calls import Claim
from ..transcript import Transcript
from . import people
from .budget import TOKENS, within
from .feeds import Feeds
from .reserving import Reserving
from .resolving import Resolver, checked_answer, placed_of, request_again, request_for, said_of

log = logging.getLogger(__name__)

SEARCHED_RUNS: Final = 200
TRY: Final = "try"
"""Where a run's metadata keeps which try of which call it is."""
TRY_AGAIN_S: Final = 1.0
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
    ) -> None:
        """`budget` is what a pass may spend that says nothing of it."""
        self.rows = self._rows = storage.rows
        self._journal = journal
        self._runner = runner
        self._resolver = resolver
        self.fields = resolver.fields
        self.project = project
        self.budget = budget if budget is not None else WorkflowBudget(tokens=TOKENS)
        self.reserving = Reserving(storage.rows, run_budget=resolver.run_budget)
        self.feeds = Feeds()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, set[str]] = {}
        self._stopped: set[str] = set()
        self._run_of: dict[str, str] = {}
        self._taken_up: set[str] = set()
        self._waits: dict[str, RunStatus] = {}
        self.workflows: CalledWorkflows | None = None
        self._at_once: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    # --- passes ---------------------------------------------------------------------------------------------

    async def open(self, run: WorkflowRun, *, budget: WorkflowBudget | None = None) -> WorkflowRun:
        """Begins a pass, with this server's own budget where none is given; the same one twice is one. Raises
        Conflict."""
        limits = budget if budget is not None else self.budget
        return await self._rows.create_workflow_run(
            msgspec.structs.replace(run, budget_tokens=limits.tokens, budget_cost=limits.cost)
        )

    async def claim(
        self, workflow_run_id: str, placed: Sequence[PlacedCall], *, start: bool, by: Principal
    ) -> list[CallState]:
        """Claims results for the calls, in order. What has none is `missed`, or with `start` runs live from now on.

        Raises WorkflowRunNotFound, TooManyCalls and InvalidRequest; then nothing was claimed or started.
        """
        run = await self._rows.get_workflow_run(workflow_run_id, by=by)
        digests = await self.digests(run, placed)
        fields = [self._resolver.fields(call, workflow=digests.get(call.prompt)) for call in placed]
        keys = [key_of(one) for one in fields]
        said = [said_of(call) for call in placed]
        held = await self._rows.count_claims(workflow_run_id)
        if held + len(placed) > MAX_CALLS:
            raise too_many(len(placed))
        wanted = [Claim(key, call.cell, call.fresh, call.token) for key, call in zip(keys, placed, strict=True)]
        found = await self._rows.claim_calls(workflow_run_id, wanted, by=by)
        states = [None if hit is None else self._told(run, hit) for hit in found]
        lacking = [place for place, state in enumerate(states) if state is None]
        if start and lacking:
            now = utc_now()
            new = [
                StoredCall(
                    call_id=new_id("call"), user_id=run.user_id, workflow=run.workflow, project=run.project,
                    key=keys[at], fields=msgspec.to_builtins(fields[at]), said=said[at], label=placed[at].label,
                    cell=placed[at].cell, position=placed[at].position, created_at=now, used_at=now,
                )
                for at in lacking
            ]  # fmt: skip
            tokens = [placed[at].token for at in lacking]
            started = await self._rows.start_calls(
                workflow_run_id, new, by=by, tokens=tokens, decide=self.reserving.decide
            )
            for at, call in zip(lacking, started, strict=True):
                self._waiting[call.call_id] = {workflow_run_id}
                self._carry(call, workflow_run_id)
                states[at] = state_of(call, "running")
        elif lacking:
            nearest = await self._rows.nearest_calls(run, {placed[at].label for at in lacking})
            for at in lacking:
                states[at] = missed(placed[at], keys[at], fields[at], nearest[placed[at].label])
        return [state for state in states if state is not None]

    def _told(self, run: WorkflowRun, call: StoredCall) -> CallState:
        """Returns the state of a call that this pass has claimed, and sees that somebody carries it out."""
        if call.is_done:
            return state_of(call, "hit", why="unchanged")
        self._waiting.setdefault(call.call_id, set()).add(run.workflow_run_id)
        if call.call_id not in self._tasks:
            self._taken_up.add(call.call_id)
            self._carry(call, run.workflow_run_id)
        return msgspec.structs.replace(self._running(call), why="in flight")

    def _running(self, call: StoredCall) -> CallState:
        """Returns the state of a call in flight, with what it waits for a person with."""
        waits_for: Any = self._waits.get(call.call_id)
        return msgspec.structs.replace(state_of(call, "running"), waits_for=waits_for)

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
        states = []
        for call_id in call_ids:
            call = found.get(call_id)
            if call is None:
                states.append(CallState(call_id=call_id, status="gone"))
            elif call.is_done:
                states.append(state_of(call, "done"))
            else:
                states.append(self._told(run, call))
        return states

    def check_model(self, name: str) -> None:
        """Raises UnknownModel naming the closest ones, BadCredentials where a key is missing."""
        self._resolver.check_model(name)

    async def stop(self, workflow_run_id: str, call_ids: Sequence[str], *, by: Principal) -> int:
        """Stops calls in flight at once, with their runs; returns how many. Raises WorkflowRunNotFound."""
        await self._rows.get_workflow_run(workflow_run_id, by=by)
        flying = [call for call in await self._rows.get_calls(call_ids, by=by) if not call.is_done]
        self._stopped.update(call.call_id for call in flying)
        # What has no run yet is let go of at once: a server that is killed now must not begin it when it starts again.
        await self._rows.drop_calls([call.call_id for call in flying if not self._has_begun(call)])
        await asyncio.gather(*(self._stop(call, by=by) for call in flying))
        return len(flying)

    def _has_begun(self, call: StoredCall) -> bool:
        return call.run_id is not None or call.call_id in self._run_of or call.said.get("kind") == "workflow"

    async def _stop(self, call: StoredCall, *, by: Principal) -> None:
        # What was read of it may be older than its run.
        run_id = self._run_of.get(call.call_id, call.run_id)
        if self.workflows is not None and call.said.get("kind") == "workflow":
            await self.workflows.stop(call, by=by)
        elif run_id is not None:
            await self._interrupt(run_id, by=by)
        self.reserving.wake()
        task = self._tasks.get(call.call_id)
        if task is not None:
            # It notices the end of its run, or that it is stopped before it has one.
            await asyncio.wait({task}, timeout=2.0)
        else:
            self._stopped.discard(call.call_id)

    async def _interrupt(self, run_id: str, *, by: Principal) -> None:
        try:
            await self._runner.interrupt(run_id, by=by)
        except (RunFinished, RunNotFound):
            log.debug("Run %s was over when it was to be stopped.", run_id)

    # --- carrying out ---------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Takes up the calls that were in flight when a server stopped; returns how many."""
        flying = await self._rows.calls_in_flight()
        # As before: those of a pass work sixteen at a time, and their runs say which workflow they are of.
        passes = await self._rows.passes_in_flight()
        for call in flying:
            self._taken_up.add(call.call_id)
            self._carry(call, passes.get(call.call_id))
        return len(flying)

    async def close(self) -> None:
        """Lets go of all calls: those in flight are taken up when a server starts again."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    def _carry(self, call: StoredCall, workflow_run_id: str | None) -> None:
        work = self._own(call, workflow_run_id)
        task = self._tasks[call.call_id] = asyncio.create_task(work, name=f"call {call.call_id}")
        task.add_done_callback(lambda _: self._tasks.pop(call.call_id, None))

    async def _own(self, call: StoredCall, workflow_run_id: str | None) -> None:
        """Owns a call from its start to its answer: nothing it raises is lost."""
        place = workflow_run_id or call.call_id
        at_once = self._at_once.setdefault(place, asyncio.Semaphore(MAX_AT_ONCE))
        # People take as long as they like, and a workflow has turns of its own: agents do not queue behind them.
        async with at_once if call.said.get("kind", "agent") == "agent" else nullcontext():
            try:
                reserved = await self.reserving.reserved(call, is_stopped=lambda: call.call_id in self._stopped)
                done = await self._answered(call, workflow_run_id, reserved)
                await self._lasting(self._rows.finish_call, done)
                state = state_of(done, "done")
            except AgentError as fault:
                state = await self._failed(call, fault)
            except Exception:
                log.exception("Call %s could not be carried out.", call.call_id)
                state = await self._failed(call, AgentError("The server's log says what went wrong."))
        self.reserving.end(call.call_id)
        self._waits.pop(call.call_id, None)
        self._stopped.discard(call.call_id)
        self._run_of.pop(call.call_id, None)
        self._taken_up.discard(call.call_id)
        for waiting in self._waiting.pop(call.call_id, ()):
            self.feeds[waiting].tell(state)

    async def _failed(self, call: StoredCall, fault: AgentError) -> CallState:
        """Drops a call that failed, with what it took, and returns its state."""
        took = self.reserving.taken(call)
        await self._lasting(lambda call_id: self._rows.drop_calls([call_id], took=took), call.call_id)
        return msgspec.structs.replace(
            state_of(call, "failed"), code=fault.details.get("code", fault.code), message=fault.message,
            details=fault.details or None, tokens=took[0], cost=took[1],
        )  # fmt: skip

    @staticmethod
    async def _lasting(write: Callable[[Any], Awaitable[None]], what: object) -> None:
        """Writes, and waits while the store is full or away: an answer that was paid for is not thrown away."""
        while True:
            try:
                await write(what)
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
        own = first.budget or self._resolver.run_budget
        while True:
            left = within(own, reserved, tokens=call.tokens or 0, cost=call.cost)
            run, call = await self._run(call, msgspec.structs.replace(request, budget=left), by=by)
            try:
                ended = await self._end(run, call, placed.timeout_s or DEFAULT_TIMEOUT_S, by=by)
            except CallTimedOut:
                await self._charged(call, run)
                raise
            call = await self._charged(call, ended)
            if ended.status is RunStatus.COMPLETED:
                transcript = await self._journal.load(ended.run_id)
                if _was_cut(transcript) and not ended.tool_call_count and cuts < MAX_TRIES:
                    # Its answer is in pieces: nothing was done in the world, so it is simply asked for again.
                    cuts += 1
                else:
                    answer, problems = checked_answer(_text_of(transcript), placed.schema)
                    if problems is None:
                        return _done(call, answer)
                    wrong += 1
                    if wrong == MAX_TRIES:
                        raise SchemaNotSatisfied(
                            f"None of {MAX_TRIES} answers had the form that was asked for. With the last one, "
                            f"{problems}.",
                            details={"wrong": problems},
                        )
                    request = request_again(first, ended.thread_id, problems)
            elif ended.status is RunStatus.INTERRUPTED or failures >= placed.retries:
                raise _fault(ended)
            else:
                failures += 1
                request = first
            call = msgspec.structs.replace(call, tries=call.tries + 1, run_id=None)

    async def _run(self, call: StoredCall, request: RunRequest, *, by: Principal) -> tuple[Run, StoredCall]:
        """Returns the run of this try: the one that was started before a server stopped, or a new one."""
        if call.run_id is not None:
            return await self._rows.get_run(call.run_id, by=SYSTEM), call
        if call.call_id in self._stopped:
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
        name = f"{call.call_id}-{call.tries}"
        run = await self._started_before(name, by=by) if call.call_id in self._taken_up else None
        if run is None:
            run = await self._runner.start(
                msgspec.structs.replace(request, metadata={**request.metadata, TRY: name}), by=by
            )
        self._run_of[call.call_id] = run.run_id
        if call.call_id in self._stopped:
            # It was to be stopped while its run was about to start.
            await self._interrupt(run.run_id, by=by)
        call = msgspec.structs.replace(call, run_id=run.run_id)
        # What is written with a try is what those before it took: a try that is counted after a restart counts once.
        await self._rows.update_call(
            call.call_id, run_id=run.run_id, tries=call.tries, tokens=call.tokens, cost=call.cost
        )
        for waiting in self._waiting.get(call.call_id, ()):
            self.feeds[waiting].tell(msgspec.structs.replace(state_of(call, "running"), model=run.model))
        return run, call

    async def _started_before(self, name: str, *, by: Principal) -> Run | None:
        """Finds the run of a try that was started and not written down before a server stopped, among the newest."""
        page = await self._rows.list_runs(by=by, limit=SEARCHED_RUNS)
        return next((run for run in page.items if run.metadata.get(TRY) == name), None)

    async def _said_by_a_person(
        self, call: StoredCall, placed: PlacedCall, request: RunRequest, *, by: Principal
    ) -> StoredCall:
        """Returns a call with what a person said, however long they take. Raises RunFailed."""
        run, call = await self._run(call, request, by=by)
        ended = await self._end(run, call, None, by=by)
        if ended.status is not RunStatus.COMPLETED:
            raise _fault(ended)
        transcript = await self._journal.load(ended.run_id)
        return _done(msgspec.structs.replace(call, tokens=0, cost=0.0), people.answer_of(placed, transcript))

    async def _nested(self, call: StoredCall, reserved: WorkflowBudget, *, by: Principal) -> StoredCall:
        """Returns a call of another workflow with its result; it may take what is reserved. Raises what that ended
        with."""
        if self.workflows is None or call.call_id in self._stopped:
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
        answer, tokens, cost = await self.workflows.result_of(
            call, by=by, budget=reserved, told=lambda status: self._tell_waiting(call, status)
        )
        return _done(msgspec.structs.replace(call, tries=1, tokens=tokens, cost=cost), answer)

    async def _end(self, run: Run, call: StoredCall, timeout_s: float | None, *, by: Principal) -> Run:
        """Returns the run when it is over. Time in which it waits for people does not count. Raises CallTimedOut."""
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._over(run.run_id, call)
            except TimeoutError:
                if (await self._rows.get_run(run.run_id, by=SYSTEM)).status in WAITING:
                    continue
                try:
                    await self._runner.interrupt(run.run_id, by=by)
                except RunFinished:
                    continue
                raise CallTimedOut(
                    f"It took longer than {timeout_s:g} s and was stopped. Give it more with timeout=.",
                    details={"timeoutS": timeout_s},
                ) from None

    async def _over(self, run_id: str, call: StoredCall) -> Run:
        while True:
            run = await self._rows.get_run(run_id, by=SYSTEM)
            if run.status.is_terminal:
                return run
            live = self._journal.transcript(run_id)
            self._tell_waiting(call, live.status if live else run.status)
            async for batch in self._journal.follow(run_id, after=(live.last_event_id or None) if live else None):
                for line in batch.lines:
                    # Most lines are a model's words: only those that may tell a status are read.
                    if _STATUS in line and isinstance(event := decode_line(line), StatusChange):
                        self._tell_waiting(call, event.status)

    def _tell_waiting(self, call: StoredCall, status: RunStatus) -> None:
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

    async def _charged(self, call: StoredCall, run: Run) -> StoredCall:
        """Returns the call with what this try took added to those before it."""
        totals = await self._rows.run_totals(run.run_id, by=SYSTEM)
        cost = totals.cost
        if call.tokens is not None:
            cost = None if cost is None or call.cost is None else cost + call.cost
        tokens = (call.tokens or 0) + totals.total_tokens
        self.reserving.charge(call.call_id, (tokens, cost))
        return msgspec.structs.replace(call, tokens=tokens, cost=cost)


def state_of(call: StoredCall, status: CallStatus, *, why: str | None = None) -> CallState:
    """Returns the state of a stored call."""
    return CallState(
        call_id=call.call_id, status=status, key=call.key, why=why, answer=call.answer, run_id=call.run_id,
        tries=call.tries, tokens=call.tokens, cost=call.cost, seconds=call.seconds, created_at=call.created_at,
        model=call.fields.get("model"),
    )  # fmt: skip


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


def _fault(run: Run) -> AgentError:
    code = run.error_code or str(run.status)
    message = run.error_message or ("It was stopped." if run.status is RunStatus.INTERRUPTED else "It failed.")
    return RunFailed(message, details={"code": code, "runId": run.run_id})
