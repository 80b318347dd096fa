"""What a store promises: one page, kept by every implementation and tested by one suite.

Three stores make up storage: rows (what we query), lines (the journals' bytes) and blobs (bytes under their hash).
Rules: nothing is half done; a full disk raises StorageFull; a failed fsync raises StorageUnavailable, and from then
on that store
acknowledges nothing; a store written by a newer version raises SchemaTooNew; blocking work leaves the event loop.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from ..chain import Survey
from ..exceptions import StorageUnavailable
from ..records import (
    Approval,
    Feedback,
    FeedbackSummary,
    InputNeeded,
    Page,
    Principal,
    Run,
    RunStatus,
    RunTotals,
    Thread,
    ToolTrace,
    Turn,
    TurnSegment,
)
from .cursors import Key


class Recovered(NamedTuple):
    """What opening a journal to append found: the last good event, and how many torn bytes were cut off.

    `next_seq` is one more than the seq of the last good event; `epoch` is one more than the highest epoch seen (1
    for a new journal).
    """

    next_seq: int
    epoch: int
    torn_bytes: int


class Holder(NamedTuple):
    """Who takes leases: `owner` names one life of one process, `ttl_s` is for how many seconds a lease holds."""

    owner: str
    ttl_s: float


class Lease(NamedTuple):
    """Who carries a run out, under which number, and for how many seconds still (negative: it has passed)."""

    owner: str
    lease_no: int
    left_s: float


class Errand(NamedTuple):
    """What a process asks the one that carries a run out to do with it, on whose behalf: `deed` names it."""

    errand_id: str
    run_id: str
    deed: str
    arguments: dict[str, Any]
    by: Principal


class Reply(NamedTuple):
    """What became of an errand: the code, message and details of the fault it ended with; done where there is none."""

    code: str | None = None
    message: str = ""
    details: Mapping[str, Any] = MappingProxyType({})


FIRST_LEASE_NO: Final = 1
"""Of a run that is created with a holder."""


class LineWriter(Protocol):
    """Appends to one journal; the only writer of it, held by a lock."""

    @property
    def writes_through(self) -> bool:
        """Whether a line is written when `write` returns. Otherwise `sync` writes what was given until then, and
        nobody may see it before."""

    @property
    def recovered(self) -> Recovered: ...

    def write(self, line: bytes) -> None:
        """Writes one record with one system call, or takes it for the next `sync`. After a failure the journal is as it
        was before; raises StorageFull or StorageUnavailable."""

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

    @property
    def fault(self) -> StorageUnavailable | None:
        """Why this store acknowledges nothing now, or None while it is healthy."""

    @property
    def quarantine(self) -> Path:
        """The folder that damaged journals are set aside in."""

    def look(self, run_id: str) -> Survey:
        """Returns what is good in a journal and what is not, and changes nothing. Blocking. Raises RunNotFound."""

    def is_held(self, run_id: str) -> bool:
        """Tells whether a writer has the journal, here or in another process. Blocking."""

    def expel(self, run_id: str) -> None:
        """Takes a journal away from a process that lost its run's lease, so that `open` gets it. Blocking.

        Only for whoever has the lease. Where a lock cannot be taken away nothing happens: `open` raises RunActive until
        that process lets go or ends.
        """

    def exists(self, run_id: str) -> bool:
        """Blocking, like all that follows but `close`."""

    def delete(self, run_id: str) -> None:
        """Deletes a run's journal, and what was set aside of it."""

    def size(self, run_id: str) -> int:
        """Returns how many bytes of the disk it takes: 0 where there is none."""

    def run_ids(self) -> Iterator[str]:
        """Yields the ids of all runs that have a journal here."""

    def close(self) -> None:
        """Lets go what is held for all journals together."""


class BlobStore(Protocol):
    """Bytes under the SHA-256 of themselves: 64 lower-case hex digits, full-matched."""

    async def put(self, data: bytes) -> str:
        """Keeps the bytes durably and returns their key. The same bytes are kept once."""

    async def get(self, key: str) -> bytes:
        """Returns the bytes. Raises BlobNotFound, or BlobDamaged when they no longer hash to their key."""

    async def delete(self, key: str, *, unused_s: float = 0.0, kept_for_s: float = 0.0) -> bool:
        """Deletes the bytes, unless somebody put them again within the last `unused_s` seconds, or they were put at
        all within the last `kept_for_s`, and may be about to be referred to; tells whether they are gone."""

    async def size(self, key: str) -> int:
        """Returns how many bytes of the disk they take: 0 where they are not there."""

    async def age_s(self, key: str) -> float:
        """Returns how many seconds ago the bytes were put, for the last time: 0 where they are not there."""

    def keys(self) -> AsyncIterator[str]: ...

    def set_aside(self, key: str) -> Path:
        """Moves what stands under a key and is none of its bytes to the quarantine; returns where. Blocking."""

    def temporaries(self) -> list[Path]:
        """Returns the files that puts left behind when their process died. Blocking."""

    def set_file_aside(self, path: Path) -> Path:
        """Moves such a file to the quarantine; returns where it is now. Blocking."""


