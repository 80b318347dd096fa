"""Which facts are wanted, as a question to a database: filters and the choice of columns are part of the query."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from msgspec import Struct

from ..exceptions import InvalidRequest
from ..records import Principal, RunStatus, clean
from .columns import Column, Type, schema
from .kinds import KINDS

BATCH_ROWS: Final = 65_536
KEY_CHARS: Final = 128
MOST_KEYS: Final = 64
"""Of metadata, in one question: SQLite bounds how many conditions hang together."""
LARGEST: Final = int(sys.float_info.max)
"""Of numbers: databases compare them as floats."""
Scalar = str | int | float | bool | None

SAMPLES: Final = {
    Type.TEXT: "'x'", Type.JSON: "'x'", Type.NAME: "'x'", Type.TIME: "'x'", Type.LENGTH: "0.5", Type.INT: "1",
    Type.FLOAT: "0.5", Type.BOOL: "1",
}  # fmt: skip
"""A value of each type as SQLite keeps it. The driver takes a column's type from its first values, which may all be
missing: so there is one row before the first that has them all."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Which facts, of whose runs, and which columns of them (all without any).

    `since` and `until` say when the run was created: at the earliest, and before when. `metadata` are keys of the
    run's metadata with the value that each must have. `after` is for events: those of a higher seq.
    """

    kind: str
    by: Principal
    run_ids: Sequence[str] = ()
    thread_id: str | None = None
    model: str | None = None
    tool: str | None = None
    statuses: Sequence[RunStatus] = ()
    since: datetime | None = None
    until: datetime | None = None
    metadata: Mapping[str, Scalar] = {}
    columns: Sequence[str] = ()
    after: int = 0


class Query(NamedTuple):
    """A query with its parameters, and the columns of its rows."""

    text: str
    parameters: tuple[Any, ...]
    columns: tuple[Column, ...]


def chosen(kind: str, names: Sequence[str], has: Mapping[str, Column], usual: Sequence[Column]) -> tuple[Column, ...]:
    """Returns the columns of these names, the usual ones without any. Raises InvalidRequest for a name that there is
    not."""
    unknown = [name for name in names if name not in has]
    if unknown:
        raise InvalidRequest(
            f"{kind} have no column {unknown[0]!r}. They have: {', '.join(has)}.",
            details={"fields": {"columns": f"no {unknown[0][:80]}"}},
        )
    return tuple(has[name] for name in dict.fromkeys(names)) if names else tuple(usual)


def without_tool(kind: str) -> InvalidRequest:
    """Returns the fault of who chooses by a tool what has none."""
    return InvalidRequest(
        f"Only tool calls can be chosen by a tool, {kind} have none.", details={"fields": {"tool": "no filter"}}
    )


class Words(NamedTuple):
    """What two databases say differently."""

    is_sqlite: bool

    def time(self, at: datetime) -> datetime | str:
        """Returns a time as the driver takes it: SQLite's knows none."""
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        return at.strftime("%Y-%m-%d %H:%M:%S.%f") if self.is_sqlite else at

    def tables(self, table: str, *, is_of_all: bool) -> str:
        """Returns where facts are taken from: the table and the runs beside it. `is_of_all` says that most of the
        table is told."""
        if table == "runs":
            return table
        # With CROSS SQLite goes from run to run, which is the order asked for. It would rather read the table as it
        # lies, keep all of it and sort it.
        words = "CROSS JOIN" if self.is_sqlite and is_of_all else "JOIN"
        return f"runs {words} {table} ON {table}.run_id = runs.run_id"

    def whole(self, facts: str, columns: Sequence[Column]) -> str:
        """Returns the query as it is sent."""
        if not self.is_sqlite:
            parts = facts.split("?")
            return "".join(part + (f"${number}" if number < len(parts) else "") for number, part in enumerate(parts, 1))
        # With a limit, if only none at all, SQLite keeps the order of what stands inside.
        samples = ", ".join(SAMPLES[column.type] for column in columns)
        return f"SELECT {samples} UNION ALL SELECT * FROM ({facts} LIMIT -1)"  # noqa: S608 - all words are ours

    def says(self, key: str, value: Scalar) -> tuple[str, Sequence[Any]]:
        """The condition that the metadata have this value at this key: of its type, `True` is not 1."""
        _check(key, value)
        where = f'$."{key}"' if self.is_sqlite else key
        type_ = "json_type(runs.metadata, ?)" if self.is_sqlite else "json_typeof(runs.metadata -> CAST(? AS TEXT))"
        said = "runs.metadata ->> CAST(? AS TEXT)"
        match value:
            case None:
                return f"{type_} = 'null'", [where]
            case bool():
                word = "true" if value else "false"
                if self.is_sqlite:
                    return f"{type_} = '{word}'", [where]
                return f"({type_} = 'boolean' AND {said} = '{word}')", [where, where]
            case int() | float():
                kinds = "'integer', 'real'" if self.is_sqlite else "'number'"
                number = f"CAST({said} AS DOUBLE PRECISION) = CAST(? AS DOUBLE PRECISION)"
                # What is no number is not read as one.
                text = f"CASE WHEN {type_} IN ({kinds}) THEN {number} ELSE 1 = 0 END"
                return text, [where, where, float(value)]
            case _:
                kind = "text" if self.is_sqlite else "string"
                return f"({type_} = '{kind}' AND {said} = CAST(? AS TEXT))", [where, where, clean(value)]


