"""The parts of a message, in whatever dialect: OpenAI's, Anthropic's, Inspect's, OpenTelemetry's.

Ids in these parts are the log's own; the draft of the run makes them ours.
"""

from collections.abc import Callable
from typing import Any

from ..records import Image, Part, Text, Thinking, ToolCall, ToolResult, clean
from .look import first, is_list, items, obj, text, written

Miss = Callable[[str], None]
"""Told of what cannot be mapped, by its kind."""

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "model": "assistant", "ai": "assistant", "gpt": "assistant",
    "tool": "tool", "function": "tool",
}  # fmt: skip

_TEXTS = {"text", "input_text", "output_text", "refusal", "summary_text"}
_THOUGHTS = {"thinking", "reasoning", "redacted_thinking"}
_IMAGES = {"image", "image_url", "input_image", "image_file"}
_CALLS = {"tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "tool-call", "function_call", "custom_tool_call"}
_RESULTS = {
    "tool_result", "tool_call_response", "tool-result", "function_call_output", "custom_tool_call_output",
    "mcp_tool_result",
}  # fmt: skip
MIME_UNKNOWN = "application/octet-stream"


def parts_of(content: Any, miss: Miss) -> list[Part]:
    """Returns the parts of a message's content: a text, a part, or a list of both."""
    if is_list(content):
        return [part for item in content for part in parts_of(item, miss)]
    if isinstance(content, dict):
        return _part(content, miss)
    said = text(content)
    return [Text(text=said)] if said else []


def _part(part: dict[str, Any], miss: Miss) -> list[Part]:
    kind = text(part.get("type")) or ("text" if "text" in part else "")
    if kind in _TEXTS:
        said = text(first(part.get("text"), part.get("content"), part.get("refusal")))
        return [Text(text=said)] if said else []
    if kind in _THOUGHTS:
        return [Thinking(text=_thought(part), signature=text(part.get("signature")))]
    if kind in _IMAGES or (kind in {"blob", "uri", "file"} and part.get("modality") == "image"):
        return [Image(blob="", mime=_mime(part))]
    if kind in _CALLS:
        return _called(part)
    if kind in _RESULTS or kind.endswith("_tool_result"):
        return [_given(part, miss)]
    miss(f"content part: {kind or 'without a type'}")
    return []


def _thought(part: dict[str, Any]) -> str:
    said = first(part.get("thinking"), part.get("reasoning"), part.get("content"), part.get("text"))
    if not said:
        said = "\n".join(text(obj(item).get("text")) or "" for item in items(part.get("summary")))
    return clean(said) if isinstance(said, str) else "".join(text(obj(item).get("text")) or "" for item in items(said))


def _mime(part: dict[str, Any]) -> str:
    source = obj(part.get("source"))
    found = first(
        source.get("media_type"), part.get("mime_type"), part.get("media_type"), _data_mime(part.get("image_url")),
        _data_mime(obj(part.get("image_url")).get("url")), _data_mime(part.get("image")),
    )  # fmt: skip
    return text(found) or MIME_UNKNOWN


def _data_mime(address: Any) -> str | None:
    if not isinstance(address, str) or not address.startswith("data:"):
        return None
    return address[5:80].split(";")[0].split(",")[0] or None


def _called(part: dict[str, Any]) -> list[Part]:
    """A call; one that the provider carried out itself has its result beside it."""
    call = asked(part)
    if "result" not in part:
        return [call]
    error = text(part.get("error"))
    result = ToolResult(
        tool_call_id=call.tool_call_id, name=call.name, content=error or written(part["result"]), is_error=bool(error)
    )
    return [call, result]


def asked(call: Any) -> ToolCall:
    """Returns a call as the model asked for it; its id is empty where it has none."""
    said = obj(call)
    function = said.get("function")
    inner = obj(function) or obj(said.get("custom")) or said
    name = function if isinstance(function, str) else first(inner.get("name"), said.get("toolName"))
    arguments = first(
        inner.get("arguments"), inner.get("input"), inner.get("args"), said.get("arguments"), said.get("input")
    )
    found = first(said.get("call_id"), said.get("id"), said.get("tool_call_id"), said.get("toolCallId"))
    return ToolCall(tool_call_id=text(found) or "", name=text(name) or "", arguments=written(arguments))


def _given(part: dict[str, Any], miss: Miss) -> ToolResult:
    found = first(
        part.get("tool_use_id"), part.get("call_id"), part.get("id"), part.get("tool_call_id"), part.get("toolCallId")
    )
    content = first(part.get("content"), part.get("response"), part.get("result"), part.get("output"))
    error = first(part.get("is_error"), part.get("isError"))
    failed = obj(content).get("type") if isinstance(content, dict) else None
    is_error = error is True or (isinstance(failed, str) and failed.endswith("_tool_result_error"))
    said, images = said_by_tool(content, miss)
    return ToolResult(
        tool_call_id=text(found) or "",
        name=text(part.get("name")) or "",
        content=said,
        is_error=is_error,
        images=tuple(images),
    )


def said_by_tool(content: Any, miss: Miss) -> tuple[str, list[Image]]:
    """Returns a tool's output as text, and the pictures in it: tools give a text, parts, or any JSON."""
    if is_list(content) and content and all(isinstance(item, str) or "type" in obj(item) for item in content):
        found = parts_of([item for item in content if _is_said(item)], miss)
        rest = [written(item) for item in content if not _is_said(item)]
        texts = [part.text for part in found if isinstance(part, Text)]
        return "\n".join([*texts, *rest]), [part for part in found if isinstance(part, Image)]
    if isinstance(content, dict) and content.get("type") == "text" and isinstance(content.get("text"), str):
        return written(content["text"]), []
    return written(content), []


def _is_said(item: Any) -> bool:
    return isinstance(item, str) or text(obj(item).get("type")) in _TEXTS | _IMAGES
