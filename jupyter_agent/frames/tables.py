"""The frames of one run: what each column of turns, tool calls and what else a run has says."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..client.rows import Rows
from ..exceptions import InvalidRequest
from ..facts.columns import Column, Type, said
from ..facts.journal import EVENTS, MESSAGES
from ..facts.kinds import DECISIONS, OUTCOMES, STATUSES
from ..records import Approval, InputNeeded, Run, canonical_json
from ..transcript import ToolCallView, TurnView
from . import foreign, workflow_tables
from .columns import to_frame, to_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def _tokens(name: str) -> Column:
    """A count of tokens; unknown, not zero, where the provider reported none."""

    def value(turn: TurnView) -> int | None:
        usage = turn.usage
        return None if usage is None or usage.is_unmeasured else getattr(usage, name)

    return Column(name, Type.INT, value)


def _length(turn: TurnView) -> timedelta | None:
    return turn.finished_at - turn.started_at if turn.finished_at and turn.started_at else None


def _latency(call: ToolCallView) -> timedelta | None:
    return None if call.latency_ms is None else timedelta(milliseconds=call.latency_ms)


TURNS = (
    said("turn", Type.INT),
    said("model", Type.NAME),
    said("stop_reason", Type.NAME),
    *(_tokens(name) for name in TOKENS),
    Column("cost", Type.FLOAT, lambda turn: turn.usage.cost if turn.usage else None),
    Column("tool_calls", Type.INT, lambda turn: len(turn.tool_calls)),
    said("started_at", Type.TIME),
    said("finished_at", Type.TIME),
    Column("duration", Type.LENGTH, _length),
    said("text", Type.TEXT),
    said("thinking", Type.TEXT),
)

TOOL_CALLS = (
    said("turn", Type.INT),
    said("tool_call_id", Type.TEXT),
    said("name", Type.NAME),
    Column("arguments", Type.JSON, lambda call: call.approved_arguments or call.arguments),
    Column("decision", Type.NAME, lambda call: call.last_decision, DECISIONS),
    said("outcome", Type.NAME, OUTCOMES),
    Column("is_error", Type.BOOL, lambda call: None if call.result is None else call.is_error),
    Column("latency", Type.LENGTH, _latency),
    said("started_at", Type.TIME),
    said("finished_at", Type.TIME),
    said("result", Type.TEXT),
    said("truncated", Type.BOOL),
    said("error", Type.TEXT),
)


def _of_call(look: Callable[[ToolCallView], Any]) -> Callable[[Any], Any]:
    """What an item of a view says where it is a tool call."""
    return lambda item: look(item.call) if item.call else None


ITEMS = (
    said("turn", Type.INT),
    said("kind", Type.NAME, ("thinking", "text", "tool_call")),
    said("text", Type.TEXT),
    Column("name", Type.NAME, _of_call(lambda call: call.name)),
    Column("tool_call_id", Type.TEXT, _of_call(lambda call: call.tool_call_id)),
    Column("arguments", Type.JSON, _of_call(lambda call: call.approved_arguments or call.arguments)),
    Column("result", Type.TEXT, _of_call(lambda call: call.result)),
    Column("outcome", Type.NAME, _of_call(lambda call: call.outcome), OUTCOMES),
    Column("latency", Type.LENGTH, _of_call(_latency)),
)

APPROVALS = (
    said("approval_id", Type.TEXT),
    said("tool_call_id", Type.TEXT),
    Column("name", Type.NAME, lambda approval: approval.tool_name),
    said("arguments", Type.JSON),
    Column("effects", Type.TEXT, lambda approval: ", ".join(approval.effects)),
    said("asked_at", Type.TIME),
    said("expires_at", Type.TIME),
)


def _of_approval(look: Callable[[Approval], Any]) -> Callable[[Any], Any]:
    """What something that waits says where it is a tool call."""
    return lambda waits: look(waits) if isinstance(waits, Approval) else None


def _of_question(look: Callable[[InputNeeded], Any]) -> Callable[[Any], Any]:
    """What something that waits says where it is a question."""
    return lambda waits: look(waits) if isinstance(waits, InputNeeded) else None


WAITING = (
    Column(
        "kind",
        Type.NAME,
        lambda waits: "approval" if isinstance(waits, Approval) else "question",
        ("approval", "question"),
    ),
    Column("approval_id", Type.TEXT, _of_approval(lambda approval: approval.approval_id)),
    Column("request_id", Type.TEXT, _of_question(lambda asked: asked.request_id)),
    Column("tool_call_id", Type.TEXT, _of_approval(lambda approval: approval.tool_call_id)),
    Column("name", Type.NAME, _of_approval(lambda approval: approval.tool_name)),
    Column("arguments", Type.JSON, _of_approval(lambda approval: approval.arguments)),
    Column("effects", Type.TEXT, _of_approval(lambda approval: ", ".join(approval.effects))),
    Column("prompt", Type.TEXT, _of_question(lambda asked: asked.prompt)),
    said("asked_at", Type.TIME),
    Column("expires_at", Type.TIME, _of_approval(lambda approval: approval.expires_at)),
)


def _cell(name: str) -> Callable[[Run], Any]:
    return lambda run: getattr(run.cell, name) if run.cell else None


def _used(name: str) -> Column:
    return Column(name, Type.INT, lambda run: getattr(run.usage, name))


RUNS = (
    said("thread_id", Type.TEXT),
    said("parent_run_id", Type.TEXT),
    said("follow_up_to_run_id", Type.TEXT),
    said("compare_group_id", Type.TEXT),
    said("forked_from_run_id", Type.TEXT),
    said("forked_from_turn", Type.INT),
    said("agent", Type.NAME),
    said("model", Type.NAME),
    said("status", Type.NAME, STATUSES),
    said("created_at", Type.TIME),
    said("started_at", Type.TIME),
    said("ended_at", Type.TIME),
    *(_used(name) for name in (*TOKENS, "total_tokens", "unmeasured_requests")),
    Column("cost", Type.FLOAT, lambda run: run.usage.cost),
    said("model_call_count", Type.INT),
    said("tool_call_count", Type.INT),
    said("message_count", Type.INT),
    said("first_human_message", Type.TEXT),
    said("last_ai_message", Type.TEXT),
    said("error_code", Type.NAME),
    said("error_message", Type.TEXT),
    Column("notebook", Type.NAME, _cell("notebook")),
    Column("cell_id", Type.TEXT, _cell("cell_id")),
    Column("metadata", Type.JSON, lambda run: canonical_json(run.metadata)),
)
"""What `ja.runs()` tells of each, of records."""

CALLS = (
    said("key", Type.TEXT),
    said("label", Type.NAME),
    said("phase", Type.NAME),
    said("cell", Type.NAME),
    said("status", Type.NAME, ("queued", "waiting", "running", "done", "failed")),
    said("reused", Type.BOOL),
    said("why", Type.NAME),
    Column("was", Type.TEXT, lambda call: call.difference.was if call.difference else None),
    Column("now", Type.TEXT, lambda call: call.difference.now if call.difference else None),
    said("tokens", Type.INT),
    said("cost", Type.FLOAT),
    said("saved_tokens", Type.INT),
    said("saved_cost", Type.FLOAT),
    said("model", Type.NAME),
    said("tries", Type.INT),
    said("seconds", Type.FLOAT),
    said("run_id", Type.TEXT),
    said("prompt", Type.TEXT),
    said("answer", Type.TEXT),
    said("error", Type.TEXT),
)
"""What a workflow's pass tells of each call; `was` and `now` are the values of the first field that changed."""

