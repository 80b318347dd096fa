"""Our messages as pydantic-ai's: what a provider is sent.

Providers want some of what they said back exactly as it was: signatures of reasoning, ids of items. It travels in
`Thinking.signature` as a seal: the provider's signature itself, or a JSON object where there is more to keep. A seal
may also stand alone, after the text or for the call that it belongs to.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_ai import messages as pa

from ..records import Image, Message, Text, Thinking, ToolCall, ToolResult
from .contract import ModelRequest

Sealed = pa.ThinkingPart | pa.TextPart | pa.ToolCallPart

GONE = "[A picture stood here. Its bytes are no longer stored.]"


def seal(part: Sealed, *, call: int | None = None) -> str | None:
    """Returns what must be kept of a part beside its text, None if that is nothing. `call` is a tool call's index."""
    signature = part.signature if isinstance(part, pa.ThinkingPart) else None
    details = {key: value for key, value in (part.provider_details or {}).items() if key in KEPT_DETAILS}
    if not part.id and not details:
        return signature
    kept: dict[str, Any] = {"id": part.id, "signature": signature, "details": details or None}
    if isinstance(part, pa.ToolCallPart):
        kept["call"] = call
    elif isinstance(part, pa.TextPart):
        kept["text"] = True
    return json.dumps({key: value for key, value in kept.items() if value is not None}, default=str)


KEPT_DETAILS = frozenset({"thought_signature", "raw_content", "phase"})
"""Details of parts that go back to the provider; others only describe."""


def pydantic_messages(request: ModelRequest, *, provider: str, system: str) -> list[pa.ModelMessage]:
    """Returns the request's messages. `provider` is our name of the provider asked, `system` is pydantic-ai's."""
    ids = _Ids()
    whole: list[pa.ModelMessage] = []
    for message in request.messages:
        if message.role == "assistant":
            if parts := _answer_parts(message, ids, provider=provider, system=system):
                whole.append(pa.ModelResponse(parts=parts, provider_name=system))
        elif asked := list(_asked_parts(message, request, ids)):
            if whole and isinstance(last := whole[-1], pa.ModelRequest):
                last.parts = [*last.parts, *asked]
            else:
                whole.append(pa.ModelRequest(parts=asked))
    if not whole or not isinstance(whole[-1], pa.ModelRequest):
        whole.append(pa.ModelRequest(parts=[pa.UserPromptPart(content="Go on.")]))
    if request.instructions and isinstance(last := whole[-1], pa.ModelRequest):
        last.instructions = request.instructions
    return whole


def _asked_parts(message: Message, request: ModelRequest, ids: "_Ids") -> Iterable[pa.ModelRequestPart]:
    if message.role == "system":
        yield pa.SystemPromptPart(content=message.text)
        return
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield pa.ToolReturnPart(
                tool_name=_tool_name(part.name),
                content=_with_pictures(part.content or "(nothing)", part.images, request),
                tool_call_id=ids.of_result(part.tool_call_id),
                outcome="failed" if part.is_error else "success",
            )
    said = [part for part in message.parts if isinstance(part, Image) or (isinstance(part, Text) and part.text)]
    if said:
        content = [part.text if isinstance(part, Text) else _picture(part, request) for part in said]
        yield pa.UserPromptPart(content=content[0] if len(content) == 1 and isinstance(content[0], str) else content)


def _with_pictures(content: str, images: Sequence[Image], request: ModelRequest) -> Any:
    return [content, *(_picture(image, request) for image in images)] if images else content


def _picture(image: Image, request: ModelRequest) -> pa.BinaryContent | str:
    data = request.images.get(image.blob)
    return GONE if data is None else pa.BinaryContent(data=data, media_type=image.mime)


def _answer_parts(message: Message, ids: "_Ids", *, provider: str, system: str) -> list[pa.ModelResponsePart]:
    """Returns an assistant message's parts. Reasoning goes back to the provider that it is from, and to no other."""
    parts: list[pa.ModelResponsePart] = []
    kept_calls: dict[int, dict[str, Any]] = {}
    calls = 0
    for part in message.parts:
        match part:
            case Text(text=text) if text:
                parts.append(pa.TextPart(content=text))
            case Thinking() if part.provider == provider:
                kept = _unseal(part.signature)
                if "call" in kept:
                    kept_calls[kept["call"]] = kept
                elif "text" in kept:
                    _attach(parts[-1:], kept, system)
                elif part.text or kept:
                    thought = pa.ThinkingPart(content=part.text, signature=kept.get("signature"), provider_name=system)
                    _attach([thought], kept, system)
                    parts.append(thought)
            case ToolCall():
                call = pa.ToolCallPart(
                    tool_name=_tool_name(part.name), args=part.arguments, tool_call_id=ids.of_call(part.tool_call_id)
                )
                _attach([call], kept_calls.get(calls, {}), system)
                parts.append(call)
                calls += 1
            case _:
                pass
    return parts


def _attach(parts: Sequence[pa.ModelResponsePart], kept: dict[str, Any], system: str) -> None:
    """Puts what a seal kept back on the part it is from."""
    for part in parts:
        if isinstance(part, Sealed) and (kept.get("id") or kept.get("details")):
            part.id = kept.get("id")
            part.provider_details = kept.get("details")
            part.provider_name = system


def _unseal(signature: str | None) -> dict[str, Any]:
    if not signature:
        return {}
    try:
        kept = json.loads(signature) if signature.startswith("{") else None
    except ValueError:
        kept = None
    return kept if isinstance(kept, dict) else {"signature": signature}


def _tool_name(name: str) -> str:
    """Returns a name that every provider takes: a name that a model made up must not make all later requests fail."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"


class _Ids:
    """Ids of tool calls that are unique in a request, though runs of one thread may repeat them."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def of_call(self, tool_call_id: str) -> str:
        self._seen[tool_call_id] = self._seen.get(tool_call_id, 0) + 1
        return self.of_result(tool_call_id)

    def of_result(self, tool_call_id: str) -> str:
        count = self._seen.get(tool_call_id, 1)
        return tool_call_id[:60] if count == 1 else f"{tool_call_id[:54]}_{count}"
