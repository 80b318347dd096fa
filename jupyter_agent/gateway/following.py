"""The runs that one client follows: for each a stream, a lane of the outbox, and the task between them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from ..events import parse_cursor
from ..exceptions import AgentError
from .faults import answer_to
from .outbox import Lane, Outbox
from .stream import RunStream

Own = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Followed(NamedTuple):
    """A stream, the lane it fills and the task that fills it."""

    stream: RunStream
    lane: Lane
    pump: asyncio.Task[None]


class Following:
    """The streams of one connection. `own` takes over their tasks; `broken` hears of a stream that ended in a fault."""

    def __init__(self, outbox: Outbox, *, own: Own, broken: Callable[[AgentError, bool], None]) -> None:
        self._outbox = outbox
        self._own = own
        self._broken = broken
        self._followed: dict[str, Followed] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._followed

    @property
    def run_ids(self) -> tuple[str, ...]:
        return tuple(self._followed)

    def add(self, stream: RunStream) -> None:
        """Sends a run's frames from now on, in place of an earlier stream of the same run."""
        self.drop(stream.run_id)
        lane = self._outbox.lane()
        pump = self._own(self._pump(stream, lane), f"stream {stream.run_id}")
        self._followed[stream.run_id] = Followed(stream, lane, pump)

    def drop(self, run_id: str) -> None:
        """Ends a run's stream; what it has not sent yet is not sent."""
        if (followed := self._followed.pop(run_id, None)) is not None:
            followed.pump.cancel()
            followed.lane.close()

    def seek(self, run_id: str, cursor: str) -> None:
        """Skips forward in a run: nothing at or before the cursor follows. What answers that is sent in time."""
        if (followed := self._followed.get(run_id)) is None:
            return
        place = parse_cursor(cursor)
        if place is not None and place.tag == followed.stream.tag:
            followed.lane.skip_until(place)
        # Not waited for: a lane that is full must not hold up the commands behind this one.
        self._own(self._answer_seek(followed, cursor), "seek")

    async def _answer_seek(self, followed: Followed, cursor: str) -> None:
        try:
            await followed.lane.put(await followed.stream.seek(cursor))
        except AgentError as fault:
            self._broken(fault, False)

    async def _pump(self, stream: RunStream, lane: Lane) -> None:
        try:
            async for frames in stream.frames():
                await lane.put(frames)
        except AgentError as fault:
            # Storage may be well again when the client comes back; it must not believe that nothing happens.
            self._broken(fault, answer_to(fault).status >= 500)
