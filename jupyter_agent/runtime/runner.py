"""Starts, stops, resumes and remembers runs: the front of everything that carries them out in this process.

`entries` writes a new run down, `room` has the runs of a thread follow one another, `carried` owns the task of each,
`takeover` goes on with what a stopped server left, `people` decide.
"""

import logging
from collections.abc import Callable
from typing import Literal

import msgspec

from ..exceptions import Conflict, Forbidden, JournalDamaged, RunNotFound, StorageError
from ..journal import Journal, Projection
from ..journal.rows import row_of
from ..models.contract import Models
from ..models.prices import Prices
from ..records import SYSTEM, Fork, ForkRequest, Principal, Run, RunRequest, RunStatus, clean, new_id
from ..storage import Storage
from ..tools import Toolbox
from ..tools.contract import Environment
from .active import Means
from .carried import Carried
from .entries import Entries
from .forking import fork_of
from .leaseholder import Leaseholder
from .people import People
from .preparation import check
from .room import MAKING_ROOM, Room
from .settings import RunnerSettings
from .takeover import Takeover

log = logging.getLogger(__name__)

Change = Literal["created", "status", "deleted"]
Watcher = Callable[[Run, Change], None]


class Runner:
    """All runs of this process. `by` is on whose behalf something is done: what belongs to others reads as absent."""

    def __init__(  # noqa: PLR0913 - it is where everything comes together
        self,
        *,
        storage: Storage,
        journal: Journal,
        projection: Projection,
        models: Models,
        toolbox: Toolbox,
        environment: Environment,
        prices: Prices | None = None,
        settings: RunnerSettings | None = None,
        leases: Leaseholder | None = None,
    ) -> None:
        """`leases` are those by which the projection writes; without them this process is alone with its store."""
        self._rows = rows = storage.rows
        self._journal = journal
        self._projection = projection
        self._toolbox = toolbox
        leases = leases or Leaseholder(rows)
        self._means = means = Means(
            rows=rows,
            blobs=storage.blobs,
            journal=journal,
            models=models,
            prices=prices or Prices(),
            environment=environment,
            settings=settings or RunnerSettings(),
            leases=leases,
            on_status=self._told_status,
        )
        self._carried = carried = Carried(means, toolbox=toolbox, projection=projection)
        self._people = people = People(carried, rows=rows, journal=journal, leases=leases)
        self._room = room = Room(carried, rows=rows, leases=leases, interrupt=people.interrupt)
        self._entries = Entries(means, lines=storage.lines, carried=carried, room=room)
        self._takeover = Takeover(means, lines=storage.lines, carried=carried, room=room, entries=self._entries)
        leases.on_lost, carried.on_over = carried.let_go, room.start_next
        self._watchers: list[Watcher] = []
        # What people decide is asked of the runner, like all else.
        self.interrupt, self.resolve, self.answer = people.interrupt, people.resolve, people.answer
        self.approvals, self.find_approval = people.approvals, people.find_approval

    @property
    def settings(self) -> RunnerSettings:
        return self._means.settings

    @property
    def active_run_ids(self) -> tuple[str, ...]:
        return tuple(self._carried.active)

    def subscribe(self, watcher: Watcher) -> Callable[[], None]:
        """Calls the watcher on every run created, deleted or changed in status; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- start ----------------------------------------------------------------------------------------------

    async def start(self, request: RunRequest, *, by: Principal, run_id: str | None = None) -> Run:
        """Starts a run and returns it: durable, before its first model call. A `run_id` is one that nobody has.

        Raises InvalidRequest, UnknownModel, BadCredentials, ThreadNotFound, ThreadBusy, StorageError; then nothing
        was started.
        """
        return await self._begin(request, by=by, run_id=run_id or new_id("run"))

    async def fork(self, run_id: str, wish: ForkRequest, *, by: Principal) -> Run:
        """Starts a run on a thread of its own that begins before a turn of another one, which stays as it is. What
        tools gave until then stands; none of it is executed again.

        Raises RunNotFound; InvalidRequest for a turn that there is not, and where nothing is to be answered; RunActive
        for a turn that is not over; and what `start` raises.
        """
        wish = msgspec.convert(clean(msgspec.to_builtins(wish)), ForkRequest)
        forked = await self._rows.get_run(run_id, by=by)
        request, fork = await fork_of(forked, wish, means=self._means, by=by)
        thread = await self._rows.get_thread(forked.thread_id, by=by)
        return await self._begin(request, by=by, run_id=new_id("run"), fork=fork, title=thread.title)

    async def _begin(
        self, request: RunRequest, *, by: Principal, run_id: str, fork: Fork | None = None, title: str | None = None
    ) -> Run:
        if self._carried.is_closing:
            raise Conflict("The server is shutting down. Start the run again in a moment.")
        request = msgspec.convert(clean(msgspec.to_builtins(request)), RunRequest)
        model = request.model or self._means.models.default
        check(request, model, means=self._means, toolbox=self._toolbox, fork=fork)
        thread = await self._entries.thread_for(request, by=by, title=title)
        if self._carried.has(run_id):
            # One whose start another server did not finish is being put away, or goes on.
            raise Conflict(f"There is a run {run_id!r} already.")
        with self._carried.being_started(run_id):
            run = await self._entries.create(request, thread, run_id=run_id, model=model, by=by, fork=fork)
            self._tell(run, "created")
            return await self._place(run, by=by, is_first=request.thread_id is None and fork is None)

    async def _place(self, run: Run, *, by: Principal, is_first: bool) -> Run:
        """Has a run that is written down take its place, or wait for it."""
        if run.queued and run.multitask in MAKING_ROOM:
            await self._room.take_place(run, by=by)
        elif run.queued:
            # What it was to wait for may be over by now, and look for nobody any more.
            await self._room.start_next(run.thread_id)
        # Nothing is awaited between this look and the end of the start: a turn that comes later is taken by itself.
        if run.queued and self._carried.turns[run.run_id].is_set():
            run = msgspec.structs.replace(run, queued=False)
        if not run.queued:
            await self._carried.launch(run, is_first=is_first)
        return run

    def _told_status(self, run_id: str, status: RunStatus) -> None:
        self._carried.keep(self._tell_status(run_id, status))

    async def _tell_status(self, run_id: str, status: RunStatus) -> None:
        if not self._watchers:
            return
        active = self._carried.active.get(run_id)
        try:
            # What is being carried out needs no look into the rows.
            run = row_of(active.transcript) if active is not None else await self._rows.get_run(run_id, by=SYSTEM)
        except (RunNotFound, StorageError, JournalDamaged):
            return
        self._tell(msgspec.structs.replace(run, status=status), "status")

    def _tell(self, run: Run, change: Change) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher(run, change)
            except Exception:
                log.exception("A watcher of runs failed; the run goes on.")

    # --- delete ---------------------------------------------------------------------------------------------

    async def delete_run(self, run_id: str, *, by: Principal) -> None:
        """Deletes an ended run with its journal and blobs. Raises Forbidden, RunNotFound, RunActive."""
        _check_may_delete(by)
        run = await self._rows.get_run(run_id, by=by)
        await self._rows.delete_run(run_id, by=by)
        await self._journal.delete(run_id)
        await self._rows.forget()
        self._tell(run, "deleted")

    async def delete_thread(self, thread_id: str, *, by: Principal) -> None:
        """Deletes a thread with all its runs. Raises Forbidden, ThreadNotFound, RunActive."""
        _check_may_delete(by)
        for run_id in await self._rows.delete_thread(thread_id, by=by):
            await self._journal.delete(run_id)
        await self._rows.forget()

    # --- life of the process --------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Takes up every run that a stopped server left behind; returns how many. No run stays running unattended.

        Where other servers share the store, what they leave is taken up from now on, too.
        """
        taken_up = await self._takeover.recover()
        if self._means.leases.is_shared:
            self._people.open()
        return taken_up

    async def close(self) -> None:
        """Lets go of all runs within the settings' `drain_within_s`; they go on when a server starts again."""
        self._carried.is_closing = True
        await self._takeover.close()
        await self._people.close()
        await self._carried.close()
        await self._means.leases.close()


def _check_may_delete(by: Principal) -> None:
    if not by.may_approve:
        raise Forbidden(
            "Kernels may not delete runs or threads: do it in a client that holds the server's token, or let the "
            "operator set allow_kernel_approvals."
        )
