"""Calls that wait for what the log tells later: their result, or that they were executed. One is found in the same
short time however many there are of its id."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .draft import CallDraft

Done = Callable[["CallDraft"], bool]
FEW = 8
"""So many calls are looked through; for more it is kept where those of a name are. Most turns have few."""


@dataclass(slots=True)
class Group:
    """Those of one turn, in their order. Calls that are done stay until somebody looks for their place."""

    turn: int
    done: Done
    calls: "list[CallDraft]" = field(default_factory=list)
    begin: int = 0
    """Those before it are done."""
    by_name: dict[str, deque[int]] | None = None
    is_sorted: bool = False

    def add(self, call: "CallDraft") -> None:
        if self.by_name is not None:
            self.by_name.setdefault(call.name, deque()).append(len(self.calls))
        self.calls.append(call)

    def first(self, name: str) -> "CallDraft | None":
        """Returns the first one, of the tool of this name if there is one of it: calls without a name may be of any."""
        return self.of_tool(name) or self.of_tool("")

    def of_tool(self, name: str) -> "CallDraft | None":
        calls = self.calls
        while self.begin < len(calls) and self.done(calls[self.begin]):
            self.begin += 1
        if not name:
            return calls[self.begin] if self.begin < len(calls) else None
        if len(calls) - self.begin <= FEW:
            same = (calls[at] for at in range(self.begin, len(calls)) if calls[at].name in {name, ""})
            return next((call for call in same if not self.done(call)), None)
        found = [at for key in (name, "") if (at := self._first_named(key)) is not None]
        return calls[min(found)] if found else None

    def answered_first(self) -> None:
        """Puts those with a result before the others, once."""
        if not self.is_sorted:
            self.calls = sorted(self.calls[self.begin :], key=lambda call: not call.is_answered)
            self.begin, self.by_name, self.is_sorted = 0, None, True

    def _first_named(self, name: str) -> int | None:
        if self.by_name is None:
            self.by_name = {}
            for at in range(self.begin, len(self.calls)):
                self.by_name.setdefault(self.calls[at].name, deque()).append(at)
        places = self.by_name.get(name)
        while places and self.done(self.calls[places[0]]):
            places.popleft()
        return places[0] if places else None


@dataclass(slots=True)
class Waiting:
    """The calls of one id, by turns. `done` tells which do not wait any more."""

    done: Done
    groups: list[Group] = field(default_factory=list)

    def add(self, call: "CallDraft") -> None:
        if not self.groups or self.groups[-1].turn != call.turn:
            self.groups.append(Group(call.turn, self.done))
        self.groups[-1].add(call)

    def latest(self, name: str) -> "CallDraft | None":
        """Returns the first call of the latest turn that has some."""
        while self.groups:
            if call := self.groups[-1].first(name):
                return call
            self.groups.pop()
        return None

    def until(self, turn: int | None, name: str) -> "CallDraft | None":
        """Returns a call of the latest turn until this one, one with a result before others. Without a turn, and where
        all are of later ones, the first turn's."""
        while self.groups:
            end = 0 if turn is None else bisect_right(self.groups, turn, key=lambda group: group.turn)
            at = max(0, end - 1)
            self.groups[at].answered_first()
            if call := self.groups[at].first(name):
                return call
            del self.groups[at]
        return None
