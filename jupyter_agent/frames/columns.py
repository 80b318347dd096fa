"""Columns with a type each: the same names, order and dtypes for every frame of a kind, empty ones included."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import pandas as pd
from msgspec import Struct

TEXT = pd.StringDtype("pyarrow")
TIME = pd.DatetimeTZDtype("us", "UTC")
LENGTH = "timedelta64[us]"
INT = "Int64"
FLOAT = "Float64"
BOOL = "boolean"
NAME = "category"


class Column(Struct, frozen=True):
    """One column: its name, its dtype, and how a row says its value (None where it has none)."""

    name: str
    dtype: Any
    value: Callable[[Any], Any]


def one_of(kinds: type[StrEnum] | Iterable[str]) -> pd.CategoricalDtype:
    """Returns the dtype of names that are known beforehand."""
    return pd.CategoricalDtype(pd.Index([str(kind) for kind in kinds], dtype=TEXT))


def table(columns: Iterable[Column], rows: Iterable[Any]) -> pd.DataFrame:
    """Returns a frame of these columns, a row for each item."""
    items = list(rows)
    return pd.DataFrame({column.name: _series([column.value(item) for item in items], column.dtype)
                         for column in columns})  # fmt: skip


def _series(values: list[Any], dtype: Any) -> pd.Series:
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Series([None if value is None else str(value) for value in values], dtype=dtype)
    if dtype == NAME:
        texts = pd.array([None if value is None else str(value) for value in values], dtype=TEXT)
        return pd.Series(pd.Categorical(texts, categories=pd.Index(texts.dropna().unique(), dtype=TEXT)))
    return pd.Series(values, dtype=dtype)
