"""What the cache would have read of other prompts: the stored ones with their tools sorted, with volatile text moved
behind what stays, or with a longer life.

A region counts as read as a whole or not at all: what a text that changed still has in common with the one before it
is not kept.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from ..records import Segment
from .request import Request

BLOCK_TOKENS: Final = 128


class Change(Struct, frozen=True, kw_only=True):
    """What would have been otherwise. `moved` names regions ("system") or labels ("run_cell") that would have been sent
    last."""

    sorted_tools: bool = False
    life_s: float | None = None
    moved: tuple[str, ...] = ()

    def of(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Returns the segments in the order in which they would have been sent."""
        tools = iter(sorted((one for one in segments if one.region == "tool"), key=lambda tool: tool.label))
        if self.sorted_tools:
            segments = [next(tools) if one.region == "tool" else one for one in segments]
        return tuple(sorted(segments, key=self._is_moved))

    def _is_moved(self, segment: Segment) -> bool:
        return segment.region in self.moved or segment.label in self.moved


class Prediction(Struct, frozen=True, kw_only=True):
    """What would have been reported of one request; None where nothing was."""

    request: Request
    cache_read_tokens: int | None
    cache_write_tokens: int | None


def predict(requests: Iterable[Request], change: Change) -> list[Prediction]:
    """Returns what would have been read and written, request by request. They are of one thread, in order of time.

    What was reported stands, plus the difference that the change makes in a simulated cache: what the provider read
    from elsewhere, or lost, it reads and loses here too. A life that is not known counts as endless.
    """
    asked = list(requests)
    as_it_was, otherwise = _Simulation(Change()), _Simulation(change)
    # Most providers say nothing of writing, for it costs nothing.
    tells_writing = any(request.cache_write_tokens for request in asked)
    return [
        _prediction(request, otherwise.read(request) - as_it_was.read(request), tells_writing=tells_writing)
        for request in asked
    ]


def _prediction(request: Request, more: int, *, tells_writing: bool) -> Prediction:
    read, written = request.cache_read_tokens, request.cache_write_tokens
    if read is None or written is None or request.input_tokens is None:
        return Prediction(request=request, cache_read_tokens=None, cache_write_tokens=None)
    predicted = min(max(read + more, 0), request.input_tokens)
    rest = min(max(written + read - predicted, 0), request.input_tokens - predicted) if tells_writing else written
    return Prediction(request=request, cache_read_tokens=predicted, cache_write_tokens=rest)


class _Simulation:
    """A cache that remembers prefixes, region by region."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._places: dict[tuple[int, str], int] = {}
        self._sent_at: dict[tuple[str, int], datetime] = {}

    def read(self, request: Request) -> int:
        """Returns the tokens that are read of a request, and remembers it."""
        life_s = request.cache_life_s if self._change.life_s is None else self._change.life_s
        place = read = 0
        is_read = True
        for segment in self._change.of(request.segments):
            place = self._places.setdefault((place, segment.fingerprint), len(self._places) + 1)
            sent_at = self._sent_at.get((request.model, place))
            is_read = is_read and sent_at is not None and (
                life_s is None or (request.started_at - sent_at).total_seconds() < life_s
            )  # fmt: skip
            read += segment.tokens if is_read else 0
            self._sent_at[request.model, place] = request.started_at
        return read // BLOCK_TOKENS * BLOCK_TOKENS
