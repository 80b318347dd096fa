"""OTLP's JSON: spans out of their envelopes, attributes as plain values, messages out of all the places they had.

Both spellings of the envelope are read (camelCase and snake_case), spans that stand alone, and what the Python SDK's
console exporter prints.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..decoding import Miss, decode
from ..look import first, integer, is_list, items, number, obj, text, time
from . import openinference

_MOST_DEPTH = 64
_INDEXED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,9})\.(.+)")
_INDEXED_CALL = re.compile(r"tool_calls\.(\d{1,9})\.(.+)")


@dataclass(slots=True)
class Span:
    """One span as it came, its attributes by name."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    place: str
    started_at: datetime | None
    finished_at: datetime | None
    latency_ms: float | None
    is_error: bool
    error: str | None
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def spans_in(value: Any, place: str, miss: Miss) -> Iterator[Span]:
    """Yields the spans in a value, wherever it keeps them."""
    if is_list(value):
        for index, item in enumerate(value):
            yield from spans_in(item, f"{place}, item {index}", miss)
        return
    said = obj(value)
    groups = items(first(said.get("resourceSpans"), said.get("resource_spans")))
    if not groups and is_span(said):
        yield _span(said, place)
        return
    for name in ("resourceLogs", "resource_logs", "resourceMetrics", "resource_metrics"):
        for _ in items(said.get(name)):
            miss(f"{name} (only spans are read)", place)
    if not groups and not said.keys() & {"resourceLogs", "resource_logs", "resourceMetrics", "resource_metrics"}:
        loose = items(said.get("spans"))
        if not loose:
            miss("record without spans", place)
        yield from spans_in(loose, place, miss)
        return
    for at, group in enumerate(groups):
        scopes = first(*(obj(group).get(name) for name in (
            "scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")))  # fmt: skip
        for scope_at, scope in enumerate(items(scopes)):
            for span_at, item in enumerate(items(obj(scope).get("spans"))):
                where = f"{place}, resource {at}, scope {scope_at}, span {span_at}"
                if is_span(obj(item)):
                    yield _span(obj(item), where)
                else:
                    miss("span that is none", where)


def is_span(said: dict[str, Any]) -> bool:
    return bool({"spanId", "span_id"} & said.keys()) or "span_id" in obj(said.get("context"))


def _span(said: dict[str, Any], place: str) -> Span:
    context = obj(said.get("context"))
    status = said.get("status")
    code = first(obj(status).get("code"), obj(status).get("status_code"), status)
    started = time(first(said.get("startTimeUnixNano"), said.get("start_time_unix_nano"), said.get("start_time")))
    finished = time(first(said.get("endTimeUnixNano"), said.get("end_time_unix_nano"), said.get("end_time")))
    attributes = openinference.told(attributes_of(said.get("attributes")))
    is_error = str(code) in {"2", "STATUS_CODE_ERROR", "ERROR"} or bool(attributes.get("error.type"))
    events = [(text(obj(item).get("name")) or "", attributes_of(obj(item).get("attributes")))
              for item in items(said.get("events"))]  # fmt: skip
    exception = next((text(found.get("exception.message")) for name, found in events if name == "exception"), None)
    error = first(text(obj(status).get("message")), text(obj(status).get("description")), exception,
                  text(attributes.get("error.type")))  # fmt: skip
    parent = first(said.get("parentSpanId"), said.get("parent_span_id"), said.get("parent_id"))
    return Span(
        trace_id=text(first(said.get("traceId"), said.get("trace_id"), context.get("trace_id"))) or "",
        span_id=text(first(said.get("spanId"), said.get("span_id"), context.get("span_id"))) or "",
        parent_id=(text(parent) or "").strip("0") and (text(parent) or ""),
        name=text(said.get("name")) or "",
        place=place,
        started_at=started,
        finished_at=finished,
        latency_ms=_length_ms(said, started, finished),
        is_error=is_error,
        error=error if is_error else None,
        attributes=attributes,
        events=events,
    )


def _length_ms(said: dict[str, Any], started: datetime | None, finished: datetime | None) -> float | None:
    begin, end = integer(said.get("startTimeUnixNano")), integer(said.get("endTimeUnixNano"))
    if begin and end:
        return max(0.0, (end - begin) / 1e6)
    return max(0.0, (finished - started).total_seconds() * 1_000) if started and finished else None


def attributes_of(said: Any) -> dict[str, Any]:
    """Returns attributes by name: OTLP has them as a list of keys with typed values, others as an object."""
    if isinstance(said, dict):
        return dict(said)
    return {text(obj(item).get("key")) or "": _value(obj(item).get("value"), 0) for item in items(said)}


def _value(said: Any, depth: int) -> Any:
    value = obj(said)
    if not value or depth > _MOST_DEPTH:
        return said if not isinstance(said, dict) else None
    (kind, inner), *_ = value.items()
    match kind.replace("_value", "Value"):
        case "intValue":
            return integer(inner)
        case "doubleValue":
            return number(inner)
        case "arrayValue":
            return [_value(item, depth + 1) for item in items(obj(inner).get("values"))]
        case "kvlistValue":
            return {
                text(obj(item).get("key")) or "": _value(obj(item).get("value"), depth + 1)
                for item in items(obj(inner).get("values"))
            }
        case _:
            return inner


