"""Where things stand in a run: its epochs, and what a client's cursor means there.

Within a run seq counts without holes, so a place is a seq; the epochs say which id an event of that seq has.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from ..events import Cursor, line_cursor, parse_cursor, run_tag


class Gap(NamedTuple):
    """What was asked for is not all there: the cursor `requested` is no event of the run, whose events reach from
    `earliest` to `latest` (None while it has none)."""

    requested: str
    earliest: str | None
    latest: str | None


class Place(NamedTuple):
    """What a cursor means: everything after `seq` follows it. `is_exact` when the cursor is an event of the run."""

    seq: int
    is_exact: bool


@dataclass
class Places:
    """The epochs of a run, each with its first seq, and the last seq that may be seen."""

    run_id: str
    last: int = 0
    is_complete: bool = False
    epochs: list[tuple[int, int]] = field(default_factory=list)
    tag: str = field(init=False)

    def __post_init__(self) -> None:
        self.tag = run_tag(self.run_id)

    def enter(self, epoch: int, seq: int) -> None:
        """Takes in that the event of this seq belongs to this epoch."""
        if not self.epochs or self.epochs[-1][0] != epoch:
            self.epochs.append((epoch, seq))

    def take(self, lines: list[bytes]) -> None:
        """Takes the next good lines in. Within one epoch only the ends of a batch need a look."""
        first, last = line_cursor(lines[0]), line_cursor(lines[-1])
        if first is not None and last is not None and first.epoch == last.epoch:
            self.enter(first.epoch, first.seq)
        else:
            for place in filter(None, map(line_cursor, lines)):
                self.enter(place.epoch, place.seq)
        self.last += len(lines)

    def id_of(self, seq: int) -> str | None:
        """Returns the id of the event of this seq, or None where there is none."""
        if not 1 <= seq <= self.last:
            return None
        epoch, _ = self.epochs[bisect_right(self.epochs, seq, key=lambda entry: entry[1]) - 1]
        return str(Cursor(self.tag, epoch, seq))

    def locate(self, cursor: str) -> Place | None:
        """Returns where a cursor stands, or None for one that is none of this run.

        A cursor that is no event stands at the last event at or before it, by `(epoch, seq)`.
        """
        wanted = parse_cursor(cursor)
        if wanted is None or wanted.tag != self.tag:
            return None
        number = bisect_right(self.epochs, wanted.epoch, key=lambda entry: entry[0])
        if number == 0:
            return Place(0, is_exact=False)
        epoch, first = self.epochs[number - 1]
        end = self.epochs[number][1] - 1 if number < len(self.epochs) else self.last
        if epoch < wanted.epoch:
            return Place(end, is_exact=False)
        return Place(min(max(wanted.seq, first - 1), end), is_exact=first <= wanted.seq <= end)

    def gap(self, requested: str) -> Gap:
        return Gap(requested, self.id_of(1), self.id_of(self.last))
