"""`ja.TraceTable(frame or run)`: tool calls, or any other rows, as a table: sorted, filtered, grouped and opened."""

import threading
from typing import Any, ClassVar, Final

import msgspec

from ..client.run import Run
from ..display import words
from ..display.table import MOST_ROWS, Cell, Table, latency_cell
from ..display.words import count
from ..exceptions import InvalidRequest
from ..frames.brief import is_frame
from ..frames.traces import Kind, Look, Traces, usable
from .data_view import DataView
from .found import found_run
from .talk import understood

MOST_ASKED: Final = 500
"""Rows that a page is given at a time."""
KEPT_ROWS: Final = 200
"""Rows that a notebook keeps, unless they are long."""
KEPT_CHARS: Final = 200 * 1024
KEPT_CELL: Final = 2_000
"""Characters that a notebook keeps of one value of an opened row."""
OPENED_CELL: Final = 200_000
"""Characters that a page is given of it: Jupyter's server drops what is more than some MB."""


class _Rows(msgspec.Struct, frozen=True, rename="camel", tag="rows"):
    start: int
    stop: int


class _Groups(msgspec.Struct, frozen=True, rename="camel", tag="groups"):
    start: int
    stop: int


class _Row(msgspec.Struct, frozen=True, rename="camel", tag="row"):
    at: int


class _Looks(msgspec.Struct, frozen=True, rename="camel", tag="look"):
    look: Look


class TraceTable(DataView):
    """Shows the tool calls of a run, live, or the rows of a frame such as `ja.tool_calls()`: `TraceTable(run)`.

    It may begin with a look of its own, `TraceTable(frame, group="tool", sort="latency", descending=True)`: `sort`
    names a column; `group` is turn or tool; `tool` and `outcome` are the only ones listed (`outcome="faults"`: all that
    did not succeed); `search` is in what is listed somewhere. `look` is how it is looked at now, by whoever uses it.

    `df` has the rows that are listed, in their order and with all columns. Folding a group hides its rows, and leaves
    `df` as it is; `groups` has the groups, a row each, None where there are none.

    Raises InvalidRequest for what is neither a frame nor a run, a frame whose columns are not named by different texts,
    and a look that there is not; RunNotFound.
    """

    KIND: ClassVar[str] = "traces"

    def __init__(self, source: Any, **look: Any) -> None:
        self._lock = threading.RLock()
        self._version = 0
        self._seen: Any = None
        self._frame: Any = None
        runs: tuple[Run, ...] = ()
        if is_frame(source):
            self._frame = usable(source)
        else:
            runs = (found_run(source, "TraceTable"),)
        self.look = _look(look)
        self._traces = Traces(self._now(runs), self.look)
        super().__init__(runs)

    @property
    def df(self) -> Any:
        """The rows that are listed, in that order."""
        return self._fresh().df

    @property
    def groups(self) -> Any:
        """The groups in their order, with what their rows come to; latencies in ms. None where there are none."""
        return self._fresh().groups

    # --- what pages are told ----------------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        traces = self._fresh()
        return {
            "version": self._version,
            "total": len(traces.frame),
            "shown": len(traces.order),
            "groups": None if traces.groups is None else len(traces.groups),
            "columns": [{"name": name, "kind": kind} for name, kind in traces.columns],
            "tools": traces.choices("name"),
            "outcomes": traces.choices("outcome"),
            "longestMs": traces.longest_ms(),
            "look": msgspec.to_builtins(self.look),
            "isCalls": {"name", "turn"} <= set(traces.frame.columns),
        }

    def answer(self, command: dict[str, Any]) -> tuple[Any, bool]:
        wanted = understood(command, _Rows | _Groups | _Row | _Looks)
        with self._lock:
            traces = self._traces
            match wanted:
                case _Looks(look=look):
                    self._traces = Traces(traces.frame, look)
                    self.look = look
                    self._version += 1
                    return None, True
                case _Row(at=at):
                    return {"version": self._version, "row": _begun(traces.row(at), OPENED_CELL)}, False
                case _Groups(start=start, stop=stop):
                    _check_span(start, stop)
                    return {"version": self._version, "rows": traces.group_rows(start, stop)}, False
                case _:
                    _check_span(wanted.start, wanted.stop)
                    return {"version": self._version, "rows": traces.rows(wanted.start, wanted.stop)}, False

    def _fresh(self) -> Traces:
        """Returns the rows as they are now. What a look asks for that a frame does not have any more is forgotten."""
        with self._lock:
            frame = self._now(self.runs)
            if frame is not self._traces.frame:
                self._traces = Traces(frame, self.look)
                self._version += 1
            return self._traces

    def _now(self, runs: tuple[Run, ...]) -> Any:
        """Returns the frame of now: the same object while nothing has changed."""
        if not runs:
            return self._frame
        feed = runs[0]._feed
        seen = feed.read(lambda transcript: (transcript.last_event_id, transcript.status, len(transcript.turns)))
        if self._frame is None or seen != self._seen:
            self._frame = runs[0].tool_calls.df
            self._seen = seen
        return self._frame

    # --- what a notebook keeps --------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        told = self.told()
        traces, left = self._traces, KEPT_CHARS
        first = traces.rows(0, KEPT_ROWS)
        rows: list[Any] = []
        opened: list[Any] = []
        for at, row in enumerate(first):
            whole = _begun(traces.row(at), KEPT_CELL)
            left -= len(msgspec.json.encode([row, whole]))
            if left < 0:
                break
            rows.append(row)
            opened.append(whole)
        return {**told, "look": {**told["look"], "group": None}, "groups": None, "rows": rows, "opened": opened}

    def table(self) -> Table:
        traces = self._fresh()
        names = [name for name, _ in traces.columns]
        kinds = [kind for _, kind in traces.columns]
        rows = [
            [_cell(name, value, kind) for name, value, kind in zip(names, row, kinds, strict=True)]
            for row in traces.rows(0, MOST_ROWS)
        ]
        what = "tool call" if "tool_call_id" in traces.frame else "row"
        total, shown = len(traces.frame), len(traces.order)
        title = count(total, what) if shown == total else f"{shown:,} of {count(total, what)}"
        return Table(title, [name.replace("_", " ") for name in names], rows, shown)


def _look(given: dict[str, Any]) -> Look:
    try:
        return msgspec.convert(given, Look)
    except msgspec.ValidationError as misfit:
        raise InvalidRequest(
            f"A TraceTable cannot be looked at like this: {misfit}. It takes sort, descending, search, tool, outcome, "
            "and group, which is 'turn' or 'tool'."
        ) from None


def _check_span(start: int, stop: int) -> None:
    if not 0 <= start <= stop <= start + MOST_ASKED:
        raise InvalidRequest(f"Rows {start} to {stop} are no rows to ask for: at most {MOST_ASKED} at a time.")


def _begun(row: dict[str, Any], most: int) -> dict[str, Any]:
    """Returns the row with at most so many characters of each text."""
    return {
        name: f"{value[:most]}…" if isinstance(value, str) and len(value) > most else value
        for name, value in row.items()
    }


def _cell(name: str, value: Any, kind: Kind) -> Cell:
    if name == "latency" and (kind == "length" or value is None):
        return latency_cell(value)
    if value is None:
        return Cell("")
    if kind == "length":
        return Cell(words.duration(value / 1_000), is_number=True)
    return Cell(f"{value:,}" if kind == "number" else str(value), is_number=kind == "number")
