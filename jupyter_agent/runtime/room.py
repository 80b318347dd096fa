"""Room on a thread: one run at a time, and what becomes of the others by their multitask strategy."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec

from ..exceptions import AgentError, RunFinished
from ..records import SYSTEM, Multitask, Principal, Run
from ..storage.contract import RowStore
from .carried import Carried
from .leaseholder import Leaseholder

log = logging.getLogger(__name__)

MAKING_ROOM: Final = (Multitask.INTERRUPT, Multitask.ROLLBACK)
TRY_AGAIN_S: Final = 0.5
ROOM_S: Final = 0.1
"""How long is waited for another server to start or end its run of a thread, before the next look."""


class Interrupt(Protocol):
    """Stops a run, wherever it is carried out."""

    def __call__(self, run_id: str, *, by: Principal) -> Awaitable[Run]: ...


class Room:
    """Has runs of one thread follow one another."""

    def __init__(self, carried: Carried, *, rows: RowStore, leases: Leaseholder, interrupt: Interrupt) -> None:
        self._carried = carried
        self._rows = rows
        self._leases = leases
        self._interrupt = interrupt
        self._places: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take_place(self, run: Run, *, by: Principal) -> None:
        """Ends what is active on the thread, until it is this run's turn. One run after the other: many at once would
        all end the same one."""
        turn, lock = self._carried.turns[run.run_id], self._places.setdefault(run.thread_id, asyncio.Lock())
        waiting = [asyncio.ensure_future(lock.acquire()), asyncio.ensure_future(turn.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            # Without its lease its turn comes at the server that took it up: waiting here it would wait for itself.
            while not turn.is_set() and not self._carried.is_closing and self._leases.number(run.run_id) is not None:
                try:
                    self._leases.check(run.run_id)
                    await self.make_room(run.thread_id, run.multitask, by=by)
                except AgentError as fault:
                    log.warning("Run %s waits for room on its thread: %s", run.run_id, fault)
                    await asyncio.sleep(TRY_AGAIN_S)
                await self.start_next(run.thread_id)
                await asyncio.sleep(ROOM_S if self._leases.is_shared else 0)
        finally:
            for one in waiting:
                one.cancel()
            if not waiting[0].cancelled() and waiting[0].done():
                lock.release()

    async def make_room(self, thread_id: str, strategy: Multitask, *, by: Principal) -> bool:
        """Ends the thread's active run where the strategy says so; tells whether it is worth trying again."""
        active = await self._rows.active_run(thread_id)
        if active is None:
            return True
        task = self._carried.tasks.get(active.run_id)
        if task is not None and active.run_id in self._carried.active and self._carried.active[active.run_id].is_over:
            # It has answered and is being put away: the next run need not know.
            await asyncio.wait({task})
            return True
        if strategy is Multitask.REJECT:
            return False
        try:
            await self._interrupt(active.run_id, by=by)
        except RunFinished:
            log.debug("Run %s ended by itself while room was made.", active.run_id)
        if strategy is Multitask.ROLLBACK:
            ended = await self._rows.get_run(active.run_id, by=SYSTEM)
            await self._rows.save_run(msgspec.structs.replace(ended, rolled_back=True))
        return True

    async def start_next(self, thread_id: str) -> None:
        """Begins the run that waits longest for its turn on the thread, if nothing is active there."""
        if self._carried.is_closing:
            return
        try:
            owner = self._leases.holder.owner
            while (run := await self._rows.next_queued(thread_id, owner=owner)) is not None:
                if (ending := self._carried.ending.get(run.run_id)) is not None:
                    await asyncio.wait({ending})
                    continue
                if run.run_id in self._carried.starting:
                    self._carried.turns[run.run_id].set()
                    return
                if self._leases.number(run.run_id) is None and not await self._leases.take(run.run_id):
                    return
                with self._carried.being_started(run.run_id):
                    await self._carried.launch(run)
                return
        except Exception:
            # Nobody waits for what this raises: it is called when another run is over.
            log.exception("The next run of thread %s could not be started; a later look or start-up will.", thread_id)

    async def look_after_queued(self) -> None:
        """Starts what waited here for a run that another server has ended."""
        for run_id in self._leases.run_ids:
            if not self._carried.has(run_id):
                run = await self._rows.get_run(run_id, by=SYSTEM)
                if run.queued and not run.status.is_terminal:
                    await self.start_next(run.thread_id)
