"""Retention while the server runs: what is beyond limits goes, by the clock where the operator set some."""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from msgspec import Struct

from ..exceptions import AgentError
from ..journal import Journal
from ..journal.retention import Doomed, Limits, carry_out, choose, collect, unreferred
from ..records import SYSTEM, Principal, Thread, utc_now
from ..runtime import Runner
from ..storage import Storage
from .changes import Changes

log = logging.getLogger(__name__)

FIRST_S: Final = 60.0
COLLECT_EVERY_S: Final = 24 * 3600.0
NAMED: Final = 100


class Pruned(Struct, frozen=True, kw_only=True, rename="camel"):
    """What went, or would go. `items` are the first hundred threads, `bytes` what comes free of `bytesBefore` in the
    data folder; `blobs` that nobody referred to are counted in it."""

    dry_run: bool
    threads: int
    runs: int
    blobs: int
    bytes: int
    bytes_before: int
    items: tuple[Doomed, ...]


class ResultLimits(Struct, frozen=True, kw_only=True):
    """For how long a stored result of a workflow is kept that no pass uses, and how many bytes all may take together:
    the least recently used ones go first. For how long a flow's run is kept after its end. None for no limit."""

    unused_for: timedelta | None = None
    larger_than: int | None = None
    flow_runs_for: timedelta | None = None


class Sweeper:
    """Deletes what is beyond limits, one at a time; with limits of its own by the clock."""

    def __init__(
        self,
        *,
        storage: Storage,
        journal: Journal,
        runner: Runner,
        changes: Changes,
        limits: Limits,
        results: ResultLimits,
        every_s: float,
    ) -> None:
        self._storage = storage
        self._journal = journal
        self._runner = runner
        self._changes = changes
        self._limits = limits
        self._results = results
        has_times = results.unused_for is not None or results.flow_runs_for is not None
        self._every_s = COLLECT_EVERY_S if limits.are_none and not has_times else every_s
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_sweeping(), name="retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def prune(self, limits: Limits, *, by: Principal, is_dry: bool = False) -> Pruned:
        """Deletes what of the user's threads is beyond the limits, then what nobody refers to. Raises StorageError."""
        async with self._one_at_a_time:
            plan = await choose(self._storage, limits, by=by)
            if is_dry:
                blobs = await unreferred(self._storage)
            else:
                plan = await carry_out(plan, self._storage, delete=self._delete)
                await self._journal.sweep()
                blobs = await collect(self._storage)
                await self._storage.rows.forget()
        return Pruned(
            dry_run=is_dry,
            threads=len(plan.threads),
            runs=plan.runs,
            blobs=len(blobs),
            bytes=plan.bytes + sum(blobs.values()),
            bytes_before=plan.bytes_before,
            items=tuple(plan.threads[:NAMED]),
        )

    async def trim(self) -> int:
        """Deletes stored results of workflows and ended runs of flows beyond their limits; returns how many. Raises
        StorageError."""
        unused_for = self._results.unused_for
        since = None if unused_for is None else utc_now() - unused_for
        gone = await self._storage.rows.trim_calls(unused_since=since, larger_than=self._results.larger_than)
        if self._results.flow_runs_for is not None:
            gone += await self._storage.rows.drop_flow_runs(ended_before=utc_now() - self._results.flow_runs_for)
        if gone:
            await self._storage.rows.forget()
        return gone

    async def _delete(self, thread: Thread) -> None:
        await self._runner.delete_thread(thread.thread_id, by=SYSTEM)
        self._changes.thread_changed(thread, "deleted")

    async def _keep_sweeping(self) -> None:
        await asyncio.sleep(min(FIRST_S, self._every_s))
        while True:
            try:
                done = await self.prune(self._limits, by=SYSTEM)
                if done.threads or done.blobs:
                    log.info("Retention: %d threads with %d runs and %d blobs that nobody referred to are gone, %d "
                             "bytes.", done.threads, done.runs, done.blobs, done.bytes)  # fmt: skip
                if gone := await self.trim():
                    log.info("%d results of workflows and runs of flows that were not used for long are gone.", gone)
            except AgentError as fault:
                log.warning("What is beyond the limits of retention could not all be deleted: %s", fault.message)
            except OSError as fault:
                log.warning("What is beyond the limits of retention could not all be deleted: %s", fault)
            await asyncio.sleep(self._every_s)
