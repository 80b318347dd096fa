"""Calls in flight where several servers share the store: each is carried out by one of them, and waited for by any.

The lease of a call says who carries it out. What another server does is told by the rows alone: whoever waits for such
a call looks at them. Two servers that carry a call out by accident do no harm: its runs have ids that follow from the
call's, and what became of it is written by the one that has the lease.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from ..exceptions import RunFailed, StorageError
from ..records import SYSTEM, RunStatus, StoredCall
from ..runtime import Leaseholder
from ..script.placed import CallState
from ..storage.sql import SqlRows
from .call_states import gone_state, run_of, script_run_of, state_of

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5
LOOKS: Final = 4
"""How often other servers' leases are looked at in the time that one holds."""


class Carrier(Protocol):
    """Carries calls out in this process, and tells those who wait for them here."""

    def has(self, call_id: str) -> bool:
        """Tells whether something is being done about the call here."""

    def take_up(self, call: StoredCall, workflow_run_id: str | None) -> None:
        """Goes on with a call that is leased here now."""

    def let_go(self, call_id: str) -> None:
        """Stops carrying out what another server may carry out by now."""

    def tell_waiting(self, call: StoredCall, status: RunStatus) -> None: ...

    def tell_end(self, state: CallState) -> None: ...


class SharedCalls:
    """This server's part of the calls in flight."""

    def __init__(self, rows: SqlRows, carrier: Carrier, *, project: str, ttl_s: float) -> None:
        """`ttl_s` is for how many seconds a lease holds."""
        self._rows = rows
        self._carrier = carrier
        self._project = project
        self._every_s = ttl_s / LOOKS
        self._watched: set[str] = set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.leases = Leaseholder(rows.call_leases, ttl_s=ttl_s)
        self.leases.on_lost = carrier.let_go

    async def open(self) -> int:
        """Takes up what stopped servers left, from now on, too; returns how much that is now. Raises StorageError."""
        await self.leases.open()
        taken = await self._take_up(await self._rows.unattended_calls(self._project))
        self._tasks = (
            asyncio.create_task(self._look_around(), name="takeover of calls"),
            asyncio.create_task(self._keep_watching(), name="watch over calls of others"),
        )
        return taken

    async def leave(self) -> None:
        """Takes nothing up any more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Gives back what was carried out here."""
        await self.leases.close()

    def watch(self, call_id: str) -> None:
        """Looks at a call until it ends, so that those who wait for it here hear of it."""
        self._watched.add(call_id)

    async def check(self, call_id: str) -> None:
        """Raises LeaseLost unless the call may be begun here, RunFailed where it was stopped, on another server."""
        self.leases.check(call_id)
        if not await self._rows.get_calls([call_id], by=SYSTEM):
            raise RunFailed("It was stopped before it started.", details={"code": "interrupted"})

    async def has_begun(self, call: StoredCall) -> bool:
        """Tells whether there is a run that answers this try of a call."""
        return bool(await self._rows.statuses_of([_run_of(call)]))

    async def faults_of(self, call_ids: Sequence[str]) -> list[CallState]:
        """Returns the states of calls that have no rows."""
        faults = await self._rows.faults_of_calls(call_ids) if call_ids else {}
        return [gone_state(call_id, faults.get(call_id)) for call_id in call_ids]

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                taken = await self._take_up(await self._rows.unattended_calls(self._project))
                if taken:
                    log.warning("%d calls of workflows were left by their server and go on here.", taken)
            except StorageError as fault:
                log.warning("What other servers left of workflows could not be looked for: %s", fault)
            except Exception:
                log.exception("Calls that other servers left could not be taken up; it is tried again.")

    async def _take_up(self, call_ids: Sequence[str]) -> int:
        wanted = [call_id for call_id in call_ids if not self._carrier.has(call_id)]
        taken = await self.leases.take_all(wanted) if wanted else []
        if not taken:
            return 0
        try:
            # Looked at when they are ours: nobody else changes them now.
            calls = await self._rows.get_calls(taken, by=SYSTEM)
            passes = await self._rows.passes_in_flight()
        except StorageError:
            for call_id in taken:
                await self.leases.release(call_id)
            raise
        for call in sorted(calls, key=lambda one: (one.created_at, one.number)):
            self._carrier.take_up(call, passes.get(call.call_id))
        return len(calls)

    # --- what others do -----------------------------------------------------------------------------------------

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._watched -= {call_id for call_id in self._watched if self.leases.number(call_id) is not None}
            if not self._watched:
                continue
            try:
                await self._look(sorted(self._watched))
            except StorageError as fault:
                log.warning("Calls that other servers carry out could not be looked at: %s", fault)
            except Exception:
                log.exception("Calls that other servers carry out could not be looked at; it is tried again.")

    async def _look(self, call_ids: Sequence[str]) -> None:
        found = await self._rows.watched_calls(call_ids)
        going = [one.call for one in found.values() if not one.call.is_done and not one.is_free]
        statuses = await self._rows.statuses_of([_run_of(call) for call in going]) if going else {}
        for call in going:
            if (status := statuses.get(_run_of(call))) is not None:
                self._carrier.tell_waiting(call, status)
        gone = await self.faults_of([call_id for call_id in call_ids if call_id not in found])
        for state in [*gone, *(state_of(one.call, "done") for one in found.values() if one.call.is_done)]:
            self._watched.discard(str(state.call_id))
            self._carrier.tell_end(state)
        await self._take_up([call_id for call_id, one in found.items() if one.is_free and not one.call.is_done])


def _run_of(call: StoredCall) -> str:
    return script_run_of(call.call_id) if call.said.get("kind") == "workflow" else call.run_id or run_of(call)
