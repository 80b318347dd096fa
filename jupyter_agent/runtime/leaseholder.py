"""The leases of this process: taken, renewed, and given up in time where they cannot be renewed.

A process that shares its store with others may carry a run out only as long as nobody else can have taken it. It
reckons by its own clock, from before it asked for the lease: the store counts from a little later, so this process
stops first. No wall clock is looked at, so that one that jumps loses nothing.

A process that is alone with its store (the data folder's lock sees to that) has leases that end with it.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ..exceptions import LeaseLost, StorageError
from ..storage.clock import machine_clock
from ..storage.contract import FIRST_LEASE_NO, Holder, LeaseStore

log = logging.getLogger(__name__)

TTL_S: Final = 10.0
RENEWALS: Final = 3
"""How often a lease is renewed while it holds."""
USABLE: Final = 0.8
"""The part of a lease in which its run may go on; the rest is for stopping it."""
ALONE_S: Final = 10 * 365 * 24 * 3600.0


@dataclass
class _Held:
    number: int
    usable_until: float
    is_given_back: bool = False
    """Whether the rows say already that nobody has it: its run is over, and is put away here."""


class Leaseholder:
    """Holds the leases of one process. `on_lost` is told of each run that must stop here, once."""

    def __init__(self, rows: LeaseStore, *, ttl_s: float | None = None) -> None:
        """`ttl_s` is for how many seconds a lease holds; without it this process is alone with its store."""
        self.ttl_s: Final = ttl_s
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self.holder: Final = Holder(owner, ttl_s or ALONE_S)
        self.on_lost: Callable[[str], None] = lambda _: None
        self._rows = rows
        self._held: dict[str, _Held] = {}
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether other processes may carry out runs of the same store."""
        return self.ttl_s is not None

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that are leased here."""
        return tuple(self._held)

    def number(self, run_id: str) -> int | None:
        """Returns the number under which a run is leased here, None where it is not."""
        held = self._held.get(run_id)
        return held.number if held else None

    def check(self, run_id: str) -> None:
        """Raises LeaseLost unless this process may carry the run out at this moment."""
        held = self._held.get(run_id)
        if held is None or machine_clock() >= held.usable_until:
            raise LeaseLost(
                f"This server does not carry run {run_id} out any more: it could not renew its lease in time, or "
                "another server took the run over. Follow it there.",
                details={"runId": run_id},
            )

    # --- one lease ------------------------------------------------------------------------------------------

    async def take(self, run_id: str) -> bool:
        """Leases a run that nobody carries out; False where another does. Raises RunNotFound, StorageError."""
        asked_at = machine_clock()
        number = await self._rows.take_lease(run_id, self.holder)
        if number is not None:
            self._note(run_id, number, asked_at)
        return number is not None

    def created(self, run_id: str, *, asked_at: float) -> None:
        """Notes the lease of a run that was created with this holder, asked for at this time of the machine."""
        self._note(run_id, FIRST_LEASE_NO, asked_at)

    async def take_all(self, run_ids: Iterable[str]) -> list[str]:
        """Leases those of these that nobody carries out, at once, and returns them. Raises StorageError."""
        asked_at = machine_clock()
        taken = await self._rows.take_leases(self.holder, run_ids)
        for run_id, number in taken.items():
            self._note(run_id, number, asked_at)
        return [run_id for run_id in run_ids if run_id in taken]

    def forget(self, run_id: str) -> None:
        """Notes that the row of what has ended is leased no more."""
        self._held.pop(run_id, None)

    async def release(self, run_id: str) -> None:
        """Gives a lease back, so that anybody may take the run up; does nothing for one that is not held."""
        held = self._held.pop(run_id, None)
        if held is not None and not held.is_given_back:
            try:
                await self._rows.release_lease(run_id, held.number)
            except StorageError as fault:
                log.warning("The lease of run %s could not be given back and passes by itself: %s", run_id, fault)

    def given_back(self, run_id: str) -> None:
        """Takes notice that a lease ended together with its run. For one who is alone: another might take the run up
        before its journal is put away."""
        if (held := self._held.get(run_id)) is not None:
            held.is_given_back = True

    def _note(self, run_id: str, number: int, asked_at: float) -> None:
        self._held[run_id] = _Held(number, asked_at + USABLE * self.holder.ttl_s)

    # --- all of them ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begins to renew. Whoever is alone ends what earlier processes left. Raises StorageError."""
        if self.ttl_s is None:
            await self._rows.end_leases()
            return
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._keep_renewing(), name="renewal of leases"),
            loop.create_task(self._keep_watch(), name="watch over leases"),
        )

    async def close(self) -> None:
        """Gives all leases back and stops renewing."""
        run_ids = self.run_ids
        self._held.clear()
        if run_ids:
            try:
                await self._rows.release_leases(self.holder, run_ids)
            except StorageError as fault:
                log.warning("Leases could not be given back and pass by themselves: %s", fault)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(self.holder.ttl_s / RENEWALS)
            with suppress(StorageError):
                # Tried again at the next turn; the watch gives up what was not renewed in time.
                await self.renew()

    async def renew(self) -> None:
        """Renews all leases with one statement, and gives up those that another took. Raises StorageError."""
        before = {run_id: held.number for run_id, held in self._held.items()}
        if not before:
            return
        asked_at = machine_clock()
        renewed = await self._rows.renew_leases(self.holder, before)
        for run_id, number in before.items():
            if self.number(run_id) != number:
                continue
            if renewed.get(run_id) == number:
                self._note(run_id, number, asked_at)
            else:
                self._lose([run_id])

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(self.holder.ttl_s * (1 - USABLE) / 4)
            now = machine_clock()
            self._lose([run_id for run_id, held in self._held.items() if now >= held.usable_until])

    def _lose(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            del self._held[run_id]
            log.warning("The lease of run %s is lost: the run stops here and another server may take it up.", run_id)
            self.on_lost(run_id)
