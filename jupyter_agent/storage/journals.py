"""Journals on disk: one file a run, one line an event, one `O_APPEND` write a record, so that `tail -f` shows it live.

The writer holds an flock on its file. Recovery cuts a torn tail off before the first append; damage is never cut, only
set aside whole, on request.
"""

import asyncio
import errno
import fcntl
import logging
import os
import re
import shutil
import threading
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ..chain import INDEX_EVERY, START, Chain, Mark, Survey, damaged, good_lines, survey
from ..events import line_cursor
from ..exceptions import InvalidRequest, RunActive, RunNotFound, StorageUnavailable
from ..failpoints import failpoint
from ..records import ID_PATTERN
from .contract import Recovered
from .faults import make_folder, storage_fault, sync_folder

log = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl"
SYNC_THREADS: Final = 16
"""Syncs that may hang on a slow disk at once without holding up those of other runs, or anybody else's threads."""

is_id: Final = re.compile(ID_PATTERN).fullmatch
_KEPT_EPOCH: Final = re.compile(r"\.e(\d{1,10})\.\d+\.jsonl")


class FileLines:
    """The LineStore of a folder: `journals/<run id>.jsonl`, and `quarantine/` for what was damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journals"
        self.quarantine = folder / "quarantine"
        self._writers: dict[str, FileWriter] = {}
        self._threads = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="journal-sync")
        self._fault: StorageUnavailable | None = None

    @property
    def fault(self) -> StorageUnavailable | None:
        """Why this store acknowledges nothing more, or None while it is healthy."""
        return self._fault

    def path(self, run_id: str) -> Path:
        """Returns the file of a run. Raises InvalidRequest for what is no id."""
        if not is_id(run_id):
            raise InvalidRequest(f"{run_id!r} is no run id: letters, digits, '_' and '-', at most 128.")
        return self.folder / f"{run_id}{SUFFIX}"

    def open(self, run_id: str, *, repair: bool = False) -> "FileWriter":
        if self._fault:
            raise self._fault
        path = self.path(run_id)
        make_folder(self.folder)
        try:
            handle = _locked(path)
        except OSError as fault:
            raise storage_fault(fault, path, "opening the journal") from fault
        try:
            with path.open("rb") as file:
                found = survey(file, run_id, path)
            if found.is_damaged and not repair:
                raise damaged(path, found.good)
            self._cut(handle, run_id, found)
            if not found.size:
                failpoint("journal.created")
                sync_folder(self.folder)
        except OSError as fault:
            os.close(handle)
            raise storage_fault(fault, path, "recovering the journal") from fault
        except BaseException:
            os.close(handle)
            raise
        top_epoch = max(found.top_epoch, self._quarantined_epoch(run_id))
        writer = FileWriter(self, run_id, handle, found, epoch=top_epoch + 1)
        self._writers[run_id] = writer
        return writer

    def read(self, run_id: str, *, after_seq: int = 0, batch_bytes: int = 256 * 1024) -> Iterator[list[bytes]]:
        path = self.path(run_id)
        writer = self._writers.get(run_id)
        start = writer.mark_before(after_seq) if writer else START
        try:
            with path.open("rb") as file:
                file.seek(start.offset)
                chain = Chain(run_id, path, start)
                for batch in good_lines(file, chain, batch_bytes=batch_bytes):
                    seen = max(0, after_seq - (chain.at.seq - len(batch)))
                    if seen < len(batch):
                        yield batch[seen:]
        except FileNotFoundError as fault:
            raise RunNotFound(f"There is no journal of run {run_id!r}.") from fault
        except OSError as fault:
            raise storage_fault(fault, path, "reading the journal") from fault

    def look(self, run_id: str) -> Survey:
        """Returns what is good in a journal and what is not, and changes nothing. Blocking. Raises RunNotFound."""
        path = self.path(run_id)
        try:
            with path.open("rb") as file:
                return survey(file, run_id, path)
        except FileNotFoundError as fault:
            raise RunNotFound(f"There is no journal of run {run_id!r}.") from fault
        except OSError as fault:
            raise storage_fault(fault, path, "reading the journal") from fault

    def is_held(self, run_id: str) -> bool:
        """Tells whether a writer has the journal, here or in another process."""
        try:
            with self.path(run_id).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False

    def expel(self, run_id: str) -> None:
        """Nothing: the lock of a file goes with its process, and nobody can take it away."""

    def exists(self, run_id: str) -> bool:
        return self.path(run_id).is_file()

    def delete(self, run_id: str) -> None:
        path = self.path(run_id)
        try:
            for one in (path, *self.quarantine.glob(f"{run_id}.*{SUFFIX}")):
                one.unlink(missing_ok=True)
        except OSError as fault:
            raise storage_fault(fault, path, "deleting the journal") from fault

    def size(self, run_id: str) -> int:
        try:
            return self.path(run_id).stat().st_size
        except FileNotFoundError:
            return 0

    def run_ids(self) -> Iterator[str]:
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if is_id(path.stem):
                yield path.stem

    def close(self) -> None:
        """Lets the threads go. Journals that are still open stay open for their writers."""
        self._threads.shutdown(wait=False)

    # --- for the writers

    def forget(self, writer: "FileWriter") -> None:
        if self._writers.get(writer.run_id) is writer:
            del self._writers[writer.run_id]

    async def run_sync(self, writer: "FileWriter") -> None:
        """Syncs a writer's file in a thread; a failure makes the whole store refuse."""
        if self._fault:
            raise self._fault
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, writer.sync_now)
        except OSError as fault:
            self._fault = StorageUnavailable(
                f"Syncing the journal {writer.path} failed: {fault}. Nothing more is acknowledged by this store. "
                "Check the disk, then start the server again.",
                details={"path": str(writer.path), "errno": fault.errno},
            )
            raise self._fault from fault

    # --- recovery

    def _cut(self, handle: int, run_id: str, found: Survey) -> None:
        """Cuts off what is not good: a torn tail, or damage after a copy of the whole was kept. Raises OSError."""
        if not found.torn_bytes:
            return
        if found.is_damaged:
            kept = self.set_aside(run_id, found)
            log.error(
                "The journal of run %s is damaged at byte %d; it was kept as %s.", run_id, found.good.offset, kept
            )
        os.ftruncate(handle, found.good.offset)
        os.fsync(handle)
        log.warning("The journal of run %s lost a tail of %d bytes behind event %d.", run_id, found.torn_bytes,
                    found.good.seq)  # fmt: skip

    def set_aside(self, run_id: str, found: Survey) -> Path:
        """Copies a damaged journal to the quarantine, durably. Its name says the byte offset of the damage and the
        highest epoch, so that no later epoch repeats one."""
        make_folder(self.quarantine)
        stem, number = f"{run_id}.{found.good.offset}.e{found.top_epoch}", 0
        while (kept := self.quarantine / f"{stem}.{number}{SUFFIX}").exists():
            number += 1
        shutil.copyfile(self.path(run_id), kept)
        kept.chmod(0o600)
        handle = os.open(kept, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(self.quarantine)
        failpoint("journal.quarantined")
        return kept

    def _quarantined_epoch(self, run_id: str) -> int:
        """Returns the highest epoch of the run's journals in the quarantine, or 0."""
        if not self.quarantine.exists():
            return 0
        names = (_KEPT_EPOCH.search(path.name) for path in self.quarantine.glob(f"{run_id}.*{SUFFIX}"))
        return max((int(name[1]) for name in names if name), default=0)


class FileWriter:
    """The LineWriter of one file. Only `sync` waits; everything else is one system call."""

    writes_through: Final = True

    def __init__(self, store: FileLines, run_id: str, handle: int, found: Survey, *, epoch: int) -> None:
        self.run_id = run_id
        self.path = store.path(run_id)
        self._store = store
        self._handle = handle
        self._size = found.good.offset
        self._seq = found.good.seq
        self._index = found.index
        self._recovered = Recovered(found.good.seq + 1, epoch, found.torn_bytes)
        self._fault: StorageUnavailable | None = None
        self._gate = threading.Lock()
        self._syncing = 0
        self._closed = threading.Event()

    @property
    def recovered(self) -> Recovered:
        return self._recovered

    def write(self, line: bytes) -> None:
        if refusal := self._fault or self._store.fault:
            raise refusal
        record = line + b"\n"
        try:
            failpoint("journal.before_write")
            written = os.write(self._handle, record)
        except OSError as fault:
            self._undo()
            raise storage_fault(fault, self.path, "writing to the journal") from fault
        if written != len(record):
            self._undo()
            raise storage_fault(OSError(errno.ENOSPC, "short write"), self.path, "writing to the journal")
        self._size += written
        self._seq += 1
        if self._size - self._index[-1].offset >= INDEX_EVERY:
            self._mark(line)
        failpoint("journal.after_write")

    async def sync(self) -> None:
        await self._store.run_sync(self)

    def sync_now(self) -> None:
        """Blocks until the file is on disk. Raises OSError."""
        with self._gate:
            if self._closed.is_set():
                raise OSError(errno.EBADF, "the journal was closed before it was synced")
            self._syncing += 1
        try:
            failpoint("journal.sync")
            os.fdatasync(self._handle)
            failpoint("journal.after_sync")
        finally:
            with self._gate:
                self._syncing -= 1
                if self._closed.is_set() and not self._syncing:
                    os.close(self._handle)

    def close(self) -> None:
        """Lets the file and its lock go, at the end of a sync that is under way."""
        with self._gate:
            if self._closed.is_set():
                return
            self._closed.set()
            if not self._syncing:
                os.close(self._handle)
        self._store.forget(self)

    def mark_before(self, seq: int) -> Mark:
        """Returns the last indexed place that is not behind the event of this seq."""
        return self._index[max(0, bisect_right(self._index, seq, key=lambda mark: mark.seq) - 1)]

    def _mark(self, line: bytes) -> None:
        place = line_cursor(line)
        if place is not None:
            self._index.append(Mark(self._size, self._seq, place.epoch))

    def _undo(self) -> None:
        """Takes a write that failed half way back. When even that fails nothing may follow it."""
        try:
            os.ftruncate(self._handle, self._size)
        except OSError as fault:
            self._fault = StorageUnavailable(
                f"A failed write to the journal {self.path} could not be taken back: {fault}. "
                "This run is stopped; the next start cuts the torn tail off.",
                details={"path": str(self.path), "errno": fault.errno},
            )


def _locked(path: Path) -> int:
    """Opens the file and locks it. Raises RunActive when somebody else holds it, and OSError."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:
            pass  # it was deleted between open and lock: the next turn makes a new one
        except BlockingIOError as fault:
            os.close(handle)
            raise RunActive(
                f"The journal {path} is being written by another process. Stop that one, or follow the run there.",
                details={"path": str(path)},
            ) from fault
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
