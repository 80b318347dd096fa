"""Takes up what stopped servers left behind: at start-up, and from then on what others leave in a shared store."""

import asyncio
import logging
from collections import Counter
from typing import Final

from .. import events as ev
from ..exceptions import AgentError, JournalDamaged, LeaseLost, RunActive, RunFinished, RunNotFound, StorageError
from ..records import SYSTEM, Run, RunStatus
from ..storage.contract import LineStore
from ..transcript import Transcript
from .active import Means
from .carried import Carried
from .entries import Entries
from .preparation import RESTARTED, fruitless_restarts
from .room import Room

log = logging.getLogger(__name__)

LOOKS: Final = 4
"""How often other servers' leases are looked at in the time that one holds."""


class Takeover:
    """Goes on with the runs that nobody attends to."""

    def __init__(self, means: Means, *, lines: LineStore, carried: Carried, room: Room, entries: Entries) -> None:
        self._means = means
        self._lines = lines
        self._carried = carried
        self._room = room
        self._entries = entries
        self._looking: asyncio.Task[None] | None = None
        self._failed: Counter[str] = Counter()

    async def recover(self) -> int:
        """Takes up every run that a stopped server left behind; returns how many. No run stays running unattended.

        Where other servers share the store, what they leave is taken up from now on, too.
        """
        await self._means.leases.open()
        try:
            await self._means.journal.sweep()
            await self._means.rows.forget()
        except StorageError:
            log.exception("Deletions that were cut short could not be finished; a later start will.")
        left = {run.run_id: run for run in await self._means.rows.unattended_runs()}
        for run_id in await asyncio.to_thread(lambda: list(self._lines.run_ids())):
            if run_id not in left:
                try:
                    left[run_id] = await self._means.rows.get_run(run_id, by=SYSTEM)
                except RunNotFound:
                    log.warning("The journal of run %s has no row: `jupyter agent rebuild` makes one.", run_id)
        taken_up = [run for run in left.values() if await self.take_up(run)]
        if self._means.leases.ttl_s is not None:
            self._looking = asyncio.create_task(self._look_around(self._means.leases.ttl_s / LOOKS), name="takeover")
        return len(taken_up)

    async def _look_around(self, every_s: float) -> None:
        """Takes up what other servers left, and starts what waited here for a run of theirs."""
        while True:
            await asyncio.sleep(every_s)
            try:
                for run in await self._means.rows.unattended_runs():
                    if await self.take_up(run):
                        log.warning("Run %s was left by its server and goes on here.", run.run_id)
                await self._room.look_after_queued()
            except StorageError as fault:
                log.warning("What other servers left could not be looked for: %s", fault)
            except Exception:
                log.exception("Something that other servers left could not be taken up; it is tried again.")

    async def take_up(self, run: Run) -> bool:
        """Leases a run and goes on with it; False where another server has it, or could not let go of it yet."""
        if self._carried.has(run.run_id):
            return False
        with self._carried.being_started(run.run_id):
            try:
                if not await self._means.leases.take(run.run_id):
                    return False
            except RunNotFound:
                return False  # it was deleted since it was looked for
            try:
                await self._resume(run)
            except (RunActive, RunFinished, LeaseLost) as fault:
                # The process that was taken over has the journal's file still: it lets go as soon as it notices. Or
                # somebody else was quicker and has brought the run to its end.
                log.info("Run %s cannot be taken up now: %s", run.run_id, fault)
                await self._carried.give_back(run.run_id)
                return False
            except StorageError as fault:
                log.warning("Run %s cannot be taken up yet: %s", run.run_id, fault)
                await self._carried.give_back(run.run_id)
                return False
            except Exception:
                log.exception("Run %s could not be taken up.", run.run_id)
                self._failed[run.run_id] += 1
                await self._carried.give_back(run.run_id)
                return True
            if run.run_id not in self._carried.tasks and not run.queued:
                await self._carried.give_back(run.run_id)
        if run.queued:
            await self._room.start_next(run.thread_id)
        return True

    async def _resume(self, run: Run) -> None:
        if self._means.leases.is_shared:
            # Whoever has the journal still lost the run: it may be stopped in the middle of a write.
            await asyncio.to_thread(self._lines.expel, run.run_id)
        try:
            transcript = await self._means.journal.open(run.run_id)
        except JournalDamaged as fault:
            log.error("%s", fault)
            transcript = await self._means.journal.open(run.run_id, quarantine=True)
            await self._carried.end(run.run_id, RunStatus.ERROR, transcript, error=fault)
            return
        if transcript.started is None:
            # Its row was made and its first event never was: nobody was told of it.
            await self._entries.forget(run)
        elif transcript.status.is_terminal or transcript.is_complete:
            await self._carried.end(run.run_id, transcript.status, transcript)
        elif run.queued:
            await self._means.journal.close(run.run_id)
        else:
            await self._go_on(run, transcript)

    async def _go_on(self, run: Run, transcript: Transcript) -> None:
        """Takes a run up where it stopped; one that brought the server down again and again is ended instead."""
        fruitless = fruitless_restarts(transcript)
        await self._means.append(run.run_id, ev.Log(message=RESTARTED))
        # One that waits for a person is not stuck, however often the server stops meanwhile.
        is_waiting = bool(transcript.pending_approvals or transcript.pending_inputs)
        most = self._means.settings.max_fruitless_restarts
        if self._failed[run.run_id] >= most or (fruitless >= most and not is_waiting):
            fault = AgentError(
                f"It was taken up {fruitless} times at the same place, where the server stopped or could not go on "
                "with it, so it is not taken up again."
            )
            await self._carried.end(run.run_id, RunStatus.ERROR, transcript, error=fault)
            return
        await self._carried.launch(run)

    async def close(self) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
