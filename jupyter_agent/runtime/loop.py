"""The agent loop: turn after turn, until the model stops, a budget ends or somebody interrupts.

    build the request → stream it, appending events → commit the turn → perform its tool calls → next turn

What is to be done next follows from the journal alone, so that going on after a crash is the same as going on.
"""

import asyncio
import logging
import random
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple

import msgspec

from .. import events as ev
from ..exceptions import BudgetExceeded, LoopDetected, ModelError, StreamCut
from ..models.contract import ModelRequest
from ..models.prompt import segments_of
from ..records import Message, Outcome, Segment, Text, TurnRecord, utc_now
from . import compaction
from .active import ActiveRun
from .answer import Answer
from .calls import close_calls, perform
from .history import CLOSING_NOTE, CUT_NOTE, images_of, mended, results_of

log = logging.getLogger(__name__)

LOOP_AT = 3
LOOP_NOTE = (
    "You made the same call twice and got the same result. Doing it again changes nothing: go another way or answer."
)


async def carry_on(run: ActiveRun) -> None:
    """Carries the run to its answer. Raises BudgetExceeded, LoopDetected, ModelError, StorageError."""
    await bring_to_rest(run)
    while True:
        try:
            await _act_on_last_turn(run)
            if _is_answered(run):
                return
            run.meter.reserve_turn()
            turn = await make_turn(run)
            if turn.complete and turn.response.tool_calls:
                run.meter.reserve_tool_calls(len(turn.response.tool_calls))
        except (BudgetExceeded, LoopDetected) as stop:
            await _close_with_words(run, stop)
            raise


async def _act_on_last_turn(run: ActiveRun) -> None:
    """Performs what the last turn asked for and closes the turn. Raises LoopDetected."""
    if not run.turns:
        return
    last = run.turns[-1]
    await perform(run, last.response.tool_calls)
    if not run.transcript.turns[last.turn].is_complete:
        await run.stream(ev.StepComplete(step_index=last.turn))
    if _repeats(run) >= LOOP_AT:
        call = last.response.tool_calls[-1]
        raise LoopDetected(
            f"The agent called {call.name} {LOOP_AT} times in a row with the same arguments and the same result, so "
            "it was "
            "stopped. Say differently what you want, or try another model."
        )


def _is_answered(run: ActiveRun) -> bool:
    return bool(run.turns) and run.turns[-1].complete and not run.turns[-1].response.tool_calls


async def bring_to_rest(run: ActiveRun) -> None:
    """Closes what a crash left open: an answer that was cut off is committed as far as it came, and marked as cut."""
    view = run.transcript.turns[-1] if run.transcript.turns else None
    if view is None or view.is_complete:
        return
    if view.blob is None:
        await close_calls(
            run, Outcome.INTERRUPTED, "The answer that asked for this call was cut off: it was not executed."
        )
        text = (Text(text=view.text),) if view.text else ()
        await _commit(
            run,
            TurnRecord(
                run_id=run.run_id,
                turn=view.turn,
                model=run.model.name,
                request=new_messages(run),
                response=Message(role="assistant", parts=text),
                stop_reason="cut",
                usage=Answer(run).usage,
                started_at=view.started_at or utc_now(),
                finished_at=utc_now(),
                complete=False,
            ),
        )
    elif view.message_id is None and run.turns:
        await run.stream(ev.MessageComplete(message_id=run.turns[-1].response.message_id or f"msg_{view.turn}"))


class _Asked(NamedTuple):
    """What was asked in one turn: what was new in it, the regions of the whole prompt, and when it was sent."""

    new: tuple[Message, ...]
    segments: tuple[Segment, ...]
    at: datetime


# --- one turn -------------------------------------------------------------------------------------------------


async def make_turn(run: ActiveRun, *, closing_note: str | None = None) -> TurnRecord:
    """Asks the model once, with retries as long as nobody has seen anything, and commits its answer.

    With `closing_note` the model gets no tools. Raises ModelError.
    """
    await compaction.compact_if_needed(run)
    new = new_messages(run, note=closing_note)
    request = await _request(run, new, has_tools=closing_note is None)
    has_summary = run.transcript.compacted is not None
    segments = segments_of(request, has_summary=has_summary, tools_first=run.model.tools_first)
    attempt = 0
    while True:
        answer, asked = Answer(run), _Asked(new, segments, utc_now())
        try:
            async with aclosing(run.model.stream(request)) as pieces:
                async for piece in pieces:
                    await answer.take(piece)
            if answer.finished is None:
                raise StreamCut(f"The answer of {run.model.name} stopped in the middle. Try again.")
        except ModelError as fault:
            if answer.has_begun:
                turn = await _commit_answer(run, answer, asked, is_complete=False)
                if not fault.retryable or _cuts(run) > run.means.settings.retries:
                    raise
                return turn
            patience_s = run.means.settings.longest_retry_after_s
            if not fault.retryable or attempt >= run.means.settings.retries or (fault.retry_after_s or 0) > patience_s:
                raise
            await _back_off(run, fault, attempt)
            attempt += 1
        else:
            return await _commit_answer(run, answer, asked, is_complete=True)


