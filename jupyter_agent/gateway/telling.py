"""Tells a whole run at once: what its events say at one instant, whether it goes on, has ended, or was put away.

A run that is open here is told from its live fold, between two events. Any other is read back from the store in a
thread, a few at a time: reading takes the interpreter from everything else that the server does.
"""

import asyncio
from typing import Final

from ..compact import CompactError, CompactRun, compact
from ..exceptions import RunNotFound
from ..journal import Journal
from ..records import Image, Run
from ..transcript import Transcript

READ_AT_ONCE: Final = 2


class Telling:
    """The runs of one journal, whole. Whoever asks has been checked before."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reading = asyncio.Semaphore(READ_AT_ONCE)

    async def tell(self, run: Run) -> CompactRun:
        """Returns the run; everything after its `last_event_id` is followed. Raises StorageError."""
        live = self._journal.transcript(run.run_id)
        if live is not None:
            return compact(live, detail=run.detail_blob)
        try:
            async with self._reading:
                return await self._read(run)
        except RunNotFound:
            return _without_history(run)

    async def _read(self, run: Run) -> CompactRun:
        seen = await self._journal.load(run.run_id)
        if seen is self._journal.transcript(run.run_id):
            # It was opened meanwhile: it grows, so it is told before anything else happens.
            return compact(seen, detail=run.detail_blob)
        return await asyncio.to_thread(_told, seen, run.detail_blob)


def _told(seen: Transcript, detail: str | None) -> CompactRun:
    return compact(seen, detail=detail)


def _without_history(run: Run) -> CompactRun:
    """The row is there and neither journal nor archive: history is gone, the state is known."""
    return CompactRun(
        run_id=run.run_id,
        status=run.status,
        thread_id=run.thread_id,
        agent=run.agent,
        model=run.model,
        prompt="\n\n".join(part.text for part in run.input if not isinstance(part, Image)),
        pictures=sum(isinstance(part, Image) for part in run.input),
        usage=run.usage,
        model_call_count=run.model_call_count,
        error=CompactError(code=run.error_code, message=run.error_message or "") if run.error_code else None,
        summary=run.last_ai_message,
        is_complete=run.status.is_terminal,
        first_at=run.created_at,
        last_at=run.ended_at or run.updated_at,
        detail=run.detail_blob,
        left_out_turns=run.model_call_count,
    )
