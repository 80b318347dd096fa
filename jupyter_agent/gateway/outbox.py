"""What one socket still has to send: an urgent lane and one lane a stream, written by one task.

A stream waits at its lane when too much is unsent, so that a slow client costs a fixed amount of memory and reads from
storage later. A client that takes nothing for a while is stalled: its socket is closed and it resumes.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from tornado.websocket import WebSocketClosedError

from ..events import Cursor, line_cursor

MAX_BYTES: Final = 256 * 1024
MAX_FRAMES: Final = 2_000
MAX_URGENT_BYTES: Final = 2 * 1024 * 1024
CHUNK_BYTES: Final = 64 * 1024
"""How much is handed to the socket before waiting for it: what an urgent frame has to queue behind."""
STALLED_AFTER_S: Final = 20.0

Write = Callable[[bytes], Awaitable[None]]


class Lane:
    """The unsent frames of one stream."""

    def __init__(self, outbox: "Outbox") -> None:
        self._outbox = outbox
        self._skipped: Cursor | None = None
        self.frames: deque[bytes] = deque()

    async def put(self, frames: Iterable[bytes]) -> None:
        """Queues the frames in order, waiting for room as often as needed."""
        for frame in frames:
            if not self._outbox.has_room:
                await self._outbox.room()
            if self._skipped is not None and self._is_skipped(frame):
                continue
            self.frames.append(frame)
            self._outbox.added(frame)

    def skip_until(self, cursor: Cursor) -> None:
        """Drops the events at or before the cursor that were not sent yet, those that are still to be put too."""
        self._skipped = cursor
        unsent, self.frames = self.frames, deque()
        for frame in unsent:
            if self._is_skipped(frame):
                self._outbox.removed(frame)
            else:
                self.frames.append(frame)

    def _is_skipped(self, frame: bytes) -> bool:
        place = line_cursor(frame)
        return self._skipped is not None and place is not None and place.place <= self._skipped.place

    def close(self) -> None:
        """Drops everything and leaves the outbox."""
        for frame in self.frames:
            self._outbox.removed(frame)
        self.frames.clear()
        self._outbox.forget(self)


class Outbox:
    """The frames of a socket on their way out. `write` hands one to the socket and tells when it is gone."""

    def __init__(self, write: Write, *, stalled_after_s: float = STALLED_AFTER_S) -> None:
        self._write = write
        self._stalled_after_s = stalled_after_s
        self._urgent: deque[bytes] = deque()
        self._urgent_bytes = 0
        self._is_given_up = False
        self._lanes: deque[Lane] = deque()
        self._bytes = 0
        self._frames = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()

    def lane(self) -> Lane:
        lane = Lane(self)
        self._lanes.append(lane)
        return lane

    def forget(self, lane: Lane) -> None:
        if lane in self._lanes:
            self._lanes.remove(lane)

    def say(self, frame: bytes) -> None:
        """Queues a frame before all streams, without waiting."""
        self._urgent.append(frame)
        self._urgent_bytes += len(frame)
        self._work.set()

    @property
    def is_flooded(self) -> bool:
        """So many urgent frames wait, or so large ones, that the client cannot be reading."""
        return len(self._urgent) > MAX_FRAMES or self._urgent_bytes > MAX_URGENT_BYTES + len(self._urgent[-1])

    async def room_for_answers(self) -> None:
        """Returns when so little that is urgent waits that there may be more, or when nothing is sent any more."""
        while self._urgent_bytes >= MAX_BYTES and not self._is_given_up:
            self._room.clear()
            await self._room.wait()

    def give_up(self) -> None:
        """Lets go whoever waits for room: the socket is gone."""
        self._is_given_up = True
        self._room.set()

    @property
    def has_room(self) -> bool:
        return self._bytes < MAX_BYTES and self._frames < MAX_FRAMES

    async def room(self) -> None:
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    def added(self, frame: bytes) -> None:
        self._bytes += len(frame)
        self._frames += 1
        self._work.set()

    def removed(self, frame: bytes) -> None:
        self._bytes -= len(frame)
        self._frames -= 1
        self._room.set()

    def take_urgent(self) -> list[bytes]:
        """Takes out what must still be said before the socket closes."""
        frames, self._urgent, self._urgent_bytes = list(self._urgent), deque(), 0
        self._room.set()
        return frames

    async def run(self) -> None:
        """Writes until it is cancelled. Raises TimeoutError when the client is stalled; returns when it is gone."""
        while True:
            frames = self._take()
            if not frames:
                self._work.clear()
                await self._work.wait()
                continue
            sent: list[asyncio.Future[None]] = []
            try:
                for frame in frames:
                    sent.append(asyncio.ensure_future(self._write(frame)))  # noqa: PERF401 - kept when one raises
                # They go out in order, so the last one tells for all. Waited for, not awaited: to cancel a write that
                # the socket has begun only makes it complain.
                _, late = await asyncio.wait(sent[-1:], timeout=self._stalled_after_s)
                if late:
                    raise TimeoutError
                sent[-1].result()
            except BaseException as fault:
                for one in sent:
                    one.add_done_callback(_heeded)
                if isinstance(fault, WebSocketClosedError):
                    return
                raise

    def _take(self) -> list[bytes]:
        """The next frames: all urgent ones, then a chunk of the streams, each in its turn."""
        frames = self.take_urgent()
        size = 0
        while size < CHUNK_BYTES and any(lane.frames for lane in self._lanes):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            share = size + CHUNK_BYTES // len(self._lanes)
            while lane.frames and size < share:
                frame = lane.frames.popleft()
                self.removed(frame)
                frames.append(frame)
                size += len(frame)
        return frames


def _heeded(sent: asyncio.Future[None]) -> None:
    """Takes note of what became of a frame that nobody waits for any more."""
    if not sent.cancelled():
        sent.exception()
