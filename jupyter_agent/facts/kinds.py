"""The kinds of facts that stand in the database: what their rows hold, where, and in which order they come.

Same columns, types and order whatever there is. The words are those that SQLite and PostgreSQL share.
"""

from typing import Final, NamedTuple

from ..records import Decision, Outcome, RunStatus
from .columns import Column, Type

REVISION: Final = "0017"
"""The revision of the database that these words are for."""

TOKENS: Final = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "total_tokens",
)  # fmt: skip
STATUSES: Final = tuple(map(str, RunStatus))
DECISIONS: Final = tuple(map(str, Decision))
OUTCOMES: Final = tuple(map(str, Outcome))


class Kind(NamedTuple):
    """A kind of facts: the columns that are told unless others are chosen, those that are told when they are asked
    for, the table, the order, and the table whose `model` a filter means."""

    columns: tuple[Column, ...]
    on_request: tuple[Column, ...]
    table: str
    order: str
    model_of: str = "runs"

    @property
    def by_name(self) -> dict[str, Column]:
        """Everything that can be asked for."""
        return {column.name: column for column in (*self.columns, *self.on_request)}


def _of(table: str, type_: Type, *names: str, **renamed: str) -> tuple[Column, ...]:
    sources = {name: name for name in names} | renamed
    return tuple(Column(name, type_, f"{table}.{of}") for name, of in sources.items())


def _named(source: str, names: tuple[str, ...] = (), *, name: str = "") -> Column:
    return Column(name or source.partition(".")[2], Type.NAME, source, names)


CELL: Final = (
    Column("notebook", Type.NAME, "runs.cell ->> 'notebook'"),
    Column("cell_id", Type.TEXT, "runs.cell ->> 'cellId'"),
)
OF_RUN: Final = (
    Column("thread_id", Type.TEXT, "runs.thread_id"),
    Column("run_created_at", Type.TIME, "runs.created_at"),
)
ABOUT_RUN: Final = (
    Column("parent_run_id", Type.TEXT, "runs.parent_run_id"),
    _named("runs.agent"),
    *CELL,
    Column("metadata", Type.JSON, "CAST(runs.metadata AS TEXT)"),
)
"""What any fact can be asked to say of its run."""

KINDS: Final = {
    "runs": Kind(
        (
            *_of("runs", Type.TEXT, "run_id", "thread_id", "parent_run_id", "follow_up_to_run_id", "compare_group_id"),
            *_of("runs", Type.TEXT, "forked_from_run_id"),
            *_of("runs", Type.INT, "forked_from_turn"),
            _named("runs.agent"),
            _named("runs.model"),
            _named("runs.status", STATUSES),
            *_of("runs", Type.TIME, "created_at", "started_at", "ended_at"),
            *_of("runs", Type.INT, *TOKENS, "unmeasured_requests"),
            *_of("runs", Type.FLOAT, "cost"),
            *_of("runs", Type.INT, "model_call_count", "tool_call_count", "message_count"),
            *_of("runs", Type.TEXT, "first_human_message", "last_ai_message"),
            _named("runs.error_code"),
            *_of("runs", Type.TEXT, "error_message"),
            *CELL,
            Column("metadata", Type.JSON, "CAST(runs.metadata AS TEXT)"),
        ),
        _of("runs", Type.TEXT, "detail_blob"),
        "runs",
        "runs.created_at, runs.run_id",
    ),
    "turns": Kind(
        (
            *_of("turns", Type.TEXT, "run_id"),
            *_of("turns", Type.INT, "turn"),
            _named("turns.model"),
            _named("turns.stop_reason"),
            *_of("turns", Type.INT, *TOKENS, "unmeasured_requests"),
            *_of("turns", Type.FLOAT, "cost"),
            *_of("turns", Type.TIME, "started_at", "finished_at"),
            Column("cache_life", Type.LENGTH, "turns.cache_life_s * 1000"),
            *OF_RUN,
        ),
        (*_of("turns", Type.TEXT, "blob"), *ABOUT_RUN),
        "turns",
        "runs.created_at, runs.run_id, turns.turn",
        model_of="turns",
    ),
    "tool_calls": Kind(
        (
            *_of("tool_traces", Type.TEXT, "run_id"),
            *_of("tool_traces", Type.INT, "turn", "position", "attempt"),
            *_of("tool_traces", Type.TEXT, "tool_call_id"),
            _named("tool_traces.tool_name", name="name"),
            *_of("tool_traces", Type.JSON, arguments="tool_input"),
            _named("tool_traces.decision", DECISIONS),
            _named("tool_traces.outcome", OUTCOMES),
            *_of("tool_traces", Type.LENGTH, latency="latency_ms"),
            *_of("tool_traces", Type.TIME, "started_at", "finished_at"),
            *_of("tool_traces", Type.TEXT, result="tool_output", blob="blob", error="error"),
            *_of("tool_traces", Type.INT, "tokens_used", "cache_tokens", "reasoning_tokens"),
            *OF_RUN,
            _named("runs.model"),
        ),
        ABOUT_RUN,
        "tool_traces",
        "runs.created_at, runs.run_id, tool_traces.turn, tool_traces.position, tool_traces.attempt",
    ),
    "segments": Kind(
        (
            *_of("turn_segments", Type.TEXT, "run_id"),
            *_of("turn_segments", Type.INT, "turn", "position"),
            _named("turn_segments.region"),
            _named("turn_segments.label"),
            *_of("turn_segments", Type.TEXT, "fingerprint"),
            *_of("turn_segments", Type.INT, "tokens", "hit", "miss"),
            *OF_RUN,
            _named("runs.model"),
        ),
        ABOUT_RUN,
        "turn_segments",
        "runs.created_at, runs.run_id, turn_segments.turn, turn_segments.position",
    ),
    "feedback": Kind(
        (
            *_of("feedback", Type.TEXT, "feedback_id", "run_id", "message_id"),
            *_of("feedback", Type.INT, "rating"),
            *_of("feedback", Type.TEXT, "comment"),
            *_of("feedback", Type.TIME, "created_at", "updated_at"),
            *OF_RUN,
        ),
        (*ABOUT_RUN, _named("runs.model")),
        "feedback",
        "feedback.created_at, feedback.feedback_id",
    ),
}
"""A length stands in the database as milliseconds."""
