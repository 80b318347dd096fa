"""Follows one run: what is stored, then what comes, each event once and in order, until the last.

Live viewing, resume, a second tab, a trace panel and an exporter are all followers with a different cursor. A follower
that keeps up shares the lines in memory; one that falls behind reads the store, so that it costs no memory.
"""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from ..exceptions import RunNotFound
from ..storage.contract import LineStore
from .archive import TERMINAL_HEAD, batches, offset_after
from .live import LiveRun
from .places import Gap, Places


class Batch(NamedTuple):
    """Raw lines in order, without newlines. `caught_up` is True once: with this batch, perhaps empty, everything is
    delivered that was stored when the follower started."""

    lines: list[bytes]
    caught_up: bool


class Source(Protocol):
    """What a follower asks of the journal."""

    @property
    def lines(self) -> LineStore: ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def look_every_s(self) -> float | None:
        """How often to look for what other processes append; None where there are none."""

    @property
    def changes(self) -> int:
        """How often a run was opened, closed or put away."""

    def live(self, run_id: str) -> LiveRun | None: ...

    async def places(self, run_id: str) -> Places: ...

    async def archived_events(self, run_id: str) -> bytes: ...

    def waiting(self, run_id: str) -> set[asyncio.Future[None]]: ...


class Follower:
    """An async iterator of batches; made by `Journal.follow`. Raises RunNotFound, StorageError."""

    def __init__(self, journal: Source, run_id: str, *, after: str | None = None) -> None:
        self._journal = journal
        self.run_id = run_id
        self._after = after
        self._early: list[str] = []
        self._gap: Gap | None = None
        self._seq = 0
        self._target = 0
        self._places: Places | None = None
        self._stored: Stored | None = None
        self._has_told = False
        self._is_over = False

    @property
    def gap(self) -> Gap | None:
        """What the cursor asked for and is not there; known once the follower is started."""
        return self._gap

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event that was delivered or skipped; None before the first."""
        return self._known_places().id_of(self._seq)

    async def start(self) -> None:
        """Finds the place to start from. Raises RunNotFound; the first batch does it otherwise."""
        if self._places is not None:
            return
        places = await self._journal.places(self.run_id)
        if self._after is not None:
            place = places.locate(self._after)
            if place is None or not place.is_exact:
                self._gap = places.gap(self._after)
            self._seq = place.seq if place else 0
        self._target = places.last
        self._is_over = places.is_complete and self._seq >= places.last
        self._places = places
        for cursor in self._early:
            self.seek(cursor)

    def seek(self, cursor: str) -> None:
        """Skips forward: nothing at or before the cursor follows. A cursor behind, or of another run, changes
        nothing."""
        if self._places is None:
            self._early.append(cursor)
            return
        places = self._known_places()
        place = places.locate(cursor)
        if place is not None and place.seq > self._seq:
            self._seq = place.seq
            self._is_over = places.is_complete and self._seq >= places.last

    def __aiter__(self) -> "Follower":
        return self

    async def __anext__(self) -> Batch:
        await self.start()
        while True:
            lines = [] if self._is_over else await self._next_lines()
            if lines:
                self._seq += len(lines)
                self._is_over = lines[-1].startswith(TERMINAL_HEAD)
                self._learn(lines)
            tells = not self._has_told and self._seq >= self._target
            if lines or tells:
                self._has_told = self._has_told or tells
                return Batch(lines, caught_up=tells)
            if self._is_over or self._journal.is_closed:
                raise StopAsyncIteration
            await self._news()

    def _learn(self, lines: list[bytes]) -> None:
        """Takes in where lines stand that another process appended since the start."""
        places = self._places
        if places is not None and self._journal.live(self.run_id) is None and self._seq > places.last:
            places.take(lines[places.last - self._seq :])
            places.is_complete = self._is_over

    def _known_places(self) -> Places:
        live = self._journal.live(self.run_id)
        return live.places if live else self._places or Places(self.run_id)

    async def _next_lines(self) -> list[bytes]:
        """Returns the lines that come next and may be seen: from memory, or else from the store."""
        while True:
            live = self._journal.live(self.run_id)
            recent = live.recent.since(self._seq) if live else None
            if recent is not None:
                self._stored = None
                return recent
            changes = self._journal.changes
            lines, is_end = await self._read_stored()
            if lines or (is_end and self._journal.changes == changes):
                return lines

    async def _read_stored(self) -> tuple[list[bytes], bool]:
        """Returns lines from the store that come next and may be seen, and whether the store has no more."""
        # Taken out while a thread reads with it: a cancelled read leaves it in an unknown place.
        stored, self._stored = self._stored, None
        if stored is None or stored.seq != self._seq:
            stored = Stored(self._journal, self.run_id, self._seq)
        first = stored.seq
        lines = await stored.read()
        if not lines:
            return [], True
        live = self._journal.live(self.run_id)
        # What is written but not yet on disk may not be seen.
        end = min(stored.seq, live.places.last) if live else stored.seq
        if end == stored.seq:
            self._stored = stored
        return lines[max(0, self._seq - first) : max(0, end - first)], False

    async def _news(self) -> None:
        waiting = self._journal.waiting(self.run_id)
        news = asyncio.get_running_loop().create_future()
        waiting.add(news)
        is_elsewhere = self._journal.live(self.run_id) is None
        try:
            async with asyncio.timeout(self._journal.look_every_s if is_elsewhere else None):
                await news
        except TimeoutError:
            return
        finally:
            waiting.discard(news)


class Stored:
    """Reads one run on from a place, from its journal while there is one, then from the archive."""

    def __init__(self, journal: Source, run_id: str, seq: int) -> None:
        self.seq = seq
        self._journal = journal
        self._run_id = run_id
        self._lines: Iterator[list[bytes]] | None = None
        self._offset = 0
        self._is_archived = False

    async def read(self) -> list[bytes]:
        """Returns the next lines, empty at the end of what is written now. Raises RunNotFound, StorageError."""
        lines: list[bytes] | None
        if not self._is_archived:
            try:
                self._lines = self._lines or self._journal.lines.read(self._run_id, after_seq=self.seq)
                lines = await asyncio.to_thread(next, self._lines, None)
                self.seq += len(lines or [])
                return lines or []
            except RunNotFound:
                self._is_archived = True
        data = await self._journal.archived_events(self._run_id)
        if self.seq and not self._offset:
            self._offset = offset_after(data, self.seq)
        lines = next(batches(data, self._offset), [])
        self._offset += sum(map(len, lines)) + len(lines)
        self.seq += len(lines)
        return lines
