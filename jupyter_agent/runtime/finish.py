"""The end of a run, written in an order that a crash can cut anywhere: done again, it goes on where it stopped.

error (if any) → status → rows → session_complete → archive → rows → journal removed
"""

import asyncio
import logging

from .. import events as ev
from ..exceptions import AgentError, StorageError
from ..journal import Projection
from ..records import RunStatus
from ..transcript import Transcript
from .active import Means

log = logging.getLogger(__name__)

SUMMARY_CHARS = 2000
TRY_AGAIN_S = 1.0


async def finish(
    run_id: str,
    status: RunStatus,
    *,
    means: Means,
    transcript: Transcript,
    projection: Projection,
    error: AgentError | None = None,
) -> None:
    """Ends a run. While the store is full or away it waits: a run that nobody could write down as over is not over.

    Raises LeaseLost when another process may end it.
    """
    is_refused = False
    while True:
        means.leases.check(run_id)
        try:
            if is_refused:
                transcript = await means.journal.open(run_id)
                is_refused = False
            await _write_end(run_id, status, means=means, transcript=transcript, projection=projection, error=error)
            await _put_away(run_id, means=means, projection=projection)
            return
        except StorageError as fault:
            log.warning("Run %s cannot be ended yet: %s", run_id, fault)
            if means.journal.fault(run_id) is not None:
                # It takes nothing more. What its store has is found when it is opened again.
                await means.journal.close(run_id)
                is_refused = True
            await asyncio.sleep(TRY_AGAIN_S)


async def _write_end(
    run_id: str,
    status: RunStatus,
    *,
    means: Means,
    transcript: Transcript,
    projection: Projection,
    error: AgentError | None,
) -> None:
    if transcript.is_complete:
        return
    append = means.append
    if transcript.status.is_terminal:
        status = transcript.status
    if status is RunStatus.ERROR and transcript.error is None and error is not None:
        await append(run_id, ev.ErrorRaised(code=error.code, message=error.message))
    if transcript.status is not status:
        await append(run_id, ev.StatusChange(status=status))
        means.on_status(run_id, status)
    # Whoever sees the last event may start the thread's next run at once: the rows must know first.
    await projection.settle(run_id)
    summary = transcript.text[:SUMMARY_CHARS] or None
    await append(run_id, ev.SessionComplete(status=status, usage=transcript.usage, summary=summary))


async def _put_away(run_id: str, *, means: Means, projection: Projection) -> None:
    await means.journal.archive(run_id)
    await projection.settle(run_id)
    await means.journal.remove_lines(run_id)
    await means.journal.close(run_id)
