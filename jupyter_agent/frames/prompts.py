"""Two requests compared: model, settings, instructions, tools, then message by message. The first difference counts.

Regions are compared by the fingerprints that were kept of them (see cache_shape), and messages that are known by what
they say: each run gives its tool calls ids of its own, which are no difference.
"""

from collections.abc import Sequence
from itertools import zip_longest
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
    place: int | None
    """Of the message among those that the run brought; None where it brought only the fingerprint."""


class Prompts:
    """The requests of a run. Its messages are laid open once, however many requests hold them."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.messages = [message for message in told.past if message.parts]
        self._ends: list[int] = []
        for turn in told.turns:
            self.messages += [message for message in turn.request if message.parts]
            self._ends.append(len(self.messages))
            self.messages += [turn.response] if turn.response.parts else []
        self.plain = [_plain(message) for message in self.messages]

    def segments(self, turn: int, region: str) -> list[Segment]:
        return [segment for segment in self.told.turns[turn].segments if segment.region == region]

    def has_prints(self, turn: int) -> bool:
        """Whether the regions of the turn's prompt were kept."""
        return bool(self.told.turns[turn].segments)

    def said(self, turn: int, *, has_prints: bool) -> list[_Said]:
        """Returns the messages of a turn's prompt. Those of the run itself are known, and what a fork began with;
        earlier ones of its thread, and summaries, only by their fingerprints."""
        known = self._ends[turn]
        if not has_prints:
            return [_Said(message.role, None, place) for place, message in enumerate(self.messages[:known])]
        prints = self.segments(turn, "message")
        # Whatever stands before them, the prompt ends with them.
        unknown = len(prints) - known
        return [
            _Said(one.label, one.fingerprint, at - unknown if at >= unknown and one.label != "summary" else None)
            for at, one in enumerate(prints)
        ]

    def shown(self, said: _Said | None) -> str | None:
        """Returns a message as text, or what stands for it."""
        if said is None:
            return None
        return f"{said.label} {said.fingerprint}" if said.place is None else told_of(self.messages[said.place])


def difference(a: Prompts, turn_a: int, b: Prompts, turn_b: int) -> Difference | None:
    """Returns the first difference of what two turns were asked with, None where there is none."""
    has_prints = a.has_prints(turn_a) and b.has_prints(turn_b)
    return (
        _of_names(a.told, b.told)
        or (_of_heads(a, turn_a, b, turn_b) if has_prints else _of_texts(a.told, b.told))
        or _of_messages(a, turn_a, b, turn_b, has_prints=has_prints)
        or _of_attachments(a.segments(turn_a, "attachment"), b.segments(turn_b, "attachment"))
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


def _of_heads(a: Prompts, turn_a: int, b: Prompts, turn_b: int) -> Difference | None:
    """Compares instructions, of which the text is told where the run brought it, and tools by their names."""
    if found := parting(b.segments(turn_b, "system"), a.segments(turn_a, "system")):
        return _of_texts(a.told, b.told) or Difference("system", "instructions", found.before, found.after)
    before, after = a.segments(turn_a, "tool"), b.segments(turn_b, "tool")
    gone = [tool.label for tool in before if tool.label not in {tool.label for tool in after}]
    new = [tool.label for tool in after if tool.label not in {tool.label for tool in before}]
    if gone or new:
        return Difference("tool", (gone or new)[0], ", ".join(gone) or None, ", ".join(new) or None)
    if found := parting(after, before):
        label = next(tool.label for tool, then in zip(after, before, strict=False) if tool != then)
        return Difference("tool", label, found.before, found.after)
    return None


def _of_attachments(one: Sequence[Segment], other: Sequence[Segment]) -> Difference | None:
    found = parting(other, one)
    return Difference("attachment", "picture", found.before, found.after) if found else None


# --- messages -------------------------------------------------------------------------------------------------------


def _of_messages(a: Prompts, turn_a: int, b: Prompts, turn_b: int, *, has_prints: bool) -> Difference | None:
    for x, y in zip_longest(a.said(turn_a, has_prints=has_prints), b.said(turn_b, has_prints=has_prints)):
        if x is None or y is None or not _is_same(a, x, b, y):
            return Difference("message", (x or y).label, a.shown(x), b.shown(y))
    return None


def _is_same(a: Prompts, x: _Said, b: Prompts, y: _Said) -> bool:
    if x.fingerprint is not None and x.fingerprint == y.fingerprint:
        return True
    return x.place is not None and y.place is not None and a.plain[x.place] == b.plain[y.place]


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
