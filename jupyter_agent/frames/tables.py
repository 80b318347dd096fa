"""The frames of one run: what each column of turns, tool calls, messages and events says."""

from datetime import timedelta
from typing import Any

import pandas as pd

from .. import events as ev
from ..client.rows import Rows
from ..exceptions import InvalidRequest
from ..records import Decision, Image, Message, Outcome, Text, Thinking, ToolCall, ToolResult, Usage
from ..transcript import ToolCallView, TurnView
from .columns import BOOL, FLOAT, INT, LENGTH, NAME, TEXT, TIME, Column, one_of, table

TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def _tokens(name: str) -> Column:
    """A count of tokens; unknown, not zero, where the provider reported none."""

    def value(turn: TurnView) -> int | None:
        usage = turn.usage
        return None if usage is None or _is_unmeasured(usage) else getattr(usage, name)

    return Column(name, INT, value)


def _is_unmeasured(usage: Usage) -> bool:
    return usage.unmeasured_requests > 0 and usage.total_tokens == 0


def _length(turn: TurnView) -> timedelta | None:
    return turn.finished_at - turn.started_at if turn.finished_at and turn.started_at else None


def _latency(call: ToolCallView) -> timedelta | None:
    return None if call.latency_ms is None else timedelta(milliseconds=call.latency_ms)


TURNS = (
    Column("turn", INT, lambda turn: turn.turn),
    Column("model", NAME, lambda turn: turn.model),
    Column("stop_reason", NAME, lambda turn: turn.stop_reason),
    *(_tokens(name) for name in TOKENS),
    Column("cost", FLOAT, lambda turn: turn.usage.cost if turn.usage else None),
    Column("tool_calls", INT, lambda turn: len(turn.tool_calls)),
    Column("started_at", TIME, lambda turn: turn.started_at),
    Column("finished_at", TIME, lambda turn: turn.finished_at),
    Column("duration", LENGTH, _length),
    Column("text", TEXT, lambda turn: turn.text),
    Column("thinking", TEXT, lambda turn: turn.thinking),
)

TOOL_CALLS = (
    Column("turn", INT, lambda call: call.turn),
    Column("tool_call_id", TEXT, lambda call: call.tool_call_id),
    Column("name", NAME, lambda call: call.name),
    Column("arguments", TEXT, lambda call: call.approved_arguments or call.arguments),
    Column("decision", one_of(Decision), lambda call: call.last_decision),
    Column("outcome", one_of(Outcome), lambda call: call.outcome),
    Column("is_error", BOOL, lambda call: None if call.result is None else call.is_error),
    Column("latency", LENGTH, _latency),
    Column("started_at", TIME, lambda call: call.started_at),
    Column("finished_at", TIME, lambda call: call.finished_at),
    Column("result", TEXT, lambda call: call.result),
    Column("truncated", BOOL, lambda call: call.truncated),
    Column("error", TEXT, lambda call: call.error),
)


def _text(message: Message) -> str:
    """What a message says, its tools' results included."""
    said = (part.content if isinstance(part, ToolResult) else part.text
            for part in message.parts if isinstance(part, Text | ToolResult))  # fmt: skip
    return "\n".join(said)


MESSAGES = (
    Column("role", one_of(("system", "user", "assistant", "tool")), lambda message: message.role),
    Column("message_id", TEXT, lambda message: message.message_id),
    Column("text", TEXT, _text),
    Column("thinking", TEXT, lambda message: "".join(p.text for p in message.parts if isinstance(p, Thinking))),
    Column("tool_calls", INT, lambda message: sum(isinstance(part, ToolCall) for part in message.parts)),
    Column("tool_results", INT, lambda message: sum(isinstance(part, ToolResult) for part in message.parts)),
    Column("images", INT, lambda message: sum(isinstance(part, Image) for part in message.parts)),
)


def _type(event: Any) -> str:
    return event.type if isinstance(event, ev.Unknown) else str(type(event).__struct_config__.tag)


def _kind(event: Any) -> str | None:
    return str(type(event.event).__struct_config__.tag) if isinstance(event, ev.AgentEvent) else None


def _tool_call_id(event: Any) -> str | None:
    source = event.event if isinstance(event, ev.AgentEvent) else event
    return getattr(source, "tool_call_id", None)


def _content(event: Any) -> str | None:
    """The text that streamed: of the answer, the thinking, a tool's output or its result."""
    source = event.event if isinstance(event, ev.AgentEvent) else event
    return getattr(source, "content", None) or getattr(source, "result", None)


def _place(event: Any) -> ev.Cursor | None:
    return ev.parse_cursor(event.id)


EVENTS = (
    Column("seq", INT, lambda event: place.seq if (place := _place(event)) else None),
    Column("epoch", INT, lambda event: place.epoch if (place := _place(event)) else None),
    Column("id", TEXT, lambda event: event.id),
    Column("at", TIME, lambda event: getattr(event, "at", None)),
    Column("type", NAME, _type),
    Column("kind", NAME, _kind),
    Column("tool_call_id", TEXT, _tool_call_id),
    Column("content", TEXT, _content),
)

KINDS = {"turns": TURNS, "tool_calls": TOOL_CALLS, "messages": MESSAGES, "events": EVENTS}


def frame(rows: Rows[Any]) -> pd.DataFrame:
    """Returns the rows as a frame that starts with their run's id. Raises InvalidRequest for kinds without a frame."""
    columns = KINDS.get(rows.kind)
    if columns is None:
        raise InvalidRequest(
            f"There is no frame of {rows.kind.replace('_', ' ')}; there is one of {', '.join(sorted(KINDS))}."
        )
    return table((Column("run_id", TEXT, lambda _: rows.run_id), *columns), rows)
