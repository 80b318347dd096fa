"""A journal that is open for appending in this process: numbers events, writes them, and publishes them in order.

Deltas are published as soon as they are written. A commit point is published when it is on disk; one sync serves all
that were written before it began, and whatever is written meanwhile waits its turn behind them. Where only a sync
writes, every event waits for one.
"""

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from .. import events as ev
from ..exceptions import AgentError, RunFinished, RunNotFound, StorageUnavailable, TooLarge
from ..storage.contract import LineWriter
from ..transcript import Transcript
from .observer import Observer
from .places import Places
from .recent import Recent

log = logging.getLogger(__name__)

BREATHE_EVERY: Final = 128
"""Events that may be appended without a pause before everybody else on the loop gets a turn."""

_COMMIT_POINTS: Final = frozenset(ev.COMMIT_POINTS)


class _Pending(NamedTuple):
    """An event that is written and not yet published."""

    event: ev.AnyEvent
    line: bytes
    seq: int
    is_commit: bool
    published: asyncio.Future[None]


class LiveRun:
    """One open journal. `transcript` and `places` are of what was published; followers wait in `waiting`."""

    def __init__(
        self,
        writer: LineWriter,
        transcript: Transcript,
        places: Places,
        *,
        waiting: set[asyncio.Future[None]],
        observer: Observer | None,
    ) -> None:
        self.transcript = transcript
        self.places = places
        self.recent = Recent(places.last)
        self._writer = writer
        self._observer = observer
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._epoch = writer.recovered.epoch
        self._seq = places.last
        self._durable_epoch = False
        self._is_ended = transcript.is_complete
        self._last_at = transcript.last_at or datetime.min.replace(tzinfo=UTC)
        self._id_head = f"{places.tag}-{self._epoch}-"
        self._pending: deque[_Pending] = deque()
        self._syncing: asyncio.Task[None] | None = None
        self._is_waking = False
        self._is_closing = False
        self._fault: AgentError | None = None
        self._passes = 0

    @property
    def fault(self) -> AgentError | None:
        """Why nothing more can be appended, None where it can."""
        return self._fault

    async def append(self, event: ev.AnyEvent) -> ev.AnyEvent:
        """Numbers, writes and publishes an event; returns it as it was written, once followers may see it.

        A cancelled caller changes nothing: what was written will be published. Raises RunFinished after the last
        event, TooLarge, InvalidRequest, StorageFull (then nothing was written), StorageUnavailable.
        """
        numbered, line = self._encode(event)
        self._writer.write(line)
        self._seq += 1
        kind = type(event)
        # The first event of an epoch is synced whatever it is: an epoch that somebody saw is never used again.
        is_commit = kind in _COMMIT_POINTS or not self._durable_epoch or not self._writer.writes_through
        self._durable_epoch = True
        self._last_at = numbered.at or self._last_at
        if kind is ev.SessionComplete:
            self._is_ended = True
        if is_commit or self._pending:
            published = self._loop.create_future()
            self._pending.append(_Pending(numbered, line, self._seq, is_commit, published))
            if self._syncing is None or self._syncing.done():
                self._syncing = self._loop.create_task(self._sync_pending())
            await published
            return numbered
        self._publish(numbered, line)
        self._passes += 1
        if self._passes >= BREATHE_EVERY:
            self._passes = 0
            await asyncio.sleep(0)
        return numbered

    async def close(self) -> None:
        """Lets the journal go once everything that was written is published."""
        self._is_closing = True
        if self._syncing is not None:
            await asyncio.wait({self._syncing})
        self._writer.close()

    def _encode(self, event: ev.AnyEvent) -> tuple[ev.AnyEvent, bytes]:
        if self._fault is not None:
            raise self._fault
        if self._is_ended:
            raise RunFinished(f"Run {self.places.run_id} is over: {type(event).__name__} cannot be appended.")
        if self._is_closing:
            raise RunNotFound(f"The journal of run {self.places.run_id} is being closed: open it again to append.")
        # A run begins when its row was made: its place among others is the same from the first moment on.
        begun = event.at if isinstance(event, ev.RunStarted) else None
        at = max(begun or datetime.now(UTC), self._last_at)
        if not at.microsecond:
            at = at.replace(microsecond=1)  # so that the text always has six digits
        numbered = msgspec.structs.replace(
            event, id=f"{self._id_head}{self._seq + 1}", run_id=self.places.run_id, at=at
        )
        line = ev.encode_line(numbered)
        if len(line) > ev.MAX_LINE_BYTES:
            raise TooLarge(
                f"An event of type {type(event).__name__} is {len(line)} bytes long; {ev.MAX_LINE_BYTES} fit. "
                "Keep its long fields as blobs.",
                details={"bytes": len(line), "allowed": ev.MAX_LINE_BYTES},
            )
        return numbered, line

    async def _sync_pending(self) -> None:
        """Syncs until nothing waits. The one owner of everything that is written and not yet published."""
        try:
            while self._pending:
                written = self._seq
                await self._writer.sync()
                while self._pending and (self._pending[0].seq <= written or not self._pending[0].is_commit):
                    entry = self._pending.popleft()
                    self._publish(entry.event, entry.line)
                    if not entry.published.done():
                        entry.published.set_result(None)
        except AgentError as fault:
            self._fail(fault)
        except Exception as fault:
            log.exception("The journal of run %s stopped.", self.places.run_id)
            self._fail(StorageUnavailable(f"The journal of run {self.places.run_id} stopped: {fault!r}."))
        finally:
            self._fail(self._fault or StorageUnavailable("The server stopped before this event was on disk."))

    def _fail(self, fault: AgentError) -> None:
        """Tells everybody who waits that their event was not made durable. From then on nothing more is appended."""
        while self._pending:
            self._fault = fault
            published = self._pending.popleft().published
            if not published.done():
                published.set_exception(fault)

    def _publish(self, event: ev.AnyEvent, line: bytes) -> None:
        places = self.places
        places.last += 1
        if not places.epochs or places.epochs[-1][0] != self._epoch:
            places.enter(self._epoch, places.last)
        self.transcript.apply(event)
        places.is_complete = self.transcript.is_complete
        self.recent.add(line)
        if self._waiting and not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake)
        if self._observer is not None:
            try:
                self._observer.observe(event, self.transcript)
            except Exception:
                log.exception("An observer of run %s failed; the run goes on.", places.run_id)

    def _wake(self) -> None:
        self._is_waking = False
        wake(self._waiting)


def wake(waiting: set[asyncio.Future[None]]) -> None:
    """Lets everybody look again who waits for news of a run."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
    waiting.clear()
