"""What calls will take, from what calls like them took: a mean, and an interval around it. Pure and seeded.

Tokens, dollars and seconds of calls are positive and skewed, so their logarithms are taken as normal, with mean and
spread unknown: one draw takes a spread and a mean that fit the past calls, then a value for each call that comes. The
interval holds nine in ten of such sums. A prior worth two calls that differ by a factor of 1.6 keeps it honest where
there are one or two past calls. Calls that are likened to the same past share its mean: their errors add up.
"""

import math
import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from ..script.plan import Interval

DRAWS: Final = 500
COVERED: Final = 0.9
PRIOR_CALLS: Final = 2.0
PRIOR_SPREAD: Final = 0.5
FARTHEST: Final = 10.0
"""No draw is further from the past than this factor."""
ONE_BY_ONE: Final = 12
"""As many calls are drawn one by one; of more the sum is drawn."""

Pool = tuple[float, ...]


def forecast(wanted: Mapping[Pool, int], *, seed: str = "") -> Interval | None:
    """Returns what calls take together: `wanted` maps what past calls took to how many are likened to them.

    The same for the same past. None where there is no past at all.
    """
    pools = [_Fit(pool, count) for pool, count in wanted.items() if pool and count]
    if not pools:
        return None
    chance = random.Random(f"forecast {seed}")  # noqa: S311 - it has to be the same again
    sums = sorted(sum(pool.drawn(chance) for pool in pools) for _ in range(DRAWS))
    tail = (1 - COVERED) / 2
    low, high = sums[int(tail * DRAWS)], sums[min(DRAWS - 1, math.ceil((1 - tail) * DRAWS))]
    expected = sum(pool.mean * pool.count for pool in pools)
    return Interval(low=min(low, expected), expected=expected, high=max(high, expected))


class _Fit:
    """What past calls took, as a normal distribution of logarithms whose mean and spread are themselves uncertain."""

    def __init__(self, pool: Sequence[float], count: int) -> None:
        self.count = count
        self.mean = fmean(pool)
        logs = [math.log(value) for value in pool if value > 0]
        self.is_nothing = not logs
        self._logs = logs or [0.0]
        self._centre = fmean(self._logs)
        squares = sum((one - self._centre) ** 2 for one in self._logs) + PRIOR_CALLS * PRIOR_SPREAD**2
        self._degrees = len(self._logs) - 1 + PRIOR_CALLS
        self._squares = squares
        self._low = min(self._logs) - math.log(FARTHEST)
        self._high = max(self._logs) + math.log(FARTHEST)

    def drawn(self, chance: random.Random) -> float:
        """Returns what all calls of this kind take in one future."""
        if self.is_nothing:
            return 0.0
        spread = math.sqrt(self._squares / (2 * chance.gammavariate(self._degrees / 2, 1.0)))
        centre = chance.gauss(self._centre, spread / math.sqrt(len(self._logs)))
        if self.count <= ONE_BY_ONE:
            return sum(self._one(chance, centre, spread) for _ in range(self.count))
        # Of many the sum is nearly normal, with the moments of the logarithm's distribution.
        spread, centre = min(spread, 1.5), min(max(centre, self._low), self._high)
        mean = math.exp(centre + spread**2 / 2)
        deviation = mean * math.sqrt(math.expm1(spread**2))
        return max(0.0, chance.gauss(mean * self.count, deviation * math.sqrt(self.count)))

    def _one(self, chance: random.Random, centre: float, spread: float) -> float:
        return math.exp(min(max(chance.gauss(centre, spread), self._low), self._high))
