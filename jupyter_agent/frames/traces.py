"""A frame as a table shows it: filtered, sorted and grouped, its cells as few characters as fit on a line.

The frame is anybody's: of a run's tool calls, of many runs, or of anything else. What is looked for is taken as it is
written, never as a pattern.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pandas as pd

from ..display import words
from ..exceptions import InvalidRequest

TEXT: Final = pd.StringDtype("pyarrow")
CELL_CHARS: Final = 160
"""Characters of a text that a line shows."""
MOST_CHOICES: Final = 200
"""Different tools, or outcomes, that are offered to choose from."""
MOST_CHOICE_CHARS: Final = 20_000
"""Characters of all of them: tools are called what a model called them."""
MOST_COLUMNS: Final = 100
"""Columns that are listed."""
FIRST: Final = ("run_id", "turn", "name", "arguments", "outcome", "latency", "result", "error")
"""Columns in the order in which a reader looks for them; the others follow as they come."""
UNLISTED: Final = frozenset(
    {"tool_call_id", "finished_at", "truncated", "thread_id", "run_created_at", "blob", "attempt", "position"}
)
"""Columns that say little on a line. An opened row has them."""
GROUPS: Final = {"turn": "turn", "tool": "name"}
"""What rows are grouped by, and the column that says it."""
FAULTY: Final = frozenset({"error", "rejected", "interrupted", "timed_out", "unknown"})

Kind = Literal["text", "name", "number", "length", "time", "bool"]
Order = np.ndarray[Any, np.dtype[np.intp]]


class Look(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How a table is looked at: what is listed, in which order, in which groups. None is: all, as it comes, in none."""

    sort: str | None = None
    descending: bool = False
    search: str = ""
    tool: str | None = None
    outcome: str | None = None
    group: Literal["turn", "tool"] | None = None


class Traces:
    """The rows of a frame under one look. `order` has their positions in the frame, group by group.

    Raises InvalidRequest for a look at a column that the frame does not have.
    """

    def __init__(self, frame: pd.DataFrame, look: Look) -> None:
        self.frame = frame
        self.look = look
        self.columns = _listed(frame)
        kept = _kept(frame, look)
        self.groups: pd.DataFrame | None = None
        """A row a group, in order: its key, where it starts among the rows, and what its rows come to."""
        self.order = _sorted(frame, kept, look)
        if look.group is not None:
            self.order, self.groups = _grouped(frame, self.order, look.group)

    @property
    def df(self) -> pd.DataFrame:
        """The rows that are listed, in that order, with all columns and the frame's own index."""
        return self.frame.iloc[self.order]

    def rows(self, start: int, stop: int) -> list[list[Any]]:
        """Returns the listed columns of these rows as plain values: texts begun, lengths in ms, times as ISO texts."""
        part = self.frame.iloc[self.order[start:stop]]
        cells = [_cells(part[name], kind) for name, kind in self.columns]
        return [list(row) for row in zip(*cells, strict=True)] if cells else []

    def row(self, at: int) -> dict[str, Any]:
        """Returns everything that one row says, texts whole. Raises InvalidRequest where there is no such row."""
        if not 0 <= at < len(self.order):
            raise InvalidRequest(f"There is no row {at}: the table has {len(self.order)}.")
        place = int(self.order[at])
        return {
            str(name): _value(self.frame.iloc[place, number], kind_of(self.frame.iloc[:, number]), most=None)
            for number, name in enumerate(self.frame.columns)
        }

    def group_rows(self, start: int, stop: int) -> list[list[Any]]:
        """Returns these groups: key, start, count, errors, and the median, longest and sum of their latencies in ms."""
        if self.groups is None:
            return []
        return [[_plain(value) for value in row] for row in self.groups.iloc[start:stop].itertuples(index=False)]

    def choices(self, name: str) -> list[str]:
        """Returns the different values of a column of names; none where they are too many, or too long."""
        if name not in self.frame:
            return []
        found = sorted({str(value) for value in self.frame[name].dropna().unique()})
        is_offered = len(found) <= MOST_CHOICES and sum(map(len, found)) <= MOST_CHOICE_CHARS
        return found if is_offered else []

    def longest_ms(self) -> float:
        """Returns the longest latency of all rows, listed or not: bars keep their scale when rows are filtered."""
        longest = _milliseconds(self.frame).max() if "latency" in self.frame and len(self.frame) else 0.0
        return 0.0 if pd.isna(longest) else float(longest)


def usable(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the frame as it is now. Raises InvalidRequest where its columns are not named by different texts."""
    if (
        not isinstance(frame, pd.DataFrame)
        or not frame.columns.is_unique
        or not all(isinstance(name, str) for name in frame.columns)
    ):
        raise InvalidRequest(
            "A table of traces shows a DataFrame whose columns have a name each: give its columns different texts."
        )
    return frame.copy(deep=False)


def kind_of(values: pd.Series) -> Kind:
    """Returns what kind of values a column has."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "name"
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "length"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "time"
    return "number" if pd.api.types.is_numeric_dtype(dtype) else "text"


def plain_rows(frame: pd.DataFrame, most: int) -> list[dict[str, Any]]:
    """Returns every row by column as plain values: texts of at most `most` characters, lengths in ms, times as ISO
    texts, None for what is missing."""
    names = [str(name) for name in frame.columns]
    kinds = [kind_of(frame.iloc[:, at]) for at in range(len(names))]
    cells = [
        [_value(value, kind, None if kind == "text" else most) for value in frame.iloc[:, at]]
        for at, kind in enumerate(kinds)
    ]
    begun = [
        [f"{value[:most]}…" if isinstance(value, str) and len(value) > most else value for value in column]
        for column in cells
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*begun, strict=True)]


