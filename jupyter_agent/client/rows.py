"""Facts of a run in order, as the client hands them out. Frames attach `.df` to this class."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from .. import records

if TYPE_CHECKING:
    from .feed import Feed

T_co = TypeVar("T_co", covariant=True)

SHOWN = 20
WORDS = 60
LINE = 200


def _line(item: Any) -> str:
    """Returns what tells an item from the others, on one line."""
    match item:
        case records.Run():
            said = [item.run_id, f"{item.created_at:%Y-%m-%d %H:%M}", str(item.status), item.model]
            return " · ".join([*said, *([_short(item.first_human_message)] if item.first_human_message else [])])
        case records.Thread():
            said = [item.thread_id, f"{item.updated_at:%Y-%m-%d %H:%M}", str(item.status)]
            return " · ".join([*said, *([_short(item.title)] if item.title else [])])
        case records.HeadlessRun():
            said = [item.workflow_run_id, item.workflow, f"{item.created_at:%Y-%m-%d %H:%M}", str(item.status)]
            return " · ".join([*said, f"{item.hits} of {item.calls} calls from the store"])
        case _:
            line = repr(item)
            return line if len(line) <= LINE else f"{line[: LINE - 1]}…"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= WORDS else f"{line[: WORDS - 1]}…")


class Rows(tuple[T_co, ...]):
    """An immutable list of facts of one kind: turns, tool calls, events, messages, runs.

    `kind` names what they are and `run_id` whose. `df`, `arrow()` and `live()`, attached by the frames, are the same
    as a DataFrame, as an Arrow table, and as a frame that stays current. `again` gives the rows as they are by now,
    where a `feed` brings news of them.
    """

    kind: str
    run_id: str
    again: "Callable[[], Rows[T_co]] | None" = None
    feed: "Feed | None" = None
    df: Any
    arrow: Any
    live: Any

    @classmethod
    def of(cls, kind: str, items: Iterable[T_co], *, run_id: str = "") -> "Rows[T_co]":
        """Returns the rows of these items."""
        rows = cls(items)
        rows.kind, rows.run_id = kind, run_id
        return rows

    def followed(self, feed: "Feed", again: "Callable[[], Rows[T_co]]") -> "Rows[T_co]":
        """Returns these rows, knowing what brings news of them."""
        self.feed, self.again = feed, again
        return self

    def __repr__(self) -> str:
        lines = [f"  {_line(item)}" for item in self[:SHOWN]]
        if len(self) > SHOWN:
            lines.append(f"  … and {len(self) - SHOWN} more")
        return "\n".join([f"{len(self)} {self.kind.replace('_', ' ')}", *lines])
