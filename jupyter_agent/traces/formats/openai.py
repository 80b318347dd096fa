"""Message lists in OpenAI's style: bare lists, `{"messages": …}`, whole requests with their responses, JSON lines.

Chat completions and their legacy function calls, items of the Responses API, and what others write in their place
(Anthropic's content blocks, LangChain's, ShareGPT's names). Every assistant message is a turn. Such lists name no
runs: a list is one, and so are lines that are a message each.
"""

from collections.abc import Sequence
from typing import Any

from ...records import Part, RunStatus, Text, Thinking, ToolCall, ToolResult, Usage
from .. import usage
from ..book import Book
from ..draft import RunDraft, TurnDraft
from ..look import first, is_list, items, number, obj, text, time
from ..parts import ROLES, asked, parts_of, said_by_tool
from ..source import Source, records

NAME = "openai"
LISTS = ("messages", "conversation", "conversations", "input")
_ITEMS = {"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning"}


def matches(value: Any) -> bool:
    """Tells whether a value is a message, a list of messages or holds one."""
    if is_list(value):
        return any(matches(item) for item in value[:20])
    return is_message(value) or bool(_lists_in(obj(value))) or "choices" in obj(value)


def is_message(value: Any) -> bool:
    said = obj(value)
    role = first(said.get("role"), said.get("from"))
    return (role is not None and bool({"content", "value", "tool_calls", "function_call", "parts"} & said.keys())) or (
        text(said.get("type")) in _ITEMS and bool({"call_id", "summary", "output"} & said.keys())
    )


def read(source: Source, book: Book) -> None:
    """Reads a source of message lists into the book."""
    loose: RunDraft | None = None
    for place, value in records(source, book.miss):
        if is_message(value):
            loose = loose or book.run(None, place)
            add(loose, value, place)
        else:
            _read_record(book, value, place)
    if loose is not None:
        loose.finish()


def _read_record(book: Book, value: Any, place: str) -> None:
    if is_list(value):
        if any(is_message(item) for item in value) or not value:
            _read_list(book, {}, value, place)
            return
        for index, item in enumerate(value):
            _read_record(book, item, f"{place}, item {index}")
        return
    said = obj(value)
    lists = _lists_in(said)
    if not lists and "choices" not in said:
        book.miss("record without messages", place)
        return
    _read_list(book, said, lists, place)


def _lists_in(said: dict[str, Any]) -> Sequence[Any]:
    """Returns the messages that a record holds, of the request that it is or has."""
    for inside in (said, obj(said.get("request")), obj(said.get("body")), obj(obj(said.get("request")).get("body"))):
        for name in LISTS:
            found = items(inside.get(name))
            if any(is_message(item) for item in found):
                return found
    return []


def _read_list(book: Book, record: dict[str, Any], messages: Sequence[Any], place: str) -> None:
    request = obj(record.get("request"))
    foreign_id = first(*(text(record.get(key)) for key in ("id", "run_id", "trace_id", "custom_id", "instance_id")))
    thread = first(*(text(record.get(key)) for key in ("thread_id", "conversation_id", "session_id")))
    run = book.run(foreign_id, place, thread=thread)
    response = _response(record)
    run.model = first(text(record.get("model")), text(request.get("model")), text(response.get("model")))
    run.agent = text(record.get("agent"))
    if isinstance(record.get("system"), str | list):
        run.message("system", parts_of(record["system"], book.missing(place)), f"{place}, system")
    for index, message in enumerate(messages):
        add(run, message, f"{place}, message {index}")
    for choice in items(response.get("choices")):
        add(run, obj(obj(choice).get("message")), f"{place}, response")
        if run.turns:
            run.turns[-1].stop_reason = text(obj(choice).get("finish_reason")) or run.turns[-1].stop_reason
    counted = first(usage.read(response.get("usage")), usage.read(record.get("usage")))
    if counted is not None:
        _whole(run, counted, has_choices=bool(response.get("choices")), place=place)
    cost = first(number(record.get("cost")), number(record.get("total_cost")))
    if cost is not None:
        run.stated.cost, run.stated.place = cost, place
    if (fault := record.get("error")) and not isinstance(fault, bool):
        run.status, run.error_message = RunStatus.ERROR, text(obj(fault).get("message")) or text(fault)
    run.finish()


def _response(record: dict[str, Any]) -> dict[str, Any]:
    for name in ("response", "completion"):
        found = obj(record.get(name))
        if "choices" in found:
            return found
        if "choices" in obj(found.get("body")):
            return obj(found["body"])
    return record if "choices" in record else {}