def _listed(frame: pd.DataFrame) -> list[tuple[str, Kind]]:
    names = [name for name in FIRST if name in frame]
    names += [name for name in frame.columns if name not in FIRST and name not in UNLISTED]
    if "run_id" in names and frame["run_id"].nunique(dropna=False) <= 1:
        names.remove("run_id")
    return [(name, kind_of(frame[name])) for name in names[:MOST_COLUMNS]]


def _kept(frame: pd.DataFrame, look: Look) -> Order:
    """Returns the positions of the rows that pass the filters, in the frame's order."""
    wanted = np.ones(len(frame), dtype=bool)
    if look.tool is not None:
        wanted &= _is(frame, "name", [look.tool])
    if look.outcome is not None:
        wanted &= _is(frame, "outcome", FAULTY if look.outcome == "faults" else [look.outcome])
    if look.search:
        texts = [frame[name] for name in frame.columns if kind_of(frame[name]) in ("text", "name")]
        found = np.zeros(len(frame), dtype=bool)
        for values in texts:
            found |= _holds(values, look.search)
        wanted &= found
    return np.flatnonzero(wanted)


def _is(frame: pd.DataFrame, name: str, values: Iterable[str]) -> Any:
    _check(frame, name)
    return frame[name].isin(list(values)).to_numpy(dtype=bool)


def _holds(values: pd.Series, said: str) -> Any:
    """Tells for each value whether it holds this text, whatever its letters' case."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = [name for name in values.cat.categories if said.casefold() in str(name).casefold()]
        return values.isin(names).to_numpy(dtype=bool)
    texts = values if values.dtype == TEXT else values.astype(TEXT)
    return texts.str.contains(said, case=False, regex=False).fillna(value=False).to_numpy(dtype=bool)


def _sorted(frame: pd.DataFrame, kept: Order, look: Look) -> Order:
    if look.sort is None:
        return kept
    _check(frame, look.sort)
    values = frame[look.sort].iloc[kept].reset_index(drop=True)
    if kind_of(values) in ("text", "name"):
        values = values.astype(TEXT)
    places = values.sort_values(ascending=not look.descending, kind="stable", na_position="last").index
    order: Order = kept[places.to_numpy(dtype=np.intp)]
    return order


def _grouped(frame: pd.DataFrame, order: Order, by: Literal["turn", "tool"]) -> tuple[Order, pd.DataFrame]:
    """Returns the order group by group, and the groups: turns as they came, tools by their names."""
    name = GROUPS[by]
    _check(frame, name)
    keys = [column for column in (["run_id", "turn"] if by == "turn" else ["name"]) if column in frame]
    part = frame[keys].iloc[order].reset_index(drop=True)
    numbers = part.groupby(keys, observed=True, dropna=False, sort=by == "tool").ngroup().to_numpy()
    places = np.argsort(numbers, kind="stable")
    order = order[places]
    ms = _milliseconds(frame).to_numpy()[order] if "latency" in frame else np.full(len(order), np.nan)
    faults = frame["outcome"].isin(FAULTY).to_numpy()[order] if "outcome" in frame else np.zeros(len(order), dtype=bool)
    facts = pd.DataFrame({"group": numbers[places], "ms": ms, "fault": faults})
    groups = facts.groupby("group", sort=True)
    summed = groups.agg(count=("fault", "size"), errors=("fault", "sum"),
                        median_ms=("ms", "median"), longest_ms=("ms", "max"), total_ms=("ms", "sum"))  # fmt: skip
    summed = summed.reset_index(drop=True)
    starts = summed["count"].cumsum() - summed["count"]
    summed.insert(0, by, _labels(frame, order[starts.to_numpy(dtype=np.intp)], keys, by))
    summed.insert(1, "start", starts)
    return order, summed


def _labels(frame: pd.DataFrame, places: Order, keys: list[str], by: str) -> pd.Series:
    """Returns what the groups are called that these rows begin."""
    said = [frame[key].iloc[places].reset_index(drop=True).astype(TEXT).fillna("none") for key in keys]
    if by == "tool":
        return said[0]
    turns = "turn " + said[-1]
    several = len(keys) == 2 and frame["run_id"].nunique(dropna=False) > 1
    return said[0] + " · " + turns if several else turns


def _milliseconds(frame: pd.DataFrame) -> pd.Series:
    values = frame["latency"]
    if kind_of(values) == "length":
        return values / pd.Timedelta(milliseconds=1)
    return pd.to_numeric(values, errors="coerce").astype(float)


def _cells(values: pd.Series, kind: Kind) -> list[Any]:
    if kind == "length":
        return [None if np.isnan(ms) else float(ms) for ms in (values / pd.Timedelta(milliseconds=1)).to_numpy()]
    return [_value(value, kind) for value in values]


def _value(value: Any, kind: Kind, most: int | None = CELL_CHARS) -> Any:
    """Returns one cell as a plain value, None where there is none; of a text at most so many characters."""
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    match kind:
        case "length":
            return value / pd.Timedelta(milliseconds=1)
        case "time":
            return value.isoformat()
        case "bool":
            return bool(value)
        case "number":
            return _plain(value)
        case _:
            return str(value) if most is None else words.one_line(str(value), most)


def _plain(value: Any) -> Any:
    """Returns a number that JSON can say."""
    found = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(found, float) and not np.isfinite(found) else found


def _check(frame: pd.DataFrame, name: str) -> None:
    if name not in frame:
        raise InvalidRequest(f"The frame has no column {name!r}. It has {', '.join(map(str, frame.columns))}.")