SQLITE: Final = Words(is_sqlite=True)
POSTGRESQL: Final = Words(is_sqlite=False)


def query(wanted: Wanted, words: Words = SQLITE) -> Query:
    """Returns the question in a database's words. The first row of SQLite's answer are samples; see `fetched`.

    Raises InvalidRequest for a column that the kind does not have, and a filter that means nothing to it.
    """
    kind = KINDS[wanted.kind]
    columns = chosen(wanted.kind, wanted.columns, kind.by_name, kind.columns)
    conditions = list(_conditions(wanted, words))
    where = f" WHERE {' AND '.join(text for text, _ in conditions)}" if conditions else ""
    # All words are ours; what somebody said is a parameter.
    told = ", ".join(f"{column.source} AS {column.name}" for column in columns)
    tables = words.tables(kind.table, is_of_all=wanted.tool is None)
    facts = f"SELECT {told} FROM {tables}{where} ORDER BY {kind.order}"  # noqa: S608
    parameters = tuple(value for _, values in conditions for value in values)
    return Query(words.whole(facts, columns), parameters, columns)


def _conditions(wanted: Wanted, words: Words) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yields each condition with its parameters."""
    if wanted.tool is not None:
        if wanted.kind != "tool_calls":
            raise without_tool(wanted.kind)
        yield "tool_traces.tool_name = ?", [clean(wanted.tool)]
    if not wanted.by.is_system:
        yield "runs.user_id = ?", [wanted.by.user_id]
    if wanted.run_ids:
        yield _one_of("runs.run_id", wanted.run_ids)
    if wanted.thread_id is not None:
        yield "runs.thread_id = ?", [clean(wanted.thread_id)]
    if wanted.model is not None:
        yield f"{KINDS[wanted.kind].model_of}.model = ?", [clean(wanted.model)]
    if wanted.statuses:
        yield _one_of("runs.status", wanted.statuses)
    if wanted.since is not None:
        yield "runs.created_at >= ?", [words.time(wanted.since)]
    if wanted.until is not None:
        yield "runs.created_at < ?", [words.time(wanted.until)]
    if len(wanted.metadata) > MOST_KEYS:
        raise InvalidRequest(
            f"Runs are chosen by at most {MOST_KEYS} keys of their metadata, not by {len(wanted.metadata)}.",
            details={"fields": {"metadata": "too many keys"}},
        )
    for key, value in wanted.metadata.items():
        yield words.says(key, value)


def _one_of(column: str, values: Sequence[str]) -> tuple[str, Sequence[Any]]:
    return f"{column} IN ({', '.join('?' * len(values))})", [clean(str(value)) for value in values]


def _check(key: str, value: Scalar) -> None:
    """Raises InvalidRequest for a key or value of metadata that cannot be looked for."""
    if not 0 < len(key) <= KEY_CHARS or '"' in key or "\\" in key or not key.isprintable():
        raise InvalidRequest(
            f"{key[:KEY_CHARS]!r} is no key of metadata that can be looked for: at most {KEY_CHARS} printable "
            "characters without quotation marks and backslashes.",
            details={"fields": {"metadata": "no key"}},
        )
    said: Any = value
    is_too_large = isinstance(said, int) and abs(said) > LARGEST
    if not isinstance(said, str | int | float | bool | None) or is_too_large:
        what = "a number of that size" if is_too_large else repr(said)
        raise InvalidRequest(
            f"Metadata are looked for by a text, a number, True, False or None, not by {what}.",
            details={"fields": {"metadata": "no value to look for"}},
        )


def fetched(cursor: Any, asked: Query) -> Iterator[Any]:
    """Yields the answer as `pyarrow.RecordBatch`es, at least one: without rows where there are none.

    `cursor` is an open ADBC cursor of SQLite. Times are UTC with microseconds. Raises what the driver raises.
    """
    fields = schema(asked.columns)
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
    cursor.execute(asked.text, asked.parameters)
    is_first = True
    for found in cursor.fetch_record_batch():
        yield typed(found.slice(1) if is_first else found, fields)
        is_first = False


def typed(found: Any, fields: Any) -> Any:
    """Returns a batch with its columns of these types, whatever the database made of them."""
    import pyarrow as pa
    from pyarrow import compute

    arrays = []
    for values, field in zip(found.columns, fields, strict=True):
        if pa.types.is_timestamp(field.type) and pa.types.is_string(values.type):
            arrays.append(compute.assume_timezone(values.cast(pa.timestamp("us")), "UTC"))
        elif pa.types.is_duration(field.type):
            micro = compute.round(compute.multiply(values.cast(pa.float64()), 1_000.0))
            arrays.append(micro.cast(pa.int64()).cast(field.type))
        else:
            arrays.append(values.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=fields)
