"""What a run's events say, as rows: pure functions of its transcript, and of its turns' blobs.

The projection writes them live and a rebuild writes them again, so both give the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from .. import events as ev
from ..cache_shape import lay_over
from ..exceptions import BlobDamaged, BlobNotFound, JournalDamaged
from ..records import (
    Approval,
    AskStatus,
    InputNeeded,
    Multitask,
    Outcome,
    Run,
    Segment,
    Text,
    ToolTrace,
    Turn,
    TurnSegment,
)
from ..storage.contract import BlobStore
from ..transcript import ToolCallView, Transcript, TurnView

FIRST_MESSAGE_CHARS: Final = 500
LAST_MESSAGE_CHARS: Final = 32 * 1024
TRACE_CHARS: Final = 8 * 1024
"""Of a tool call's input and output: rows are for lists and frames, the whole is in the journal and its blobs."""
ERROR_CHARS: Final = 500
NAME_CHARS: Final = 500
"""Of a tool's name, which models make up at any length: it stands in an index, and PostgreSQL's hold no more."""
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def row_of(transcript: Transcript, previous: Run | None = None) -> Run:
    """Returns a run's row. What its events do not say (`queued`, `rolled_back`, `detail_blob`) is as it was.

    Raises JournalDamaged for a transcript whose beginning is lost, when there is no row to go by either.
    """
    run = previous or _first_row(transcript)
    error = transcript.error
    first_at, last_at = transcript.first_at or run.created_at, transcript.last_at or run.updated_at
    return msgspec.structs.replace(
        run,
        status=transcript.status,
        created_at=first_at if transcript.started else run.created_at,
        updated_at=last_at,
        started_at=transcript.started_at,
        ended_at=transcript.ended_at,
        usage=transcript.usage,
        model_call_count=transcript.model_call_count,
        tool_call_count=len(transcript.tool_calls),
        # The person's message, which a fork can do without, and the model's of each turn.
        message_count=bool(run.input) + transcript.model_call_count,
        helper_tokens=transcript.helper_usage.total_tokens,
        helper_cost=transcript.helper_usage.cost,
        first_human_message=first_words(run),
        last_ai_message=transcript.text[:LAST_MESSAGE_CHARS] or None,
        error_code=error.code if error else None,
        error_message=error.message if error else None,
    )


def _first_row(transcript: Transcript) -> Run:
    started, at = transcript.started, transcript.first_at
    if started is None or at is None:
        raise JournalDamaged(f"The events of run {transcript.run_id!r} do not begin with run_started.")
    return Run(
        run_id=started.run_id,
        thread_id=started.thread_id,
        user_id=started.user_id,
        status=transcript.status,
        agent=started.agent,
        model=started.model,
        created_at=at,
        updated_at=at,
        multitask=Multitask(started.multitask),
        input=started.input,
        metadata=started.metadata,
        kwargs=_own_kwargs(started.kwargs),
        cell=started.cell,
        parent_run_id=started.parent_run_id,
        follow_up_to_run_id=started.follow_up_to_run_id,
        compare_group_id=started.compare_group_id,
        forked_from_run_id=started.fork.run_id if started.fork else None,
        forked_from_turn=started.fork.turn if started.fork else None,
        past_blob=started.fork.past if started.fork else None,
    )


def _own_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the caller's own kwargs. A run's first event keeps the whole request, which has them as one field."""
    own = kwargs.get("kwargs", {}) if "input" in kwargs else kwargs
    return dict(own)


def first_words(run: Run) -> str | None:
    """Returns the beginning of what a person said first in a run."""
    text = "\n".join(part.text for part in run.input if isinstance(part, Text))
    return text[:FIRST_MESSAGE_CHARS] or None


def turn_rows(transcript: Transcript) -> tuple[Turn, ...]:
    """Returns the rows of the committed turns."""
    return tuple(
        Turn(
            run_id=transcript.run_id,
            turn=turn.turn,
            blob=turn.blob,
            model=turn.model or "",
            stop_reason=turn.stop_reason or "",
            usage=turn.usage,
            started_at=turn.started_at,
            finished_at=turn.finished_at,
            cache_life_s=turn.cache_life_s,
        )
        for turn in transcript.turns
        if turn.blob and turn.usage is not None and turn.started_at and turn.finished_at
    )


class _Prompt(msgspec.Struct):
    """What a turn's blob says of its prompt."""

    segments: tuple[Segment, ...] = ()


async def segment_rows(turns: Iterable[Turn], blobs: BlobStore) -> list[TurnSegment]:
    """Returns the rows of the turns' prompts, region by region. A turn whose blob is gone or damaged has none."""
    rows: list[TurnSegment] = []
    for turn in turns:
        try:
            prompt = msgspec.json.decode(await blobs.get(turn.blob), type=_Prompt)
        except (BlobNotFound, BlobDamaged, msgspec.DecodeError):
            continue
        rows += _segments_of(turn, prompt.segments)
    return rows


def _segments_of(turn: Turn, segments: tuple[Segment, ...]) -> Iterator[TurnSegment]:
    laid = lay_over(segments, turn.usage)
    for position, (segment, (tokens, hit, miss)) in enumerate(zip(segments, laid, strict=True)):
        yield TurnSegment(
            run_id=turn.run_id,
            turn=turn.turn,
            position=position,
            region=segment.region,
            label=segment.label,
            fingerprint=segment.fingerprint,
            tokens=tokens,
            hit=hit,
            miss=miss,
        )


