"""What happened, as pandas: `.df` of a run's turns, tool calls, events and messages, and the shape of its cache.

Importing this is light; pandas is loaded by the first `.df`.
"""

import sys
from typing import Any

from ..client.rows import Rows
from ..client.run import Run
from ..exceptions import InvalidRequest


def attach() -> None:
    """Gives the client's rows their `.df`, `.arrow()` and `.live()`, and its runs their `cache`."""
    Rows.df = property(_frame)
    Rows.arrow = _arrow
    Rows.live = _live
    Run.cache = property(_cache)


def _cache(run: Run) -> Any:
    """What the provider's cache read of this run's prompts, turn by turn, and why it did not read more.

    `.df` has a row a turn, `.segments` a row a region of a prompt; `.what_if(…)` predicts what another order or a
    longer life would have read and cost.
    """
    from .gateway import cache

    return cache(run=run)


def _frame(rows: Rows[Any]) -> Any:
    from .tables import frame

    return frame(rows)


def _arrow(rows: Rows[Any]) -> Any:
    """Returns the rows as a `pyarrow.Table`, which Polars reads too."""
    from .tables import arrow

    return arrow(rows)


def _live(rows: Rows[Any]) -> Any:
    """Returns a `LiveFrame` of the rows: one that stays current while the run goes on."""
    from .live import FollowedRows, LiveFrame

    if rows.feed is None or rows.again is None:
        raise InvalidRequest(
            f"These {rows.kind.replace('_', ' ')} are of no run that is followed: ja.runs(live=True) and its like stay "
            "current for many."
        )
    return LiveFrame(FollowedRows(rows, rows.again, rows.feed))


def described(value: Any, name: str) -> str | None:
    """Returns what an agent is told of a DataFrame or Series, None for anything else."""
    if "pandas" not in sys.modules:
        return None
    from .brief import brief, is_frame

    return brief(value, name) if is_frame(value) else None
