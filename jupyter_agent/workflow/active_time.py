"""The time in which a workflow's run works, and its turn to do so. While it merely waits for people it has neither.

A few runs work at a time. One that waits for a person gives its turn back, so that runs may wait for days without being
in anybody's way, and takes the next free one when there is an answer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ..exceptions import BudgetExceeded

DEFAULT_ACTIVE_S: Final = 1_800.0
LOOK_EVERY_S: Final = 0.25
TELL_EVERY_S: Final = 5.0
"""How much of the active time a server that is killed may forget."""


class Turn:
    """One run's turn. `spent_s` is what it worked before, `allowed_s` all that it may, None for no limit."""

    def __init__(
        self,
        turns: asyncio.Semaphore,
        *,
        allowed_s: float | None,
        spent_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = turns
        self._allowed_s = allowed_s
        self._spent_s = spent_s
        self._clock = clock
        self._since: float | None = None
        self._taking = asyncio.Lock()
        self._works = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether it merely waits for people: neither at work nor about to be."""
        return self._since is None and not self._taking.locked()

    @property
    def spent_s(self) -> float:
        """Seconds worked so far."""
        return self._spent_s + (self._clock() - self._since if self._since is not None else 0.0)

    async def work(self) -> None:
        """Takes a turn, waiting for a free one; the clock goes on. Does nothing while there is one."""
        if self._since is not None:
            return
        async with self._taking:
            if self._since is None:
                await self._turns.acquire()
                self._since = self._clock()
                self._works.set()

    def wait(self) -> None:
        """Gives the turn back and stops the clock."""
        if self._since is None:
            return
        self._spent_s, self._since = self.spent_s, None
        self._works.clear()
        self._turns.release()

    async def watch(self, merely_waits: Callable[[], bool], told: Callable[[], None]) -> BudgetExceeded:
        """Gives the turn back whenever the run merely waits for people, and tells so. Returns the fault of a run whose
        time is up."""
        told_s = self.spent_s
        while True:
            await self._works.wait()
            left_s = float("inf") if self._allowed_s is None else self._allowed_s - self.spent_s
            if left_s <= 0:
                return BudgetExceeded(
                    f"The workflow worked for its {self._allowed_s:g} seconds and was stopped (time in which it waits "
                    "for people does not count). What its calls were answered is kept: start it again to go on from "
                    "there, or have the operator raise AgentGateway.workflow_active_s.",
                    details={"limit": "active_s", "allowed": self._allowed_s, "used": round(self.spent_s, 3)},
                )
            await asyncio.sleep(min(LOOK_EVERY_S, left_s))
            if self._since is not None and merely_waits():
                self.wait()
            elif self.spent_s - told_s < TELL_EVERY_S:
                continue
            told_s = self.spent_s
            told()
