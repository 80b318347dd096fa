"""What happened, as pandas: `.df` of a run's turns, tool calls, events and messages.

Importing this is light; pandas is loaded by the first `.df`.
"""

import sys
from typing import Any

from ..client.rows import Rows


def attach() -> None:
    """Gives the client's rows their `.df`."""
    Rows.df = property(_frame)


def _frame(rows: Rows[Any]) -> Any:
    from .tables import frame

    return frame(rows)


def described(value: Any, name: str) -> str | None:
    """Returns what an agent is told of a DataFrame or Series, None for anything else."""
    if "pandas" not in sys.modules:
        return None
    from .brief import brief, is_frame

    return brief(value, name) if is_frame(value) else None
