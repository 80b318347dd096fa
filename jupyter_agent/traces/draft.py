"""A run while it is read: turns, messages and calls in the order in which the log tells them, results put to calls.

Rules:

- A log's ids of tool calls tell nothing apart: agents use them again. A result belongs to a call of that id which has
  none yet, of the latest turn first, and of one turn to the first.
- What the log counts as a whole and what its turns add up to are the same tokens: they are compared, never added.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from ..records import Decision, Message, Outcome, Part, RunStatus, Text, Thinking, ToolCall, ToolResult, Usage
from .facts import CALL_CHARS, TEXT_CHARS, WORDS_CHARS, ImportedCall, ImportedMessage, ImportedRun, ImportedTurn
from .waiting import Group, Waiting

if TYPE_CHECKING:
    from .book import Book

Role = Literal["system", "user", "assistant", "tool"]
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(slots=True)
class CallDraft:
    """A tool call as far as it is read. `is_answered` when a message gave its result, `is_executed` when an event told
    of its execution."""

    turn: int
    position: int
    tool_call_id: str
    foreign_id: str | None
    name: str
    arguments: str
    place: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    latency_ms: float | None = None
    result: str | None = None
    outcome: Outcome | None = None
    decision: Decision | None = None
    error: str | None = None
    is_answered: bool = False
    is_executed: bool = False

    def end(self, result: str | None, outcome: Outcome, *, error: str | None = None) -> None:
        """Takes how the call ended. An error that was told once stays."""
        if result is not None and (self.result is None or not self.is_executed):
            self.result = result[:CALL_CHARS]
        if self.outcome in (None, Outcome.SUCCESS):
            self.outcome = outcome
        if outcome is not Outcome.SUCCESS and self.error is None:
            self.error = (error or result or str(outcome))[:WORDS_CHARS]


@dataclass(slots=True)
class TurnDraft:
    """A model call as far as it is read."""

    number: int
    place: str
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    stop_reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    foreign_id: str | None = None
    error: str | None = None
    calls: int = 0

    def fail(self, error: str | None) -> None:
        self.stop_reason, self.error = "error", (error or "error")[:WORDS_CHARS]


@dataclass(slots=True)
class Stated:
    """What the log says of the run as a whole, and where. None where it says nothing."""

    place: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None
    requests: int | None = None
    counts: bool = True
    """Whether it counts where it is more than what the turns add up to, or is only compared with them."""

    def add(self, usage: Usage, place: str) -> None:
        """Takes a sum in: what it has none of may not have been reported at all."""
        self.place = place
        if not usage.unmeasured_requests:
            self.input_tokens = (self.input_tokens or 0) + usage.input_tokens
            self.output_tokens = (self.output_tokens or 0) + usage.output_tokens
        for name in TOKENS[2:]:
            if count := getattr(usage, name):
                setattr(self, name, (getattr(self, name) or 0) + count)
        if usage.cost is not None:
            self.cost = (self.cost or 0.0) + usage.cost


@dataclass(slots=True)
class RunDraft:
    """One run while it is read."""

    book: "Book"
    run_id: str
    thread_id: str
    foreign_id: str | None
    place: str
    agent: str | None = None
    model: str | None = None
    version: str | None = None
    foreign_thread_id: str | None = None
    parent_run_id: str | None = None
    status: RunStatus = RunStatus.COMPLETED
    error_code: str | None = None
    error_message: str | None = None
    stated: Stated = field(default_factory=Stated)
    turns: list[TurnDraft] = field(default_factory=list)
    calls: list[CallDraft] = field(default_factory=list)
    messages: list[ImportedMessage] = field(default_factory=list)
    first_at: datetime | None = None
    last_at: datetime | None = None
    _open: dict[str, Waiting] = field(default_factory=lambda: defaultdict(lambda: Waiting(_is_answered)))
    """Calls without a result, by the log's ids."""
    _unseen: dict[str, Waiting] = field(default_factory=lambda: defaultdict(lambda: Waiting(_is_executed)))
    """Calls of which no event told yet, by the log's ids, or by name where they have none."""
    _last: Group = field(default_factory=lambda: Group(-1, _is_answered))
    """Calls of the last turn that has some, whatever their ids."""
    _told: int | None = None
    """The last turn of which there was a message."""
    _used: set[str] = field(default_factory=set)
    _number: int = 0
    """All our own ids of calls have smaller numbers, or are used."""

    @property
    def is_empty(self) -> bool:
        return not (self.turns or self.calls or self.messages)

    def seen(self, at: datetime | None) -> None:
        """Takes a time at which the run was going on."""
        if at is not None:
            self.first_at = at if self.first_at is None or at < self.first_at else self.first_at
            self.last_at = at if self.last_at is None or at > self.last_at else self.last_at

    def turn(self, place: str, *, model: str | None = None, at: datetime | None = None) -> TurnDraft:
        """Begins a turn: the model was called."""
        turn = TurnDraft(len(self.turns), place, model=model or self.model, started_at=at)
        self.turns.append(turn)
        self.seen(at)
        return turn

    def message(
        self,
        role: str,
        parts: Iterable[Part],
        place: str,
        *,
        turn: TurnDraft | None = None,
        at: datetime | None = None,
        foreign_id: str | None = None,
    ) -> None:
        """Takes a message; the calls in it are asked for, the results in it given."""
        self.seen(at)
        own = tuple(self._own(part, place, turn, at) for part in parts)
        number = len(self.messages)
        said = Message(role=cast("Role", role), parts=own, message_id=f"msg_{self.run_id[4:]}_{number}")
        if turn is not None:
            self._told = turn.number
        self.messages.append(
            ImportedMessage(
                run_id=self.run_id, thread_id=self.thread_id, foreign_run_id=self.foreign_id, place=place,
                message=said, turn=self._told, created_at=at, foreign_message_id=foreign_id,
            )
        )  # fmt: skip

    def extend(self, index: int, parts: Iterable[Part], place: str, *, turn: TurnDraft) -> None:
        """Takes more parts of the message with this index: some logs write a message in pieces."""
        before = self.messages[index]
        own = tuple(self._own(part, place, turn, before.created_at) for part in parts)
        said = msgspec.structs.replace(before.message, parts=before.message.parts + own)
        self.messages[index] = msgspec.structs.replace(before, message=said)

    def call(
        self, asked: ToolCall, place: str, *, turn: TurnDraft | None = None, at: datetime | None = None
    ) -> CallDraft:
        """Takes a tool call that the model asked for, in this turn or the last one."""
        turn = turn or (self.turns[-1] if self.turns else None)
        call = CallDraft(
            turn=turn.number if turn else 0,
            position=turn.calls if turn else len(self.calls),
            tool_call_id=self._free_id(asked.tool_call_id),
            foreign_id=asked.tool_call_id or None,
            name=asked.name,
            arguments=self.book.cut(asked.arguments, CALL_CHARS),
            place=place,
            started_at=at,
        )
        if turn:
            turn.calls += 1
        self.calls.append(call)
        self._open[asked.tool_call_id].add(call)
        self._unseen[asked.tool_call_id or f"name {asked.name}"].add(call)
        if self._last.turn < call.turn:
            self._last = Group(call.turn, _is_answered)
        if self._last.turn == call.turn:
            self._last.add(call)
        return call

    def result(self, given: ToolResult, place: str, *, at: datetime | None = None) -> CallDraft | None:
        """Puts a result to its call; counts it where there is none."""
        call = self._awaiting(given)
        if call is None:
            is_second = given.tool_call_id in self._open
            self.book.miss("second result of a tool call" if is_second else "tool result without a call", place)
            return None
        call.is_answered = True
        call.end(self.book.cut(given.content, CALL_CHARS), Outcome.ERROR if given.is_error else Outcome.SUCCESS)
        call.finished_at = call.finished_at or at
        self.seen(at)
        return call

    def executed(
        self, asked: ToolCall, place: str, *, at: datetime | None = None, turn: TurnDraft | None = None
    ) -> CallDraft:
        """Returns the call that an event says was executed after this turn: of that id (or name, without one) the
        first of the latest turn until then of which no event told yet. A call that no message asked for is one too."""
        same = self._unseen.get(asked.tool_call_id or f"name {asked.name}")
        call = same.until(turn.number if turn else None, asked.name) if same else None
        if call is None:
            call = self.call(asked, place, turn=turn, at=at)
        call.is_executed = True
        self.seen(at)
        return call

    def finish(self) -> None:
        """Hands the run over to the book."""
        for turn in self.turns:
            self.seen(turn.started_at)
            self.seen(turn.finished_at)
        common: dict[str, Any] = {
            "run_id": self.run_id, "thread_id": self.thread_id, "foreign_run_id": self.foreign_id,
        }  # fmt: skip
        usage, is_measured, requests = self._usage()
        self.book.runs.append(
            ImportedRun(
                **common, place=self.place, format=self.book.format, version=self.version,
                foreign_thread_id=self.foreign_thread_id, parent_run_id=self.parent_run_id, agent=self.agent,
                model=self.model or next((turn.model for turn in self.turns if turn.model), None), status=self.status,
                started_at=self.first_at, ended_at=self.last_at, usage=usage, is_measured=is_measured,
                model_call_count=requests, tool_call_count=len(self.calls), message_count=len(self.messages),
                first_human_message=self._words("user", self.messages),
                last_ai_message=self._words("assistant", reversed(self.messages)),
                error_code=self.error_code, error_message=self.error_message and self.error_message[:WORDS_CHARS],
            )
        )  # fmt: skip
        self.book.turns += [
            ImportedTurn(
                **common, place=turn.place, turn=turn.number, model=turn.model, stop_reason=turn.stop_reason,
                usage=turn.usage, cost=_cost(turn), started_at=turn.started_at, finished_at=turn.finished_at,
                error=turn.error, run_created_at=self.first_at, foreign_turn_id=turn.foreign_id,
            )
            for turn in self.turns
        ]  # fmt: skip
        models = {turn.number: turn.model for turn in self.turns}
        self.book.tool_calls += [
            ImportedCall(
                **common, place=call.place, turn=call.turn, position=call.position, tool_call_id=call.tool_call_id,
                name=call.name, arguments=call.arguments, decision=call.decision, outcome=call.outcome,
                result=call.result, error=call.error, started_at=call.started_at, finished_at=call.finished_at,
                latency_ms=call.latency_ms, model=models.get(call.turn) or self.model, run_created_at=self.first_at,
                foreign_tool_call_id=call.foreign_id,
            )
            for call in self.calls
        ]  # fmt: skip
        self.book.messages += self.messages

    # --- inside

    def _own(self, part: Part, place: str, turn: TurnDraft | None, at: datetime | None) -> Part:
        match part:
            case Text(text=said) | Thinking(text=said) if len(said) > TEXT_CHARS:
                self.book.miss(f"text longer than {TEXT_CHARS:,} characters, cut", place)
                return msgspec.structs.replace(part, text=self.book.cut(said, TEXT_CHARS))
            case ToolCall():
                call = self.call(part, place, turn=turn, at=at)
                return ToolCall(
                    tool_call_id=call.tool_call_id,
                    name=call.name,
                    arguments=call.arguments,
                    provider_id=call.foreign_id,
                )
            case ToolResult():
                answered = self.result(part, place, at=at)
                own_id, name = (answered.tool_call_id, answered.name) if answered else (part.tool_call_id, part.name)
                return msgspec.structs.replace(
                    part, tool_call_id=own_id, name=part.name or name, content=self.book.cut(part.content, CALL_CHARS)
                )
            case _:
                return part

    def _awaiting(self, given: ToolResult) -> CallDraft | None:
        """Returns the call that a result is of. One without an id is of the next open call of the last turn, by name
        where there is one."""
        if given.tool_call_id:
            waiting = self._open.get(given.tool_call_id)
            return waiting.latest(given.name) if waiting else None
        last = self.turns[-1].number if self.turns else 0
        return self._last.of_tool(given.name) if self._last.turn == last else None

    def _free_id(self, foreign_id: str) -> str:
        """Returns our id of a call: the log's own where it is not used already."""
        own = foreign_id
        if not own or own in self._used:
            self._number = max(self._number, len(self.calls))
            while (own := f"call_{self._number}") in self._used:
                self._number += 1
        self._used.add(own)
        return own

    def _usage(self) -> tuple[Usage, bool, int]:
        """Returns the run's usage, whether any tokens are known of, and the number of model calls."""
        measured = [turn.usage for turn in self.turns if turn.usage is not None]
        sums: dict[str, int] = {}
        for name in TOKENS:
            in_turns, stated = sum(getattr(usage, name) for usage in measured), getattr(self.stated, name)
            sums[name] = max(in_turns, stated or 0) if self.stated.counts else in_turns
            self._compare(name.replace("_", " "), in_turns if measured else None, stated)
        costs = [cost for turn in self.turns if (cost := _cost(turn)) is not None]
        whole = self.stated.cost if self.stated.counts else None
        cost = max(sum(costs), whole or 0.0) if costs or whole is not None else None
        self._compare("cost", sum(costs) if costs else None, self.stated.cost)
        self._compare("model calls", len(self.turns), self.stated.requests)
        requests = max(len(self.turns), self.stated.requests or 0)
        is_measured = any(not usage.unmeasured_requests for usage in measured) or self.stated.input_tokens is not None
        unmeasured = sum(usage.unmeasured_requests for usage in measured) + len(self.turns) - len(measured)
        usage = Usage(
            **sums, requests=requests, unmeasured_requests=0 if self.stated.input_tokens else unmeasured, cost=cost
        )
        return usage, is_measured, requests

    def _compare(self, what: str, in_turns: float | None, stated: float | None) -> None:
        if in_turns is None or stated is None or abs(in_turns - stated) <= 1e-6 * max(abs(in_turns), abs(stated)):
            return
        self.book.miss(
            f"{what} in sum that are not those of the turns",
            f"{self.stated.place or self.place}: {stated:.10g} in sum, {in_turns:.10g} in the turns",
        )

    @staticmethod
    def _words(role: str, messages: Iterable[ImportedMessage]) -> str | None:
        for found in messages:
            if found.message.role == role and (said := found.message.text):
                return said[:WORDS_CHARS]
        return None


def _is_answered(call: CallDraft) -> bool:
    return call.is_answered


def _is_executed(call: CallDraft) -> bool:
    return call.is_executed


def _cost(turn: TurnDraft) -> float | None:
    return turn.cost if turn.cost is not None else turn.usage.cost if turn.usage else None
