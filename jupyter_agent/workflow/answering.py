"""Has a call of a workflow answered: by runs of its own, tried and asked again where they do not say what is wanted, by
a person, or by another workflow.

A run that was started before a server stopped is found again by its id, and goes on being this call's.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, TypeGuard

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
    ThreadBusy,
)
from ..journal import Journal
from ..records import SYSTEM, Principal, Run, RunRequest, RunStatus, StoredCall, WorkflowBudget, utc_now
from ..runtime import Runner
from ..script import DEFAULT_TIMEOUT_S, MAX_TRIES, PEOPLE
from ..script.placed import PlacedCall
from ..storage.sql import SqlRows
from ..transcript import Transcript
from . import people
from .budget import within
from .call_states import run_of, state_of
from .listeners import WAITING, Listeners
from .reserving import Reserving
from .resolving import Resolver, checked_answer, placed_of, request_again, request_for
from .shared_calls import SharedCalls
from .silence import Silence

log = logging.getLogger(__name__)

TRY_AGAIN_S: Final = 1.0
START_TRIES: Final = 10
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


class Answering:
    """Has calls answered in this process. `stopped` are those that are to end, `taken_up` those that were begun before,
    here or elsewhere; `workflows` carries out those that call a workflow."""

    def __init__(
        self,
        *,
        rows: SqlRows,
        journal: Journal,
        runner: Runner,
        resolver: Resolver,
        reserving: Reserving,
        listeners: Listeners,
        shared: SharedCalls | None,
        silent_after_s: float,
    ) -> None:
        self._rows = rows
        self._journal = journal
        self._runner = runner
        self._resolver = resolver
        self._reserving = reserving
        self._listeners = listeners
        self._shared = shared
        self._silent_after_s = silent_after_s
        self.stopped: set[str] = set()
        self.taken_up: set[str] = set()
        self.workflows: CalledWorkflows | None = None

    async def answer(self, call: StoredCall, workflow_run_id: str | None, reserved: WorkflowBudget) -> StoredCall:
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
        if call.call_id in self.stopped:
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
        call = msgspec.structs.replace(call, run_id=run_of(call))
        if call.call_id not in self.taken_up or not await self._is_there(str(call.run_id)):
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
        self._listeners.tell(call.call_id, msgspec.structs.replace(state_of(call, "running"), model=run.model))
        if call.call_id in self.stopped:
            await self.interrupt(run.run_id, by=by)

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
        if self.workflows is None or call.call_id in self.stopped:
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
        if self._shared is not None:
            await self._shared.check(call.call_id)
        answer, tokens, cost = await self.workflows.result_of(
            call, by=by, budget=reserved, told=lambda status: self._listeners.tell_waiting(call, status)
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
                if self._shared is None or call.call_id in self.stopped:
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
        silence = Silence(lambda since: self._listeners.tell_silence(call, since), after_s=self._silent_after_s)
        try:
            return await self._followed(run_id, call, silence, wholly=wholly)
        finally:
            silence.end()
            self._listeners.forget_silence(call.call_id)

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
            self._listeners.tell_waiting(call, status)
            async for batch in self._journal.follow(run_id, after=(live.last_event_id or None) if live else None):
                silence.heard()
                for line in batch.lines:
                    # Most lines are a model's words: only those that may tell a status are read.
                    if _STATUS in line and isinstance(event := decode_line(line), StatusChange):
                        self._listeners.tell_waiting(call, event.status)
                if is_over(live):
                    break
            if is_over(live):
                return live

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
        self._reserving.charge(call.call_id, (tokens, cost))
        return msgspec.structs.replace(call, tokens=tokens, cost=cost)

    async def interrupt(self, run_id: str, *, by: Principal) -> None:
        """Stops the run of a call; what was over, or had not begun, is left as it is."""
        try:
            await self._runner.interrupt(run_id, by=by)
        except (RunFinished, RunNotFound):
            log.debug("Run %s was over, or had not begun, when it was to be stopped.", run_id)


def _spent(ended: Transcript) -> tuple[int, float | None]:
    """Returns the tokens and the cost of a run without those below it; None where the price of a call is unknown."""
    used = [one for one in (ended.usage, ended.helper_usage) if one.requests or one.total_tokens]
    costs = [one.cost for one in used]
    total = sum(one.total_tokens for one in used)
    return total, None if any(cost is None for cost in costs) else sum(cost or 0.0 for cost in costs)


def _thread_of(ended: Transcript) -> str:
    return ended.started.thread_id if ended.started is not None else ""


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
