"""Reservations of calls: each waits until a pass has room for it, and gives back what it did not take."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from ..exceptions import RunFailed
from ..records import Budget, Principal, StoredCall, WorkflowBudget, WorkflowRun
from ..storage.calls import Took
from ..storage.spending import Grant, Ledger
from ..storage.sql import SqlRows
from .budget import granted

LOOK_EVERY_S: Final = 1.0
"""Another server that shares the database says nothing when it gives back."""


class Reserving:
    """What the calls of this server have reserved. The rows are the truth: what is held here is only quicker."""

    def __init__(self, rows: SqlRows, *, run_budget: Budget) -> None:
        self._rows = rows
        self._run_budget = run_budget
        self._granted: dict[str, WorkflowBudget] = {}
        self._took: dict[str, Took] = {}
        self._given_back = asyncio.Event()

    def decide(self, call: StoredCall, ledger: Ledger) -> Grant:
        """Returns what a call gets, and keeps it for when the call has its turn."""
        grant = granted(call, ledger, run_budget=self._run_budget)
        if grant.reserved is not None:
            self._granted[call.call_id] = grant.reserved
        return grant

    async def reserved(self, call: StoredCall, *, is_stopped: Callable[[], bool]) -> WorkflowBudget:
        """Returns what a call may take, once there is so much. Raises BudgetExceeded, and RunFailed for one that was
        stopped meanwhile."""
        before = self._granted.pop(call.call_id, None)
        if before is not None:
            return before
        while True:
            given_back = self._given_back
            grant = await self._rows.reserve_call(call, decide=self.decide)
            self._granted.pop(call.call_id, None)
            if grant.refusal is not None:
                raise grant.refusal
            if grant.reserved is not None:
                return grant.reserved
            if is_stopped():
                raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(given_back.wait(), LOOK_EVERY_S)

    def charge(self, call_id: str, took: Took) -> None:
        """Keeps what the tries of a call took until now."""
        self._took[call_id] = took

    def taken(self, call: StoredCall) -> Took:
        """Returns what a call that failed took."""
        return self._took.get(call.call_id, (call.tokens or 0, 0.0 if call.tokens is None else call.cost))

    def end(self, call_id: str) -> None:
        """Says that a call is settled: what it gave back is there for those that wait."""
        self._took.pop(call_id, None)
        self.wake()

    def wake(self) -> None:
        """Has the calls that wait look again."""
        self._given_back.set()
        self._given_back = asyncio.Event()

    async def set_budget(self, workflow_run_id: str, budget: WorkflowBudget, *, by: Principal) -> WorkflowRun:
        """Gives a pass another budget, from now on. Raises WorkflowRunNotFound."""
        run = await self._rows.set_workflow_budget(workflow_run_id, budget, by=by)
        self.wake()
        return run
