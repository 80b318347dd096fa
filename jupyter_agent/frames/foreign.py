"""The frames of an import: the columns of our own frames over many runs, then what the log called things."""

from datetime import timedelta
from typing import Any

from ..facts.columns import Column, Type, said
from ..facts.journal import MESSAGES
from ..facts.kinds import DECISIONS, OUTCOMES, STATUSES, TOKENS

MOST_MS = 1e12
"""A call of thirty years is a mistake of the log."""


def _of_run(name: str) -> Column:
    """Tokens of a run; unknown, not zero, where none were reported."""
    return Column(name, Type.INT, lambda run: getattr(run.usage, name) if run.is_measured else None)


def _of_turn(name: str) -> Column:
    def value(turn: Any) -> int | None:
        usage = turn.usage
        return None if usage is None or usage.is_unmeasured else getattr(usage, name)

    return Column(name, Type.INT, value)


def _latency(call: Any) -> timedelta | None:
    latency_ms = call.latency_ms
    return timedelta(milliseconds=latency_ms) if latency_ms is not None and 0 <= latency_ms < MOST_MS else None


def _nothing(_: Any) -> None:
    """What no log tells."""


FOREIGN = (said("foreign_run_id", Type.TEXT), said("place", Type.TEXT))

RUNS = (
    said("run_id", Type.TEXT),
    said("thread_id", Type.TEXT),
    said("parent_run_id", Type.TEXT),
    Column("follow_up_to_run_id", Type.TEXT, _nothing),
    Column("compare_group_id", Type.TEXT, _nothing),
    Column("forked_from_run_id", Type.TEXT, _nothing),
    Column("forked_from_turn", Type.INT, _nothing),
    said("agent", Type.NAME),
    said("model", Type.NAME),
    said("status", Type.NAME, STATUSES),
    Column("created_at", Type.TIME, lambda run: run.started_at),
    said("started_at", Type.TIME),
    said("ended_at", Type.TIME),
    *(_of_run(name) for name in TOKENS),
    Column("unmeasured_requests", Type.INT, lambda run: run.usage.unmeasured_requests),
    Column("cost", Type.FLOAT, lambda run: run.usage.cost),
    said("model_call_count", Type.INT),
    said("tool_call_count", Type.INT),
    said("message_count", Type.INT),
    said("first_human_message", Type.TEXT),
    said("last_ai_message", Type.TEXT),
    said("error_code", Type.NAME),
    said("error_message", Type.TEXT),
    Column("notebook", Type.NAME, _nothing),
    Column("cell_id", Type.TEXT, _nothing),
    Column("metadata", Type.JSON, _nothing),
    said("format", Type.NAME),
    said("version", Type.TEXT),
    said("foreign_run_id", Type.TEXT),
    said("foreign_thread_id", Type.TEXT),
    said("place", Type.TEXT),
)

TURNS = (
    said("run_id", Type.TEXT),
    said("turn", Type.INT),
    said("model", Type.NAME),
    said("stop_reason", Type.NAME),
    *(_of_turn(name) for name in TOKENS),
    Column("unmeasured_requests", Type.INT, lambda turn: 1 if turn.usage is None else turn.usage.unmeasured_requests),
    said("cost", Type.FLOAT),
    said("started_at", Type.TIME),
    said("finished_at", Type.TIME),
    Column("cache_life", Type.LENGTH, _nothing),
    said("thread_id", Type.TEXT),
    said("run_created_at", Type.TIME),
    said("error", Type.TEXT),
    said("foreign_turn_id", Type.TEXT),
    *FOREIGN,
)

TOOL_CALLS = (
    said("run_id", Type.TEXT),
    said("turn", Type.INT),
    said("position", Type.INT),
    Column("attempt", Type.INT, lambda _: 0),
    said("tool_call_id", Type.TEXT),
    said("name", Type.NAME),
    said("arguments", Type.JSON),
    said("decision", Type.NAME, DECISIONS),
    said("outcome", Type.NAME, OUTCOMES),
    Column("latency", Type.LENGTH, _latency),
    said("started_at", Type.TIME),
    said("finished_at", Type.TIME),
    said("result", Type.TEXT),
    Column("blob", Type.TEXT, _nothing),
    said("error", Type.TEXT),
    Column("tokens_used", Type.INT, _nothing),
    Column("cache_tokens", Type.INT, _nothing),
    Column("reasoning_tokens", Type.INT, _nothing),
    said("thread_id", Type.TEXT),
    said("run_created_at", Type.TIME),
    said("model", Type.NAME),
    said("foreign_tool_call_id", Type.TEXT),
    *FOREIGN,
)


def _of_message(column: Column) -> Column:
    source: Any = column.source
    return Column(column.name, column.type, lambda row: source(row.message), column.names)


IMPORTED_MESSAGES = (
    said("run_id", Type.TEXT),
    *map(_of_message, MESSAGES),
    said("turn", Type.INT),
    said("created_at", Type.TIME),
    said("thread_id", Type.TEXT),
    said("foreign_message_id", Type.TEXT),
    *FOREIGN,
)

UNMAPPED = (said("kind", Type.TEXT), said("count", Type.INT), said("first_place", Type.TEXT))

KINDS = {
    "imported_runs": RUNS,
    "imported_turns": TURNS,
    "imported_tool_calls": TOOL_CALLS,
    "imported_messages": IMPORTED_MESSAGES,
    "unmapped": UNMAPPED,
}
