"""The frames of one run: what each column of turns, tool calls and what else a run has says."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..client.rows import Rows
from ..exceptions import InvalidRequest
from ..facts.columns import Column, Type
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
    Column("turn", Type.INT, lambda turn: turn.turn),
    Column("model", Type.NAME, lambda turn: turn.model),
    Column("stop_reason", Type.NAME, lambda turn: turn.stop_reason),
    *(_tokens(name) for name in TOKENS),
    Column("cost", Type.FLOAT, lambda turn: turn.usage.cost if turn.usage else None),
    Column("tool_calls", Type.INT, lambda turn: len(turn.tool_calls)),
    Column("started_at", Type.TIME, lambda turn: turn.started_at),
    Column("finished_at", Type.TIME, lambda turn: turn.finished_at),
    Column("duration", Type.LENGTH, _length),
    Column("text", Type.TEXT, lambda turn: turn.text),
    Column("thinking", Type.TEXT, lambda turn: turn.thinking),
)

TOOL_CALLS = (
    Column("turn", Type.INT, lambda call: call.turn),
    Column("tool_call_id", Type.TEXT, lambda call: call.tool_call_id),
    Column("name", Type.NAME, lambda call: call.name),
    Column("arguments", Type.JSON, lambda call: call.approved_arguments or call.arguments),
    Column("decision", Type.NAME, lambda call: call.last_decision, DECISIONS),
    Column("outcome", Type.NAME, lambda call: call.outcome, OUTCOMES),
    Column("is_error", Type.BOOL, lambda call: None if call.result is None else call.is_error),
    Column("latency", Type.LENGTH, _latency),
    Column("started_at", Type.TIME, lambda call: call.started_at),
    Column("finished_at", Type.TIME, lambda call: call.finished_at),
    Column("result", Type.TEXT, lambda call: call.result),
    Column("truncated", Type.BOOL, lambda call: call.truncated),
    Column("error", Type.TEXT, lambda call: call.error),
)


def _of_call(look: Callable[[ToolCallView], Any]) -> Callable[[Any], Any]:
    """What an item of a view says where it is a tool call."""
    return lambda item: look(item.call) if item.call else None


ITEMS = (
    Column("turn", Type.INT, lambda item: item.turn),
    Column("kind", Type.NAME, lambda item: item.kind, ("thinking", "text", "tool_call")),
    Column("text", Type.TEXT, lambda item: item.text),
    Column("name", Type.NAME, _of_call(lambda call: call.name)),
    Column("tool_call_id", Type.TEXT, _of_call(lambda call: call.tool_call_id)),
    Column("arguments", Type.JSON, _of_call(lambda call: call.approved_arguments or call.arguments)),
    Column("result", Type.TEXT, _of_call(lambda call: call.result)),
    Column("outcome", Type.NAME, _of_call(lambda call: call.outcome), OUTCOMES),
    Column("latency", Type.LENGTH, _of_call(_latency)),
)

APPROVALS = (
    Column("approval_id", Type.TEXT, lambda approval: approval.approval_id),
    Column("tool_call_id", Type.TEXT, lambda approval: approval.tool_call_id),
    Column("name", Type.NAME, lambda approval: approval.tool_name),
    Column("arguments", Type.JSON, lambda approval: approval.arguments),
    Column("effects", Type.TEXT, lambda approval: ", ".join(approval.effects)),
    Column("asked_at", Type.TIME, lambda approval: approval.asked_at),
    Column("expires_at", Type.TIME, lambda approval: approval.expires_at),
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
    Column("asked_at", Type.TIME, lambda waits: waits.asked_at),
    Column("expires_at", Type.TIME, _of_approval(lambda approval: approval.expires_at)),
)


def _cell(name: str) -> Callable[[Run], Any]:
    return lambda run: getattr(run.cell, name) if run.cell else None


def _used(name: str) -> Column:
    return Column(name, Type.INT, lambda run: getattr(run.usage, name))


RUNS = (
    Column("thread_id", Type.TEXT, lambda run: run.thread_id),
    Column("parent_run_id", Type.TEXT, lambda run: run.parent_run_id),
    Column("follow_up_to_run_id", Type.TEXT, lambda run: run.follow_up_to_run_id),
    Column("compare_group_id", Type.TEXT, lambda run: run.compare_group_id),
    Column("forked_from_run_id", Type.TEXT, lambda run: run.forked_from_run_id),
    Column("forked_from_turn", Type.INT, lambda run: run.forked_from_turn),
    Column("agent", Type.NAME, lambda run: run.agent),
    Column("model", Type.NAME, lambda run: run.model),
    Column("status", Type.NAME, lambda run: run.status, STATUSES),
    Column("created_at", Type.TIME, lambda run: run.created_at),
    Column("started_at", Type.TIME, lambda run: run.started_at),
    Column("ended_at", Type.TIME, lambda run: run.ended_at),
    *(_used(name) for name in (*TOKENS, "total_tokens", "unmeasured_requests")),
    Column("cost", Type.FLOAT, lambda run: run.usage.cost),
    Column("model_call_count", Type.INT, lambda run: run.model_call_count),
    Column("tool_call_count", Type.INT, lambda run: run.tool_call_count),
    Column("message_count", Type.INT, lambda run: run.message_count),
    Column("first_human_message", Type.TEXT, lambda run: run.first_human_message),
    Column("last_ai_message", Type.TEXT, lambda run: run.last_ai_message),
    Column("error_code", Type.NAME, lambda run: run.error_code),
    Column("error_message", Type.TEXT, lambda run: run.error_message),
    Column("notebook", Type.NAME, _cell("notebook")),
    Column("cell_id", Type.TEXT, _cell("cell_id")),
    Column("metadata", Type.JSON, lambda run: canonical_json(run.metadata)),
)
"""What `ja.runs()` tells of each, of records."""

CALLS = (
    Column("key", Type.TEXT, lambda call: call.key),
    Column("label", Type.NAME, lambda call: call.label),
    Column("phase", Type.NAME, lambda call: call.phase),
    Column("cell", Type.NAME, lambda call: call.cell),
    Column("status", Type.NAME, lambda call: call.status, ("queued", "waiting", "running", "done", "failed")),
    Column("reused", Type.BOOL, lambda call: call.reused),
    Column("why", Type.NAME, lambda call: call.why),
    Column("was", Type.TEXT, lambda call: call.difference.was if call.difference else None),
    Column("now", Type.TEXT, lambda call: call.difference.now if call.difference else None),
    Column("tokens", Type.INT, lambda call: call.tokens),
    Column("cost", Type.FLOAT, lambda call: call.cost),
    Column("saved_tokens", Type.INT, lambda call: call.saved_tokens),
    Column("saved_cost", Type.FLOAT, lambda call: call.saved_cost),
    Column("model", Type.NAME, lambda call: call.model),
    Column("tries", Type.INT, lambda call: call.tries),
    Column("seconds", Type.FLOAT, lambda call: call.seconds),
    Column("run_id", Type.TEXT, lambda call: call.run_id),
    Column("prompt", Type.TEXT, lambda call: call.prompt),
    Column("answer", Type.TEXT, lambda call: call.answer),
    Column("error", Type.TEXT, lambda call: call.error),
)
"""What a workflow's pass tells of each call; `was` and `now` are the values of the first field that changed."""

