"""What a store promises: one page, kept by every implementation and tested by one suite.

Three stores make up storage: rows (what we query), lines (the journals' bytes) and blobs (bytes under their hash).
Rules: nothing is half done; a full disk raises StorageFull; a failed fsync raises StorageUnavailable, and from then
on that store
acknowledges nothing; a store written by a newer version raises SchemaTooNew; blocking work leaves the event loop.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from ..records import Page, Principal, Run, RunStatus, Thread, Turn


class Recovered(NamedTuple):
    """What opening a journal to append found: the last good event, and how many torn bytes were cut off.

    `next_seq` is one more than the seq of the last good event; `epoch` is one more than the highest epoch seen (1
    for a new journal).
    """

    next_seq: int
    epoch: int
    torn_bytes: int


class LineWriter(Protocol):
    """Appends to one journal; the only writer of it, held by a lock."""

    @property
    def recovered(self) -> Recovered: ...

    def write(self, line: bytes) -> None:
        """Writes one record with one system call. After a failure the file is as it was before; raises StorageFull
        or StorageUnavailable."""

    async def sync(self) -> None:
        """Returns when everything written so far is on disk. Raises StorageUnavailable, for good."""

    def close(self) -> None: ...


class LineStore(Protocol):
    """Journals as lines. A run id is a file name only after it full-matched the id pattern."""

    def open(self, run_id: str, *, repair: bool = False) -> LineWriter:
        """Opens a journal to append, creates it if need be, cuts a torn tail off. Blocking: call it in a thread.

        Raises RunActive while another writer holds it, JournalDamaged for a bad middle line. With `repair` a damaged
        journal is set aside whole and goes on from its good beginning, in an epoch above all that it named.
        """

    def read(self, run_id: str, *, after_seq: int = 0, batch_bytes: int = 256 * 1024) -> Iterator[list[bytes]]:
        """Yields batches of whole intact lines (without newline) after that seq, as far as they are written now.

        Blocking: call it in a thread. Stops before a torn tail; raises JournalDamaged at a bad middle line.
        """

    def exists(self, run_id: str) -> bool: ...

    def delete(self, run_id: str) -> None: ...

    def run_ids(self) -> Iterator[str]:
        """Yields the ids of all runs that have a journal here."""


class BlobStore(Protocol):
    """Bytes under the SHA-256 of themselves: 64 lower-case hex digits, full-matched."""

    async def put(self, data: bytes) -> str:
        """Keeps the bytes durably and returns their key. The same bytes are kept once."""

    async def get(self, key: str) -> bytes:
        """Returns the bytes. Raises BlobNotFound, or BlobDamaged when they no longer hash to their key."""

    async def delete(self, key: str, *, unused_s: float = 0.0) -> bool:
        """Deletes the bytes, unless somebody put them again within the last `unused_s` seconds and may be about to
        refer to them; tells whether they are gone."""

    def keys(self) -> AsyncIterator[str]: ...


class RowStore(Protocol):
    """Threads, runs and turns as rows. Who asks is an argument of every query: another's row reads as absent.

    Lists are newest first (turns in order), ties by id, with keyset cursors; a cursor that is none of ours raises
    InvalidRequest.
    A run's status moves only forward; a terminal one is never overwritten.
    """

    async def open(self) -> None:
        """Migrates to the newest schema under a lock. Raises SchemaTooNew."""

    async def close(self) -> None: ...

    async def create_thread(self, thread: Thread) -> Thread:
        """Idempotent: the same id with the same owner returns the thread that is there."""

    async def get_thread(self, thread_id: str, *, by: Principal) -> Thread: ...

    async def list_threads(self, *, by: Principal, limit: int = 50, cursor: str | None = None) -> Page[Thread]: ...

    async def update_thread(
        self, thread_id: str, *, by: Principal, title: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Thread:
        """Sets the title and merges metadata, where given (a None value in `metadata` removes its key)."""

    async def delete_thread(self, thread_id: str, *, by: Principal) -> Sequence[str]:
        """Deletes the thread and its rows; returns the ids of its runs. Raises RunActive while one is active."""

    async def create_run(self, run: Run) -> Run:
        """Inserts a pending run. Raises ThreadBusy when its thread has an active one and this run is not `queued`."""

    async def get_run(self, run_id: str, *, by: Principal) -> Run: ...

    async def list_runs(
        self,
        *,
        by: Principal,
        thread_id: str | None = None,
        parent_run_id: str | None = None,
        statuses: Sequence[RunStatus] = (),
        model: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Run]: ...

    async def save_run(self, run: Run) -> Run:
        """Updates a run's row; a status that would move backwards or leave a terminal one is ignored. Returns the
        row as it is."""

    async def project(self, found: Sequence[Run], lines: Sequence[Turn], refs: Iterable[tuple[str, str, str]]) -> None:
        """Writes what journals say of runs that have a row: only the columns that journals decide, in one
        transaction. `refs` are (blob key, run id, user id)."""

    async def restore_run(self, run: Run, lines: Sequence[Turn], refs: Iterable[tuple[str, str, str]]) -> None:
        """Writes a run's row, turns and references anew, and its thread's row where that is gone: what a rebuild does.

        Raises Conflict for a run or thread that is another user's, ThreadBusy for a second active run of a thread.
        """

    async def delete_run(self, run_id: str, *, by: Principal) -> None:
        """Raises RunActive while it is active."""

    async def thread_runs(self, thread_id: str, *, until: datetime | None = None) -> Sequence[Run]:
        """Returns a thread's runs, oldest first, without those rolled back: what the next run's history is made
        of."""

    async def next_queued(self, thread_id: str) -> Run | None:
        """Returns the oldest queued run of a thread that has no active one, no longer queued; None when there is
        nothing to start."""

    async def active_runs(self) -> Sequence[Run]:
        """Returns all runs that are not terminal, queued ones too, oldest first: what start-up looks at."""

    async def save_turn(self, turn: Turn) -> None:
        """Inserts or replaces the row of (run, turn)."""

    async def list_turns(
        self, run_id: str, *, by: Principal, limit: int = 50, cursor: str | None = None
    ) -> Page[Turn]: ...

    async def blob_is_referred_to(self, key: str, *, by: Principal) -> bool:
        """Tells whether a run, turn or upload that belongs to `by` refers to the blob."""

    async def refer(self, key: str, *, run_id: str | None, user_id: str) -> None:
        """Records that a run (or a user's upload) refers to a blob."""

    async def release(self, run_id: str) -> Sequence[str]:
        """Returns the blobs that a deleted run referred to and nobody else does. A run that is there keeps its own."""

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        """Forgets that a deleted run referred to these blobs, which are gone."""

    async def deleted_runs(self) -> Sequence[str]:
        """Returns the deleted runs whose blobs were not all `released`."""

    def referred_blobs(self) -> AsyncIterator[tuple[str, str]]:
        """Yields every (blob key, run id) that the rows know; the run id is "" for uploads."""