async def _back_off(run: ActiveRun, fault: ModelError, attempt: int) -> None:
    delay_s = fault.retry_after_s
    if delay_s is None:
        delay_s = run.means.settings.retry_base_s * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
    await run.append(ev.ModelRetry(attempt=attempt + 1, code=fault.code, delay_s=round(delay_s, 3)))
    await asyncio.sleep(delay_s)


async def _request(run: ActiveRun, new: tuple[Message, ...], *, has_tools: bool) -> ModelRequest:
    messages = mended([*await compaction.visible_messages(run), *new])
    blobs = run.means.blobs
    images = {key: await blobs.get(key) for key in images_of(messages)} if run.model.sees_images else {}
    return ModelRequest(
        messages=messages,
        tools=run.toolbox.specs() if has_tools else (),
        instructions=run.instructions,
        turn=run.played + sum(turn.complete for turn in run.turns),
        run_id=run.run_id,
        thread_id=run.thread_id,
        images=images,
        settings=run.request.kwargs,
    )


def new_messages(run: ActiveRun, *, note: str | None = None) -> tuple[Message, ...]:
    """Returns what the next request adds to the messages so far: the person's words, or the last turn's results and
    notes."""
    if not run.turns:
        new = [run.input]
    else:
        last = run.turns[-1]
        new = [results_of(last, run.transcript)]
        if not last.complete:
            new.append(Message(role="user", parts=(Text(text=CUT_NOTE),)))
        elif _repeats(run) == LOOP_AT - 1:
            new.append(Message(role="user", parts=(Text(text=LOOP_NOTE),)))
    if note is not None:
        new.append(Message(role="user", parts=(Text(text=note),)))
    return tuple(message for message in new if message.parts)


async def _commit_answer(run: ActiveRun, answer: Answer, asked: "_Asked", *, is_complete: bool) -> TurnRecord:
    await answer.close()
    if not is_complete:
        await close_calls(
            run, Outcome.INTERRUPTED, "The answer that asked for this call was cut off: it was not executed."
        )
    name = (answer.finished.model if answer.finished else None) or run.model.name
    usage = answer.usage
    if usage.cost is None:
        prices = run.means.prices
        if prices.needs_list(run.model.name):
            # In a thread: the list is read when it is first needed, which takes a while.
            cost = await asyncio.to_thread(prices.cost, run.model.name, usage)
        else:
            cost = prices.cost(run.model.name, usage)
        usage = msgspec.structs.replace(usage, cost=cost)
    await answer.show_usage(usage, is_final=True)
    return await _commit(
        run,
        TurnRecord(
            run_id=run.run_id,
            turn=len(run.turns),
            model=name,
            request=asked.new,
            response=answer.message if is_complete else answer.cut_message,
            stop_reason=answer.finished.stop_reason if answer.finished and is_complete else "cut",
            usage=usage,
            started_at=asked.at,
            finished_at=utc_now(),
            complete=is_complete,
            segments=asked.segments,
        ),
    )


async def _commit(run: ActiveRun, turn: TurnRecord) -> TurnRecord:
    """Makes the turn durable, then tells."""
    blob = await run.keep(msgspec.json.encode(turn))
    await run.append(
        ev.TurnCommitted(
            turn=turn.turn,
            blob=blob,
            model=turn.model,
            usage=turn.usage,
            started_at=turn.started_at,
            finished_at=turn.finished_at,
            stop_reason=turn.stop_reason,
            cache_life_s=run.model.cache_life_s(run.request.kwargs),
        )
    )
    run.turns.append(turn)
    run.meter.settle_turn(turn.usage)
    await run.stream(ev.MessageComplete(message_id=turn.response.message_id or f"msg_{turn.turn}"))
    return turn


# --- ends -----------------------------------------------------------------------------------------------------


def _repeats(run: ActiveRun) -> int:
    """Returns how many of the last calls in a row had the same name, arguments and result."""
    calls = list(run.transcript.tool_calls.values())[-LOOP_AT:]
    count = 0
    for call in reversed(calls):
        if (call.name, call.arguments, call.result) != (calls[-1].name, calls[-1].arguments, calls[-1].result):
            break
        count += 1
    return count


def _cuts(run: ActiveRun) -> int:
    """Returns how many of the last turns in a row were cut off."""
    count = 0
    while count < len(run.turns) and not run.turns[-1 - count].complete:
        count += 1
    return count


async def _close_with_words(run: ActiveRun, stop: BudgetExceeded | LoopDetected) -> None:
    """Lets the model sum up once, without tools, where the budget has a turn and time left for it."""
    await close_calls(run, Outcome.INTERRUPTED, f"Not executed: {stop.message}")
    if run.turns and not run.transcript.turns[-1].is_complete:
        await run.stream(ev.StepComplete(step_index=run.turns[-1].turn))
    try:
        run.meter.reserve_turn()
        await make_turn(run, closing_note=f"{CLOSING_NOTE}{stop.message} Sum up what you found and what is open.")
        await run.stream(ev.StepComplete(step_index=run.turns[-1].turn))
    except (BudgetExceeded, ModelError) as fault:
        log.info("Run %s ends without closing words: %s", run.run_id, fault)
