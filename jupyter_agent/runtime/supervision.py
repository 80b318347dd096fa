"""Watches over one run's work: lets it go on until it ends, somebody stops it or its time is up, then puts an end to
it."""

import asyncio
import logging
from typing import Literal

from ..exceptions import AgentError, LeaseLost, StorageError
from ..journal import Projection
from ..records import Outcome, RunStatus
from .active import ActiveRun
from .budget import exceeded
from .calls import close_calls
from .finish import finish
from .loop import carry_on

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0


class Stop:
    """A wish that a run stop: to end it, or to leave it for the next process."""

    def __init__(self) -> None:
        self.kind: Literal["interrupt", "leave"] | None = None
        self.actor = ""
        self._wanted = asyncio.Event()

    def request(self, actor: str) -> None:
        """Asks for an interrupt; the first wish counts."""
        if self.kind is None:
            self.kind, self.actor = "interrupt", actor
            self._wanted.set()

    def leave(self) -> None:
        """Asks to let go of the run without ending it."""
        if self.kind is None:
            self.kind = "leave"
            self._wanted.set()

    async def wait(self) -> None:
        await self._wanted.wait()


async def supervise(run: ActiveRun, stop: Stop, *, projection: Projection) -> bool:
    """Carries the run to its end and tells whether it is over: False where it was left to be taken up later, by this
    process or another.

    Raises LeaseLost where another process may end it.
    """
    work = asyncio.create_task(_work(run), name=f"work of {run.run_id}")
    fault = await _until_done(run, work, stop)
    if not work.done():
        await _cancel(run, work)
    if isinstance(fault, LeaseLost) or (stop.kind == "leave" and fault is None) or _is_stuck(run, fault):
        run.is_over = True
        await run.means.journal.close(run.run_id)
        return False
    status = RunStatus.COMPLETED
    if fault is not None:
        status = RunStatus.ERROR
    elif stop.kind == "interrupt":
        status = RunStatus.INTERRUPTED
    if status is not RunStatus.COMPLETED:
        await _close_what_is_open(run, fault)
    run.is_over = True
    await finish(
        run.run_id, status, means=run.means, transcript=run.transcript, projection=projection, error=fault,
    )  # fmt: skip
    return True


def _is_stuck(run: ActiveRun, fault: AgentError | None) -> bool:
    """Tells whether the run's journal could not be written where somebody will take the run up again: it goes on when
    the store does."""
    is_shared = run.means.leases.ttl_s is not None
    return is_shared and isinstance(fault, StorageError) and run.means.journal.fault(run.run_id) is not None


async def _work(run: ActiveRun) -> None:
    await run.show_status()
    await carry_on(run)


async def _until_done(run: ActiveRun, work: asyncio.Task[None], stop: Stop) -> AgentError | None:
    """Returns when the work is done, a stop is wanted or the time is up, with the fault that ends the run, if any."""
    stopped = asyncio.create_task(stop.wait())
    try:
        while not work.done() and stop.kind is None:
            left_s = run.meter.seconds_left
            if left_s is not None and left_s <= 0:
                return exceeded("seconds", run.meter.budget.seconds or 0.0, run.meter.seconds)
            timeout_s = LOOK_EVERY_S if left_s is None else min(left_s, LOOK_EVERY_S)
            await asyncio.wait({work, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    return _fault_of(run, work) if work.done() else None


def _fault_of(run: ActiveRun, work: asyncio.Task[None]) -> AgentError | None:
    fault = None if work.cancelled() else work.exception()
    if fault is None or isinstance(fault, AgentError):
        return fault
    log.error("Run %s failed.", run.run_id, exc_info=fault)
    return AgentError(
        f"Something unexpected went wrong in the server ({type(fault).__name__}); its log has the details. Run it "
        "again, "
        "and report it if it comes back."
    )


async def _cancel(run: ActiveRun, work: asyncio.Task[None]) -> None:
    """Cancels the work. What does not stop in time is left behind, watched: it can no longer write to the run's
    journal."""
    work.cancel()
    _, pending = await asyncio.wait({work}, timeout=run.means.settings.stop_within_s)
    for stray in pending:
        log.warning("Something of run %s did not stop within its time and was left behind.", run.run_id)
        run.means.strays.add(stray)
        stray.add_done_callback(run.means.strays.discard)
    if work.done() and not work.cancelled() and (fault := work.exception()) is not None:
        log.info("The work of run %s ended with %r while it was being stopped.", run.run_id, fault)


async def _close_what_is_open(run: ActiveRun, fault: AgentError | None) -> None:
    reason = "The run was interrupted before this call had a result."
    if fault is not None:
        reason = f"The run ended before this call finished: {fault.message}"
    try:
        await close_calls(run, Outcome.INTERRUPTED, reason)
    except AgentError as trouble:
        log.warning("Open calls of run %s could not be closed: %s", run.run_id, trouble)
