"""A transcript as plain data: what a view needs to show a run, without its events.

It is what `GET runs/{id}/transcript` answers, what a notebook keeps of a run, and what the lab extension's own fold
makes of the same events. The golden transcripts hold Python and TypeScript to the same result.

Rules:

- The form for a live view is whole and names what waits by its id. The form to keep (`kept`) is bounded and names no
  approval and no question: opening somebody's notebook must give nothing to decide.
- Nothing in it is an address or a credential.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from . import events as ev
from .records import (
    Approval,
    Decision,
    Image,
    InputNeeded,
    InputPart,
    Outcome,
    Record,
    RunStatus,
    Usage,
    written_always,
)
from .transcript import ToolCallView, Transcript, TurnView


class CompactCall(Record, frozen=True, kw_only=True):
    """One tool call. `arguments` is JSON text, the approved one where a person edited it: then `is_edited`, and what
    the model wrote changes nothing any more. `result` is None until there is one, `progress` what it said until then.
    """

    tool_call_id: str
    name: str
    arguments: str = ""
    is_edited: bool = False
    is_ended: bool = False
    progress: str = ""
    result: str | None = None
    is_error: bool = False
    truncated: bool = False
    blob: str | None = None
    diff: str | None = None
    mime: dict[str, str] = msgspec.field(default_factory=dict)
    decision: Decision | None = None
    started_at: datetime | None = None
    outcome: Outcome | None = None
    latency_ms: float | None = None
    error: str | None = None


class CompactTurn(Record, frozen=True, kw_only=True):
    """One turn: what the model thought and said, and the tool calls it asked for."""

    turn: int
    thinking: str = ""
    text: str = ""
    tool_calls: tuple[CompactCall, ...] = ()
    model: str | None = None
    usage: Usage | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stop_reason: str | None = None
    is_complete: bool = False


class CompactWait(Record, frozen=True, kw_only=True):
    """Something that waited for a person when the run was kept: told, never answered. `what` is the tool that is to be
    approved, or the question."""

    kind: str
    what: str


class CompactError(Record, frozen=True, kw_only=True):
    code: str
    message: str


class CompactRun(Record, frozen=True, kw_only=True):
    """A run at an instant. Everything after `last_event_id` is not in it yet.

    `usage` counts the committed turns; `live_usage` the turn that is being made. `is_complete` when the run's last
    event is in it: nothing follows. `first_at` and `last_at` are the times of the first and last event. `detail` is the
    key of the archived run's detail. Of the form to keep, `left_out` counts the turns and characters that are only on
    the server.
    """

    schema_version: int = written_always()
    run_id: str
    status: RunStatus
    thread_id: str | None = None
    agent: str | None = None
    model: str | None = None
    prompt: str = ""
    pictures: int = 0
    forked_from_run_id: str | None = None
    forked_from_turn: int | None = None
    turns: tuple[CompactTurn, ...] = ()
    usage: Usage = Usage()
    live_usage: ev.UsageReported | None = None
    context_used: int = 0
    context_max: int | None = None
    model_call_count: int = 0
    approvals: tuple[Approval, ...] = ()
    inputs: tuple[InputNeeded, ...] = ()
    waiting: tuple[CompactWait, ...] = ()
    error: CompactError | None = None
    summary: str | None = None
    is_complete: bool = False
    first_at: datetime | None = None
    last_at: datetime | None = None
    last_event_id: str = ""
    detail: str | None = None
    left_out_turns: int = 0
    left_out_characters: int = 0

    @property
    def is_final(self) -> bool:
        """Whether it is a run as it ended."""
        return self.status.is_terminal


def compact(seen: Transcript, *, detail: str | None = None) -> CompactRun:
    """Returns all of a transcript as plain data."""
    started = seen.started
    return CompactRun(
        run_id=seen.run_id,
        status=seen.status,
        thread_id=started.thread_id if started else None,
        agent=started.agent if started else None,
        model=started.model if started else None,
        prompt=_prompt(started.input) if started else "",
        pictures=sum(isinstance(part, Image) for part in started.input) if started else 0,
        forked_from_run_id=started.fork.run_id if started and started.fork else None,
        forked_from_turn=started.fork.turn if started and started.fork else None,
        turns=tuple(map(_turn, seen.turns)),
        usage=seen.usage,
        live_usage=seen.live_usage,
        context_used=seen.context.context_used if seen.context else 0,
        context_max=seen.context.context_max if seen.context else None,
        model_call_count=seen.model_call_count,
        approvals=seen.pending_approvals,
        inputs=seen.pending_inputs,
        error=CompactError(code=seen.error.code, message=seen.error.message) if seen.error else None,
        summary=seen.summary,
        is_complete=seen.is_complete,
        first_at=seen.first_at,
        last_at=seen.last_at,
        last_event_id=seen.last_event_id,
        detail=detail,
    )


def _prompt(parts: Iterable[InputPart]) -> str:
    return "\n\n".join(part.text for part in parts if not isinstance(part, Image))


def _turn(turn: TurnView) -> CompactTurn:
    return CompactTurn(
        turn=turn.turn,
        thinking=turn.thinking,
        text=turn.text,
        tool_calls=tuple(map(compact_call, turn.tool_calls.values())),
        model=turn.model,
        usage=turn.usage,
        started_at=turn.started_at,
        finished_at=turn.finished_at,
        stop_reason=turn.stop_reason,
        is_complete=turn.is_complete,
    )


def compact_call(call: ToolCallView) -> CompactCall:
    """Returns a tool call as plain data."""
    return CompactCall(
        tool_call_id=call.tool_call_id,
        name=call.name,
        arguments=call.approved_arguments or call.arguments,
        is_edited=bool(call.approved_arguments),
        is_ended=call.is_ended,
        progress=call.progress if call.result is None else "",
        result=call.result,
        is_error=call.is_error,
        truncated=call.truncated,
        blob=call.blob,
        diff=call.diff,
        mime=call.mime,
        decision=Decision(call.last_decision) if call.last_decision else None,
        started_at=call.started_at,
        outcome=call.outcome,
        latency_ms=call.latency_ms,
        error=call.error,
    )


# --- to keep --------------------------------------------------------------------------------------------------

KEPT_BYTES = 256 * 1024
"""The most that a notebook keeps of one run, as JSON."""

KEPT_STEPS = (KEPT_BYTES, 64_000, 16_000, 4_000, 1_000, 250)
"""How many characters of one text are kept, tried one after the other until the whole fits."""

WAITS_KEPT = 20
WAIT_CHARS = 500
NAME_CHARS = 250
"""Characters of a name that somebody else chose: a model, a tool, a stop reason."""
MIMES_KEPT = 16
ENVELOPE_BYTES = 400
"""What the parts of a run that are measured one by one need around them."""


def kept(run: CompactRun, *, most: int = KEPT_BYTES) -> CompactRun:
    """Returns what a notebook keeps of a run: at most `most` bytes of JSON (not less than 64 KiB).

    Long texts are cut first, all to the same length; where that does not do, the oldest turns and tool calls are left
    out. However long the run, no more is looked at than fits, so it takes milliseconds.
    """
    cut = _cut(run, most)
    # What was cut and what was left out, in one count: every character that is not in it.
    return msgspec.structs.replace(
        cut,
        left_out_turns=len(run.turns) - len(cut.turns),
        left_out_characters=sum(map(len, texts_of(run))) - sum(map(len, texts_of(cut))),
    )


def _cut(run: CompactRun, most: int) -> CompactRun:
    for limit in KEPT_STEPS[:-1]:
        keeper = _Keeper(limit, most)
        cut = keeper.keep(run)
        if not keeper.is_full:
            return cut
    return _Keeper(KEPT_STEPS[-1], most).keep(run)


def texts_of(run: CompactRun) -> Iterator[str]:
    """Yields what people, models and tools said in a run, everything that may be cut."""
    yield run.prompt
    yield run.summary or ""
    yield run.error.message if run.error else ""
    for turn in run.turns:
        yield turn.thinking
        yield turn.text
        for call in turn.tool_calls:
            yield from (call.arguments, call.progress, call.result or "", call.diff or "", call.error or "")


class _Keeper:
    """Keeps a run with texts of at most `limit` characters, the newest first, until `most` bytes are full."""

    def __init__(self, limit: int, most: int) -> None:
        self.is_full = False
        self._limit = limit
        self._left = most - ENVELOPE_BYTES
        self._encode = msgspec.json.Encoder().encode

    def keep(self, run: CompactRun) -> CompactRun:
        head = self._head(run)
        self._take(head)
        turns: list[CompactTurn] = []
        for turn in reversed(run.turns):
            if not self._take(own := self._turn(turn)):
                break
            turns.append(msgspec.structs.replace(own, tool_calls=self._calls(turn)))
        return msgspec.structs.replace(head, turns=tuple(reversed(turns)))

    def _calls(self, turn: CompactTurn) -> tuple[CompactCall, ...]:
        calls: list[CompactCall] = []
        for call in reversed(turn.tool_calls):
            if not self._take(cut := self._call(call)):
                break
            calls.append(cut)
        return tuple(reversed(calls))

    def _take(self, part: Record) -> bool:
        """Takes a part, with its comma and the name of its list, if there is room; there is none for what is older
        than something that did not fit."""
        size = len(self._encode(part)) + len(b',"toolCalls":[]')
        self.is_full = self.is_full or size > self._left
        self._left -= size
        return not self.is_full

    def _head(self, run: CompactRun) -> CompactRun:
        error = run.error and CompactError(code=run.error.code[:NAME_CHARS], message=self._short(run.error.message))
        return msgspec.structs.replace(
            run,
            agent=_name(run.agent),
            model=_name(run.model),
            prompt=self._short(run.prompt),
            turns=(),
            approvals=(),
            inputs=(),
            waiting=tuple(islice(_waiting(run), WAITS_KEPT)),
            error=error,
            summary=self._short_or_none(run.summary),
        )

    def _turn(self, turn: CompactTurn) -> CompactTurn:
        return msgspec.structs.replace(
            turn,
            thinking=self._short(turn.thinking),
            text=self._short(turn.text),
            tool_calls=(),
            model=_name(turn.model),
            stop_reason=_name(turn.stop_reason),
        )

    def _call(self, call: CompactCall) -> CompactCall:
        """Cuts a call. Of progress the end is kept, of everything else the beginning."""
        changed: dict[str, Any] = {}
        if len(call.mime) > MIMES_KEPT:
            changed["mime"] = dict(islice(call.mime.items(), MIMES_KEPT))
        return msgspec.structs.replace(
            call,
            name=call.name[:NAME_CHARS],
            arguments=self._short(call.arguments),
            progress=call.progress[-self._limit :],
            result=self._short_or_none(call.result),
            truncated=call.truncated or max(len(call.result or ""), len(call.diff or "")) > self._limit,
            diff=self._short_or_none(call.diff),
            error=self._short_or_none(call.error),
            **changed,
        )

    def _short(self, text: str) -> str:
        return text[: self._limit]

    def _short_or_none(self, text: str | None) -> str | None:
        return None if text is None else text[: self._limit]


def _name(name: str | None) -> str | None:
    return None if name is None else name[:NAME_CHARS]


def _waiting(run: CompactRun) -> Iterator[CompactWait]:
    for approval in run.approvals:
        yield CompactWait(kind="approval", what=approval.tool_name[:WAIT_CHARS])
    for needed in run.inputs:
        yield CompactWait(kind="input", what=needed.prompt[:WAIT_CHARS])