PLANNED_CALLS = (
    Column("number", Type.INT, lambda call: call.number),
    Column("label", Type.TEXT, lambda call: call.label),
    Column("phase", Type.TEXT, lambda call: call.phase),
    Column("cell", Type.TEXT, lambda call: call.cell),
    Column("reused", Type.BOOL, lambda call: call.reused),
    Column("why", Type.TEXT, lambda call: call.why),
    Column("was", Type.TEXT, lambda call: call.difference.was if call.difference else None),
    Column("now", Type.TEXT, lambda call: call.difference.now if call.difference else None),
    Column("tokens", Type.FLOAT, lambda call: call.tokens),
    Column("cost", Type.FLOAT, lambda call: call.cost),
    Column("seconds", Type.FLOAT, lambda call: call.seconds),
    Column("likened_to", Type.INT, lambda call: call.likened_to),
    Column("model", Type.TEXT, lambda call: call.model),
    Column("key", Type.TEXT, lambda call: call.key),
    Column("prompt", Type.TEXT, lambda call: call.prompt),
)
"""What a plan tells of each call; tokens, cost and seconds are expected ones."""

PROBLEMS = (
    Column("cell", Type.INT, lambda problem: problem.cell),
    Column("line", Type.INT, lambda problem: problem.line),
    Column("column", Type.INT, lambda problem: problem.column),
    Column("construct", Type.TEXT, lambda problem: problem.construct),
    Column("message", Type.TEXT, lambda problem: problem.message),
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
