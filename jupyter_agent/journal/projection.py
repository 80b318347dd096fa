"""Events to rows: the one observer that writes what lists and pages show. A pure function of a run's transcript.

It never holds a run up and never breaks one: what cannot be written now is written later, from the transcript as it is
then. A rebuild uses the same functions, so it gives the same rows.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from .. import events as ev
from ..exceptions import AgentError, LeaseLost, RunNotFound, StorageError
from ..records import SYSTEM, Approval, InputNeeded, Run, ToolTrace, Turn
from ..storage.contract import Archived, BlobStore, RowStore
from ..transcript import Transcript
from .archive import blobs_named
from .rows import all_calls, ask_id, ask_rows, asks_named, calls_named, row_of, segment_rows, trace_rows, turn_rows

log = logging.getLogger(__name__)

TRY_AGAIN_S: Final = 1.0
TRY_AGAIN_AT_MOST_S: Final = 30.0
GATHER_S: Final = 0.05
"""How long what is to be written waits for more of it, unless somebody waits for the rows."""

_MATTERS: Final = frozenset(
    {
        ev.RunStarted,
        ev.StatusChange,
        ev.ToolConfirmationRequest,
        ev.ApprovalResolved,
        ev.InputRequest,
        ev.InputReceived,
        ev.TurnCommitted,
        ev.Compacted,
        ev.ToolTraceStart,
        ev.ToolTraceFinish,
        ev.ErrorRaised,
        ev.SessionComplete,
    }
)
_KINDS_THAT_MATTER: Final = frozenset({ev.ToolCallStart, ev.ToolResultReady, ev.MessageComplete})


@dataclass
class _Notes:
    """What is known of a run whose rows are written here."""

    transcript: Transcript
    refs: set[str] = field(default_factory=set)
    calls: set[tuple[int, str]] = field(default_factory=set)
    """Tool calls whose rows are behind, by turn and id."""
    asks: set[str] = field(default_factory=set)
    """Approvals and questions whose rows are behind."""
    turns_written: int = 0
    detail: str | None = None
    """Where the run is archived, while its row does not say so."""


class Projection:
    """Writes rows behind the journal's back, many runs in one transaction. The journal's Observer."""

    def __init__(
        self,
        rows: RowStore,
        blobs: BlobStore,
        *,
        lease_no: Callable[[str], int | None] = lambda _: None,
        on_given_back: Callable[[str], None] | None = None,
    ) -> None:
        """`lease_no` tells under which number this process carries a run out; the rows refuse an older one.

        With `on_given_back`, which is told of it, a run's lease ends together with what is written of its archive.
        """
        self._on_given_back = on_given_back
        self._rows = rows
        self._blobs = blobs
        self._lease_no = lease_no
        self._notes: dict[str, _Notes] = {}
        self._dirty: set[str] = set()
        self._writing: set[str] = set()
        self._faults: dict[str, AgentError] = {}
        self._task: asyncio.Task[None] | None = None
        self._attempted: asyncio.Future[None] | None = None
        self._hurry = asyncio.Event()
        self._is_closed = False

    def observe(self, event: ev.AnyEvent, transcript: Transcript) -> None:
        if isinstance(event, ev.AgentEvent):
            if type(event.event) not in _KINDS_THAT_MATTER:
                return
        elif type(event) not in _MATTERS:
            return
        notes = self._mark(transcript)
        notes.refs.update(blobs_named(event))
        notes.calls.update(calls_named(event, transcript))
        notes.asks.update(asks_named(event, transcript))

    def opened(self, transcript: Transcript, blobs: Iterable[str]) -> None:
        notes = self._mark(transcript)
        notes.refs.update(blobs)
        notes.calls.update(all_calls(transcript))
        notes.asks.update(map(ask_id, ask_rows(transcript)))

    async def settle(self, run_id: str) -> None:
        """Returns when the rows say all that was observed of the run. Raises StorageError when they cannot be written
        now; they are written later all the same. Raises LeaseLost when another process writes them now."""
        while not self._is_closed and (run_id in self._dirty or run_id in self._writing):
            self._start()
            self._hurry.set()
            if self._attempted is None:
                self._attempted = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._attempted)
            if fault := self._faults.pop(run_id, None):
                raise fault

    async def settle_all(self) -> None:
        """Returns when the rows say all that was observed until now, of any run. Raises StorageError like `settle`.

        What other processes write by now is theirs to settle: it stands in the way of nobody who asks for all.
        """
        for run_id in tuple(self._dirty | self._writing):
            with suppress(LeaseLost):
                await self.settle(run_id)

    async def aclose(self) -> None:
        """Writes what is left, if the database lets it, and stops."""
        for run_id in tuple(self._dirty | self._writing):
            try:
                await self.settle(run_id)
            except (StorageError, LeaseLost) as fault:
                log.warning("The row of run %s is behind its journal; the next start catches up: %s", run_id, fault)
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def row(self, run_id: str) -> Run | None:
        try:
            return await self._rows.get_run(run_id, by=SYSTEM)
        except RunNotFound:
            return None

    async def archived(self, transcript: Transcript, detail: str, keys: Iterable[str]) -> None:
        if (notes := self._notes.get(transcript.run_id)) is not None:
            # Together with what else there is to write of it.
            notes.refs.update(keys)
            notes.detail = detail
            self._dirty.add(transcript.run_id)
            await self.settle(transcript.run_id)
            return
        run = await self._row(transcript)
        if run is not None:
            refs = [(key, run.run_id, run.user_id) for key in keys]
            number = self._lease_no(run.run_id)
            numbers = {} if number is None else {run.run_id: number}
            await self._rows.project([run], (), refs, lease_nos=numbers, archived={run.run_id: self._archived(detail)})
            self._gave_back([run.run_id])

    async def release(self, run_id: str) -> Sequence[str]:
        self._dirty.discard(run_id)
        self._notes.pop(run_id, None)
        # What other runs refer to is known to the rows first.
        await self.settle_all()
        return await self._rows.release(run_id)

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        await self._rows.released(run_id, keys)

    async def deleted_runs(self) -> Sequence[str]:
        return await self._rows.deleted_runs()

    # --- inside

    def _archived(self, detail: str) -> Archived:
        return Archived(detail, is_given_back=self._on_given_back is not None)

    def _gave_back(self, run_ids: Iterable[str]) -> None:
        if self._on_given_back is not None:
            for run_id in run_ids:
                self._on_given_back(run_id)

    def _mark(self, transcript: Transcript) -> _Notes:
        notes = self._notes.get(transcript.run_id)
        if notes is None or notes.transcript is not transcript:
            # Of a run that was opened again all turns are written again: the rows may have missed some.
            notes = self._notes[transcript.run_id] = _Notes(transcript)
        self._dirty.add(transcript.run_id)
        self._start()
        return notes

    def _start(self) -> None:
        if not self._is_closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._keep_up(), name="projection")

    async def _keep_up(self) -> None:
        """Writes until nothing is left. While the database fails it tries again, by the clock or when asked."""
        pause_s = TRY_AGAIN_S
        while self._dirty:
            # A short run says most of what there is to say within a moment: then all of it is one write.
            await self._pause(GATHER_S)
            self._writing, self._dirty = self._dirty, set()
            self._faults = await self._attempt(sorted(self._writing))
            self._writing = set()
            late = self._faults.keys() & self._notes.keys()
            self._dirty |= late
            self._hurry.clear()
            if self._attempted is not None:
                self._attempted.set_result(None)
                self._attempted = None
            if not late:
                pause_s = TRY_AGAIN_S
                continue
            fault = self._faults[min(late)]
            log.warning("The rows of %d runs could not be written and will be later: %s", len(late), fault)
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, TRY_AGAIN_AT_MOST_S)

    async def _attempt(self, run_ids: Sequence[str]) -> dict[str, AgentError]:
        """Writes the rows of these runs together; where one of them is at fault, each alone. Returns the faults."""
        try:
            await self._write(run_ids)
        except StorageError as fault:
            return dict.fromkeys(run_ids, fault)
        except Exception as fault:
            if len(run_ids) > 1:
                found = [await self._attempt([run_id]) for run_id in run_ids]
                return {run_id: fault for faults in found for run_id, fault in faults.items()}
            if isinstance(fault, LeaseLost):
                # Whoever carries the run out now writes its rows, all of them: nothing of it is left to do here.
                self._notes.pop(run_ids[0], None)
                return {run_ids[0]: fault}
            log.exception("The row of run %s could not be made from its events.", run_ids[0])
            return {run_ids[0]: StorageError(f"The row of run {run_ids[0]} could not be made: {fault!r}.")}
        return {}

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _write(self, run_ids: Iterable[str]) -> None:
        runs: list[Run] = []
        turns: list[Turn] = []
        traces: list[ToolTrace] = []
        asked: list[Approval | InputNeeded] = []
        refs: list[tuple[str, str, str]] = []
        archived: dict[str, Archived] = {}
        written: list[tuple[_Notes, int, set[str], set[tuple[int, str]], set[str]]] = []
        for notes in [self._notes[run_id] for run_id in run_ids if run_id in self._notes]:
            transcript = notes.transcript
            run = await self._row(transcript)
            if run is None:
                continue
            rows, keys = turn_rows(transcript), set(notes.refs)
            # What changes while this is being written is written again.
            calls, notes.calls = notes.calls, set()
            asks, notes.asks = notes.asks, set()
            runs.append(run)
            if notes.detail is not None:
                archived[run.run_id] = self._archived(notes.detail)
            turns += rows[notes.turns_written :]
            traces += trace_rows(transcript, calls)
            asked += ask_rows(transcript, asks) if asks else ()
            refs += [(key, run.run_id, run.user_id) for key in keys]
            written.append((notes, len(rows), keys, calls, asks))
        try:
            segments = await segment_rows(turns, self._blobs)
            numbers = {run.run_id: number for run in runs if (number := self._lease_no(run.run_id)) is not None}
            await self._rows.project(
                runs, turns, refs, traces=traces, asked=asked, segments=segments, lease_nos=numbers, archived=archived,
            )  # fmt: skip
        except BaseException:
            for notes, _, _, calls, asks in written:
                notes.calls |= calls
                notes.asks |= asks
            raise
        self._gave_back(archived)
        for notes, number, keys, _, _ in written:
            notes.turns_written = number
            if notes.transcript.run_id in archived:
                notes.detail = None
            notes.refs -= keys
            if notes.transcript.is_complete and notes.transcript.run_id not in self._dirty:
                self._notes.pop(notes.transcript.run_id, None)

    async def _row(self, transcript: Transcript) -> Run | None:
        """Returns the run's row; a run without its beginning has only the row that is there, if any."""
        if transcript.started is not None:
            return row_of(transcript)
        previous = await self.row(transcript.run_id)
        return row_of(transcript, previous) if previous else None
