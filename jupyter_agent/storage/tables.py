"""The tables, and how records become rows and rows records. Nothing here is of one database only."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ..records import (
    ACTIVE,
    Approval,
    AskStatus,
    Cell,
    Decision,
    Effect,
    Feedback,
    InputNeeded,
    InputPart,
    Multitask,
    Outcome,
    Run,
    RunStatus,
    Thread,
    ThreadStatus,
    ToolTrace,
    Turn,
    TurnSegment,
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


TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text in the order of its code points on every database: pages continue where they ended, and no update of a system's
locales spoils an index."""

metadata = sa.MetaData()

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("thread_id", TEXT, primary_key=True),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("title", TEXT),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("status", TEXT, nullable=False),
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
    sa.Column("run_id", TEXT, primary_key=True),
    sa.Column("thread_id", TEXT, sa.ForeignKey("threads.thread_id"), nullable=False),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("parent_run_id", TEXT),
    sa.Column("follow_up_to_run_id", TEXT),
    sa.Column("compare_group_id", TEXT),
    sa.Column("agent", TEXT, nullable=False),
    sa.Column("model", TEXT, nullable=False),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("queued", sa.Boolean, nullable=False),
    sa.Column("rolled_back", sa.Boolean, nullable=False),
    sa.Column("multitask", TEXT, nullable=False),
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
    sa.Column("helper_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("helper_cost", sa.Float),
    sa.Column("first_human_message", TEXT),
    sa.Column("last_ai_message", TEXT),
    sa.Column("error_code", TEXT),
    sa.Column("error_message", TEXT),
    sa.Column("detail_blob", TEXT),
    sa.Column("forked_from_run_id", TEXT),
    sa.Column("forked_from_turn", sa.Integer),
    sa.Column("past_blob", TEXT),
    # A lease is no part of the record: only leases.py reads and writes these.
    sa.Column("lease_owner", TEXT),
    sa.Column("lease_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("lease_expires_at", sa.Double),
    # Unique as any index with the key in it. Told so, SQLite reads what belongs to each run in the order of its own
    # keys, and sorts none of it.
    sa.Index("runs_of_user", "user_id", "created_at", "run_id", unique=True),
    sa.Index("runs_by_time", "created_at", "run_id", unique=True),
    sa.Index("runs_of_thread", "thread_id", "created_at", "run_id", unique=True),
    sa.Index("runs_of_parent", "parent_run_id", "created_at", "run_id"),
    sa.Index("runs_by_status", "user_id", "status", "created_at", "run_id", unique=True),
    sa.Index("runs_by_model", "user_id", "model", "status", "created_at", "run_id", unique=True),
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
sa.Index(
    "unfinished_runs", runs.c.created_at, runs.c.run_id, sqlite_where=_IS_UNFINISHED, postgresql_where=_IS_UNFINISHED
)
_IS_LEASED = runs.c.lease_owner.is_not(None)
sa.Index("leased_runs", runs.c.lease_owner, sqlite_where=_IS_LEASED, postgresql_where=_IS_LEASED)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("blob", TEXT, nullable=False),
    sa.Column("model", TEXT, nullable=False),
    sa.Column("stop_reason", TEXT, nullable=False),
    *_usage_columns(),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime, nullable=False),
    sa.Column("cache_life_s", sa.Float),
    sa.Index("turns_by_blob", "blob"),
)

