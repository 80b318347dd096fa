"""The one door of events: `append` puts them in, `follow` takes them out. The truth of runs.

An event is encoded once, written before anybody sees it, and read in the same bytes live, later and from the archive.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from .. import events as ev
from ..exceptions import (
    AgentError,
    BlobNotFound,
    InvalidRequest,
    RunActive,
    RunFinished,
    RunNotFound,
    StorageError,
)
from ..failpoints import failpoint
from ..storage.contract import BlobStore, LineStore, LineWriter
from ..transcript import Transcript
from .archive import Archives, batches, detail_of, places_of
from .fold import Folded, fold
from .follower import Follower, Stored
from .live import LiveRun, wake
from .observer import Observer
from .places import Places

log = logging.getLogger(__name__)

UNUSED_S: Final = 5.0
"""A blob that was put again this recently may be about to be referred to: it is left to a later sweep."""


class Journal:
    """All journals of a store. Runs are opened to append by one process at a time; anybody may follow."""

    def __init__(
        self,
        lines: LineStore,
        blobs: BlobStore,
        *,
        observer: Observer | None = None,
        unused_s: float = UNUSED_S,
        look_every_s: float | None = None,
    ) -> None:
        """`unused_s` is for how long nobody must have put the bytes of a blob again before a deletion takes it away.

        `look_every_s` is how often followers look for what other processes append; without it there are none.
        """
        self.lines: Final = lines
        self.look_every_s: Final = look_every_s
        self._blobs = blobs
        self._observer = observer
        self._archives = Archives(blobs)
        self._live: dict[str, LiveRun] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._details: dict[str, str] = {}
        self._unused_s = unused_s
        self._sweeping: asyncio.Task[None] | None = None
        self._deleting = asyncio.Lock()
        self._is_closed = False
        self._changes = 0

    # --- append -------------------------------------------------------------------------------------------------

    async def open(self, run_id: str, *, quarantine: bool = False) -> Transcript:
        """Takes a journal for appending and returns its live fold; a journal that is open here stays as it is.

        A torn tail is cut off. Raises JournalDamaged for a bad middle line; with `quarantine` the damaged file is set
        aside and the run goes on from what was good before it. Raises RunActive when another process has it,
        SchemaTooNew, StorageError.
        """
        if run_id not in self._live:
            if run_id not in self._opening:
                self._opening[run_id] = asyncio.create_task(self._open(run_id, repair=quarantine))
            opening = self._opening[run_id]
            # Shielded: a journal is taken wholly or not at all, whatever happens to the caller.
            await asyncio.shield(opening)
        return self._live[run_id].transcript

    async def create(self, run_id: str) -> Transcript:
        """Takes the journal of a run that was never written to, as `open` does, without a look for what there is."""
        self._opening[run_id] = asyncio.create_task(self._open(run_id, repair=False, is_new=True))
        await asyncio.shield(self._opening[run_id])
        return self._live[run_id].transcript

    async def repair_damaged(self, run_id: str) -> Transcript:
        """Opens a journal that JournalDamaged was raised for: the file is set aside, what was good before stays."""
        return await self.open(run_id, quarantine=True)

    async def append(self, run_id: str, event: ev.AnyEvent) -> ev.AnyEvent:
        """Numbers an event, writes it, and returns it once followers may see it: commit points are on disk then.

        Cancelling the caller takes nothing back. Raises RunNotFound for a run that is not open here, RunFinished
        after its last event, TooLarge, StorageFull (then nothing was written), StorageUnavailable.
        """
        live = self._live.get(run_id)
        if live is None:
            raise RunNotFound(f"The journal of run {run_id!r} is not open in this process: open it before appending.")
        return await live.append(event)

    def fault(self, run_id: str) -> AgentError | None:
        """Returns why a journal that is open here takes nothing more, since something could not be written, or None.

        Closed and opened again it goes on behind what its store has."""
        live = self._live.get(run_id)
        return live.fault if live else None

    async def close(self, run_id: str) -> None:
        """Lets a journal go, once what was written is published. Its followers wait for it to be opened again."""
        live = self._live.get(run_id)
        if live is None:
            return
        await live.close()
        if self._live.pop(run_id, None) is not None:
            self._changed(run_id)

    async def aclose(self) -> None:
        """Lets all journals go and ends all followers."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})
        if self._opening:
            await asyncio.wait(set(self._opening.values()))
        for run_id in tuple(self._live):
            await self.close(run_id)
        for run_id in tuple(self._waiting):
            self._changed(run_id)

    # --- follow -------------------------------------------------------------------------------------------------

    def follow(self, run_id: str, *, after: str | None = None) -> Follower:
        """Returns an iterator over batches of raw lines: all stored after the cursor, then all that come, to the last.

        A cursor that is no event of the run is told as the follower's `gap`.
        """
        return Follower(self, run_id, after=after)

    def transcript(self, run_id: str) -> Transcript | None:
        """Returns the live fold of a run that is open here. It goes on growing; nobody else may change it."""
        live = self._live.get(run_id)
        return live.transcript if live else None

    async def load(self, run_id: str) -> Transcript:
        """Returns what a run's events say, live or stored. Raises RunNotFound, StorageError."""
        live = self._live.get(run_id)
        if live is not None:
            return live.transcript
        return (await self._fold(run_id)).transcript

    async def page(self, run_id: str, *, after: str | None, limit: int) -> tuple[list[bytes], bool]:
        """Returns at most `limit` raw lines after the cursor, and whether there are more now.

        Raises RunNotFound, and InvalidRequest for a cursor that is none of this run.
        """
        places = await self.places(run_id)
        place = places.locate(after) if after is not None else None
        if after is not None and place is None:
            raise InvalidRequest(f"{after!r} is no event id of run {run_id}: take one from that run's events.")
        stored = Stored(self, run_id, place.seq if place else 0)
        wanted = min(limit, places.last - stored.seq)
        found: list[bytes] = []
        first = stored.seq
        while len(found) < wanted and (lines := await stored.read()):
            found += lines
        return found[:wanted], first + wanted < places.last

    async def stored(self, run_id: str, *, after: int = 0) -> AsyncGenerator[list[bytes], None]:
        """Yields the lines behind that seq in batches, as far as they may be seen now: a look, not a follower.

        Raises RunNotFound, StorageError.
        """
        live = self._live.get(run_id)
        # What is written but not yet on disk may not be seen.
        end = live.places.last if live else None
        stored = Stored(self, run_id, after)
        while (end is None or stored.seq < end) and (lines := await stored.read()):
            yield lines if end is None else lines[: len(lines) - max(0, stored.seq - end)]

    # --- the end of a run ---------------------------------------------------------------------------------------

    async def archive(self, run_id: str) -> str:
        """Puts the journal of a complete run into blobs and returns the key of its detail, always the same one, which
        its row says then, if there is one: `remove_lines` may follow.

        Raises RunActive for a run that is not complete, RunNotFound, LeaseLost, StorageError.
        """
        is_open = run_id in self._live
        if not is_open and not await self._has_lines(run_id) and (key := await self._detail_key(run_id)) is not None:
            return key
        data = await asyncio.to_thread(self._bytes_of, run_id)
        transcript, places, blobs, _ = await asyncio.to_thread(fold, run_id, batches(data))
        if not transcript.is_complete:
            raise RunActive(f"Run {run_id} is {transcript.status}: only what has ended can be archived.")
        events = await self._blobs.put(data)
        failpoint("archive.events_kept")
        # Only a run whose beginning is lost needs its row for it.
        is_whole = transcript.started is not None
        row = await self._observer.row(run_id) if self._observer and not is_whole else None
        detail = detail_of(transcript, row, events=events, last_event_id=places.id_of(places.last) or "")
        key = await self._blobs.put(msgspec.json.encode(detail))
        failpoint("archive.detail_kept")
        self._details[run_id] = key
        if self._observer is not None:
            await self._observer.archived(transcript, key, {events, key, *blobs})
        return key

    async def remove_lines(self, run_id: str) -> None:
        """Removes the journal of an archived run, after a look whether the archive really has it. Followers go on."""
        await self.close(run_id)
        if not await self._has_lines(run_id):
            return
        if self._observer is not None:
            self._details.pop(run_id, None)
        key = await self._detail_key(run_id)
        if key is None:
            raise StorageError(f"No row says where run {run_id} is archived, so its journal stays: archive it first.")
        detail = await self._archives.detail(key)
        await self._blobs.get(detail.events)
        if hashlib.sha256(await asyncio.to_thread(self._bytes_of, run_id)).hexdigest() != detail.events:
            raise StorageError(f"The archive of run {run_id} is not what its journal says, so the journal stays.")
        failpoint("archive.row_saved")
        await asyncio.to_thread(self.lines.delete, run_id)
        self._changed(run_id)

    async def delete(self, run_id: str) -> None:
        """Deletes all of a run whose row is gone: its journal, and the blobs that nobody else refers to."""
        await self.close(run_id)
        await asyncio.to_thread(self.lines.delete, run_id)
        self._details.pop(run_id, None)
        if self._observer is not None:
            # One after the other: what one has deleted may be put and referred to before another comes to it.
            async with self._deleting:
                keys = await self._observer.release(run_id)
                self._archives.forget(keys)
                gone = [key for key in keys if await self._blobs.delete(key, unused_s=self._unused_s)]
                await self._observer.released(run_id, gone)
            if len(gone) < len(keys) and not self._is_closed and (self._sweeping is None or self._sweeping.done()):
                self._sweeping = asyncio.create_task(self._sweep_soon(), name="sweep of deleted runs")
        self._changed(run_id)

    async def sweep(self) -> int:
        """Finishes deletions that were cut short or came too soon after the blobs were put; returns how many. Called
        at start-up and now and then."""
        deleted = await self._observer.deleted_runs() if self._observer else ()
        for run_id in deleted:
            await self.delete(run_id)
        return len(deleted)

    async def _sweep_soon(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._unused_s)
                if not await self.sweep():
                    return
        except StorageError as fault:
            log.warning("Blobs of deleted runs are still there, until the next start: %s", fault)

    # --- what followers ask -------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def changes(self) -> int:
        return self._changes

    def live(self, run_id: str) -> LiveRun | None:
        return self._live.get(run_id)

    def waiting(self, run_id: str) -> set[asyncio.Future[None]]:
        """Returns those who wait for news of a run."""
        return self._waiting.setdefault(run_id, set())

    async def places(self, run_id: str) -> Places:
        """Returns the places of a run: the live ones of an open run. Raises RunNotFound, StorageError."""
        live = self._live.get(run_id)
        if live is not None:
            return live.places
        try:
            return await asyncio.to_thread(self._scan, run_id)
        except RunNotFound:
            return places_of(run_id, batches(await self.archived_events(run_id)))

    async def archived_events(self, run_id: str) -> bytes:
        """Returns the bytes of an archived journal. Raises RunNotFound, StorageError."""
        key = await self._detail_key(run_id)
        if key is None:
            raise RunNotFound(f"There is no run {run_id!r}.")
        try:
            detail = await self._archives.detail(key)
            return await self._archives.events(detail.events)
        except BlobNotFound as fault:
            raise StorageError(
                f"The archive of run {run_id} is incomplete: {fault.message} `jupyter agent check` names what is lost."
            ) from fault

    # --- inside -------------------------------------------------------------------------------------------------

    async def _open(self, run_id: str, *, repair: bool, is_new: bool = False) -> None:
        try:
            if not is_new and not await self._has_lines(run_id) and await self._detail_key(run_id) is not None:
                raise RunFinished(f"Run {run_id} is over and archived: nothing can be appended to it.")
            writer = await asyncio.to_thread(self.lines.open, run_id, repair=repair)
            try:
                is_empty = is_new and writer.recovered.next_seq == 1
                folded = fold(run_id, ()) if is_empty else await self._fold(run_id)
            except BaseException:
                writer.close()
                raise
            self._take(run_id, writer, folded)
        finally:
            del self._opening[run_id]

    def _take(self, run_id: str, writer: LineWriter, folded: Folded) -> None:
        transcript, places, blobs, _ = folded
        self._live[run_id] = LiveRun(writer, transcript, places, waiting=self.waiting(run_id), observer=self._observer)
        if self._observer is not None and transcript.event_count:
            self._observer.opened(transcript, blobs)
        self._changed(run_id)

    async def _fold(self, run_id: str) -> Folded:
        """Reads a whole run back. Raises RunNotFound, StorageError."""
        try:
            return await asyncio.to_thread(fold, run_id, self.lines.read(run_id))
        except RunNotFound:
            data = await self.archived_events(run_id)
            return await asyncio.to_thread(fold, run_id, batches(data))

    async def _has_lines(self, run_id: str) -> bool:
        return await asyncio.to_thread(self.lines.exists, run_id)

    def _scan(self, run_id: str) -> Places:
        return places_of(run_id, self.lines.read(run_id))

    def _bytes_of(self, run_id: str) -> bytes:
        return b"".join(line + b"\n" for lines in self.lines.read(run_id) for line in lines)

    async def _detail_key(self, run_id: str) -> str | None:
        if run_id in self._details or self._observer is None:
            return self._details.get(run_id)
        row = await self._observer.row(run_id)
        return row.detail_blob if row else None

    def _changed(self, run_id: str) -> None:
        self._changes += 1
        wake(self.waiting(run_id))
        if run_id not in self._live:
            del self._waiting[run_id]
