"""What a pass is likely to ask for next, told by the store with an answer before: calls that need not be asked for.

Results stay the store's to give: what was used is told to it before anything else is claimed, and what was told ahead
is forgotten after a moment, since it may be deleted meanwhile.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from .placed import AheadResult, CallState, PlacedCall, UsedResult, words_of

MOST: Final = 100
LEAST: Final = 8
"""Results that are told at once: more, the more of them turn out to be what is asked for."""
GOOD_FOR_S: Final = 2.0


class Ahead:
    """Results by the words of the calls that they answer, and which of them were used since the store was told."""

    def __init__(self) -> None:
        self.used: list[UsedResult] = []
        self._kept: defaultdict[str, list[CallState]] = defaultdict(list)
        self._count = 0
        self._good_until = 0.0
        self._told = self._taken = 0
        self.wanted = LEAST

    @property
    def is_low(self) -> bool:
        """Whether it is time to ask for more."""
        return self._told > 0 and self._taken >= self._told // 2

    def take(self, call: PlacedCall) -> CallState | None:
        """Returns what answers the call, None where that is for the store to say."""
        if not self._count or call.fresh or call.side_effects:
            return None
        if time.monotonic() > self._good_until:
            self.forget()
            return None
        try:
            states = self._kept.get(words_of(msgspec.to_builtins(call)))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None  # it cannot be sent, as who asks for it is told
        if not states:
            return None
        state = states.pop(0)
        self._count -= 1
        self._taken += 1
        self.used.append(UsedResult(call_id=str(state.call_id), token=call.token, cell=call.cell))
        return state

    def learn(self, told: Iterable[AheadResult]) -> None:
        """Keeps what the store tells now in place of what it told before. It does not know yet what was used since it
        was asked."""
        if self._told:
            is_worth_it = self._taken >= self._told // 2
            self.wanted = min(MOST, self.wanted * 4) if is_worth_it else max(LEAST, self.wanted // 2)
        self.forget()
        used = {one.call_id for one in self.used}
        for one in told:
            if one.state.call_id not in used:
                self._kept[one.words].append(one.state)
                self._count += 1
        self._told, self._taken = self._count, 0
        self._good_until = time.monotonic() + GOOD_FOR_S

    def claimed(self, states: Iterable[CallState]) -> None:
        """Forgets what the store has given to other calls."""
        gone = {state.call_id for state in states}
        for words, kept in self._kept.items():
            self._kept[words] = [state for state in kept if state.call_id not in gone]
        self._count = sum(map(len, self._kept.values()))

    def forget(self) -> None:
        """Forgets what is not used yet."""
        self._kept.clear()
        self._count = 0
