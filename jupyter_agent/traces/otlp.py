"""Runs as OpenTelemetry GenAI spans in OTLP's JSON. The conventions' names are here and nowhere else on our side.

A run is a trace: an agent's span, below it a span for each model call and each execution of a tool. Each call's span
tells all messages before it, as the conventions want; above `HISTORY_BYTES` of that only what was new. What the
conventions have no name for stands under `jupyter_agent.`.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

import msgspec

from ..records import Image, Outcome, Part, RunStatus, Text, Thinking, ToolCall, ToolResult, Usage
from .facts import ImportedCall, ImportedMessage, ImportedTurn
from .story import Story

HISTORY_BYTES: Final = 32 * 1024 * 1024
PROVIDERS: Final = {"openai": "openai", "anthropic": "anthropic", "google": "gcp.gemini"}
FAILED: Final = (Outcome.ERROR, Outcome.TIMED_OUT)
CLIENT, INTERNAL = 3, 1
STATUS_ERROR: Final = 2

_encode = msgspec.json.Encoder().encode


def otlp(story: Story) -> dict[str, Any]:
    """Returns a run as an OTLP/JSON request to export its spans."""
    own = {"attributes": _attributes({"service.name": "jupyter_agent"})}
    scope = {"name": "jupyter_agent", "version": version("jupyter_agent")}
    return {
        "resourceSpans": [{"resource": own, "scopeSpans": [{"scope": scope, "spans": list(_Trace(story).spans())}]}]
    }


class _Trace:
    """The spans of one run."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.trace_id = _hex(story.run.run_id, 32)
        self.root_id = _hex(f"{story.run.run_id} agent", 16)
        self.answers = story.answers()
        self.of_answers = {id(message): turn for turn, message in self.answers.items()}
        self.at = _nanoseconds(story.run.started_at) or 0
        self.asked = {
            part.tool_call_id
            for message in story.messages
            for part in message.message.parts
            if isinstance(part, ToolCall)
        }

    def spans(self) -> Iterator[dict[str, Any]]:
        calls: dict[int, list[ImportedCall]] = {}
        for call in self.story.calls:
            calls.setdefault(call.turn, []).append(call)
        told = [_message(message) for message in self.story.messages]
        sizes = [len(_encode(message)) for message in told]
        tells_all = self._history_bytes(sizes) <= HISTORY_BYTES
        turns = {turn.turn: turn for turn in self.story.turns}
        done = since = 0
        for index, message in enumerate(self.story.messages):
            number = self.of_answers.get(id(message))
            if number is None or number not in turns:
                continue
            for turn in range(done, number):
                # Turns of which no message tells: failed ones, and what was asked on the side.
                yield from self._turn(turns.get(turn), [], None, calls.pop(turn, []), tells_all=True)
            asked = told[:index] if tells_all else told[since:index]
            yield from self._turn(turns[number], asked, message, calls.pop(number, []), tells_all=tells_all)
            done, since = number + 1, index + 1
        for turn in sorted({*turns, *calls}):
            if turn >= done:
                yield from self._turn(turns.get(turn), [], None, calls.pop(turn, []), tells_all=True)
        yield self._root(told[since:])

    def _history_bytes(self, sizes: list[int]) -> int:
        total = before = 0
        for message, size in zip(self.story.messages, sizes, strict=True):
            total += before if id(message) in self.of_answers else 0
            before += size
        return total

    def _root(self, after: list[dict[str, Any]]) -> dict[str, Any]:
        run = self.story.run
        said: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": run.agent,
            "gen_ai.conversation.id": run.thread_id,
            "gen_ai.request.model": _model(run.model),
            "jupyter_agent.run_id": run.run_id,
            "jupyter_agent.status": str(run.status),
            "jupyter_agent.parent_run_id": run.parent_run_id,
            "jupyter_agent.messages_after": _encode(after).decode() if after else None,
        }
        if self._is_more_than_turns():
            # Otherwise sums would only repeat what the calls tell.
            said |= {**_usage(run.usage if run.is_measured else None, run.usage.cost), "jupyter_agent.whole": True}
        started = _nanoseconds(run.started_at) or 0
        ended = max(started, _nanoseconds(run.ended_at) or 0)
        failed = run.status is RunStatus.ERROR
        if failed:
            said["error.type"] = run.error_code or "error"
        name = f"invoke_agent {run.agent}" if run.agent else "invoke_agent"
        return self._span(
            self.root_id, "", name, INTERNAL, (started, ended), said, (run.error_message or "") if failed else None
        )

    def _is_more_than_turns(self) -> bool:
        run, turns = self.story.run, self.story.turns
        tokens = [turn.usage.total_tokens for turn in turns if turn.usage]
        costs = [cost for turn in turns if (cost := _cost(turn)) is not None]
        is_more = run.is_measured and (not tokens or run.usage.total_tokens > sum(tokens))
        return is_more or (run.usage.cost is not None and (not costs or run.usage.cost > sum(costs)))

    def _turn(
        self,
        turn: ImportedTurn | None,
        asked: list[dict[str, Any]],
        answer: ImportedMessage | None,
        calls: list[ImportedCall],
        *,
        tells_all: bool,
    ) -> Iterator[dict[str, Any]]:
        if turn is not None:
            yield self._call(turn, asked, answer, tells_all=tells_all)
        for call in calls:
            if call.outcome is not None or call.tool_call_id not in self.asked:
                yield self._execution(call)

    def _call(
        self, turn: ImportedTurn, asked: list[dict[str, Any]], answer: ImportedMessage | None, *, tells_all: bool
    ) -> dict[str, Any]:
        model, failed = _model(turn.model), turn.stop_reason == "error"
        provider = PROVIDERS.get((turn.model or "").partition(":")[0], "jupyter_agent")
        answered = [{**_message(answer), "finish_reason": turn.stop_reason or "stop"}] if answer else []
        said = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.conversation.id": self.story.run.thread_id,
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.response.id": turn.foreign_turn_id,
            "gen_ai.response.finish_reasons": [turn.stop_reason] if turn.stop_reason else None,
            "gen_ai.input.messages": _encode(asked).decode() if asked else None,
            "gen_ai.output.messages": _encode(answered).decode() if answered else None,
            "error.type": "error" if failed else None,
            "jupyter_agent.new_messages_only": None if tells_all else True,
            **_usage(turn.usage, _cost(turn)),
        }
        span_id = _hex(f"{self.story.run.run_id} turn {turn.turn}", 16)
        times = self._times(turn.started_at, turn.finished_at)
        error = (turn.error or "") if failed else None
        return self._span(span_id, self.root_id, f"chat {model or ''}".strip(), CLIENT, times, said, error)

    def _execution(self, call: ImportedCall) -> dict[str, Any]:
        failed = call.outcome in FAILED
        said = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.tool_call_id,
            "gen_ai.tool.call.arguments": call.arguments,
            "gen_ai.tool.call.result": call.result,
            "error.type": str(call.outcome) if failed else None,
            "jupyter_agent.turn": call.turn,
            "jupyter_agent.outcome": str(call.outcome or "none"),
        }
        span_id = _hex(f"{self.story.run.run_id} call {call.turn} {call.position} {call.tool_call_id}", 16)
        times = self._times(call.started_at, call.finished_at)
        error = (call.error or "") if failed else None
        return self._span(span_id, self.root_id, f"execute_tool {call.name}".strip(), INTERNAL, times, said, error)

    def _times(self, started: datetime | None, finished: datetime | None) -> tuple[int, int]:
        """Returns when a span began and ended. What has no time began when what was before it did."""
        begin = _nanoseconds(started) or self.at
        self.at = max(self.at, begin)
        return begin, max(begin, _nanoseconds(finished) or begin)

    def _span(
        self, span_id: str, parent: str, name: str, kind: int, times: tuple[int, int], said: dict[str, Any],
        error: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        return {
            "traceId": self.trace_id,
            "spanId": span_id,
            **({"parentSpanId": parent} if parent else {}),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(times[0]),
            "endTimeUnixNano": str(times[1]),
            "attributes": _attributes(said),
            **({} if error is None else {"status": {"code": STATUS_ERROR, "message": error}}),
        }


# --- parts ----------------------------------------------------------------------------------------------------


def _message(message: ImportedMessage) -> dict[str, Any]:
    return {"role": message.message.role, "parts": [_part(part) for part in message.message.parts]}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "text", "content": text}
        case Thinking(text=text):
            return {"type": "reasoning", "content": text}
        case Image(mime=mime):
            return {"type": "blob", "modality": "image", "mime_type": mime, "content": ""}
        case ToolCall(tool_call_id=tool_call_id, name=name, arguments=arguments):
            return {"type": "tool_call", "id": tool_call_id, "name": name, "arguments": arguments}
        case ToolResult(tool_call_id=tool_call_id, content=content, is_error=is_error):
            failed = {"is_error": True} if is_error else {}
            return {"type": "tool_call_response", "id": tool_call_id, "response": content, **failed}


def _usage(usage: Usage | None, cost: float | None) -> dict[str, Any]:
    if usage is None or usage.unmeasured_requests:
        return {"jupyter_agent.cost": cost}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        "jupyter_agent.cost": cost,
    }


def _cost(turn: ImportedTurn) -> float | None:
    return turn.cost if turn.cost is not None else turn.usage.cost if turn.usage else None


def _model(name: str | None) -> str | None:
    """Returns a model's name as its provider has it, which is how others look up its price."""
    provider, _, model = (name or "").partition(":")
    return model if provider in PROVIDERS and model else name


def _attributes(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in said.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
        case _:
            return {"stringValue": str(value)}


def _nanoseconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1_000_000) * 1_000


def _hex(words: str, digits: int) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:digits]
