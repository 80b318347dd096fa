"""Events to rows: the one observer that writes what lists and pages show. A pure function of a run's transcript.

It never holds a run up and never breaks one: what cannot be written now is written later, from the transcript as it is
then. A rebuild uses the same functions, so it gives the same rows.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from .. import events as ev
from ..exceptions import AgentError, JournalDamaged, RunNotFound, StorageError
from ..records import SYSTEM, Multitask, Run, Text, Turn
from ..storage.contract import RowStore
from ..transcript import Transcript
from .archive import blobs_named

log = logging.getLogger(__name__)

FIRST_MESSAGE_CHARS: Final = 500
LAST_MESSAGE_CHARS: Final = 32 * 1024
TRY_AGAIN_S: Final = 1.0
TRY_AGAIN_AT_MOST_S: Final = 30.0

_MATTERS: Final = frozenset(
    {
        ev.RunStarted,
        ev.StatusChange,
        ev.ToolConfirmationRequest,
        ev.TurnCommitted,
        ev.Compacted,
        ev.ToolTraceStart,
        ev.ToolTraceFinish,
        ev.ErrorRaised,
        ev.SessionComplete,
    }
)
_KINDS_THAT_MATTER: Final = frozenset({ev.ToolCallStart, ev.ToolResultReady, ev.MessageComplete})


# --- what a transcript says as rows ---------------------------------------------------------------------------------


def row_of(transcript: Transcript, previous: Run | None = None) -> Run:
    """Returns a run's row. What its events do not say (`queued`, `rolled_back`, `detail_blob`) is as it was.

    Raises JournalDamaged for a transcript whose beginning is lost, when there is no row to go by either.
    """
    run = previous or _first_row(transcript)
    error = transcript.error
    is_over = transcript.is_complete or transcript.status.is_terminal
    first_at, last_at = transcript.first_at or run.created_at, transcript.last_at or run.updated_at
    return msgspec.structs.replace(
        run,
        status=transcript.status,
        created_at=first_at if transcript.started else run.created_at,
        updated_at=last_at,
        started_at=transcript.started_at,
        ended_at=last_at if is_over else None,
        usage=transcript.usage,
        model_call_count=transcript.model_call_count,
        tool_call_count=len(transcript.tool_calls),
        # The person's message, and the model's of each turn.
        message_count=1 + transcript.model_call_count,
        first_human_message=_first_words(run),
        last_ai_message=transcript.text[:LAST_MESSAGE_CHARS] or None,
        error_code=error.code if error else None,
        error_message=error.message if error else None,
    )


def _first_row(transcript: Transcript) -> Run:
    started, at = transcript.started, transcript.first_at
    if started is None or at is None:
        raise JournalDamaged(f"The events of run {transcript.run_id!r} do not begin with run_started.")
    return Run(
        run_id=started.run_id,
        thread_id=started.thread_id,
        user_id=started.user_id,
        status=transcript.status,
        agent=started.agent,
        model=started.model,
        created_at=at,
        updated_at=at,
        multitask=Multitask(started.multitask),
        input=started.input,
        metadata=started.metadata,
        kwargs=_own_kwargs(started.kwargs),
        cell=started.cell,
        parent_run_id=started.parent_run_id,
        follow_up_to_run_id=started.follow_up_to_run_id,
        compare_group_id=started.compare_group_id,
    )


def _own_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the caller's own kwargs. A run's first event keeps the whole request, which has them as one field."""
    own = kwargs.get("kwargs", {}) if "input" in kwargs else kwargs
    return dict(own)


def _first_words(run: Run) -> str | None:
    text = "\n".join(part.text for part in run.input if isinstance(part, Text))
    return text[:FIRST_MESSAGE_CHARS] or None


