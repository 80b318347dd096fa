"""A run as facts, whether it is ours or was imported: what is written for others."""

from collections.abc import Iterable
from itertools import groupby

from msgspec import Struct

from ..client.run import Run
from ..compact import CompactCall, CompactError, CompactRun, CompactTurn
from ..facts.messages import messages_of
from ..records import Message, Outcome, Text, Thinking, Usage
from ..transcript import ToolCallView, Transcript
from .facts import ImportedCall, ImportedMessage, ImportedRun, ImportedTurn
from .imported import ImportedTraces

OWN = "jupyter_agent"


class Story(Struct, frozen=True, kw_only=True):
    """One run and its facts, each in order."""

    run: ImportedRun
    turns: tuple[ImportedTurn, ...]
    messages: tuple[ImportedMessage, ...]
    calls: tuple[ImportedCall, ...]

    def answers(self) -> dict[int, ImportedMessage]:
        """Returns the message of each turn that has one: the first of an assistant in it."""
        found: dict[int, ImportedMessage] = {}
        for message in self.messages:
            if message.message.role == "assistant" and message.turn is not None:
                found.setdefault(message.turn, message)
        return found


def stories_of(imported: ImportedTraces) -> list[Story]:
    """Returns the runs of an import, each with what is its own."""
    turns = {run_id: tuple(facts) for run_id, facts in groupby(imported.turns, lambda fact: fact.run_id)}
    messages = {run_id: tuple(facts) for run_id, facts in groupby(imported.messages, lambda fact: fact.run_id)}
    calls = {run_id: tuple(facts) for run_id, facts in groupby(imported.tool_calls, lambda fact: fact.run_id)}
    return [
        Story(
            run=run,
            turns=turns.get(run.run_id, ()),
            messages=messages.get(run.run_id, ()),
            calls=calls.get(run.run_id, ()),
        )
        for run in imported.runs
    ]


# --- our own runs ---------------------------------------------------------------------------------------------


def story_of(run: Run) -> Story:
    """Returns one of our runs, as far as it is."""
    return run._feed.read(lambda seen: _told(seen, run.thread.id, run.model))


def _told(seen: Transcript, thread_id: str, model: str) -> Story:
    run_id, at = seen.run_id, seen.first_at
    turns = tuple(
        ImportedTurn(
            run_id=run_id, thread_id=thread_id, turn=turn.turn, model=turn.model or model,
            stop_reason=turn.stop_reason, usage=turn.usage, cost=turn.usage.cost if turn.usage else None,
            started_at=turn.started_at, finished_at=turn.finished_at, run_created_at=at,
        )
        for turn in seen.turns
    )  # fmt: skip
    calls = tuple(
        _call(call, position, run_id, thread_id)
        for turn in seen.turns
        for position, call in enumerate(turn.tool_calls.values())
    )
    messages = tuple(_messages(messages_of(seen), run_id, thread_id))
    run = ImportedRun(
        run_id=run_id, thread_id=thread_id, format=OWN, agent=seen.started.agent if seen.started else None,
        model=model, status=seen.status, started_at=at, ended_at=seen.last_at, usage=seen.usage,
        is_measured=seen.usage.total_tokens > 0, model_call_count=seen.model_call_count, tool_call_count=len(calls),
        message_count=len(messages), error_code=seen.error.code if seen.error else None,
        error_message=seen.error.message if seen.error else None,
    )  # fmt: skip
    return Story(run=run, turns=turns, messages=messages, calls=calls)


def _call(call: ToolCallView, position: int, run_id: str, thread_id: str) -> ImportedCall:
    outcome = call.outcome
    if outcome is None and call.result is not None:
        outcome = Outcome.ERROR if call.is_error else Outcome.SUCCESS
    return ImportedCall(
        run_id=run_id, thread_id=thread_id, turn=call.turn, position=position, tool_call_id=call.tool_call_id,
        name=call.name, arguments=call.approved_arguments or call.arguments, outcome=outcome, result=call.result,
        error=call.error, started_at=call.started_at, finished_at=call.finished_at, latency_ms=call.latency_ms,
    )  # fmt: skip


def _messages(messages: Iterable[Message], run_id: str, thread_id: str) -> Iterable[ImportedMessage]:
    turn = -1
    for message in messages:
        turn += message.role == "assistant"
        yield ImportedMessage(
            run_id=run_id, thread_id=thread_id, message=message, turn=turn if turn >= 0 else None,
            foreign_message_id=message.message_id,
        )  # fmt: skip


# --- as it is shown -------------------------------------------------------------------------------------------


def compact_of(story: Story) -> CompactRun:
    """Returns an imported run as views show runs."""
    run, answers = story.run, story.answers()
    calls = {turn: tuple(map(_compact_call, found)) for turn, found in groupby(story.calls, lambda call: call.turn)}
    asked = [found.message.text for found in story.messages if found.message.role == "user" and found.turn is None]
    turns = tuple(
        CompactTurn(
            turn=turn.turn,
            thinking=_joined(answers, turn.turn, Thinking),
            text=_joined(answers, turn.turn, Text) or turn.error or "",
            tool_calls=calls.get(turn.turn, ()),
            model=turn.model,
            usage=turn.usage,
            started_at=turn.started_at,
            finished_at=turn.finished_at,
            stop_reason=turn.stop_reason,
            is_complete=True,
        )
        for turn in story.turns
    )
    error = run.error_code or run.error_message
    return CompactRun(
        run_id=run.run_id,
        status=run.status,
        thread_id=run.thread_id,
        agent=run.agent,
        model=run.model,
        prompt="\n\n".join(text for text in asked if text),
        turns=turns,
        usage=run.usage if run.is_measured or run.usage.cost else Usage(),
        model_call_count=run.model_call_count,
        error=CompactError(code=run.error_code or "error", message=run.error_message or error) if error else None,
        is_complete=True,
        first_at=run.started_at,
        last_at=run.ended_at,
    )


def _joined(answers: dict[int, ImportedMessage], turn: int, kind: type[Text | Thinking]) -> str:
    found = answers.get(turn)
    return "\n".join(part.text for part in found.message.parts if isinstance(part, kind)) if found else ""


def _compact_call(call: ImportedCall) -> CompactCall:
    return CompactCall(
        tool_call_id=call.tool_call_id,
        name=call.name,
        arguments=call.arguments,
        is_ended=True,
        result=call.result,
        is_error=call.outcome in (Outcome.ERROR, Outcome.TIMED_OUT),
        decision=call.decision,
        started_at=call.started_at,
        outcome=call.outcome,
        latency_ms=call.latency_ms,
        error=call.error,
    )
