"""A frame as text, for an agent that cannot see it: computed here, exactly, so that no figure is an agent's guess."""

from typing import TYPE_CHECKING, Any, Final

from ..exceptions import InvalidRequest

if TYPE_CHECKING:
    import pandas as pd

MOST_COLUMNS: Final = 100
MOST_VALUES: Final = 6
HEAD_ROWS: Final = 8
CELL_CHARS: Final = 60
PAIRS: Final = 12
CLOSE: Final = 0.5
"""Correlations nearer to zero are not told."""


def profile(frame: Any, name: str = "The frame") -> str:
    """Returns what is in a DataFrame or Series as text: columns, kinds, missing and distinct values, ranges, the most
    frequent values, doubled rows, correlations, first rows.

    For `ja.run_workflow("data-profile", profile=ja.profile(frame))`. At most 100 columns are told of. Raises
    InvalidRequest for what is no frame.
    """
    import pandas as pd

    if isinstance(frame, pd.Series):
        frame = frame.to_frame(frame.name if frame.name is not None else "value")
    if not isinstance(frame, pd.DataFrame):
        raise InvalidRequest(f"ja.profile() takes a DataFrame or a Series, not a {type(frame).__name__}.")
    shown = frame.iloc[:, :MOST_COLUMNS]
    lines = [f"{name} has {len(frame):,} rows and {frame.shape[1]:,} columns. {_doubled(frame)}", "", "Columns:"]
    lines += [_column(shown.iloc[:, place], str(column)) for place, column in enumerate(shown.columns)]
    if frame.shape[1] > MOST_COLUMNS:
        lines.append(f"- … and {frame.shape[1] - MOST_COLUMNS:,} more columns")
    if related := _related(shown):
        lines += ["", "Correlations (Pearson):", *related]
    if len(frame):
        with pd.option_context("display.max_colwidth", CELL_CHARS, "display.width", 200, "display.max_columns", 20):
            lines += ["", f"Its first {min(HEAD_ROWS, len(frame))} rows:", str(shown.head(HEAD_ROWS))]
    return "\n".join(lines)


def _doubled(frame: "pd.DataFrame") -> str:
    try:
        count = int(frame.duplicated().sum())
    except TypeError:
        return "Whether rows are doubled is not known: some cells hold lists or the like."
    return f"{count:,} of them are doubled." if count else "No row is doubled."


def _column(column: "pd.Series[Any]", name: str) -> str:
    missing = int(column.isna().sum())
    share = f" ({missing / len(column):.1%})" if missing else ""
    said = [f"- {name}: {column.dtype}", f"{missing:,} missing{share}"]
    try:
        said.append(f"{column.nunique():,} distinct")
        said += _values(column.dropna())
    except TypeError:
        said.append("values that cannot be compared, lists or the like")
    return ", ".join(said)


def _values(column: "pd.Series[Any]") -> list[str]:
    """Returns the range of what is ordered, and the most frequent values of what is not."""
    from pandas.api import types

    if column.empty:
        return []
    if types.is_bool_dtype(column):
        return [f"{int(column.sum()):,} true"]
    if types.is_numeric_dtype(column):
        low, first, middle, third, high = (f"{value:g}" for value in column.quantile([0, 0.25, 0.5, 0.75, 1]))
        return [f"{low} to {high}", f"quartiles {first}, {middle}, {third}", f"mean {column.mean():g}"]
    if types.is_datetime64_any_dtype(column):
        return [f"{column.min()} to {column.max()}"]
    counts = column.value_counts().head(MOST_VALUES)
    told = ", ".join(f"{str(value)[:CELL_CHARS]!r} {count:,}" for value, count in counts.items())
    return [f"most frequent {told}"]


def _related(frame: "pd.DataFrame") -> list[str]:
    numbers = frame.select_dtypes("number")
    if numbers.shape[1] < 2 or len(numbers) < 3:
        return []
    found = numbers.corr()
    names = list(numbers.columns)
    pairs = [(float(found.iloc[a, b]), f"{names[a]} and {names[b]}") for a in range(len(names)) for b in range(a)]
    strong = sorted((pair for pair in pairs if abs(pair[0]) >= CLOSE), key=lambda pair: -abs(pair[0]))
    return [f"- {both}: {value:.2f}" for value, both in strong[:PAIRS]]