def turn_rows(transcript: Transcript) -> tuple[Turn, ...]:
    """Returns the rows of the committed turns."""
    return tuple(
        Turn(
            run_id=transcript.run_id,
            turn=turn.turn,
            blob=turn.blob,
            model=turn.model or "",
            stop_reason=turn.stop_reason or "",
            usage=turn.usage,
            started_at=turn.started_at,
            finished_at=turn.finished_at,
        )
        for turn in transcript.turns
        if turn.blob and turn.usage is not None and turn.started_at and turn.finished_at
    )


# --- the observer ---------------------------------------------------------------------------------------------------


@dataclass
class _Notes:
    """What is known of a run whose rows are written here."""

    transcript: Transcript
    refs: set[str] = field(default_factory=set)
    turns_written: int = 0


class Projection:
    """Writes rows behind the journal's back, many runs in one transaction. The journal's Observer."""

    def __init__(self, rows: RowStore) -> None:
        self._rows = rows
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
        self._mark(transcript).refs.update(blobs_named(event))

    def opened(self, transcript: Transcript, blobs: Iterable[str]) -> None:
        self._mark(transcript).refs.update(blobs)

    async def settle(self, run_id: str) -> None:
        """Returns when the rows say all that was observed of the run. Raises StorageError when they cannot be written
        now; they are written later all the same."""
        while not self._is_closed and (run_id in self._dirty or run_id in self._writing):
            self._start()
            self._hurry.set()
            if self._attempted is None:
                self._attempted = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._attempted)
            if fault := self._faults.pop(run_id, None):
                raise fault

    async def settle_all(self) -> None:
        """Returns when the rows say all that was observed until now, of any run. Raises StorageError like `settle`."""
        for run_id in tuple(self._dirty | self._writing):
            await self.settle(run_id)

    async def aclose(self) -> None:
        """Writes what is left, if the database lets it, and stops."""
        for run_id in tuple(self._dirty | self._writing):
            try:
                await self.settle(run_id)
            except StorageError as fault:
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

    async def refer(self, transcript: Transcript, keys: Iterable[str]) -> None:
        run = await self._row(transcript)
        if run is not None:
            await self._rows.project((), (), [(key, run.run_id, run.user_id) for key in keys])

    async def release(self, run_id: str) -> Sequence[str]:
        self._dirty.discard(run_id)
        self._notes.pop(run_id, None)
        return await self._rows.release(run_id)

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        await self._rows.released(run_id, keys)

    async def deleted_runs(self) -> Sequence[str]:
        return await self._rows.deleted_runs()

    # --- inside

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
            self._writing, self._dirty = self._dirty, set()
            self._faults = await self._attempt(sorted(self._writing))
            self._writing = set()
            self._dirty |= self._faults.keys() & self._notes.keys()
            self._hurry.clear()
            if self._attempted is not None:
                self._attempted.set_result(None)
                self._attempted = None
            if not self._faults:
                pause_s = TRY_AGAIN_S
                continue
            fault = next(iter(self._faults.values()))
            log.warning("The rows of %d runs could not be written and will be later: %s", len(self._faults), fault)
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
        refs: list[tuple[str, str, str]] = []
        written: list[tuple[_Notes, int, set[str]]] = []
        for notes in [self._notes[run_id] for run_id in run_ids if run_id in self._notes]:
            transcript = notes.transcript
            run = await self._row(transcript)
            if run is None:
                continue
            rows, keys = turn_rows(transcript), set(notes.refs)
            runs.append(run)
            turns += rows[notes.turns_written :]
            refs += [(key, run.run_id, run.user_id) for key in keys]
            written.append((notes, len(rows), keys))
        await self._rows.project(runs, turns, refs)
        for notes, number, keys in written:
            notes.turns_written = number
            notes.refs -= keys
            if notes.transcript.is_complete and notes.transcript.run_id not in self._dirty:
                self._notes.pop(notes.transcript.run_id, None)

    async def _row(self, transcript: Transcript) -> Run | None:
        """Returns the run's row; a run without its beginning has only the row that is there, if any."""
        if transcript.started is not None:
            return row_of(transcript)
        previous = await self.row(transcript.run_id)
        return row_of(transcript, previous) if previous else None
