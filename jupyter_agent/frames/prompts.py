"""Two requests compared: model, settings, instructions, tools, then message by message. The first difference counts.

Regions are compared by the fingerprints that were kept of them (see cache_shape), and messages that are known by what
they say: each run gives its tool calls ids of its own, which are no difference.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from ..cache_shape import parting
from ..records import Image, Message, Part, Segment, Text, Thinking, ToolCall, canonical_json
from .told import Told

REGIONS: Final = ("model", "settings", "system", "tool", "message", "attachment")


class Difference(Struct, frozen=True):
    """Where two requests differ first: the region, what of it (a tool, a key, who says a message), and what stands
    there in each; None where nothing does."""

    region: str
    label: str
    before: str | None
    after: str | None


class _Said(NamedTuple):
    label: str
    fingerprint: str | None
    message: Message | None


def difference(a: Told, turn_a: int, b: Told, turn_b: int) -> Difference | None:
    """Returns the first difference of what two turns were asked with, None where there is none."""
    one, other = a.turns[turn_a].segments, b.turns[turn_b].segments
    has_prints = bool(one) and bool(other)
    return (
        _of_names(a, b)
        or (_of_heads(a, one, b, other) if has_prints else _of_texts(a, b))
        or _of_messages(_said(a, turn_a, has_prints=has_prints), _said(b, turn_b, has_prints=has_prints))
        or _of_attachments(one, other)
    )


def same_answer(a: Message, b: Message) -> bool:
    """Tells whether two answers say and ask for the same."""
    return _plain(a) == _plain(b)


def _of_names(a: Told, b: Told) -> Difference | None:
    if a.model != b.model:
        return Difference("model", "model", a.model, b.model)
    for key in sorted({*a.settings, *b.settings}):
        one, other = (canonical_json(told.settings[key]) if key in told.settings else None for told in (a, b))
        if one != other:
            return Difference("settings", key, one, other)
    return None


def _of_texts(a: Told, b: Told) -> Difference | None:
    if a.instructions != b.instructions:
        return Difference("system", "instructions", a.instructions or None, b.instructions or None)
    return None


def _of_heads(a: Told, one: Sequence[Segment], b: Told, other: Sequence[Segment]) -> Difference | None:
    """Compares instructions, of which the text is told where the run brought it, and tools by their names."""
    if found := parting(_of(other, "system"), _of(one, "system")):
        return _of_texts(a, b) or Difference("system", "instructions", found.before, found.after)
    before, after = _of(one, "tool"), _of(other, "tool")
    gone = [tool.label for tool in before if tool.label not in {tool.label for tool in after}]
    new = [tool.label for tool in after if tool.label not in {tool.label for tool in before}]
    if gone or new:
        return Difference("tool", (gone or new)[0], ", ".join(gone) or None, ", ".join(new) or None)
    if found := parting(after, before):
        label = next(tool.label for tool, then in zip(after, before, strict=False) if tool != then)
        return Difference("tool", label, found.before, found.after)
    return None


def _of_attachments(one: Sequence[Segment], other: Sequence[Segment]) -> Difference | None:
    found = parting(_of(other, "attachment"), _of(one, "attachment"))
    return Difference("attachment", "picture", found.before, found.after) if found else None


def _of(prompt: Sequence[Segment], region: str) -> list[Segment]:
    return [segment for segment in prompt if segment.region == region]


# --- messages -------------------------------------------------------------------------------------------------------


def _said(told: Told, turn: int, *, has_prints: bool) -> list[_Said]:
    """Returns the messages of a turn's prompt. Those of the run itself are known, and what a fork began with; earlier
    ones of its thread, and summaries, only by their fingerprints."""
    known = [message for message in (*told.past, *_of_run(told, turn)) if message.parts]
    if not has_prints:
        return [_Said(message.role, None, message) for message in known]
    prints = _of(told.turns[turn].segments, "message")
    # Whatever stands before them, the prompt ends with them.
    unknown = len(prints) - len(known)
    return [
        _Said(
            segment.label,
            segment.fingerprint,
            known[place - unknown] if place >= unknown and segment.label != "summary" else None,
        )
        for place, segment in enumerate(prints)
    ]


def _of_run(told: Told, turn: int) -> Iterator[Message]:
    for earlier in told.turns[:turn]:
        yield from (*earlier.request, earlier.response)
    yield from told.turns[turn].request


def _of_messages(one: Sequence[_Said], other: Sequence[_Said]) -> Difference | None:
    for place in range(max(len(one), len(other))):
        x = one[place] if place < len(one) else None
        y = other[place] if place < len(other) else None
        if x is None or y is None or not _is_same(x, y):
            return Difference("message", (x or y or one[0]).label, _shown(x), _shown(y))
    return None


def _is_same(x: _Said, y: _Said) -> bool:
    if x.fingerprint is not None and x.fingerprint == y.fingerprint:
        return True
    return x.message is not None and y.message is not None and _plain(x.message) == _plain(y.message)


def _plain(message: Message) -> tuple[Any, ...]:
    """Returns what a message says, without the ids that a run or a provider gave."""
    return (message.role, *(_plain_part(part) for part in message.parts))


def _plain_part(part: Part) -> tuple[Any, ...]:
    match part:
        case Text(text=text):
            return ("text", text)
        case Thinking(text=text):
            return ("thinking", text)
        case Image(blob=blob):
            return ("image", blob)
        case ToolCall(name=name, arguments=arguments):
            return ("call", name, arguments)
        case _:
            return ("result", part.name, part.content, part.is_error, tuple(image.blob for image in part.images))


def _shown(said: _Said | None) -> str | None:
    if said is None:
        return None
    return told_of(said.message) if said.message is not None else f"{said.label} {said.fingerprint}"


def told_of(message: Message) -> str:
    """Returns a message as text: what is said, called, and given back."""
    lines: list[str] = []
    for part in message.parts:
        match part:
            case Text(text=text) | Thinking(text=text):
                lines.append(text)
            case Image(mime=mime):
                lines.append(f"[{mime}]")
            case ToolCall(name=name, arguments=arguments):
                lines.append(f"{name}({arguments})")
            case _:
                lines.append(f"{part.name} → {part.content}")
    return "\n".join(lines)
