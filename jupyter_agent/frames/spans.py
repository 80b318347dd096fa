"""The facts of a run as charts and comparisons show them: what took when how long, and what came of it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import pandas as pd

from ..compact import CompactRun, CompactTurn
from ..exceptions import InvalidRequest
from ..facts.columns import Column, Type, said
from ..records import Outcome, RunStatus
from .columns import to_frame, to_table

CACHE_COLUMNS: Final = ("turn", "input_tokens", "cache_read_tokens")
"""What a frame must say to be shown as a chart of the cache."""


class Span(NamedTuple):
    """A turn's model call, or a tool call: when it began, and how long it took or has taken by now."""

    kind: str
    turn: int
    name: str
    started_at: datetime | None
    duration: timedelta | None
    outcome: str | None = None
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None
    tool_call_id: str | None = None


SPANS: Final = (
    said("kind", Type.NAME, ("turn", "tool_call")),
    said("turn", Type.INT),
    said("name", Type.NAME),
    said("started_at", Type.TIME),
    said("duration", Type.LENGTH),
    said("outcome", Type.NAME),
    said("input_tokens", Type.INT),
    said("cache_read_tokens", Type.INT),
    said("output_tokens", Type.INT),
    said("reasoning_tokens", Type.INT),
    said("cost", Type.FLOAT),
    said("tool_call_id", Type.TEXT),
)


def spans_of(run: CompactRun) -> list[Span]:
    """Returns the turns of a run, each with its tool calls after it."""
    found: list[Span] = []
    for turn in run.turns:
        found.append(_turn(turn))
        for call in turn.tool_calls:
            taken = None if call.latency_ms is None else timedelta(milliseconds=call.latency_ms)
            outcome = call.outcome and str(call.outcome)
            found.append(
                Span("tool_call", turn.turn, call.name, call.started_at, taken, outcome, tool_call_id=call.tool_call_id)
            )
    return found


def _turn(turn: CompactTurn) -> Span:
    taken = turn.finished_at - turn.started_at if turn.finished_at and turn.started_at else None
    usage = turn.usage
    tokens: dict[str, Any] = {}
    if usage is not None and not usage.is_unmeasured:
        tokens = {name: getattr(usage, name) for name in
                  ("input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens")}  # fmt: skip
    cost = usage.cost if usage else None
    return Span("turn", turn.turn, turn.model or "", turn.started_at, taken, turn.stop_reason, cost=cost, **tokens)


def spans_frame(run: CompactRun) -> pd.DataFrame:
    """Returns the same as a frame, a row a turn or tool call."""
    return to_frame(to_table(SPANS, spans_of(run)), SPANS)


# --- the cache ------------------------------------------------------------------------------------------------


def cache_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame of turns with its hit rates, 0 to 1, and causes, where it has none of its own.

    Raises InvalidRequest for a frame without turns and tokens.
    """
    missing = [name for name in CACHE_COLUMNS if name not in frame]
    if missing:
        raise InvalidRequest(
            f"A CacheChart needs the columns {', '.join(CACHE_COLUMNS)}, and the frame has no {missing[0]!r}: "
            "give a run, `run.turns.df` or `ja.turns()`."
        )
    shown = frame.copy(deep=False)
    if "hit_rate" not in shown:
        whole = shown["input_tokens"].astype("Float64")
        shown["hit_rate"] = (shown["cache_read_tokens"].astype("Float64") / whole).where(whole > 0)
    return shown


# --- runs side by side ----------------------------------------------------------------------------------------


def answer_of(run: CompactRun) -> str:
    """Returns what the model said last."""
    return next((turn.text for turn in reversed(run.turns) if turn.text), "")


FIGURES: Final = (
    said("run_id", Type.TEXT),
    said("status", Type.NAME, tuple(RunStatus)),
    said("model", Type.NAME),
    Column("turns", Type.INT, lambda run: len(run.turns)),
    Column("tool_calls", Type.INT, lambda run: sum(len(turn.tool_calls) for turn in run.turns)),
    Column(
        "failed_calls",
        Type.INT,
        lambda run: sum(_failed(call.outcome) for turn in run.turns for call in turn.tool_calls),
    ),
    Column("input_tokens", Type.INT, lambda run: run.usage.input_tokens),
    Column("cache_read_tokens", Type.INT, lambda run: run.usage.cache_read_tokens),
    Column("output_tokens", Type.INT, lambda run: run.usage.output_tokens),
    Column("cost", Type.FLOAT, lambda run: run.usage.cost),
    Column("duration", Type.LENGTH, lambda run: run.last_at - run.first_at if run.first_at and run.last_at else None),
    Column("answer", Type.TEXT, answer_of),
)


def _failed(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome is not Outcome.SUCCESS


def compare_frame(runs: Iterable[CompactRun]) -> pd.DataFrame:
    """Returns a row a run. `first_difference` is the first turn that differs from the first run's, missing where none
    does."""
    known = list(runs)
    frame = to_frame(to_table(FIGURES, known), FIGURES)
    differs = [first_difference(known[0], run) for run in known]
    frame.insert(frame.columns.get_loc("answer"), "first_difference", pd.array(differs, dtype="Int64"))
    return frame


def first_difference(one: CompactRun, other: CompactRun) -> int | None:
    """Returns the first turn in which something else was asked, said, called or given; None where there is none."""
    if one.prompt != other.prompt and (one.turns or other.turns):
        return 0
    for at in range(max(len(one.turns), len(other.turns))):
        if _told(one, at) != _told(other, at):
            return at
    return None


def _told(run: CompactRun, at: int) -> Any:
    if at >= len(run.turns):
        return None
    turn = run.turns[at]
    return turn.text, [(call.name, call.arguments, call.result) for call in turn.tool_calls]