class Archived(NamedTuple):
    """The key of an ended run's detail, and whether the run is leased no more from now on."""

    detail: str
    is_given_back: bool = False


class LeaseStore(Protocol):
    """Who carries out what: runs, or whatever else has a row by an id."""

    async def take_lease(self, run_id: str, holder: Holder) -> int | None:
        """Leases a run that nobody has, that is the holder's own or whose lease has passed, and returns the number,
        higher by one; None while another has it. Raises RunNotFound."""

    async def renew_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        """Lets those of these leases that are still the holder's hold for its `ttl_s` from now, all at once;
        returns their numbers by run id."""

    async def take_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        """Leases those of these runs that may be taken, all at once; returns their numbers by run id."""

    async def release_leases(self, holder: Holder, run_ids: Iterable[str]) -> None:
        """Gives those of these leases back that are still the holder's, all at once."""

    async def release_lease(self, run_id: str, lease_no: int) -> None:
        """Gives a lease back, so that anybody may take the run; one that was lost stays as it is."""

    async def end_leases(self) -> None:
        """Ends all leases. Only for the one process that can have opened this store: the others are gone."""


class RowStore(LeaseStore, Protocol):
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

    async def list_threads(
        self,
        *,
        by: Principal,
        search: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Thread]:
        """Lists threads; those whose title holds the words of `search`, whatever their case, and whose metadata has
        all of these values, as text."""

    async def update_thread(
        self, thread_id: str, *, by: Principal, title: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Thread:
        """Sets the title and merges metadata, where given (a None value in `metadata` removes its key)."""

    async def delete_thread(self, thread_id: str, *, by: Principal) -> Sequence[str]:
        """Deletes the thread and its rows; returns the ids of its runs. Raises RunActive while one is active."""

    async def create_run(self, run: Run, *, holder: Holder | None = None, thread: Thread | None = None) -> Run:
        """Inserts a pending run, and the thread that it begins where one is given; with `holder` it is leased under
        FIRST_LEASE_NO. Raises ThreadBusy when its thread has an
        active one and this run is not `queued`."""

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

    async def save_run(self, run: Run, *, lease_no: int | None = None) -> Run:
        """Updates a run's row; a status that would move backwards or leave a terminal one is ignored. Returns the
        row as it is.

        Raises LeaseLost, and writes nothing, unless the run is leased under `lease_no`, or without one by nobody.
        """

    async def project(
        self,
        found: Sequence[Run],
        lines: Sequence[Turn],
        refs: Sequence[tuple[str, str, str]],
        *,
        traces: Sequence[ToolTrace] = (),
        asked: Sequence[Approval | InputNeeded] = (),
        segments: Sequence[TurnSegment] = (),
        lease_nos: Mapping[str, int] = MappingProxyType({}),
        archived: Mapping[str, Archived] = MappingProxyType({}),
    ) -> None:
        """Writes what journals say of runs that have a row: only the columns that journals decide, in one
        transaction. `refs` are (blob key, run id, user id); `traces` replace all that is there of the same tool
        calls, `asked` what is there of the same questions, `segments` all that is there of the same turns.
        `archived` says of ended runs where they are archived.

        Raises LeaseLost, and writes nothing, unless each run is leased under its number, or without one by nobody.
        """

    async def restore_run(
        self,
        run: Run,
        lines: Sequence[Turn],
        refs: Sequence[tuple[str, str, str]],
        *,
        traces: Sequence[ToolTrace] = (),
        asked: Sequence[Approval | InputNeeded] = (),
        segments: Sequence[TurnSegment] = (),
    ) -> None:
        """Writes a run's row, turns, traces, questions, segments and references anew, and its thread's row where
        that is gone: what a rebuild does. Feedback stays as it is.

        Raises Conflict for a run or thread that is another user's, ThreadBusy for a second active run of a thread.
        """

    async def delete_run(self, run_id: str, *, by: Principal) -> None:
        """Raises RunActive while it is active."""

    async def thread_runs(self, thread_id: str, *, until: datetime | None = None) -> Sequence[Run]:
        """Returns a thread's runs, oldest first, without those rolled back: what the next run's history is made of.
        One that was forked is there all the same: what it began with is older than it."""

    async def next_queued(self, thread_id: str, *, owner: str = "") -> Run | None:
        """Returns the oldest queued run of a thread that has no active one, no longer queued; None when there is
        nothing to start, or when somebody else than `owner` has its lease. Those that do not wait in line (`multitask`
        is not "enqueue") come first."""

    async def active_run(self, thread_id: str) -> Run | None:
        """Returns the run that a thread is busy with, None where there is none."""

    async def active_runs(self) -> Sequence[Run]:
        """Returns all runs that are not terminal, queued ones too, oldest first: what start-up looks at."""

    async def lease_of(self, run_id: str) -> Lease | None:
        """Returns who has the lease of a run, None where nobody does. Raises RunNotFound."""

    async def unattended_runs(self) -> Sequence[Run]:
        """Returns the runs that nobody carries out and somebody should, oldest first: unfinished and not leased, or
        leased by somebody who let it pass."""

    async def leave_errand(self, errand: Errand) -> None:
        """Leaves an errand for whoever carries its run out."""

    async def take_errands(self, run_ids: Iterable[str]) -> Sequence[Errand]:
        """Returns the errands for these runs that nobody took, oldest first, each to one process once."""

    async def reply_to_errand(self, errand_id: str, reply: Reply) -> None: ...

    async def collect_reply(self, errand_id: str) -> Reply | None:
        """Returns what became of an errand, and forgets it; None while it is on its way."""

    async def withdraw_errand(self, errand_id: str) -> bool:
        """Takes an errand back; False when it was taken and may be done any moment."""

    async def save_turn(self, turn: Turn) -> None:
        """Inserts or replaces the row of (run, turn)."""

    async def list_turns(
        self, run_id: str, *, by: Principal, limit: int = 50, cursor: str | None = None
    ) -> Page[Turn]: ...

    async def list_traces(
        self,
        run_id: str,
        *,
        by: Principal,
        turn: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ToolTrace]:
        """Lists the executions of a run's tool calls (of one turn, where it is given), in the order asked."""

    async def list_approvals(self, run_id: str, *, by: Principal) -> Sequence[Approval]:
        """Lists what was asked of people, or decided by a rule, before a run's tool calls, oldest first."""

    async def list_inputs(self, run_id: str, *, by: Principal) -> Sequence[InputNeeded]:
        """Lists a run's questions with their answers, oldest first."""

    async def get_approval(self, approval_id: str, *, by: Principal) -> Approval:
        """Raises ApprovalNotFound, for another's too."""

    async def run_totals(self, run_id: str, *, by: Principal) -> RunTotals:
        """Adds up what a run and all runs below it used, as the rows say now."""

    async def list_segments(self, run_id: str, *, by: Principal) -> Sequence[TurnSegment]:
        """Returns the regions of all prompts of a run, turn by turn in their order. Raises RunNotFound."""

    async def save_feedback(self, feedback: Feedback) -> Feedback:
        """Keeps a rating. One without a `message_id` replaces the user's earlier one of the run, under its id.

        Raises RunNotFound for a run that is not the user's.
        """

    async def get_feedback(self, feedback_id: str, *, by: Principal) -> Feedback:
        """Raises FeedbackNotFound, for another's too."""

    async def list_feedback(
        self,
        *,
        by: Principal,
        run_id: str | None = None,
        thread_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Feedback]: ...

    async def delete_feedback(self, feedback_id: str, *, by: Principal) -> None: ...

    async def withdraw_feedback(self, run_id: str, *, by: Principal) -> None:
        """Deletes the user's own rating of a whole run. Raises FeedbackNotFound where there is none."""

    async def thread_feedback(self, thread_id: str, *, by: Principal) -> dict[str, Feedback]:
        """Returns the user's ratings of the whole runs of a thread, by run id."""

    async def feedback_summary(self, run_id: str, *, by: Principal) -> FeedbackSummary: ...

    async def blob_is_referred_to(self, key: str, *, by: Principal) -> bool:
        """Tells whether a run, turn or upload that belongs to `by` refers to the blob."""

    async def refer(self, key: str, *, run_id: str | None, user_id: str) -> None:
        """Records that a run (or a user's upload, until a run of theirs refers to it) refers to a blob."""

    async def release(self, run_id: str) -> Sequence[str]:
        """Returns the blobs that a deleted run referred to and nobody else does. A run that is there keeps its own."""

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        """Forgets that a deleted run referred to these blobs, which are gone."""

    async def deleted_runs(self) -> Sequence[str]:
        """Returns the deleted runs which were not wholly `released`."""

    async def idle_threads(self, *, by: Principal, after: Key | None = None, limit: int = 100) -> Sequence[Thread]:
        """Lists threads without an unfinished run, those first that were not changed for longest, behind the time and
        id of `after`."""

    async def run_ids(self, thread_id: str, *, by: Principal) -> Sequence[str]:
        """Returns the ids of all runs of a thread, oldest first."""

    async def blobs_of_thread(self, thread_id: str) -> dict[str, set[str]]:
        """Returns the blobs that a thread's runs refer to, each with the other threads that do; "" are uploads."""

    async def in_use(self, keys: Sequence[str]) -> set[str]:
        """Returns those of the blobs that a run, turn or upload of anybody refers to."""

    async def without_row(self, run_ids: Sequence[str]) -> set[str]:
        """Returns those of the runs that have no row."""

    async def drop_uploads(self, *, before: datetime) -> Sequence[str]:
        """Forgets uploads of before that time which no run took over; returns their keys."""

    async def forget(self) -> None:
        """Sees to it that nothing of deleted rows is left in any file: at once, or soon where somebody reads."""

    async def shrink(self) -> None:
        """Gives the room of deleted rows back to the disk. Nobody else can write meanwhile."""

    def referred_blobs(self) -> AsyncIterator[tuple[str, str]]:
        """Yields every (blob key, run id) that the rows know; the run id is "" for uploads."""
