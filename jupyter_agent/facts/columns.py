"""Columns with a type each, and the Arrow batches that are made of them: the same schema whatever there is."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any

from msgspec import Struct


class Type(StrEnum):
    """What a column holds. A `NAME` has few different values; `JSON` is text that holds JSON."""

    TEXT = "text"
    JSON = "json"
    NAME = "name"
    TIME = "time"
    LENGTH = "length"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"


class Column(Struct, frozen=True):
    """One column. `source` is how its value is selected in the database, or what says it of an object (None where
    there is none). `names` are all that a `NAME` can be, in their order, where that is known beforehand."""

    name: str
    type: Type
    source: str | Callable[[Any], Any]
    names: tuple[str, ...] = ()


def said(name: str, type_: Type, names: tuple[str, ...] = ()) -> Column:
    """Returns the column of what an object says under the column's own name."""
    return Column(name, type_, attrgetter(name), names)


def schema(columns: Iterable[Column]) -> Any:
    """Returns the `pyarrow.Schema` of these columns."""
    import pyarrow as pa

    text = pa.string()
    types = {
        Type.TEXT: text,
        Type.JSON: text,
        Type.NAME: text,
        Type.TIME: pa.timestamp("us", "UTC"),
        Type.LENGTH: pa.duration("us"),
        Type.INT: pa.int64(),
        Type.FLOAT: pa.float64(),
        Type.BOOL: pa.bool_(),
    }
    return pa.schema([(column.name, types[column.type]) for column in columns])


def batch(columns: Sequence[Column], rows: Sequence[Any]) -> Any:
    """Returns a `pyarrow.RecordBatch` of these columns, a row for each object."""
    import pyarrow as pa

    fields = schema(columns)
    arrays = [pa.array(_values(column, rows), type=field.type) for column, field in zip(columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=fields)


def _values(column: Column, rows: Sequence[Any]) -> list[Any]:
    if isinstance(column.source, str):
        raise TypeError(f"The column {column.name} is selected, no object says it.")
    values = list(map(column.source, rows))
    if column.type is Type.NAME:
        # Arrow takes no members of an enumeration.
        return [None if value is None else str(value) for value in values]
    return values
