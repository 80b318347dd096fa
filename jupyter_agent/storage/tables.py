"""The tables, and how records become rows and rows records. Nothing here is of one database only."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ..records import (
    ACTIVE,
    Cell,
    InputPart,
    Multitask,
    Run,
    RunStatus,
    Thread,
    ThreadStatus,
    Turn,
    Usage,
    clean,
)

Row = sa.RowMapping

MAX_INTEGER: Final = 2**63 - 1


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A UTC datetime with microseconds, aware in Python whatever the database keeps."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = sa.MetaData()

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Index("threads_of_user", "user_id", "created_at", "thread_id"),
    sa.Index("threads_by_time", "created_at", "thread_id"),
)


def _usage_columns() -> list[sa.Column[Any]]:
    counts = (
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "total_tokens",
        "requests", "unmeasured_requests",
    )  # fmt: skip
    return [*(sa.Column(name, sa.BigInteger, nullable=False) for name in counts), sa.Column("cost", sa.Float)]


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("thread_id", sa.Text, sa.ForeignKey("threads.thread_id"), nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("parent_run_id", sa.Text),
    sa.Column("follow_up_to_run_id", sa.Text),
    sa.Column("compare_group_id", sa.Text),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("queued", sa.Boolean, nullable=False),
    sa.Column("rolled_back", sa.Boolean, nullable=False),
    sa.Column("multitask", sa.Text, nullable=False),
    sa.Column("input", sa.JSON, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("kwargs", sa.JSON, nullable=False),
    sa.Column("cell", sa.JSON(none_as_null=True)),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("ended_at", UtcTime),
    *_usage_columns(),
    sa.Column("model_call_count", sa.BigInteger, nullable=False),
    sa.Column("tool_call_count", sa.BigInteger, nullable=False),
    sa.Column("message_count", sa.BigInteger, nullable=False),
    sa.Column("first_human_message", sa.Text),
    sa.Column("last_ai_message", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("detail_blob", sa.Text),
    sa.Index("runs_of_user", "user_id", "created_at", "run_id"),
    sa.Index("runs_by_time", "created_at", "run_id"),
    sa.Index("runs_of_thread", "thread_id", "created_at", "run_id"),
    sa.Index("runs_of_parent", "parent_run_id", "created_at", "run_id"),
    sa.Index("runs_by_detail", "detail_blob"),
)

_IS_ACTIVE = runs.c.status.in_(sorted(ACTIVE)) & sa.not_(runs.c.queued)
sa.Index(
    "one_active_run_a_thread",
    runs.c.thread_id,
    unique=True,
    sqlite_where=_IS_ACTIVE,
    postgresql_where=_IS_ACTIVE,
)
_IS_UNFINISHED = runs.c.status.in_(sorted(ACTIVE))
for _name, _columns in {
    "unfinished_runs": (runs.c.created_at, runs.c.run_id),
    "unfinished_runs_of_user": (runs.c.user_id, runs.c.created_at, runs.c.run_id),
}.items():
    # Shaped like the whole lists' indexes: the database takes these few rows instead, and has them in order.
    sa.Index(_name, *_columns, sqlite_where=_IS_UNFINISHED, postgresql_where=_IS_UNFINISHED)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("blob", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("stop_reason", sa.Text, nullable=False),
    *_usage_columns(),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime, nullable=False),
    sa.Index("turns_by_blob", "blob"),
)

blob_refs = sa.Table(
    "blob_refs",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Index("blobs_of_run", "run_id"),
)
"""Who refers to a blob beside `runs.detail_blob` and `turns.blob`; `run_id` is "" for a user's upload. Rows of a
deleted run stay until its blobs are dealt with, so that a crash in between loses track of none."""


# --- records to rows ------------------------------------------------------------------------------------------------

PROJECTED: Final = (
    "model", "status", "created_at", "updated_at", "started_at", "ended_at",
    *(column.name for column in _usage_columns()),
    "model_call_count", "tool_call_count", "message_count", "first_human_message", "last_ai_message", "error_code",
    "error_message",
)  # fmt: skip
"""The columns of a run that its journal decides. The others belong to whoever starts, queues and archives runs."""


def usage_values(usage: Usage) -> dict[str, Any]:
    values = {name: getattr(usage, name) for name in Usage.__struct_fields__} | {"total_tokens": usage.total_tokens}
    return {name: _bounded(value) if isinstance(value, int) else clean(value) for name, value in values.items()}


def thread_values(thread: Thread) -> dict[str, Any]:
    return _values(thread)


def run_values(run: Run) -> dict[str, Any]:
    values = _values(run)
    del values["usage"]
    counts = ("model_call_count", "tool_call_count", "message_count")
    return values | {name: _bounded(values[name]) for name in counts} | usage_values(run.usage)


def turn_values(turn: Turn) -> dict[str, Any]:
    values = _values(turn)
    del values["usage"]
    return values | usage_values(turn.usage)


def _values(record: msgspec.Struct) -> dict[str, Any]:
    """Returns the fields as plain values that every database takes: no NUL, no lone surrogates, no NaN."""
    return {
        name: value if isinstance(value, datetime | bool | int) else clean(msgspec.to_builtins(value))
        for name, value in msgspec.structs.asdict(record).items()
    }


def _bounded(value: int) -> int:
    return max(-MAX_INTEGER, min(value, MAX_INTEGER))


# --- rows to records ------------------------------------------------------------------------------------------------


def thread_of(row: Row) -> Thread:
    return Thread(**(dict(row) | {"status": ThreadStatus(row["status"])}))


def run_of(row: Row) -> Run:
    values = dict(row)
    usage = _usage_of(values)
    return Run(
        **values
        | {
            "status": RunStatus(values["status"]),
            "multitask": Multitask(values["multitask"]),
            "input": msgspec.convert(values["input"], tuple[InputPart, ...]),
            "cell": msgspec.convert(values["cell"], Cell | None),
            "usage": usage,
        }
    )


def turn_of(row: Row) -> Turn:
    values = dict(row)
    usage = _usage_of(values)
    return Turn(**values, usage=usage)


def _usage_of(values: dict[str, Any]) -> Usage:
    """Takes the usage columns out of a row's values."""
    del values["total_tokens"]
    return Usage(**{name: values.pop(name) for name in Usage.__struct_fields__})
