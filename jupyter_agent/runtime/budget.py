"""What a run may still spend: reserved before it is spent, settled after.

Time counts while the run works, not while it waits for a person.
"""

import time
from collections.abc import Callable

from ..exceptions import BudgetExceeded
from ..records import Budget, Usage

Clock = Callable[[], float]


class Meter:
    """Counts one run against its budget. Every reservation is one synchronous step: parallel calls cannot share a
    remainder."""

    def __init__(self, budget: Budget, *, clock: Clock = time.monotonic) -> None:
        self.budget = budget
        self.turns = 0
        self.tool_calls = 0
        self.usage = Usage()
        self._clock = clock
        self._worked_s = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds worked so far."""
        return self._worked_s + (self._clock() - self._since if self._since is not None else 0.0)

    @property
    def seconds_left(self) -> float | None:
        return None if self.budget.seconds is None else self.budget.seconds - self.seconds

    @property
    def is_ticking(self) -> bool:
        return self._since is not None

    def credit(self, *, turns: int, tool_calls: int, seconds: float, usage: Usage) -> None:
        """Takes over what the run used before a restart."""
        self.turns, self.tool_calls, self._worked_s, self.usage = turns, tool_calls, seconds, usage

    def work(self) -> None:
        if self._since is None:
            self._since = self._clock()

    def wait(self) -> None:
        """Stops the clock while a person is asked."""
        self._worked_s, self._since = self.seconds, None

    def reserve_turn(self) -> None:
        """Raises BudgetExceeded when no further model call fits."""
        self._check("turns", self.budget.turns, self.turns + 1)
        self._check("seconds", self.budget.seconds, self.seconds)
        if self.budget.tokens is not None and self.usage.total_tokens >= self.budget.tokens:
            raise exceeded("tokens", self.budget.tokens, self.usage.total_tokens)
        if self.budget.cost is not None and (self.usage.cost or 0.0) >= self.budget.cost:
            raise exceeded("cost", self.budget.cost, self.usage.cost or 0.0)
        self.turns += 1

    def settle_turn(self, usage: Usage) -> None:
        self.usage += usage

    def reserve_tool_calls(self, count: int) -> None:
        self._check("tool_calls", self.budget.tool_calls, self.tool_calls + count)
        self.tool_calls += count

    def left(self) -> Budget:
        """Returns what is left of each limit, never below zero."""

        def rest(limit: float | None, used: float) -> float | None:
            return None if limit is None else max(0, limit - used)

        budget = self.budget
        return Budget(
            turns=None if budget.turns is None else max(0, budget.turns - self.turns),
            tool_calls=None if budget.tool_calls is None else max(0, budget.tool_calls - self.tool_calls),
            seconds=rest(budget.seconds, self.seconds),
            tokens=None if budget.tokens is None else max(0, budget.tokens - self.usage.total_tokens),
            cost=rest(budget.cost, self.usage.cost or 0.0),
        )

    def _check(self, limit: str, allowed: float | None, wanted: float) -> None:
        if allowed is not None and wanted > allowed:
            raise exceeded(limit, allowed, wanted)


_WORDS = {
    "turns": "model calls",
    "tool_calls": "tool calls",
    "seconds": "seconds of work",
    "tokens": "tokens",
    "cost": "US dollars",
}


def exceeded(limit: str, allowed: float, used: float) -> BudgetExceeded:
    """Returns the fault that names the limit, what it allows and what was wanted or used."""
    return BudgetExceeded(
        f"The run's budget of {allowed:g} {_WORDS[limit]} is used up ({used:g} wanted). "
        f"Start it with a larger budget, for example budget={{'{limit}': {allowed * 2:g}}}, to let it go on.",
        details={"limit": limit, "allowed": allowed, "used": used},
    )
