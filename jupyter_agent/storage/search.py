"""How threads are found again: by words of their title, and by what their metadata says.

Case does not matter in titles. A value of metadata is compared as text: `1`, `true` and `"true"` are found by what they
look like.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..records import clean
from .tables import threads


class field_text(FunctionElement[str]):  # noqa: N801 - named like the functions of SQL
    """The value of a top-level key of a JSON object as text; NULL where there is none. Keys are data, never paths."""

    name = "field_text"
    type = sa.Text()
    inherit_cache = True


@compiles(field_text)
def _arrow(element: field_text, compiler: Any, **more: Any) -> str:
    column, key = (compiler.process(clause, **more) for clause in element.clauses)
    return f"({column} ->> {key})"


@compiles(field_text, "sqlite")
def _each(element: field_text, compiler: Any, **more: Any) -> str:
    """SQLite's own `->>` takes some keys for paths, and tells true as 1."""
    column, key = (compiler.process(clause, **more) for clause in element.clauses)
    text = "CASE type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(value AS TEXT) END"
    return f"(SELECT {text} FROM json_each({column}) AS field WHERE field.key = {key})"  # noqa: S608 - compiled parts


class lowered(FunctionElement[str]):  # noqa: N801 - named like the functions of SQL
    """A text in small letters, whatever its letters are."""

    name = "lowered"
    type = sa.Text()
    inherit_cache = True


@compiles(lowered)
def _lower(element: lowered, compiler: Any, **more: Any) -> str:
    return f"lower({compiler.process(element.clauses, **more)})"


@compiles(lowered, "postgresql")
def _lower_by_unicode(element: lowered, compiler: Any, **more: Any) -> str:
    """Our columns are ordered by code points, and under that order PostgreSQL knows the letters of ASCII alone."""
    return f'lower({compiler.process(element.clauses, **more)} COLLATE "und-x-icu")'


def found_by(search: str | None, metadata: Mapping[str, str]) -> Iterator[sa.ColumnElement[bool]]:
    """Yields the conditions that a thread's title holds these words, and its metadata these values."""
    if search is not None:
        yield lowered(threads.c.title).contains(clean(search).lower(), autoescape=True)
    for key, value in metadata.items():
        yield field_text(threads.c.metadata, sa.literal(clean(key), sa.Text)) == clean(value)
