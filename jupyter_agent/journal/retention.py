"""What is old or too much, and what nobody refers to: chosen first, so that it can be shown, then deleted.

A conversation is kept whole or goes whole: what a model is told of a thread never has holes. A thread that is being
used, or has a run that has not ended, stays whatever the limits are. Nothing is collected while there are runs that no
row speaks of: their blobs would look like nobody's.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec import Struct

from ..exceptions import BlobDamaged, BlobNotFound, InvalidRequest, NotFound, RunActive
from ..records import SYSTEM, Principal, Thread, utc_now
from ..storage import Storage
from ..storage.cursors import Key
from .archive import is_detail
from .journal import Journal

log = logging.getLogger(__name__)

GRACE_S: Final = 3600.0
"""For how long a blob that nobody refers to may be about to be referred to."""
UPLOADS_WAIT: Final = timedelta(hours=24)
"""How long an upload waits for a run that uses it."""
AT_ONCE: Final = 200


class Limits(Struct, frozen=True, kw_only=True):
    """What may be kept. A thread goes when it was not changed for `older_than`; the longest unchanged ones go while the
    data folder holds more than `larger_than` bytes. None is no limit."""

    older_than: timedelta | None = None
    larger_than: int | None = None

    @property
    def are_none(self) -> bool:
        return self.older_than is None and self.larger_than is None


class Doomed(Struct, frozen=True, kw_only=True):
    """A thread that goes: how many runs it has, and how many bytes come free."""

    thread: Thread
    runs: int
    bytes: int


@dataclass
class Plan:
    """What goes: threads, and files of the quarantine by their sizes. `bytes_before` is what the data folder takes."""

    bytes_before: int
    threads: list[Doomed] = field(default_factory=list)
    set_aside: dict[Path, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def runs(self) -> int:
        return sum(doomed.runs for doomed in self.threads)

    def add(self, doomed: Doomed) -> None:
        self.threads.append(doomed)
        self.bytes += doomed.bytes

    def add_file(self, path: Path, size: int) -> None:
        self.set_aside[path] = size
        self.bytes += size


Delete = Callable[[Thread], Awaitable[None]]


async def choose(storage: Storage, limits: Limits, *, by: Principal, now: datetime | None = None) -> Plan:
    """Returns what of the user's threads is beyond the limits, and changes nothing. Files in the quarantine go by their
    age, for whoever sees all.

    Raises InvalidRequest for a limit of size where a database holds everything: what it weighs is not known here.
    """
    if limits.larger_than is not None and storage.is_shared:
        raise InvalidRequest(
            f"What a thread takes of {storage.name} is not known, so it cannot be kept below {limits.larger_than} "
            "bytes. Choose by age instead: --older-than, olderThanS or retention_days."
        )
    now = now or utc_now()
    oldest = now - limits.older_than if limits.older_than is not None else None
    plan = Plan(bytes_before=await asyncio.to_thread(_bytes_in, storage.folder))
    if limits.are_none:
        return plan
    if oldest is not None and by.is_system:
        for path in await asyncio.to_thread(lambda: list(_older(storage.folder / "quarantine", oldest))):
            plan.add_file(path, _size(path))
    chosen: set[str] = set()
    async for thread in _idle_threads(storage, by=by):
        is_old = oldest is not None and thread.updated_at < oldest
        is_too_much = limits.larger_than is not None and plan.bytes_before - plan.bytes > limits.larger_than
        if not is_old and not is_too_much:
            break
        chosen.add(thread.thread_id)
        plan.add(await _weigh(storage, thread, chosen))
    return plan


async def carry_out(plan: Plan, storage: Storage, *, delete: Delete) -> Plan:
    """Deletes what was chosen and returns what really went: a thread that was used meanwhile stays."""
    done = Plan(bytes_before=plan.bytes_before)
    for doomed in plan.threads:
        try:
            there = await storage.rows.get_thread(doomed.thread.thread_id, by=SYSTEM)
            if there.updated_at != doomed.thread.updated_at:
                continue
            await delete(doomed.thread)
        except (NotFound, RunActive):
            continue
        done.add(doomed)
    for path, size in plan.set_aside.items():
        if path.exists():
            await asyncio.to_thread(path.unlink, missing_ok=True)
            done.add_file(path, size)
    return done


async def delete_thread(thread_id: str, storage: Storage, journal: Journal, *, by: Principal = SYSTEM) -> None:
    """Deletes a thread with all that its runs left. Raises ThreadNotFound, RunActive, StorageError."""
    for run_id in await storage.rows.delete_thread(thread_id, by=by):
        await journal.delete(run_id)


# --- blobs that nobody refers to ------------------------------------------------------------------------------------


async def unreferred(storage: Storage, *, grace_s: float = GRACE_S, uploads: Collection[str] = ()) -> dict[str, int]:
    """Returns the blobs that nobody refers to and that were not put for a while, with their sizes in bytes.

    Empty while a run is kept of which no row speaks: `jupyter agent rebuild` comes first then. `uploads` are known to
    be no run's archive, whatever they look like: anybody may upload what looks like one.
    """
    run_ids = await asyncio.to_thread(lambda: list(storage.lines.run_ids()))
    if unknown := await storage.rows.without_row(run_ids):
        log.warning("%d runs have journals and no rows: `jupyter agent rebuild` makes them. Nothing is collected until "
                    "then.", len(unknown))  # fmt: skip
        return {}
    found: dict[str, int] = {}
    async for keys in _batches(storage.blobs.keys()):
        used = await storage.rows.in_use(keys)
        for key in keys:
            if key in used or await storage.blobs.age_s(key) < grace_s:
                continue
            if key not in uploads and await _is_archive(storage, key):
                log.warning("The archive %s is of a run without a row: `jupyter agent rebuild` makes it. Nothing is "
                            "collected until then.", key)  # fmt: skip
                return {}
            found[key] = await storage.blobs.size(key)
    return found


async def collect(storage: Storage, *, grace_s: float = GRACE_S, now: datetime | None = None) -> dict[str, int]:
    """Deletes blobs that nobody refers to, and what unfinished puts left; returns them with their sizes in bytes.

    Uploads that no run used for a day are nobody's.
    """
    uploads = await storage.rows.drop_uploads(before=(now or utc_now()) - UPLOADS_WAIT)
    candidates = await unreferred(storage, grace_s=grace_s, uploads=frozenset(uploads))
    gone: dict[str, int] = {}
    async for keys in _batches(_each(candidates)):
        used = await storage.rows.in_use(keys)
        for key in keys:
            if key not in used and await storage.blobs.delete(key, kept_for_s=grace_s):
                gone[key] = candidates[key]
    for path in await asyncio.to_thread(storage.blobs.temporaries):
        if await asyncio.to_thread(_is_old, path, grace_s):
            await asyncio.to_thread(path.unlink, missing_ok=True)
    return gone


async def _is_archive(storage: Storage, key: str) -> bool:
    try:
        return is_detail(await storage.blobs.get(key))
    except (BlobDamaged, BlobNotFound):
        return False


# --- small steps ----------------------------------------------------------------------------------------------------


async def _idle_threads(storage: Storage, *, by: Principal) -> AsyncIterator[Thread]:
    after = None
    while page := await storage.rows.idle_threads(by=by, after=after, limit=AT_ONCE):
        for thread in page:
            yield thread
        after = Key(page[-1].updated_at, page[-1].thread_id)


async def _weigh(storage: Storage, thread: Thread, chosen: set[str]) -> Doomed:
    """Counts what comes free with this thread, when those chosen before are gone."""
    run_ids = await storage.rows.run_ids(thread.thread_id, by=SYSTEM)
    free = [key for key, others in (await storage.rows.blobs_of_thread(thread.thread_id)).items() if others <= chosen]
    sizes = [await asyncio.to_thread(storage.lines.size, run_id) for run_id in run_ids]
    sizes += [await storage.blobs.size(key) for key in free]
    return Doomed(thread=thread, runs=len(run_ids), bytes=sum(sizes))


async def _each(keys: dict[str, int]) -> AsyncIterator[str]:
    for key in keys:
        yield key


async def _batches(keys: AsyncIterator[str]) -> AsyncIterator[Sequence[str]]:
    batch: list[str] = []
    async for key in keys:
        batch.append(key)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_old(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except FileNotFoundError:
        return False


def _older(folder: Path, than: datetime) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.stat().st_mtime < than.timestamp())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes_in(folder: Path) -> int:
    return sum(_size(path) for path in folder.rglob("*") if path.is_file())
