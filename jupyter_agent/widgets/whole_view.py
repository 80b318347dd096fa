"""`ja.Timeline`, `ja.CacheChart` and `ja.CompareView`: views that are told as a whole."""

from itertools import accumulate
from typing import Any, ClassVar, Final

import msgspec

from ..client.run import Run
from ..compact import compact
from ..display import words
from ..display.table import Cell, Table, hit_cell, latency_cell
from ..exceptions import InvalidRequest
from ..frames.brief import is_frame
from ..frames.spans import cache_frame, compare_frame, spans_frame
from ..frames.traces import plain_rows, usable
from .data_view import DataView
from .found import found_run

MOST_ROWS: Final = 2_000
"""Rows that a page is told, the last ones. `.df` has all."""
TOLD_BYTES: Final = 1_000_000
KEPT_ROWS: Final = 500
KEPT_BYTES: Final = 200 * 1024
MOST_RUNS: Final = 20
ANSWER_CHARS: Final = 8_000


class WholeView(DataView):
    """A view of the rows of `df`. Whether something has changed is seen by its heirs' `_frame`."""

    NAMES: ClassVar[dict[str, str]]
    """The columns that the HTML has, and what they are called there."""
    CHARS: ClassVar[int] = 160

    @property
    def df(self) -> Any:
        """What is shown, a row each."""
        return self._frame()

    def _frame(self) -> Any:
        raise NotImplementedError

    def _title(self, frame: Any) -> str:
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        return self._rows(MOST_ROWS, TOLD_BYTES)

    def kept(self) -> dict[str, Any]:
        return self._rows(KEPT_ROWS, KEPT_BYTES)

    def _rows(self, most: int, most_bytes: int) -> dict[str, Any]:
        """Returns the last rows, as many as are no more than this together."""
        frame = self._frame()
        rows = plain_rows(frame.tail(most), self.CHARS)
        sizes = accumulate(len(msgspec.json.encode(row)) for row in reversed(rows))
        rows = rows[len(rows) - sum(size <= most_bytes for size in sizes) :]
        return {"title": self._title(frame), "earlier": len(frame) - len(rows), "rows": rows}

    def answer(self, command: dict[str, Any]) -> tuple[Any, bool]:
        raise InvalidRequest(f"This view has told all that it knows: it cannot be asked for {command!r:.200}.")

    def table(self) -> Table:
        frame = self._frame()
        rows = plain_rows(frame, self.CHARS)
        shown = [name for name in self.NAMES if name in frame]
        cells = [[_cell(name, row[name]) for name in shown] for row in rows]
        return Table(self._title(frame), [self.NAMES[name] for name in shown], cells, len(frame))


class Timeline(WholeView):
    """Shows what took when how long in a run: model calls with their tokens, tool calls between them. Live.

    `df` has a row each, turns before their tool calls: kind (turn or tool_call), turn, name (the model or the tool),
    started_at, duration, outcome, the tokens and cost of turns, tool_call_id. `selected` is the row of `df` that was
    pressed last, a Series; None before. Raises InvalidRequest for what is no run, RunNotFound.
    """

    KIND: ClassVar[str] = "timeline"
    NAMES: ClassVar[dict[str, str]] = {
        "turn": "turn", "name": "model or tool", "duration": "took", "outcome": "ended",
        "input_tokens": "prompt tokens",
        "cache_read_tokens": "of these cached", "output_tokens": "output tokens",
        "reasoning_tokens": "of these reasoning",
    }  # fmt: skip

    def __init__(self, run: Run | str) -> None:
        self._selected: int | None = None
        super().__init__((found_run(run, "Timeline"),))

    @property
    def selected(self) -> Any:
        """The row that was pressed last; None before."""
        return None if self._selected is None else self._frame().iloc[self._selected]

    def answer(self, command: dict[str, Any]) -> tuple[Any, bool]:
        at = command.get("at")
        if command.get("type") != "select" or type(at) is not int or not 0 <= at < len(self._frame()):
            raise InvalidRequest(f"A timeline is asked to select one of its rows, not {command!r:.200}.")
        self._selected = at
        return None, False

    def _frame(self) -> Any:
        return spans_frame(self.runs[0]._feed.read(compact))

    def _title(self, frame: Any) -> str:
        turns = int((frame["kind"] == "turn").sum())
        return f"{words.count(turns, 'turn')}, {words.count(len(frame) - turns, 'tool call')}"


