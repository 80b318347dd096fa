"""Facts of a run in order, as the client hands them out. Frames attach `.df` to this class."""

from collections.abc import Iterable
from typing import Any, TypeVar

T_co = TypeVar("T_co", covariant=True)

SHOWN = 20


class Rows(tuple[T_co, ...]):
    """An immutable list of facts of one kind: turns, tool calls, events, messages, runs.

    `kind` names what they are and `run_id` whose. `df`, attached by the frames, is the same as a DataFrame.
    """

    kind: str
    run_id: str
    df: Any

    @classmethod
    def of(cls, kind: str, items: Iterable[T_co], *, run_id: str = "") -> "Rows[T_co]":
        """Returns the rows of these items."""
        rows = cls(items)
        rows.kind, rows.run_id = kind, run_id
        return rows

    def __repr__(self) -> str:
        lines = [f"  {item!r}" for item in self[:SHOWN]]
        if len(self) > SHOWN:
            lines.append(f"  … and {len(self) - SHOWN} more")
        return "\n".join([f"{len(self)} {self.kind.replace('_', ' ')}", *lines])