def trace_rows(transcript: Transcript, calls: Iterable[tuple[int, str]] | None = None) -> list[ToolTrace]:
    """Returns the rows of the tool calls of these (turn, tool call id), of all without them, in the order asked."""
    rows: list[ToolTrace] = []
    wanted = None if calls is None else set(calls)
    turns = {turn for turn, _ in wanted} if wanted is not None else range(len(transcript.turns))
    for number in sorted(turns):
        if number < len(transcript.turns):
            rows += _traces_of(transcript, transcript.turns[number], wanted)
    return rows


def _traces_of(transcript: Transcript, turn: TurnView, wanted: set[tuple[int, str]] | None) -> list[ToolTrace]:
    rows: list[ToolTrace] = []
    for position, call in enumerate(turn.tool_calls.values()):
        if wanted is None or (turn.turn, call.tool_call_id) in wanted:
            place = ToolTrace(
                run_id=transcript.run_id,
                thread_id=transcript.started.thread_id if transcript.started else "",
                turn=turn.turn,
                position=position,
                tool_call_id=call.tool_call_id,
                tool_name=call.name[:NAME_CHARS],
            )
            rows += [
                msgspec.structs.replace(
                    place, attempt=attempt, trace_id=start.trace_id, tool_input=start.tool_input[:TRACE_CHARS],
                    started_at=start.started_at, outcome=Outcome.UNKNOWN,
                )
                for attempt, start in enumerate(call.earlier)
            ]  # fmt: skip
            rows.append(_last_trace(place, call, is_over=transcript.is_complete))
    return rows


def _last_trace(place: ToolTrace, call: ToolCallView, *, is_over: bool) -> ToolTrace:
    executed = call.trace_started
    asked = executed.tool_input if executed else call.approved_arguments or call.arguments
    outcome = call.outcome
    if outcome is None and call.result is not None and executed is None:
        # It was answered without being executed: what it named or gave was wrong, or the run ended before.
        outcome = Outcome.ERROR if call.is_error else Outcome.SUCCESS
    if outcome is None and is_over:
        outcome = Outcome.UNKNOWN if executed else Outcome.INTERRUPTED
    return msgspec.structs.replace(
        place,
        attempt=len(call.earlier),
        trace_id=call.trace_id,
        tool_input=asked[:TRACE_CHARS],
        tool_output=None if call.result is None else call.result[:TRACE_CHARS],
        blob=call.blob,
        decision=call.last_decision,
        outcome=outcome,
        error=call.error or (call.result[:ERROR_CHARS] if call.is_error and call.result else None),
        started_at=call.started_at,
        finished_at=call.finished_at,
        latency_ms=call.latency_ms,
        tokens_used=call.tokens_used,
        cache_tokens=call.cache_tokens,
        reasoning_tokens=call.reasoning_tokens,
    )


def ask_rows(transcript: Transcript, ids: Iterable[str] | None = None) -> list[Approval | InputNeeded]:
    """Returns what people were asked, and what rules decided, by these ids (all without them), oldest first. What is
    open when the run ends has lapsed."""
    approvals = sorted(transcript.approvals.values(), key=lambda one: (one.asked_at, one.approval_id))
    questions = [*transcript.answered.values(), *transcript.inputs.values()]
    questions.sort(key=lambda one: (one.asked_at or EARLIEST, one.request_id))
    asked: list[Approval | InputNeeded] = [*approvals, *questions]
    if ids is not None:
        wanted = set(ids)
        asked = [one for one in asked if ask_id(one) in wanted]
    if not transcript.is_complete:
        return asked
    return [
        msgspec.structs.replace(one, status=AskStatus.LAPSED) if one.status is AskStatus.PENDING else one
        for one in asked
    ]


def ask_id(asked: Approval | InputNeeded) -> str:
    return asked.approval_id if isinstance(asked, Approval) else asked.request_id


def asks_named(event: ev.AnyEvent, transcript: Transcript) -> set[str]:
    """Returns the ids of the approvals and questions whose rows an event changes."""
    match event:
        case ev.ToolConfirmationRequest() | ev.ApprovalResolved():
            return {event.approval_id}
        case ev.InputRequest() | ev.InputReceived():
            return {event.request_id}
        case ev.SessionComplete():
            open_ones = {name for name, one in transcript.approvals.items() if one.status is AskStatus.PENDING}
            return open_ones | set(transcript.inputs)
        case _:
            return set()


def calls_named(event: ev.AnyEvent, transcript: Transcript) -> set[tuple[int, str]]:
    """Returns the tool calls, by turn and id, whose rows an event changes."""
    if isinstance(event, ev.TurnCommitted):
        turns = transcript.turns[event.turn : event.turn + 1]
        return {(turn.turn, name) for turn in turns for name in turn.tool_calls}
    if isinstance(event, ev.SessionComplete):
        return {place for place in all_calls(transcript) if transcript.tool_calls[place[1]].outcome is None}
    source = event.event if isinstance(event, ev.AgentEvent) else event
    call = transcript.tool_calls.get(getattr(source, "tool_call_id", ""))
    return {(call.turn, call.tool_call_id)} if call else set()


def all_calls(transcript: Transcript) -> set[tuple[int, str]]:
    return {(turn.turn, name) for turn in transcript.turns for name in turn.tool_calls}