turn_segments = sa.Table(
    "turn_segments",
    metadata,
    sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("region", TEXT, nullable=False),
    sa.Column("label", TEXT, nullable=False),
    sa.Column("fingerprint", TEXT, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("hit", sa.BigInteger),
    sa.Column("miss", sa.BigInteger),
)

tool_traces = sa.Table(
    "tool_traces",
    metadata,
    sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("thread_id", TEXT, nullable=False),
    sa.Column("trace_id", TEXT),
    sa.Column("tool_call_id", TEXT, nullable=False),
    sa.Column("tool_name", TEXT, nullable=False),
    sa.Column("tool_input", TEXT, nullable=False),
    sa.Column("tool_output", TEXT),
    sa.Column("blob", TEXT),
    sa.Column("decision", TEXT),
    sa.Column("outcome", TEXT),
    sa.Column("error", TEXT),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("latency_ms", sa.Float),
    sa.Column("tokens_used", sa.BigInteger),
    sa.Column("cache_tokens", sa.BigInteger),
    sa.Column("reasoning_tokens", sa.BigInteger),
    sa.Index("traces_of_tool", "tool_name", "started_at"),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("approval_id", TEXT, primary_key=True),
    sa.Column("tool_call_id", TEXT, nullable=False),
    sa.Column("tool_name", TEXT, nullable=False),
    sa.Column("arguments", TEXT, nullable=False),
    sa.Column("effects", sa.JSON, nullable=False),
    sa.Column("preview", sa.JSON, nullable=False),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("decision", TEXT),
    sa.Column("resolved_arguments", TEXT),
    sa.Column("reason", TEXT),
    sa.Column("actor", TEXT),
    sa.Column("policy", TEXT),
    sa.Column("asked_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("resolved_at", UtcTime),
    sa.Index("approvals_by_id", "approval_id"),
)

inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("request_id", TEXT, primary_key=True),
    sa.Column("prompt", TEXT, nullable=False),
    sa.Column("schema", sa.JSON(none_as_null=True)),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("content", TEXT),
    sa.Column("actor", TEXT),
    sa.Column("asked_at", UtcTime),
    sa.Column("resolved_at", UtcTime),
)

feedbacks = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", TEXT, primary_key=True),
    sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("thread_id", TEXT, nullable=False),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("message_id", TEXT),
    sa.Column("rating", sa.SmallInteger, nullable=False),
    sa.Column("comment", TEXT),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.CheckConstraint("rating IN (-1, 1)", name="rating_is_up_or_down"),
    sa.Index("feedback_of_run", "run_id", "created_at", "feedback_id"),
    sa.Index("feedback_of_thread", "thread_id", "created_at", "feedback_id"),
    sa.Index("feedback_of_user", "user_id", "created_at", "feedback_id"),
)
_IS_OF_RUN = feedbacks.c.message_id.is_(None)
sa.Index(
    "one_feedback_a_user_and_run",
    feedbacks.c.run_id,
    feedbacks.c.user_id,
    unique=True,
    sqlite_where=_IS_OF_RUN,
    postgresql_where=_IS_OF_RUN,
)

blob_refs = sa.Table(
    "blob_refs",
    metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("run_id", TEXT, primary_key=True),
    sa.Column("user_id", TEXT, primary_key=True),
    sa.Column("created_at", UtcTime),
    sa.Index("blobs_of_run", "run_id"),
)
"""Who refers to a blob beside `runs.detail_blob` and `turns.blob`; `run_id` is "" for a user's upload that no run of
theirs refers to yet, `created_at` since when it waits for one. Rows of a deleted run stay until its blobs are dealt
with, so that a crash in between loses track of none."""


errands = sa.Table(
    "errands",
    metadata,
    sa.Column("errand_id", TEXT, primary_key=True),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("deed", TEXT, nullable=False),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("by", sa.JSON, nullable=False),
    sa.Column("asked_at", sa.Double, nullable=False),
    sa.Column("is_taken", sa.Boolean, nullable=False),
    sa.Column("reply", sa.JSON(none_as_null=True)),
)
"""What one process asks of the one that carries a run out: hardly ever more than a few rows."""


LEASE: Final = frozenset({"lease_owner", "lease_no", "lease_expires_at"})

postgres_metadata = sa.MetaData()
"""What only PostgreSQL has: journals and blobs, which beside SQLite are files."""

