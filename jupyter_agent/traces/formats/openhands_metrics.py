"""What OpenHands counts: figures that grow from event to event, and lists of what each answer used and cost."""

from typing import Any

import msgspec

from ...records import Usage
from ..draft import RunDraft, TurnDraft
from ..look import count, items, number, obj, text
from ..usage import read

_COUNTERS = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class Meter:
    """Puts what is counted to the turns of one run.

    Where each answer's own figures are listed they count; else what the counters grew by. Counters that fall back have
    begun anew, as they do when a conversation is taken up again.
    """

    def __init__(self, run: RunDraft, metrics: dict[str, Any], place: str) -> None:
        self._run = run
        self._place = f"{place}, metrics"
        self._metrics: list[dict[str, Any]] = [metrics] if metrics else []
        self._listed: dict[str, Usage] = {}
        self._costs: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._grown_usage: dict[int, list[int]] = {}
        self._grown = [0] * len(_COUNTERS)

    def heard(self, metrics: dict[str, Any], turn: TurnDraft | None = None) -> None:
        """Takes the counters that stand beside an event."""
        if not metrics:
            return
        self._list(metrics)
        cost = self._growth("cost", number(metrics.get("accumulated_cost")))
        tokens = obj(metrics.get("accumulated_token_usage"))
        grown = [int(self._growth(name, count(tokens.get(name))) or 0) for name in _COUNTERS]
        self._grown = [old + new for old, new in zip(self._grown, grown, strict=True)]
        turn = turn or (self._run.turns[-1] if self._run.turns else None)
        if turn is None:
            return
        if cost:
            turn.cost = (turn.cost or 0.0) + cost
        elif cost == 0.0 and turn.cost is None:
            turn.cost = 0.0
        if tokens:
            sums = self._grown_usage.setdefault(turn.number, [0] * len(_COUNTERS))
            self._grown_usage[turn.number] = [old + new for old, new in zip(sums, grown, strict=True)]

    def state(self, stats: dict[str, Any], place: str) -> None:
        """Takes V1's state: the counters of each language model that the conversation uses, as they are now."""
        self._place = place
        self._metrics = [obj(metrics) for metrics in obj(stats.get("usage_to_metrics")).values()]

    def finish(self) -> None:
        for metrics in self._metrics:
            self._list(metrics)
        by_id = {turn.foreign_id: turn for turn in self._run.turns if turn.foreign_id}
        for response_id, usage in self._listed.items():
            turn = by_id.get(response_id)
            if turn is None:
                # Asked on the side, to condense the history for one: no message shows it.
                self._run.book.miss("model call without a message", self._place)
                turn = self._run.turn(self._place)
                turn.foreign_id = response_id
            turn.usage = usage
            turn.cost = self._costs.get(response_id, turn.cost)
        for turn in self._run.turns:
            grown = self._grown_usage.get(turn.number)
            if turn.usage is None and grown and any(grown):
                turn.usage = read(dict(zip(_COUNTERS, grown, strict=True)))
        self._whole()

    # --- inside

    def _growth(self, name: str, now: float | None) -> float | None:
        if now is None:
            return None
        before = self._before.get(name, 0)
        self._before[name] = now
        return now - before if now >= before else now

    def _list(self, metrics: dict[str, Any]) -> None:
        """Takes the lists of what each answer used, and cost where there are as many costs as answers."""
        usages = [obj(item) for item in items(metrics.get("token_usages"))]
        costs = [obj(item) for item in items(metrics.get("costs"))]
        for index, item in enumerate(usages):
            response_id, usage = text(item.get("response_id")), read(item)
            if response_id is None or usage is None:
                continue
            self._listed[response_id] = usage
            if len(costs) == len(usages) and (cost := number(costs[index].get("cost"))) is not None:
                self._costs[response_id] = cost

    def _whole(self) -> None:
        """States the sums of the metrics, which the turns are compared to."""
        stated = self._run.stated
        for metrics in self._metrics:
            counted = read(metrics.get("accumulated_token_usage"))
            if counted is not None:
                stated.add(msgspec.structs.replace(counted, cost=None), self._place)
            if (cost := number(metrics.get("accumulated_cost"))) is not None:
                stated.cost, stated.place = (stated.cost or 0.0) + cost, self._place
        if not self._metrics and any(self._grown):
            counted = read(dict(zip(_COUNTERS, self._grown, strict=True)))
            if counted is not None:
                stated.add(counted, self._place)
