"""What a model is sent, cut into the regions that a provider's cache can tell apart.

A prompt is the instructions, the tools and the messages, in this order where the provider has no other, each as JSON;
pictures follow the message that they belong to. Every region is filled up to whole tokens, so that tokens can be
counted region by region. The offline models' prompt is these very bytes; for others they stand for what the provider
makes of the request.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ..records import Image, Message, Part, Segment, ToolResult
from .contract import ModelRequest

BYTES_PER_TOKEN: Final = 4
PICTURE_TOKENS: Final = 1_000
"""About what providers count for a picture of a megapixel."""
FINGERPRINT_DIGITS: Final = 16


class Region(NamedTuple):
    """A region of a prompt: what is told of it, and its bytes."""

    segment: Segment
    data: bytes


def estimate_tokens(text: str | bytes) -> int:
    """Returns the number of simulated tokens, four bytes each, rounded up."""
    size = len(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    return -(-size // BYTES_PER_TOKEN)


def cut(request: ModelRequest, *, has_summary: bool = False, tools_first: bool = False) -> tuple[Region, ...]:
    """Returns the regions of a request's prompt, in order. The prompt of a later turn starts with that of an earlier
    one.

    `has_summary` says that the first message stands for older ones, which were compacted; `tools_first` that the
    provider puts the tools before the instructions.
    """
    said = [_region("system", "instructions", request.instructions)] if request.instructions else []
    # What else a specification says is the policy's, and no model is told of it.
    tools = [_region("tool", tool.name, (tool.name, tool.description, tool.parameters)) for tool in request.tools]
    head = [*tools, *said] if tools_first else [*said, *tools]
    return (*head, *_messages(request.messages, has_summary=has_summary))


def segments_of(request: ModelRequest, *, has_summary: bool = False, tools_first: bool = False) -> tuple[Segment, ...]:
    """Returns what is kept of a request's prompt: its regions with fingerprints, without their bytes."""
    return tuple(region.segment for region in cut(request, has_summary=has_summary, tools_first=tools_first))


def prompt_bytes(request: ModelRequest) -> bytes:
    """Returns the whole prompt as bytes."""
    return b"".join(region.data for region in cut(request))


def _messages(messages: Sequence[Message], *, has_summary: bool) -> Iterator[Region]:
    for index, message in enumerate(messages):
        label = "summary" if has_summary and index == 0 else message.role
        yield _region("message", label, (message.role, [_without_pictures(part) for part in _texts(message)]))
        for picture in _pictures(message.parts):
            yield _region("attachment", picture.mime, picture, tokens=PICTURE_TOKENS)


def _region(
    region: Literal["system", "tool", "message", "attachment"], label: str, value: Any, *, tokens: int = 0
) -> Region:
    data = msgspec.json.encode(value) + b"\n"
    tokens = max(tokens, estimate_tokens(data))
    data = data.ljust(tokens * BYTES_PER_TOKEN)
    fingerprint = hashlib.sha256(data).hexdigest()[:FINGERPRINT_DIGITS]
    return Region(Segment(region, label, fingerprint, tokens), data)


def _texts(message: Message) -> Iterator[Part]:
    return (part for part in message.parts if not isinstance(part, Image))


def _without_pictures(part: Part) -> Part:
    return msgspec.structs.replace(part, images=()) if isinstance(part, ToolResult) and part.images else part


def _pictures(parts: Sequence[Part]) -> Iterator[Image]:
    for part in parts:
        if isinstance(part, Image):
            yield part
        elif isinstance(part, ToolResult):
            yield from part.images
