"""Two runs side by side: which turns were asked with the same, and where they part."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pandas as pd
from msgspec import Struct

from ..display import words
from ..display.markup import Style, tag
from ..facts.columns import Column, Type, said
from ..records import TurnRecord
from .columns import to_frame, to_table
from .prompts import REGIONS, Difference, Prompts, difference, same_answer
from .told import Told

LISTED: Final = 20
SHOWN_CHARS: Final = 120
LEAD_CHARS: Final = 24
"""What is shown of two texts begins a little before they part."""


class Pair(Struct, frozen=True, kw_only=True):
    """A turn of one run beside the turn of the other. Where one is None the other run has none there; what both had
    before a fork is the same by its making."""

    a: TurnRecord | None
    b: TurnRecord | None
    is_shared: bool = False
    difference: Difference | None = None

    @property
    def same_input(self) -> bool | None:
        if self.is_shared:
            return True
        return self.difference is None if self.a and self.b else None

    @property
    def same_answer(self) -> bool | None:
        if self.is_shared:
            return True
        return same_answer(self.a.response, self.b.response) if self.a and self.b else None


def _pairs(side: str, name: str, type_: Type) -> Column:
    """A column of one of the two turns: `turn_a`, `turn_b`."""

    def value(pair: Pair) -> object:
        turn: TurnRecord | None = getattr(pair, side)
        return None if turn is None else _READ[name](turn)

    return Column(f"{name}_{side}", type_, value)


_READ: Final[dict[str, Callable[[TurnRecord], object]]] = {
    "turn": lambda turn: turn.turn,
    "text": lambda turn: turn.response.text or None,
    "tool_calls": lambda turn: ", ".join(call.name for call in turn.response.tool_calls) or None,
    "model": lambda turn: turn.model,
    "input_tokens": lambda turn: None if turn.usage.is_unmeasured else turn.usage.input_tokens,
    "output_tokens": lambda turn: None if turn.usage.is_unmeasured else turn.usage.output_tokens,
    "cost": lambda turn: turn.usage.cost,
}


def _both(name: str, type_: Type) -> tuple[Column, Column]:
    return _pairs("a", name, type_), _pairs("b", name, type_)


def _part(name: str) -> Column:
    return Column(name, Type.TEXT, lambda pair: getattr(pair.difference, name) if pair.difference else None)


COLUMNS: Final = (
    *_both("turn", Type.INT),
    said("same_input", Type.BOOL),
    Column("region", Type.NAME, lambda pair: pair.difference.region if pair.difference else None, REGIONS),
    _part("label"),
    _part("before"),
    _part("after"),
    said("same_answer", Type.BOOL),
    *_both("text", Type.TEXT),
    *_both("tool_calls", Type.TEXT),
    *_both("model", Type.NAME),
    *_both("input_tokens", Type.INT),
    *_both("output_tokens", Type.INT),
    *_both("cost", Type.FLOAT),
)


class Diff:
    """What two runs had in common, and the first turn whose input differed.

    `turn` is that turn in the first run (so that `a.fork(turn=d.turn)` makes it anew), `turn_b` in the second; both are
    None where all turns that both have were asked with the same. `region` says in what: "model", "settings", "system",
    "tool", "message" or "attachment"; `label` which setting, tool or speaker; `before` and `after` are what stood there
    in the first run and in the second, as text where it is kept, else as a fingerprint; None where nothing stood there.

    `df` has a row a pair of turns: turn_a, turn_b, same_input, region, label, before, after, same_answer, then text,
    tool_calls, model, input_tokens, output_tokens and cost of both. A fork is laid beside the turns that it made anew.
    """

    def __init__(self, a: Told, b: Told) -> None:
        self.a, self.b = a.run_id, b.run_id
        self.pairs = tuple(_aligned(a, b))
        found = next((pair for pair in self.pairs if pair.difference), None)
        self._difference = found.difference if found else None
        self.turn = found.a.turn if found and found.a else None
        self.turn_b = found.b.turn if found and found.b else None
        self.df: pd.DataFrame = to_frame(to_table(COLUMNS, self.pairs), COLUMNS)

    @property
    def region(self) -> str | None:
        return self._difference.region if self._difference else None

    @property
    def label(self) -> str | None:
        return self._difference.label if self._difference else None

    @property
    def before(self) -> str | None:
        return self._difference.before if self._difference else None

    @property
    def after(self) -> str | None:
        return self._difference.after if self._difference else None

    def _said(self) -> str:
        if self._difference is None:
            return "all turns that both have were asked with the same"
        where = f"turn {self.turn}" + (f" (turn {self.turn_b} there)" if self.turn_b != self.turn else "")
        named = "" if self.label == self.region else f" ({self.label})"
        return f"the input of {where} differs in {self.region}{named}"

    def _texts(self) -> tuple[str, str]:
        """Returns what stood there in each, around the place where they part."""
        one, other = self.before, self.after
        if one is None or other is None:
            return tuple("nothing" if text is None else _cut(text, 0) for text in (one, other))  # type: ignore[return-value]
        place = next((n for n, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
        start = max(place - LEAD_CHARS, 0)
        return _cut(one, start), _cut(other, start)

    def __repr__(self) -> str:
        lines = [f"<Diff of {self.a} and {self.b}: {self._said()}>"]
        if self._difference is not None:
            before, after = self._texts()
            lines += [f"  before: {before}", f"  after:  {after}"]
        lines += [f"  {' · '.join(_line(pair))}" for pair in self.pairs[:LISTED]]
        if len(self.pairs) > LISTED:
            lines.append(f"  … and {len(self.pairs) - LISTED} more in .df")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = tag("div", Style.HEAD, tag("b", Style.NONE, "Diff"), f" of {self.a} and {self.b}: {self._said()}")
        texts = []
        if self._difference is not None:
            before, after = self._texts()
            texts = [
                tag("div", Style.CODE, "before: ", tag("span", Style.REMOVED, before)),
                tag("div", Style.CODE, "after: ", tag("span", Style.ADDED, after)),
            ]
        names = ("a", "b", "input", "answer", "says in a", "says in b")
        heading = tag("tr", Style.NONE, *(tag("th", Style.HEADING, name) for name in names))
        rows = [tag("tr", Style.NONE, *(tag("td", Style.CELL, cell) for cell in _cells(pair)))
                for pair in self.pairs[:LISTED]]  # fmt: skip
        table = tag("table", Style.TABLE, tag("thead", Style.NONE, heading), tag("tbody", Style.NONE, *rows))
        left = len(self.pairs) - LISTED
        more = [tag("div", Style.SMALL, f"… and {left} more in .df")] if left > 0 else []
        return str(tag("div", Style.BOX, head, *texts, table, *more))


def _aligned(a: Told, b: Told) -> Iterator[Pair]:
    """Yields the turns of both side by side: each by its place after what the runs have in common."""
    base_a, base_b = _bases(a, b)
    prompts_a, prompts_b = Prompts(a), Prompts(b)
    for place in range(max(base_a + len(a.turns), base_b + len(b.turns))):
        at_a, at_b = place - base_a, place - base_b
        one = a.turns[at_a] if 0 <= at_a < len(a.turns) else None
        other = b.turns[at_b] if 0 <= at_b < len(b.turns) else None
        if one and other:
            yield Pair(a=one, b=other, difference=difference(prompts_a, at_a, prompts_b, at_b))
        elif one or other:
            yield Pair(a=one, b=other, is_shared=at_a < 0 or at_b < 0)


def _bases(a: Told, b: Told) -> tuple[int, int]:
    """Returns at which turn of what they have in common each begins."""
    if b.before is not None and b.before[0] == a.run_id:
        return 0, b.before[1]
    if a.before is not None and a.before[0] == b.run_id:
        return a.before[1], 0
    if a.before is not None and b.before is not None and a.before[0] == b.before[0]:
        return a.before[1], b.before[1]
    return 0, 0


def _cut(text: str, start: int) -> str:
    shown = words.one_line(text[start:], SHOWN_CHARS)
    return f"…{shown}" if start else shown


def _number(turn: TurnRecord | None) -> str:
    return "-" if turn is None else str(turn.turn)


def _states(pair: Pair) -> tuple[str, str]:
    if pair.is_shared:
        return "shared", "shared"
    if pair.same_input is None:
        return f"only in {'a' if pair.a else 'b'}", ""
    differs = f"differs in {pair.difference.region}" if pair.difference else ""
    return differs or "same", "same" if pair.same_answer else "differs"


def _line(pair: Pair) -> Sequence[str]:
    given, answered = _states(pair)
    numbers = _number(pair.a) if pair.a and pair.b and pair.a.turn == pair.b.turn else None
    numbers = numbers or f"{_number(pair.a)} | {_number(pair.b)}"
    said = [f"turn {numbers}", f"input {given}" if answered and not pair.is_shared else given]
    return [*said, f"answer {answered}"] if answered and not pair.is_shared else said


def _cells(pair: Pair) -> Sequence[str]:
    return [_number(pair.a), _number(pair.b), *_states(pair), *(_gist(turn) for turn in (pair.a, pair.b))]


def _gist(turn: TurnRecord | None) -> str:
    """Returns what a turn says, or which tools it calls."""
    if turn is None:
        return ""
    calls = ", ".join(call.name for call in turn.response.tool_calls)
    return words.one_line(turn.response.text or calls, SHOWN_CHARS)
