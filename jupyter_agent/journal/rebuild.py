"""Makes the rows again from journals, archives and blobs: the same rows that were written live.

What lives only in rows (titles, metadata of threads, `queued`, `rolled_back`) is kept where the row is there. Nothing
of another user's is ever overwritten, whatever the files say, and what was deleted stays deleted.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..exceptions import AgentError, BlobDamaged, Conflict, JournalDamaged, RunNotFound, ThreadBusy
from ..records import SYSTEM, Detail, Multitask, Run, RunStatus, utc_now
from ..storage import Storage
from .archive import Archives, batches, is_detail
from .fold import Folded, fold
from .rows import ask_rows, row_of, segment_rows, trace_rows, turn_rows

log = logging.getLogger(__name__)


@dataclass
class Rebuilt:
    """What a rebuild did. `skipped` says of each run that could not be rebuilt why."""

    from_journals: int = 0
    from_archives: int = 0
    new_rows: int = 0
    turns: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


async def rebuild(storage: Storage) -> Rebuilt:
    """Rebuilds the rows of all runs. The rows must be open and nobody else may use the data folder."""
    done = Rebuilt()
    found = await _details(storage)
    pending: list[Folded] = []
    for run_id in await asyncio.to_thread(lambda: list(storage.lines.run_ids())):
        async with _skipping(run_id, done):
            folded = await asyncio.to_thread(_good_fold, storage, run_id)
            if folded.transcript.status is RunStatus.PENDING:
                # A run that waits for its turn must not take the place of the one that is active.
                pending.append(folded)
                continue
            key = found.pop(run_id)[0] if run_id in found and folded.transcript.is_complete else None
            await restore(storage, folded, detail=key, done=done)
            done.from_journals += 1
    for folded in sorted(pending, key=lambda one: (one.transcript.first_at or utc_now(), one.transcript.run_id)):
        async with _skipping(folded.transcript.run_id, done):
            await restore(storage, folded, detail=None, done=done)
            done.from_journals += 1
    for run_id, (key, detail) in sorted(found.items(), key=lambda item: (item[1][1].started_at, item[0])):
        async with _skipping(run_id, done):
            await restore(storage, await read_archive(storage, detail), detail=key, done=done)
            done.from_archives += 1
    return done


@asynccontextmanager
async def _skipping(run_id: str, done: Rebuilt) -> AsyncIterator[None]:
    """Leaves a run that cannot be rebuilt as it is, and says why."""
    try:
        yield
    except AgentError as fault:
        done.skipped[run_id] = fault.message


async def _details(storage: Storage) -> dict[str, tuple[str, Detail]]:
    """Returns the archives of all runs: those that rows name, and those that only lie among the blobs.

    Anybody may upload bytes that look like an archive, and tools write what they like: what only somebody else refers
    to is none. A database without rows cannot tell.
    """
    found: dict[str, tuple[str, Detail]] = {}
    referring: defaultdict[str, set[str]] = defaultdict(set)
    async for key, run_id in storage.rows.referred_blobs():
        referring[key].add(run_id)
    archives = Archives(storage.blobs)
    deleted = set(await storage.rows.deleted_runs())
    async for key in storage.blobs.keys():
        try:
            data = await storage.blobs.get(key)
        except BlobDamaged:
            continue
        if is_detail(data):
            try:
                detail = await archives.detail(key)
            except BlobDamaged:
                continue
            named = await _row(storage, detail.run_id)
            if detail.run_id in deleted or (key in referring and detail.run_id not in referring[key]):
                continue
            if detail.run_id not in found or (named is not None and named.detail_blob == key):
                found[detail.run_id] = (key, detail)
    return found


async def read_archive(storage: Storage, detail: Detail) -> Folded:
    """Returns what an archived run says. Raises StorageError for an archive that is not whole."""
    data = await storage.blobs.get(detail.events)
    folded = await asyncio.to_thread(fold, detail.run_id, batches(data))
    end = folded.places.id_of(folded.places.last)
    if (folded.places.last, end) != (detail.event_count, detail.last_event_id) or not folded.transcript.is_complete:
        raise JournalDamaged(
            f"The archive of run {detail.run_id} ends with event {end}; its detail says {detail.last_event_id}."
        )
    return folded


def _good_fold(storage: Storage, run_id: str) -> Folded:
    """Reads a journal as far as it is good: what is damaged waits for `check --repair`."""

    def good() -> list[list[bytes]]:
        read: list[list[bytes]] = []
        try:
            read.extend(storage.lines.read(run_id))
        except JournalDamaged as fault:
            log.warning("%s", fault)
        return read

    return fold(run_id, good())


async def _row(storage: Storage, run_id: str) -> Run | None:
    try:
        return await storage.rows.get_run(run_id, by=SYSTEM)
    except RunNotFound:
        return None


async def restore(storage: Storage, folded: Folded, *, detail: str | None, done: Rebuilt) -> None:
    transcript = folded.transcript
    previous = await _row(storage, transcript.run_id)
    run = row_of(transcript, previous)
    if detail is not None:
        run = msgspec.structs.replace(run, detail_blob=detail)
    started = transcript.started
    if started is not None and previous is not None and previous.user_id != started.user_id:
        raise Conflict(f"Run {run.run_id} belongs to {previous.user_id!r}, its events to {started.user_id!r}.")
    lines = turn_rows(transcript)
    facts: dict[str, Any] = {"traces": trace_rows(transcript), "asked": ask_rows(transcript)}
    facts["segments"] = await segment_rows(lines, storage.blobs)
    keys = folded.blobs | ({detail, (await Archives(storage.blobs).detail(detail)).events} if detail else set())
    refs = [(key, run.run_id, run.user_id) for key in sorted(keys)]
    try:
        await storage.rows.restore_run(run, lines, refs, **facts)
    except ThreadBusy:
        if run.status is not RunStatus.PENDING or run.multitask is Multitask.REJECT:
            raise
        # It was waiting for its turn behind the active one.
        await storage.rows.restore_run(msgspec.structs.replace(run, queued=True), lines, refs, **facts)
    done.turns += len(lines)
    done.new_rows += previous is None
