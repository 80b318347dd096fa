"""Tokens and money, summed: every leaf counts once, and what is unknown is not zero."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import InvalidRequest
from ..facts.kinds import TOKENS

if TYPE_CHECKING:
    import pandas as pd

BY: Final = {
    "model": "model",
    "run": "run_id",
    "thread": "thread_id",
    "day": "started_at",
    "turn": "turn",
    "stop_reason": "stop_reason",
    "agent": "agent",
    "notebook": "notebook",
    "cell": "cell_id",
}
"""What the usage of turns can be summed by, and the column that says it."""
SUMMED: Final = (*TOKENS, "unmeasured_requests", "cost")
OF_CALLS: Final = ("tokens_used", "cache_tokens", "reasoning_tokens", "latency")

Read = Callable[[str, tuple[str, ...]], "pd.DataFrame"]
"""Reads these columns of all facts of a kind."""


def usage_by(by: str, read: Read) -> "pd.DataFrame":
    """Returns what was used, a row for each value of what it is summed by. Raises InvalidRequest for what is none."""
    if by == "tool":
        return _of_tools(read("tool_calls", ("name", "outcome", *OF_CALLS)))
    if by not in BY:
        raise InvalidRequest(f"Usage cannot be summed by {by!r}, only by {', '.join([*BY, 'tool'])}.")
    return _of_turns(read("turns", (BY[by], *SUMMED)), by)


def _of_turns(turns: "pd.DataFrame", by: str) -> "pd.DataFrame":
    key = turns[BY[by]].dt.floor("D") if by == "day" else turns[BY[by]]
    groups = turns.groupby(key.rename(by), observed=True, dropna=False)
    sums = groups[list(SUMMED)].sum(min_count=1)
    priced = groups["cost"].count()
    sums.insert(0, "turns", groups.size().astype("Int64"))
    sums["cost"] = sums["cost"].where(priced == sums["turns"])
    return sums


def _of_tools(calls: "pd.DataFrame") -> "pd.DataFrame":
    groups = calls.groupby(calls["name"].rename("tool"), observed=True, dropna=False)
    sums: Any = groups[list(OF_CALLS)].sum(min_count=1)
    failed = calls["outcome"].isin(("error", "timed_out", "unknown"))
    sums.insert(0, "calls", groups.size().astype("Int64"))
    sums.insert(1, "failed", failed.groupby(calls["name"], observed=True, dropna=False).sum().astype("Int64"))
    return sums
