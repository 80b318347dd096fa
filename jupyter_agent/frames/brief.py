"""What an agent is told of a frame: its shape, columns and types, missing values and first rows. Never the data."""

from typing import Any

import pandas as pd

HEAD_ROWS = 5
COLUMNS_SHOWN = 100
CELL_CHARS = 60


def is_frame(value: Any) -> bool:
    """Tells whether the value is a pandas DataFrame or Series."""
    return isinstance(value, pd.DataFrame | pd.Series)


def brief(value: Any, name: str) -> str:
    """Returns the description of a DataFrame or Series that stands for it in a prompt."""
    frame = value.to_frame(value.name if value.name is not None else "value") if isinstance(value, pd.Series) else value
    kind = type(value).__name__
    shown = frame.iloc[:, :COLUMNS_SHOWN]
    missing = shown.isna().sum()
    lines = [f"{name} is a pandas {kind} with {len(frame):,} rows and {frame.shape[1]:,} columns:"]
    lines += [
        f"  {column}: {dtype}" + (f", {count:,} missing" if count else "")
        for column, dtype, count in zip(shown.columns, shown.dtypes, missing, strict=True)
    ]
    if frame.shape[1] > COLUMNS_SHOWN:
        lines.append(f"  … and {frame.shape[1] - COLUMNS_SHOWN:,} more columns")
    rows = min(HEAD_ROWS, len(frame))
    if rows:
        lines += [f"Its first {rows} rows:", _head(shown.head(rows))]
    return "\n".join(lines)


def _head(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", CELL_CHARS, "display.width", 200, "display.max_columns", 20):
        return str(frame)
