"""Where a flow stands: one record a run, one record a step. These are the rows."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from ..records import Record, RunStatus


class StepStatus(StrEnum):
    """Where a step stands. The last five are terminal and never overwritten."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_terminal(self) -> bool:
        return self not in (StepStatus.PENDING, StepStatus.RUNNING)


UNSUCCESSFUL = frozenset({StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.CANCELLED})


class StepState(Record, frozen=True, kw_only=True):
    """A step of a run. `excluded` is a skipped one whose branch was not taken.

    `attempt` counts how often it was begun, `retries` those of them after a time-out or failure, `restarts` those after
    a process died under it. A pending step with an attempt begins again without asking its guard. `actor` is who
    decided an approval.
    """

    step_id: str
    status: StepStatus = StepStatus.PENDING
    excluded: bool = False
    attempt: int = 0
    retries: int = 0
    restarts: int = 0
    output: Any = None
    error: str | None = None
    actor: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class FlowRun(Record, frozen=True, kw_only=True):
    """One execution of a flow. `shape` is that of the flow it began with; `result` is what `render` made."""

    flow_run_id: str
    user_id: str
    flow: str
    shape: str
    args: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    status: RunStatus = RunStatus.RUNNING
    result: Any = None
    output: str | None = None
    error: str | None = None
    ended_at: datetime | None = None
