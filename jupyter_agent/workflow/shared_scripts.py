"""Runs of scripts where several servers share the store: each is carried out by one of them, which its lease names.

What a server writes about a run, and what its script claims, names the number of the lease. A server that lets it pass
stops the script without ending the run; another one goes on with it. Any of them may be asked to cancel it.
"""

import asyncio
import logging
from typing import Any, Final, Protocol

from ..exceptions import InvalidRequest, StorageError
from ..records import SYSTEM, HeadlessRun, Principal
from ..runtime import Leaseholder
from ..runtime.errands import Errands, Over
from ..storage.clock import machine_clock
from ..storage.contract import Errand
from ..storage.sql import SqlRows

log = logging.getLogger(__name__)

LOOKS: Final = 4
"""How often other servers' leases are looked at in the time that one holds."""


class Carrier(Protocol):
    """Carries scripts out in this process."""

    def has(self, run_id: str) -> bool:
        """Tells whether something is being done about the run here."""

    async def can_carry(self) -> bool:
        """Tells whether scripts can be carried out here at all."""

    def take_up(self, run: HeadlessRun, script: dict[str, Any]) -> None:
        """Goes on with a run that is leased here now."""

    def let_go(self, run_id: str) -> None:
        """Stops what another server may carry out by now; its calls go on."""

    async def cancel(self, workflow_run_id: str, *, by: Principal) -> int: ...


class SharedScripts:
    """This server's part of the runs of scripts. Who is alone with its store (`ttl_s` is None) has all of them, and
    leases none."""

    def __init__(self, rows: SqlRows, carrier: Carrier, *, project: str, ttl_s: float | None) -> None:
        """`ttl_s` is for how many seconds a lease holds."""
        self._rows = rows
        self._carrier = carrier
        self._project = project
        self._leases = Leaseholder(rows.headless_leases, ttl_s=ttl_s)
        self._leases.on_lost = carrier.let_go
        self._errands = Errands(rows, lambda: self._leases.run_ids, self._do)
        self._looking: asyncio.Task[None] | None = None

    @property
    def are_shared(self) -> bool:
        return self._leases.is_shared

    async def open(self) -> int:
        """Takes up what stopped servers left, from now on, too; returns how much that is now. Raises StorageError."""
        await self._leases.open()
        self._errands.open()
        taken = await self._take_up()
        self._looking = asyncio.create_task(self._look_around(), name="takeover of workflows")
        return taken

    async def leave(self) -> None:
        """Takes nothing up any more, and nothing that others ask."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._errands.close()

    async def close(self) -> None:
        """Gives back what was carried out here."""
        await self._leases.close()

    async def create(self, run: HeadlessRun, script: dict[str, Any]) -> None:
        """Keeps a run that this server carries out. Raises StorageError."""
        if not self.are_shared:
            await self._rows.create_headless_run(run, script)
            return
        asked_at = machine_clock()
        await self._rows.create_headless_run(run, script, holder=self._leases.holder)
        self._leases.created(run.workflow_run_id, asked_at=asked_at)

    async def take(self, run_id: str) -> bool:
        """Sees that this server has a run, if nobody else has it: False where another does. Raises StorageError."""
        return not self.are_shared or self._leases.number(run_id) is not None or await self._leases.take(run_id)

    async def release(self, run_id: str) -> None:
        """Gives a run back: it has ended and told all, or others may carry it out."""
        await self._leases.release(run_id)

    def lease_no(self, run_id: str) -> int | None:
        """Returns the number that writes about a run name, None for who is alone. Raises LeaseLost."""
        if not self.are_shared:
            return None
        self._leases.check(run_id)
        return self._leases.number(run_id)

    async def is_held(self, run_id: str) -> bool:
        """Tells whether another server has something to do about a run."""
        if not self.are_shared:
            return False
        lease = await self._rows.headless_leases.lease_of(run_id)
        return lease is not None and lease.left_s > 0

    async def cancel_elsewhere(self, run_id: str, *, by: Principal, over: Over) -> int:
        """Has a run ended by the server that carries it out. Raises what that one raises, RunElsewhere."""
        return int((await self._errands.pass_on(run_id, "cancel", {}, by=by, over=over))["count"])

    async def _do(self, errand: Errand) -> dict[str, Any]:
        """Does what another server asks of a run that is carried out here. Raises AgentError."""
        if errand.deed != "cancel":
            raise InvalidRequest(f"This server is older than the one that asks it to {errand.deed!r}: update it.")
        return {"count": await self._carrier.cancel(errand.run_id, by=errand.by)}

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(self._leases.holder.ttl_s / LOOKS)
            try:
                if taken := await self._take_up():
                    log.warning("%d workflows were left by their server and go on here.", taken)
            except StorageError as fault:
                log.warning("Workflows that other servers left could not be looked for: %s", fault)
            except Exception:
                log.exception("Workflows that other servers left could not be taken up; it is tried again.")

    async def _take_up(self) -> int:
        left = await self._rows.unattended_headless_runs(self._project)
        left = [run_id for run_id in left if not self._carrier.has(run_id)]
        if not left or not await self._carrier.can_carry():
            return 0
        taken = await self._leases.take_all(left)
        for run_id in taken:
            try:
                # Looked at when it is ours: nobody else changes it now.
                run = await self._rows.get_headless_run(run_id, by=SYSTEM)
                script = await self._rows.headless_script(run_id)
                self._carrier.take_up(run, script)
            except Exception:
                log.exception("The workflow run %s could not be taken up.", run_id)
                await self._leases.release(run_id)
        return len(taken)
