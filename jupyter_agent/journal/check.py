"""Looks whether everything that is kept is whole: journals, archives, blobs, and the rows that speak of them.

A repair sets aside what is damaged and writes rows again. It deletes nothing.

Servers may work meanwhile: what is not as it should be is looked at once more, and left to the next check where it has
changed since.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ..exceptions import AgentError, BlobDamaged, BlobNotFound, RunNotFound, StorageError
from ..records import SYSTEM, Approval, InputNeeded, Run, ToolTrace, Turn, utc_now
from ..storage import Storage
from ..storage.tables import run_values
from .archive import Archives
from .fold import Folded, fold
from .rebuild import Rebuilt, read_archive, restore
from .rows import ask_rows, row_of, segment_rows, trace_rows, turn_rows

STALE_S: Final = 3600.0
"""Age at which a temporary file can be no blob that is being written."""

BEGUN_WITHIN_S: Final = 60.0
"""How long a run may have a row and no journal yet: the one is made before the other."""


class Problem(NamedTuple):
    """Something that is not as it should be: where, what, and what was done about it (None: nothing)."""

    where: str
    what: str
    mended: str | None = None


@dataclass
class Report:
    """What a check saw."""

    journals: int = 0
    archives: int = 0
    events: int = 0
    blobs: int = 0
    runs: int = 0
    unreferenced: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return all(problem.mended for problem in self.problems)


async def check(storage: Storage, *, repair: bool = False) -> Report:
    """Checks a data folder whose rows are open. With `repair` nobody else may use the folder."""
    return await _Check(storage, repair=repair).all()


class _Check:
    def __init__(self, storage: Storage, *, repair: bool) -> None:
        self._storage = storage
        self._repair = repair
        self._report = Report()
        self._good: set[str] = set()
        self._archives = Archives(storage.blobs)
        self._journals: dict[str, Folded] = {}
        self._broken: set[str] = set()

    async def all(self) -> Report:
        await self._look_at_blobs()
        for run_id in await asyncio.to_thread(lambda: list(self._storage.lines.run_ids())):
            await self._look_at_journal(run_id)
        cursor = None
        while True:
            page = await self._storage.rows.list_runs(by=SYSTEM, limit=200, cursor=cursor)
            for run in page.items:
                await self._look_at_run(run)
            if (cursor := page.next_cursor) is None:
                break
        await self._look_at_references()
        return self._report

    def _found(self, where: str, what: str, mended: str | None = None) -> None:
        self._report.problems.append(Problem(where, what, mended))

    # --- blobs

    async def _look_at_blobs(self) -> None:
        blobs = self._storage.blobs
        async for key in blobs.keys():
            self._report.blobs += 1
            try:
                await blobs.get(key)
                self._good.add(key)
            except BlobDamaged as fault:
                kept = await asyncio.to_thread(blobs.set_aside, key) if self._repair else None
                self._found(f"blob {key}", fault.message, f"set aside as {kept}" if kept else None)
            except BlobNotFound:
                self._report.blobs -= 1
        for path in await asyncio.to_thread(blobs.temporaries):
            if time.time() - path.stat().st_mtime > STALE_S:
                kept = await asyncio.to_thread(blobs.set_file_aside, path) if self._repair else None
                self._found(str(path), "It was never finished.", f"set aside as {kept}" if kept else None)

    # --- journals

    async def _look_at_journal(self, run_id: str) -> None:
        lines = self._storage.lines
        self._report.journals += 1
        try:
            if not await asyncio.to_thread(lines.is_held, run_id):
                await self._look_at_tail(run_id)
            folded = await self._fold(run_id)
        except RunNotFound:
            self._report.journals -= 1  # it was put away since it was listed, or deleted
            return
        except AgentError as fault:
            self._broken.add(run_id)
            self._found(f"journal {run_id}", fault.message)
            return
        self._journals[run_id] = folded
        self._report.events += folded.places.last
        for what in _order_faults(folded):
            self._found(f"journal {run_id}", what)

    async def _look_at_tail(self, run_id: str) -> None:
        """Finds damage and a torn tail; opening the journal to append is what mends both."""
        lines = self._storage.lines
        found = await asyncio.to_thread(lines.look, run_id)
        if not found.torn_bytes or await asyncio.to_thread(lines.is_held, run_id):
            return
        mended = None
        if self._repair:
            writer = await asyncio.to_thread(lambda: lines.open(run_id, repair=True))
            writer.close()
            mended = f"cut off behind event {found.good.seq}"
            if found.is_damaged:
                mended += f"; the whole file is kept in {lines.quarantine}"
        kind = "damaged" if found.is_damaged else "torn"
        self._found(
            f"journal {run_id}", f"It is {kind} at byte {found.good.offset}, behind event {found.good.seq}.", mended
        )
        if found.is_damaged and not self._repair:
            raise StorageError(f"Its last {found.torn_bytes} bytes were not looked at.")

    # --- rows

    async def _look_at_run(self, run: Run) -> None:
        self._report.runs += 1
        folded = self._journals.pop(run.run_id, None)
        if run.detail_blob is not None:
            folded = await self._look_at_archive(run, run.detail_blob) or folded
        if folded is None:
            if run.detail_blob is None and run.run_id not in self._broken and await self._is_lost(run):
                self._found(f"run {run.run_id}", "It has a row, and neither a journal nor an archive.")
            return
        if await asyncio.to_thread(self._storage.lines.is_held, run.run_id) or await self._is_so(run, folded):
            return
        if run.detail_blob is None:
            try:
                folded = await self._fold(run.run_id)  # the row may be younger than what was read of the journal
            except AgentError:
                return
        if not await self._is_so(run, folded) and await self._is_still(run):
            await self._restore(folded, run.detail_blob, f"run {run.run_id}", "Its row is not what its events say.")

    async def _fold(self, run_id: str) -> Folded:
        return await asyncio.to_thread(lambda: fold(run_id, self._storage.lines.read(run_id)))

    async def _is_still(self, run: Run) -> bool:
        """Tells whether nobody has changed a run since its row was read, or is at it now."""
        if await asyncio.to_thread(self._storage.lines.is_held, run.run_id):
            return False
        try:
            return await self._storage.rows.get_run(run.run_id, by=SYSTEM) == run
        except RunNotFound:
            return False

    async def _is_lost(self, run: Run) -> bool:
        """Tells whether there is nothing of a run but its row, and not because it only begins."""
        if not run.status.is_terminal and (utc_now() - run.created_at).total_seconds() < BEGUN_WITHIN_S:
            return False
        return not await asyncio.to_thread(self._storage.lines.exists, run.run_id) and await self._is_still(run)

    async def _is_so(self, run: Run, folded: Folded) -> bool:
        """Tells whether the rows of a run are what its events say."""
        turns = await self._turns(run.run_id)
        expected = row_of(folded.transcript, run)
        traces = await self._traces(run.run_id)
        is_so = run_values(expected) == run_values(run) and tuple(turns) == turn_rows(folded.transcript)
        segments = await self._storage.rows.list_segments(run.run_id, by=SYSTEM)
        is_so = is_so and list(segments) == await segment_rows(turns, self._storage.blobs)
        is_so = is_so and traces == trace_rows(folded.transcript)
        return is_so and await self._asks(run.run_id) == ask_rows(folded.transcript)

    async def _look_at_archive(self, run: Run, key: str) -> Folded | None:
        self._report.archives += 1
        try:
            detail = await self._archives.detail(key)
            folded = await read_archive(self._storage, detail)
        except AgentError as fault:
            if await self._is_still(run):
                self._found(f"archive of run {run.run_id}", fault.message)
            return None
        self._report.events += folded.places.last
        if detail.run_id != run.run_id:
            self._found(f"archive of run {run.run_id}", f"The detail {key} is of run {detail.run_id}.")
            return None
        for what in _order_faults(folded):
            self._found(f"archive of run {run.run_id}", what)
        return folded

    async def _traces(self, run_id: str) -> list[ToolTrace]:
        traces: list[ToolTrace] = []
        cursor = None
        while True:
            page = await self._storage.rows.list_traces(run_id, by=SYSTEM, limit=200, cursor=cursor)
            traces += page.items
            if (cursor := page.next_cursor) is None:
                return traces

    async def _asks(self, run_id: str) -> list[Approval | InputNeeded]:
        rows = self._storage.rows
        return [*await rows.list_approvals(run_id, by=SYSTEM), *await rows.list_inputs(run_id, by=SYSTEM)]

    async def _turns(self, run_id: str) -> list[Turn]:
        turns: list[Turn] = []
        cursor = None
        while True:
            page = await self._storage.rows.list_turns(run_id, by=SYSTEM, limit=200, cursor=cursor)
            turns += page.items
            if (cursor := page.next_cursor) is None:
                return turns

    async def _look_at_references(self) -> None:
        """Journals without rows, and blobs that are spoken of and not there, or there and not spoken of."""
        for run_id, folded in self._journals.items():
            if not await self._storage.rows.without_row([run_id]):
                continue
            if not await asyncio.to_thread(self._storage.lines.exists, run_id):
                continue  # it was deleted since
            await self._restore(folded, None, f"journal {run_id}", "There is no row of its run.")
        spoken_of: set[str] = set()
        async for key, run_id in self._storage.rows.referred_blobs():
            spoken_of.add(key)
            if key not in self._good and await self._is_missing(key):
                self._found(f"blob {key}", f"Run {run_id} refers to it, and it is not there." if run_id else "Lost.")
        self._report.unreferenced = len(self._good - spoken_of)

    async def _is_missing(self, key: str) -> bool:
        """Tells whether a blob that is spoken of cannot be read: it may be younger than the look at the blobs."""
        try:
            await self._storage.blobs.get(key)
        except (BlobNotFound, BlobDamaged):
            return bool(await self._storage.rows.in_use([key]))
        return False

    async def _restore(self, folded: Folded, detail: str | None, where: str, what: str) -> None:
        mended = None
        if self._repair:
            try:
                await restore(self._storage, folded, detail=detail, done=Rebuilt())
                mended = "written again from its events"
            except AgentError as fault:
                what += f" It cannot be written again: {fault.message}"
        self._found(where, what, mended)


def _order_faults(folded: Folded) -> list[str]:
    faults = []
    if folded.places.last and folded.transcript.started is None:
        faults.append("It does not begin with run_started.")
    if folded.after_end:
        faults.append(f"{folded.after_end} events come after session_complete.")
    return faults