PLANNED_CALLS = (
    said("number", Type.INT),
    said("label", Type.TEXT),
    said("phase", Type.TEXT),
    said("cell", Type.TEXT),
    said("reused", Type.BOOL),
    said("why", Type.TEXT),
    Column("was", Type.TEXT, lambda call: call.difference.was if call.difference else None),
    Column("now", Type.TEXT, lambda call: call.difference.now if call.difference else None),
    said("tokens", Type.FLOAT),
    said("cost", Type.FLOAT),
    said("seconds", Type.FLOAT),
    said("likened_to", Type.INT),
    said("model", Type.TEXT),
    said("key", Type.TEXT),
    said("prompt", Type.TEXT),
)
"""What a plan tells of each call; tokens, cost and seconds are expected ones."""

PROBLEMS = (
    said("cell", Type.INT),
    said("line", Type.INT),
    said("column", Type.INT),
    said("construct", Type.TEXT),
    said("message", Type.TEXT),
)
"""What an export tells of each place that leaves the portable language."""

OF_WORKFLOWS = {"calls": CALLS, "planned_calls": PLANNED_CALLS, "problems": PROBLEMS}

KINDS = {
    "runs": RUNS,
    "turns": TURNS,
    "tool_calls": TOOL_CALLS,
    "messages": MESSAGES,
    "events": EVENTS,
    "items": ITEMS,
    "approvals": APPROVALS,
    "waiting": WAITING,
}


def columns_of(rows: Rows[Any]) -> tuple[Column, ...]:
    """Returns the columns of these rows; the first names their run, or each one's where they are of several.

    Raises InvalidRequest for kinds without a frame.
    """
    for kinds in (OF_WORKFLOWS, foreign.KINDS, workflow_tables.KINDS):
        if rows.kind in kinds:
            return kinds[rows.kind]
    columns = KINDS.get(rows.kind)
    if columns is None:
        raise InvalidRequest(
            f"There is no frame of {rows.kind.replace('_', ' ')}; there is one of {', '.join(sorted(KINDS))}."
        )
    return (Column("run_id", Type.TEXT, lambda row: rows.run_id or row.run_id), *columns)


def frame(rows: Rows[Any]) -> "pd.DataFrame":
    """Returns the rows as a DataFrame. Raises InvalidRequest for kinds without a frame."""
    columns = columns_of(rows)
    return to_frame(to_table(columns, rows), columns)


def arrow(rows: Rows[Any]) -> "pa.Table":
    """Returns the rows as an Arrow table. Raises InvalidRequest for kinds without a frame."""
    return to_table(columns_of(rows), rows)