journals = sa.Table(
    "journals",
    postgres_metadata,
    sa.Column("run_id", TEXT, primary_key=True),
    sa.Column("top_epoch", sa.Integer, nullable=False, server_default="0"),
)
"""Runs that have a journal. `top_epoch` is the highest epoch among lines that were set aside."""

run_events = sa.Table(
    "run_events",
    postgres_metadata,
    sa.Column("run_id", TEXT, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("line", sa.LargeBinary, nullable=False),
)

blobs = sa.Table(
    "blobs",
    postgres_metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("put_at", UtcTime, nullable=False, server_default=sa.func.now()),
    sa.Column("put_again_at", UtcTime),
)
"""`put_at` says when bytes were put for the last time, `put_again_at` when somebody put some that were there and may be
about to refer to them."""

# --- records to rows ------------------------------------------------------------------------------------------------

PROJECTED: Final = (
    "model", "status", "created_at", "updated_at", "started_at", "ended_at",
    *(column.name for column in _usage_columns()),
    "model_call_count", "tool_call_count", "message_count", "helper_tokens", "helper_cost", "first_human_message",
    "last_ai_message", "error_code", "error_message",
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
    counts = ("model_call_count", "tool_call_count", "message_count", "helper_tokens")
    return values | {name: _bounded(values[name]) for name in counts} | usage_values(run.usage)


def turn_values(turn: Turn) -> dict[str, Any]:
    values = _values(turn)
    del values["usage"]
    return values | usage_values(turn.usage)


def segment_values(segment: TurnSegment) -> dict[str, Any]:
    # Many at once, and all but the label are numbers and digits of ours.
    values = msgspec.structs.asdict(segment)
    counts = {name: values[name] and _bounded(values[name]) for name in ("tokens", "hit", "miss")}
    return values | counts | {"label": clean(segment.label)}


_SAID_OF_CALL: Final = (
    "run_id", "tool_call_id", "tool_name", "thread_id", "trace_id", "tool_input", "tool_output", "blob", "error",
)  # fmt: skip


def trace_values(trace: ToolTrace) -> dict[str, Any]:
    # Field by field, since there are many: what is neither text nor number is a time, or one of a few names.
    values = msgspec.structs.asdict(trace)
    for name in _SAID_OF_CALL:
        values[name] = clean(values[name])
    for name in ("decision", "outcome"):
        values[name] = values[name] and str(values[name])
    for name in ("tokens_used", "cache_tokens", "reasoning_tokens"):
        values[name] = values[name] and _bounded(values[name])
    return values | {"latency_ms": clean(trace.latency_ms)}


def approval_values(approval: Approval) -> dict[str, Any]:
    return _values(approval)


def input_values(needed: InputNeeded) -> dict[str, Any]:
    return _values(needed)


def feedback_values(given: Feedback) -> dict[str, Any]:
    return _values(given)


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
    values = {name: value for name, value in row.items() if name not in LEASE}
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


def segment_of(row: Row) -> TurnSegment:
    return TurnSegment(**row)


def trace_of(row: Row) -> ToolTrace:
    values = dict(row)
    decision, outcome = values["decision"], values["outcome"]
    known = {"decision": decision and Decision(decision), "outcome": outcome and Outcome(outcome)}
    return ToolTrace(**values | known)


def approval_of(row: Row) -> Approval:
    values = dict(row)
    decision = values["decision"]
    known = {
        "status": AskStatus(values["status"]),
        "decision": decision and Decision(decision),
        "effects": tuple(map(Effect, values["effects"])),
    }
    return Approval(**values | known)


def input_of(row: Row) -> InputNeeded:
    return InputNeeded(**dict(row) | {"status": AskStatus(row["status"])})


def feedback_of(row: Row) -> Feedback:
    return Feedback(**row)


def _usage_of(values: dict[str, Any]) -> Usage:
    """Takes the usage columns out of a row's values."""
    del values["total_tokens"]
    return Usage(**{name: values.pop(name) for name in Usage.__struct_fields__})