# --- messages -------------------------------------------------------------------------------------------------


def input_messages(span: Span) -> list[Any]:
    """Returns what the model was asked, wherever the instrumentation put it: now, before, or long ago."""
    found = _parsed(span.attributes.get("gen_ai.input.messages"))
    if found is None:
        found = _of_details(span, "gen_ai.input.messages")
    system = first(
        _parsed(span.attributes.get("gen_ai.system_instructions")), _of_details(span, "gen_ai.system_instructions")
    )
    before = [{"role": "system", "parts": system}] if system else []
    if found is not None:
        return [*before, *_each(found)]
    return before + (_of_events(span) or _of_content_events(span, "prompt") or _indexed(span, "prompt"))


def output_messages(span: Span) -> list[Any]:
    """Returns what the model answered."""
    found = _parsed(span.attributes.get("gen_ai.output.messages"))
    if found is None:
        found = _of_details(span, "gen_ai.output.messages")
    if found is not None:
        return _each(found)
    return _choices(span) or _of_content_events(span, "completion") or _indexed(span, "completion")


def after_messages(span: Span) -> list[Any]:
    """Returns what was said after the last answer, which our own export puts beside the agent."""
    return _each(_parsed(span.attributes.get("jupyter_agent.messages_after")))


def _each(found: Any) -> list[Any]:
    """Returns messages of which each may be JSON in a text again."""
    return [obj(_parsed(item)) if isinstance(item, str) else item for item in items(found)]


def _parsed(value: Any) -> Any:
    """Returns an attribute that is JSON in a text, or was structured from the beginning."""
    if not isinstance(value, str):
        return value
    try:
        return decode(value.encode(errors="replace"), "", lambda *_: None)
    except ValueError:
        return [{"role": "user", "content": value}]


def _of_details(span: Span, name: str) -> Any:
    for event, attributes in span.events:
        if event == "gen_ai.client.inference.operation.details" and name in attributes:
            return _parsed(attributes[name])
    return None


def _of_events(span: Span) -> list[Any]:
    """Events of the second generation: one for each message."""
    messages = []
    for name, attributes in span.events:
        role = re.fullmatch(r"gen_ai\.(system|user|assistant|tool)\.message", name)
        if role:
            messages.append({"role": role[1], **_body(attributes)})
    return messages


def _choices(span: Span) -> list[Any]:
    messages = []
    for name, attributes in span.events:
        if name == "gen_ai.choice":
            body = _body(attributes)
            message = obj(_parsed(body.get("message"))) or body
            messages.append({"role": "assistant", **message, "finish_reason": body.get("finish_reason")})
    return messages


def _body(attributes: dict[str, Any]) -> dict[str, Any]:
    inner = obj(_parsed(first(attributes.get("gen_ai.event.content"), attributes.get("event_body"))))
    body = {key: value for key, value in attributes.items() if not key.startswith("gen_ai.")} | inner
    for key in ("content", "tool_calls"):
        if isinstance(body.get(key), str) and body[key][:1] in {"[", "{"}:
            parsed = _parsed(body[key])
            body[key] = parsed if is_list(parsed) else body[key]
    if "tool_call_id" not in body and "id" in body:
        body["tool_call_id"] = body["id"]
    return body


def _of_content_events(span: Span, which: str) -> list[Any]:
    """Events of the first generation: one with all of the prompt, one with all of the answer, as JSON in a text."""
    for name, attributes in span.events:
        if name == f"gen_ai.content.{which}":
            found = _parsed(attributes.get(f"gen_ai.{which}"))
            if isinstance(found, dict):
                return [found]
            if which == "completion":
                return [
                    item if obj(item).get("role") != "user" else {**item, "role": "assistant"} for item in items(found)
                ]
            return [*items(found)]
    return []


def _indexed(span: Span, which: str) -> list[Any]:
    """Attributes with numbers in their names (`gen_ai.prompt.0.content`), as OpenLLMetry had them."""
    messages: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[int, dict[str, Any]]] = {}
    for name, value in span.attributes.items():
        found = _INDEXED.fullmatch(name)
        if found is None or found[1] != which:
            continue
        index, rest = int(found[2]), found[3]
        message = messages.setdefault(index, {"role": "user" if which == "prompt" else "assistant"})
        if call := _INDEXED_CALL.fullmatch(rest):
            calls.setdefault(index, {}).setdefault(int(call[1]), {})[call[2]] = value
        elif rest == "content" and isinstance(value, str) and value.startswith("[{"):
            message[rest] = _parsed(value)
        else:
            message[rest] = value
    for index, found_calls in calls.items():
        messages[index]["tool_calls"] = [call for _, call in sorted(found_calls.items())]
    return [message for _, message in sorted(messages.items())]