class CacheChart(WholeView):
    """Shows how much of each prompt the provider's cache had: of a run, live, or of a frame such as `ja.cache().df`.

    `df` has a row a turn with its input_tokens, cache_read_tokens, hit_rate (0 to 1), and why not more was read where
    the source says it (cause, region, before, after, idle). Raises InvalidRequest for what is neither a run nor a frame
    of turns and tokens, RunNotFound.
    """

    KIND: ClassVar[str] = "cache"
    NAMES: ClassVar[dict[str, str]] = {
        "run_id": "run", "turn": "turn", "model": "model", "input_tokens": "prompt tokens",
        "cache_read_tokens": "of these cached",
        "hit_rate": "hit rate", "cause": "why not more", "region": "region",
    }  # fmt: skip

    def __init__(self, source: Any) -> None:
        self._given: Any = None
        runs: tuple[Run, ...] = ()
        if is_frame(source):
            self._given = cache_frame(usable(source))
        else:
            runs = (found_run(source, "CacheChart"),)
        super().__init__(runs)

    def _frame(self) -> Any:
        return cache_frame(self.runs[0].cache.df) if self._given is None else self._given

    def _title(self, frame: Any) -> str:
        known = frame.dropna(subset=["input_tokens", "cache_read_tokens"])
        whole, read = int(known["input_tokens"].sum()), int(known["cache_read_tokens"].sum())
        said = f"{read / whole:.0%} of {whole:,} prompt tokens came from the cache" if whole else "nothing reported"
        return f"{words.count(len(frame), 'turn')}: {said}"


class CompareView(WholeView):
    """Shows runs side by side, live: `CompareView([run, other])`, at most twenty.

    `df` has a row a run: run_id, status, model, turns, tool_calls, failed_calls, the tokens, cost, duration,
    first_difference (the first turn in which something else was asked, said, called or given than in the first run,
    missing where there is none) and answer, what was said last. Raises InvalidRequest for what are no runs,
    RunNotFound.
    """

    KIND: ClassVar[str] = "compare"
    CHARS: ClassVar[int] = ANSWER_CHARS
    NAMES: ClassVar[dict[str, str]] = {
        "run_id": "run", "status": "status", "model": "model", "turns": "turns", "tool_calls": "tool calls",
        "input_tokens": "prompt tokens", "output_tokens": "output tokens", "cost": "cost, $", "duration": "took",
        "first_difference": "first other turn", "answer": "answer",
    }  # fmt: skip

    def __init__(self, runs: Any) -> None:
        given = [runs] if isinstance(runs, Run | str) else list(runs)
        if not 0 < len(given) <= MOST_RUNS:
            raise InvalidRequest(f"A CompareView shows 1 to {MOST_RUNS} runs, not {len(given)}.")
        super().__init__(tuple(found_run(run, "CompareView") for run in given))

    def _frame(self) -> Any:
        return compare_frame([run._feed.read(compact) for run in self.runs])

    def kept(self) -> dict[str, Any]:
        return self.told()  # without the first run there is nothing to compare with

    def _title(self, frame: Any) -> str:
        return words.count(len(frame), "run")


def _cell(name: str, value: Any) -> Cell:
    match name:
        case "hit_rate":
            return hit_cell(value)
        case "duration":
            return latency_cell(value)
        case _ if value is None:
            return Cell("")
        case "cost":
            return Cell(f"{value:.4f}", is_number=True)
        case _ if isinstance(value, int | float):
            return Cell(f"{value:,}", is_number=True)
        case _:
            return Cell(str(value).replace("_", " ") if name in ("cause", "status") else str(value))
