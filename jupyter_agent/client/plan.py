"""What a workflow would do and take, to be read before it spends anything."""

from typing import Any

from ..script.plan import Interval, PlannedCall, WorkflowPlan
from .rows import Rows

SHOWN_CALLS = 12
_BASES = {
    "script": "from its script, as far as stored answers reach",
    "calls": "from the calls that were made in this kernel",
    "lastPass": "from the calls of its last pass",
}


class Plan:
    """A plan: what would come from the store, what would run live at least, and what that is expected to take.

    `tokens`, `cost` (US dollars) and `seconds` (of work, one call after the other) have `low`, `expected`, `high`, and
    are None where nothing is known.
    """

    def __init__(self, told: WorkflowPlan) -> None:
        self.workflow = told.workflow
        self.basis = told.basis
        self.hits, self.live = told.hits, told.live
        self.tokens, self.cost, self.seconds = told.tokens, told.cost, told.seconds
        self.unknown = told.unknown
        self.calls: Rows[PlannedCall] = Rows.of("planned_calls", told.items)

    @property
    def df(self) -> Any:
        """A row for each call that is known of."""
        return self.calls.df

    def __repr__(self) -> str:
        counts = f"{self.hits} from the store, at least {self.live} live"
        lines = [f"Plan of the workflow {self.workflow!r}, {_BASES[self.basis]}: {counts}."]
        if self.live:
            lines.append(f"  tokens   {_said(self.tokens, '{:,.0f}')}")
            lines.append(f"  dollars  {_said(self.cost, '{:,.4g}')}")
            lines.append(f"  seconds  {_said(self.seconds, '{:,.1f}')} of work, less where calls run at once")
        lives = [call for call in self.calls if not call.reused]
        lines += [f"  live: {call.name!r}, {call.why}" for call in lives[:SHOWN_CALLS]]
        if len(lives) > SHOWN_CALLS:
            lines.append(f"  … and {len(lives) - SHOWN_CALLS} more, in .df")
        return "\n".join([*lines, *(f"  Not known: {one}" for one in self.unknown)])


def _said(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "not known"
    expected, low, high = (form.format(value) for value in (interval.expected, interval.low, interval.high))
    return f"{expected} (90 % between {low} and {high})"