def _whole(run: RunDraft, counted: Usage, *, has_choices: bool, place: str) -> None:
    """Takes the usage that stands beside a list: of its last answer where it is a response, of all otherwise."""
    if has_choices and run.turns:
        run.turns[-1].usage = counted
        return
    run.stated.add(counted, f"{place}, usage")


# --- one message ----------------------------------------------------------------------------------------------


def add(run: RunDraft, message: Any, place: str) -> TurnDraft | None:
    """Takes one message in; returns the turn that it ends, if it is an assistant's."""
    said = obj(message)
    kind = said.get("type")
    if kind in _ITEMS:
        return _add_item(run, said, place)
    role = ROLES.get(str(first(said.get("role"), said.get("from"), "")).lower())
    if role is None:
        run.book.miss(f"message of role {text(said.get('role')) or 'unknown'}", place)
        return None
    at = time(first(said.get("timestamp"), said.get("created_at"), obj(said.get("extra")).get("timestamp")))
    foreign_id = first(text(said.get("id")), text(said.get("message_id")))
    if role == "tool":
        run.message("tool", [result_of(said, run, place)], place, at=at, foreign_id=foreign_id)
        return None
    parts = spoken(said, run, place)
    if role != "assistant":
        if parts and all(isinstance(part, ToolResult) for part in parts):
            role = "tool"
        run.message(role, parts, place, at=at, foreign_id=foreign_id)
        return None
    turn = run.turn(place, model=text(said.get("model")), at=at)
    turn.usage, turn.cost = usage.read(said.get("usage")), number(said.get("cost"))
    turn.stop_reason = text(first(said.get("finish_reason"), said.get("stop_reason")))
    turn.foreign_id = foreign_id
    run.message("assistant", parts, place, turn=turn, at=at, foreign_id=foreign_id)
    return turn


def _add_item(run: RunDraft, said: dict[str, Any], place: str) -> TurnDraft | None:
    """Takes an item of the Responses API: calls and reasoning stand beside the messages there."""
    if said["type"].endswith("_output"):
        run.message("tool", parts_of(said, run.book.missing(place)), place, foreign_id=text(said.get("id")))
        return None
    last = run.messages[-1] if run.messages else None
    parts = parts_of(said, run.book.missing(place))
    if last is not None and last.message.role == "assistant" and run.turns:
        # One answer: reasoning, text and calls follow each other without anything between.
        run.extend(len(run.messages) - 1, parts, place, turn=run.turns[-1])
        return run.turns[-1]
    turn = run.turn(place)
    run.message("assistant", parts, place, turn=turn, foreign_id=text(said.get("id")))
    return turn


def spoken(said: dict[str, Any], run: RunDraft, place: str) -> list[Part]:
    """Returns the parts of a message of a person or a model."""
    miss = run.book.missing(place)
    thought = first(text(said.get("reasoning_content")), text(said.get("reasoning")), text(said.get("thinking")))
    parts: list[Part] = [Thinking(text=thought)] if thought else []
    parts += parts_of(first(said.get("content"), said.get("value"), said.get("parts")), miss)
    if refusal := text(said.get("refusal")):
        parts.append(Text(text=refusal))
    called = {part.tool_call_id for part in parts if isinstance(part, ToolCall)} - {""}
    for call in items(said.get("tool_calls")):
        # Some write Anthropic's blocks and OpenAI's calls of the same answer beside each other.
        if (own := asked(call)).tool_call_id not in called:
            parts.append(own)
    if said.get("function_call"):
        parts.append(asked(said["function_call"]))
    if said.get("audio"):
        miss("content part: audio")
    return parts


def result_of(said: dict[str, Any], run: RunDraft, place: str) -> ToolResult:
    """Returns the result that a message of a tool gives; what it says is marked an error is one."""
    miss = run.book.missing(place)
    whole = items(said.get("content"))
    if len(whole) == 1 and text(obj(whole[0]).get("type")) in {"tool_result", "tool-result", "tool_call_response"}:
        inner = parts_of(whole, miss)
        if inner and isinstance(inner[0], ToolResult):
            return inner[0]
    content, images = said_by_tool(first(said.get("content"), said.get("value")), miss)
    error = said.get("error")
    is_error = first(said.get("is_error"), said.get("isError")) is True or said.get("status") == "error" or bool(error)
    return ToolResult(
        tool_call_id=text(first(said.get("tool_call_id"), said.get("toolCallId"), said.get("tool_use_id"))) or "",
        name=text(said.get("name")) or text(said.get("function")) or "",
        content=content or text(obj(error).get("message")) or "",
        is_error=is_error,
        images=tuple(images),
    )
