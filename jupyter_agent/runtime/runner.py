"""Starts, stops, resumes and remembers runs: the one owner of every run's task in this process."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal
from weakref import WeakValueDictionary

import msgspec

from .. import events as ev
from ..exceptions import (
    AgentError,
    ApprovalNotFound,
    Conflict,
    Forbidden,
    InvalidRequest,
    JournalDamaged,
    LeaseLost,
    RunActive,
    RunFinished,
    RunNotFound,
    StorageError,
    ThreadBusy,
)
from ..journal import Journal, Projection
from ..journal.rows import ask_rows
from ..models.contract import Models
from ..models.prices import Prices
from ..records import (
    SYSTEM,
    Approval,
    Decision,
    Multitask,
    Principal,
    Run,
    RunRequest,
    RunStatus,
    Text,
    Thread,
    clean,
    new_id,
    utc_now,
)
from ..storage import Storage
from ..storage.clock import machine_clock
from ..storage.contract import Errand
from ..tools import Toolbox, validate
from ..tools.contract import Environment
from ..transcript import Transcript
from .active import ActiveRun, Means
from .errands import Errands
from .finish import finish
from .leaseholder import Leaseholder
from .preparation import RESTARTED, check, fruitless_restarts, prepare
from .settings import RunnerSettings
from .supervision import Stop, supervise

log = logging.getLogger(__name__)

Change = Literal["created", "status", "deleted"]
Watcher = Callable[[Run, Change], None]

MAKING_ROOM = (Multitask.INTERRUPT, Multitask.ROLLBACK)
MAX_INLINE_CHARS = 32 * 1024
TITLE_CHARS = 80
INTERRUPT_WAIT_S = 30.0
LOOKS = 4
"""How often other servers' leases are looked at in the time that one holds."""
TRY_AGAIN_S = 0.5
ROOM_S = 0.1
"""How long is waited for another server to start or end its run of a thread, before the next look."""


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
        self._rows = storage.rows
        self._journal = journal
        self._projection = projection
        self._toolbox = toolbox
        self._leases = leases or Leaseholder(storage.rows)
        self._leases.on_lost = self._let_go
        self._errands = Errands(storage.rows, self._leases, self._do)
        self._means = Means(
            rows=storage.rows,
            blobs=storage.blobs,
            journal=journal,
            models=models,
            prices=prices or Prices(),
            environment=environment,
            settings=settings or RunnerSettings(),
            leases=self._leases,
            on_status=self._told_status,
        )
        self._lines = storage.lines
        self._active: dict[str, ActiveRun] = {}
        self._stops: dict[str, Stop] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting: dict[str, asyncio.Event] = {}
        self._turns: dict[str, asyncio.Event] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._making_room: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._watchers: list[Watcher] = []
        self._thread_grants: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def _is_shared(self) -> bool:
        return self._leases.ttl_s is not None

    @property
    def settings(self) -> RunnerSettings:
        return self._means.settings

    @property
    def active_run_ids(self) -> tuple[str, ...]:
        return tuple(self._active)

    def subscribe(self, watcher: Watcher) -> Callable[[], None]:
        """Calls the watcher on every run created, deleted or changed in status; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- start ----------------------------------------------------------------------------------------------

    async def start(self, request: RunRequest, *, by: Principal) -> Run:
        """Starts a run and returns it: durable, before its first model call.

        Raises InvalidRequest, UnknownModel, BadCredentials, ThreadNotFound, ThreadBusy, StorageError; then nothing
        was started.
        """
        if self._is_closing:
            raise Conflict("The server is shutting down. Start the run again in a moment.")
        request = msgspec.convert(clean(msgspec.to_builtins(request)), RunRequest)
        model = request.model or self._means.models.default
        check(request, model, means=self._means, toolbox=self._toolbox)
        thread = await self._thread_for(request, by=by)
        with self._being_started(run_id := new_id("run")):
            return await self._start(request, thread, run_id=run_id, model=model, by=by)

    async def _start(self, request: RunRequest, thread: Thread, *, run_id: str, model: str, by: Principal) -> Run:
        run = await self._create_row(request, thread, run_id=run_id, model=model, by=by)
        try:
            started = await self._run_started(run, request)
            await self._journal.open(run.run_id)
            await self._journal.append(run.run_id, started)
            await self._projection.settle(run.run_id)
        except BaseException:
            await self._forget(run)
            raise
        self._tell(run, "created")
        if run.queued and run.multitask in MAKING_ROOM:
            await self._take_place(run, by=by)
        elif run.queued:
            # What it was to wait for may be over by now, and look for nobody any more.
            await self._start_next(run.thread_id)
        # Nothing is awaited between this look and the end of the start: a turn that comes later is taken by itself.
        if run.queued and self._turns[run_id].is_set():
            run = msgspec.structs.replace(run, queued=False)
        if not run.queued:
            await self._launch(run)
        return run

    @contextmanager
    def _being_started(self, run_id: str) -> Iterator[None]:
        """Has whoever wants to end the run wait until it has begun: its row is there before its journal and task."""
        begun, self._turns[run_id] = asyncio.Event(), asyncio.Event()
        self._starting[run_id] = begun
        try:
            yield
        finally:
            del self._starting[run_id]
            del self._turns[run_id]
            begun.set()

    async def _thread_for(self, request: RunRequest, *, by: Principal) -> Thread:
        title = _text_of(request)[:TITLE_CHARS].strip() or None
        if request.thread_id is None:
            now = utc_now()
            thread = Thread(thread_id=new_id("thr"), user_id=by.user_id, title=title, created_at=now, updated_at=now)
            return await self._rows.create_thread(thread)
        thread = await self._rows.get_thread(request.thread_id, by=by)
        if thread.title is None and title is not None:
            thread = await self._rows.update_thread(thread.thread_id, by=by, title=title)
        return thread

    async def _create_row(self, request: RunRequest, thread: Thread, *, run_id: str, model: str, by: Principal) -> Run:
        """Inserts the run's row; where the thread is busy it waits for its turn, or as the strategy says. Raises
        ThreadBusy."""
        now = utc_now()
        parts = (Text(text=request.input),) if isinstance(request.input, str) else request.input
        run = Run(
            run_id=run_id,
            thread_id=thread.thread_id,
            user_id=thread.user_id,
            status=RunStatus.PENDING,
            agent=request.agent or "default",
            model=model,
            created_at=now,
            updated_at=now,
            multitask=request.multitask,
            input=tuple([await self._bounded(part) if isinstance(part, Text) else part for part in parts]),
            metadata=request.metadata,
            kwargs=request.kwargs,
            cell=request.cell,
            follow_up_to_run_id=request.follow_up_to_run_id,
        )
        while True:
            asked_at = machine_clock()
            try:
                created = await self._rows.create_run(run, holder=self._leases.holder)
                self._leases.created(run.run_id, asked_at=asked_at)
                return created
            except ThreadBusy:
                if run.multitask is not Multitask.REJECT:
                    # What is to make room waits first: nobody's run ends for one that could not be written down.
                    run = msgspec.structs.replace(run, queued=True)
                elif not await self._make_room(run.thread_id, run.multitask, by=by):
                    raise

    async def _take_place(self, run: Run, *, by: Principal) -> None:
        """Ends what is active on the thread, until it is this run's turn. One run after the other: many at once would
        all end the same one."""
        turn, lock = self._turns[run.run_id], self._making_room.setdefault(run.thread_id, asyncio.Lock())
        waiting = [asyncio.ensure_future(lock.acquire()), asyncio.ensure_future(turn.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            # Without its lease its turn comes at the server that took it up: waiting here it would wait for itself.
            while not turn.is_set() and not self._is_closing and self._leases.number(run.run_id) is not None:
                try:
                    self._leases.check(run.run_id)
                    await self._make_room(run.thread_id, run.multitask, by=by)
                except AgentError as fault:
                    log.warning("Run %s waits for room on its thread: %s", run.run_id, fault)
                    await asyncio.sleep(TRY_AGAIN_S)
                await self._start_next(run.thread_id)
                await asyncio.sleep(ROOM_S if self._is_shared else 0)
        finally:
            for one in waiting:
                one.cancel()
            if not waiting[0].cancelled() and waiting[0].done():
                lock.release()

    async def _make_room(self, thread_id: str, strategy: Multitask, *, by: Principal) -> bool:
        """Ends the thread's active run where the strategy says so; tells whether it is worth trying again."""
        active = await self._rows.active_run(thread_id)
        if active is None:
            return True
        task = self._tasks.get(active.run_id)
        if task is not None and active.run_id in self._active and self._active[active.run_id].is_over:
            # It has answered and is being put away: the next run need not know.
            await asyncio.wait({task})
            return True
        if strategy is Multitask.REJECT:
            return False
        try:
            await self.interrupt(active.run_id, by=by)
        except RunFinished:
            log.debug("Run %s ended by itself while room was made.", active.run_id)
        if strategy is Multitask.ROLLBACK:
            ended = await self._rows.get_run(active.run_id, by=SYSTEM)
            await self._rows.save_run(msgspec.structs.replace(ended, rolled_back=True))
        return True

    async def _bounded(self, part: Text) -> Text:
        """Returns the text, or its beginning and the blob of the whole where it is too long for an event."""
        if len(part.text) <= MAX_INLINE_CHARS:
            return part
        blob = await self._means.blobs.put(part.text.encode())
        return Text(text=part.text[:MAX_INLINE_CHARS], blob=blob)

    async def _run_started(self, run: Run, request: RunRequest) -> ev.RunStarted:
        for part in run.input:
            if isinstance(part, Text) and part.blob is not None:
                await self._rows.refer(part.blob, run_id=run.run_id, user_id=run.user_id)
        # Everything that going on after a restart needs; the input stands in its own field.
        kept = msgspec.to_builtins(msgspec.structs.replace(request, input="", metadata={}))
        started = ev.RunStarted(
            thread_id=run.thread_id,
            user_id=run.user_id,
            agent=run.agent,
            model=run.model,
            input=run.input,
            metadata=run.metadata,
            kwargs=kept,
            multitask=run.multitask,
            follow_up_to_run_id=run.follow_up_to_run_id,
            cell=run.cell,
        )
        if len(msgspec.json.encode(started)) > ev.MAX_LINE_BYTES - 1024:
            raise InvalidRequest(
                "The run's metadata, kwargs, script and tools are too large together: at most 250 KB fit. "
                "Put long data into files or into the input."
            )
        return started

    async def _forget(self, run: Run) -> None:
        """Undoes a start that could not be made durable."""
        try:
            ended = msgspec.structs.replace(run, status=RunStatus.ERROR, ended_at=utc_now())
            await self._rows.save_run(ended, lease_no=self._leases.number(run.run_id))
            await self._journal.close(run.run_id)
            self._lines.delete(run.run_id)
            await self._rows.delete_run(run.run_id, by=SYSTEM)
        except (StorageError, LeaseLost, OSError):
            log.exception("Run %s could not be started and not be forgotten; start-up will end it.", run.run_id)
        finally:
            await self._give_back(run.run_id)

    # --- carry out ------------------------------------------------------------------------------------------

    async def _launch(self, run: Run) -> None:
        grants = self._thread_grants.setdefault(run.thread_id, set())
        try:
            active = await prepare(run, means=self._means, toolbox=self._toolbox, thread_grants=grants)
        except BaseException:
            await self._give_back(run.run_id)
            raise
        stop = Stop()
        self._active[run.run_id], self._stops[run.run_id] = active, stop
        task = asyncio.create_task(self._own(active, stop), name=f"run {run.run_id}")
        self._tasks[run.run_id] = task

    async def _own(self, run: ActiveRun, stop: Stop) -> None:
        """Owns a run from its first step to its last: nothing it raises is lost."""
        try:
            is_over = await supervise(run, stop, projection=self._projection)
        except LeaseLost as fault:
            log.warning("Run %s is left to another server: %s", run.run_id, fault)
            return
        except Exception:
            log.exception("Run %s could not be brought to an end; start-up will.", run.run_id)
            return
        finally:
            await self._give_back(run.run_id)
            self._active.pop(run.run_id, None)
            self._stops.pop(run.run_id, None)
            self._tasks.pop(run.run_id, None)
        if is_over:
            await self._start_next(run.thread_id)

    def _let_go(self, run_id: str) -> None:
        """Stops what another server may carry out by now."""
        if (stop := self._stops.get(run_id)) is not None:
            stop.leave()
        else:
            # It waits for its turn, and whoever takes it up needs its journal.
            self._keep(self._journal.close(run_id))

    async def _give_back(self, run_id: str) -> None:
        """Lets go of a run that is not carried out here any more. The lease goes last: whoever takes the run up now
        finds its journal closed."""
        await self._journal.close(run_id)
        await self._leases.release(run_id)

    async def _start_next(self, thread_id: str) -> None:
        if self._is_closing:
            return
        try:
            owner = self._leases.holder.owner
            while (run := await self._rows.next_queued(thread_id, owner=owner)) is not None:
                if (ending := self._ending.get(run.run_id)) is not None:
                    await asyncio.wait({ending})
                    continue
                if run.run_id in self._starting:
                    self._turns[run.run_id].set()
                    return
                if self._leases.number(run.run_id) is None and not await self._leases.take(run.run_id):
                    return
                with self._being_started(run.run_id):
                    await self._launch(run)
                return
        except Exception:
            # Nobody waits for what this raises: it is called when another run is over.
            log.exception("The next run of thread %s could not be started; a later look or start-up will.", thread_id)

    def _told_status(self, run_id: str, status: RunStatus) -> None:
        self._keep(self._tell_status(run_id, status))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something beside everything else: a task that nobody holds may be swept away in the middle."""
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _tell_status(self, run_id: str, status: RunStatus) -> None:
        try:
            run = await self._rows.get_run(run_id, by=SYSTEM)
        except (RunNotFound, StorageError):
            return
        self._tell(msgspec.structs.replace(run, status=status), "status")

    def _tell(self, run: Run, change: Change) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher(run, change)
            except Exception:
                log.exception("A watcher of runs failed; the run goes on.")

    # --- people ---------------------------------------------------------------------------------------------

    async def interrupt(self, run_id: str, *, by: Principal, if_queued: bool = False) -> Run:
        """Stops a run at once and returns when it is over; with `if_queued` only one that has not begun. Raises
        RunNotFound, RunFinished, RunActive, RunElsewhere."""
        run = await self._rows.get_run(run_id, by=by)
        while (begun := self._starting.get(run_id)) is not None:
            await begun.wait()
            run = await self._rows.get_run(run_id, by=by)
        # Nothing is awaited from here to the deed: what has not begun now does not begin meanwhile.
        stop, task = self._stops.get(run_id), self._tasks.get(run_id)
        if stop is not None and task is not None:
            if if_queued:
                raise RunActive(f"Run {run_id} has begun: it waits for its turn no more. Interrupt it to stop it.")
            stop.request(by.name)
            await asyncio.wait({task}, timeout=INTERRUPT_WAIT_S)
        elif run.status.is_terminal:
            raise RunFinished(f"Run {run_id} is over: it ended as {run.status}.", details={"status": run.status})
        elif self._is_elsewhere(run):
            await self._errands.pass_on(run_id, "interrupt", {"if_queued": if_queued}, by=by)
        else:
            await self._end_unstarted(run)
        return await self._rows.get_run(run_id, by=by)

    async def _end_unstarted(self, run: Run) -> None:
        """Ends a run that waits in a queue, once however many ask for it."""
        if run.run_id not in self._ending:
            ending = self._ending[run.run_id] = asyncio.create_task(self._end_queued(run), name=f"end {run.run_id}")
            ending.add_done_callback(lambda _: self._ending.pop(run.run_id, None))
        # Shielded: an end that has begun is written whole, whatever happens to the caller.
        await asyncio.shield(self._ending[run.run_id])

    async def _end_queued(self, run: Run) -> None:
        if (await self._rows.get_run(run.run_id, by=SYSTEM)).status.is_terminal:
            return
        if self._leases.number(run.run_id) is None and not await self._leases.take(run.run_id):
            self._leases.check(run.run_id)
        try:
            transcript = await self._journal.open(run.run_id)
            await self._end(run.run_id, RunStatus.INTERRUPTED, transcript)
        finally:
            await self._give_back(run.run_id)

    async def resolve(
        self,
        run_id: str,
        *,
        decision: Decision,
        by: Principal,
        approval_id: str | None = None,
        tool_call_id: str | None = None,
        arguments: str | None = None,
        reason: str | None = None,
        remember: Literal["run", "thread"] | None = None,
    ) -> Approval:
        """Decides an approval, named by its id or by a tool call that has exactly one pending.

        Raises RunNotFound, RunFinished, ApprovalNotFound, AlreadyResolved, Forbidden, InvalidArguments, RunElsewhere.
        """
        if self._is_elsewhere(await self._rows.get_run(run_id, by=by)):
            named = {"approval_id": approval_id, "tool_call_id": tool_call_id}
            given = {"decision": decision, "arguments": arguments, "reason": reason, "remember": remember}
            await self._errands.pass_on(run_id, "resolve", named | given, by=by)
            decided = (await self._journal.load(run_id)).approvals.values()
            its = [one for one in decided if approval_id == one.approval_id or tool_call_id == one.tool_call_id]
            return its[-1]
        run = await self._get_active(run_id, by=by)
        if not by.may_approve:
            raise Forbidden(
                "Kernels may not approve tool calls: approve in the browser or in a client that holds the server's "
                "token, "
                "or let the operator set allow_kernel_approvals."
            )
        if approval_id is None:
            pending = [one for one in run.transcript.pending_approvals if one.tool_call_id == tool_call_id]
            if len(pending) != 1:
                raise ApprovalNotFound(f"Run {run_id} has no single pending approval for tool call {tool_call_id}.")
            approval_id = pending[0].approval_id
        asked = run.transcript.approvals.get(approval_id)
        if asked is None or (tool_call_id is not None and asked.tool_call_id != tool_call_id):
            raise ApprovalNotFound(f"Run {run_id} has no approval {approval_id} for tool call {tool_call_id}.")
        if decision is Decision.EDIT and arguments is None:
            raise InvalidRequest("An edit needs the arguments to execute instead.")
        if decision is Decision.EDIT and asked.tool_name in run.toolbox:
            validate(run.toolbox.get(asked.tool_name).spec, arguments or "")
        return await run.resolve(
            approval_id, decision, actor=by.name, arguments=arguments, reason=reason, remember=remember
        )

    async def answer(self, run_id: str, request_id: str, content: str, *, by: Principal) -> None:
        """Answers a question of the run. Raises RunNotFound, RunFinished, InputNotFound, AlreadyResolved,
        RunElsewhere."""
        if self._is_elsewhere(await self._rows.get_run(run_id, by=by)):
            return await self._errands.pass_on(run_id, "answer", {"request_id": request_id, "content": content}, by=by)
        run = await self._get_active(run_id, by=by)
        return await run.answer(request_id, clean(content), by=by)

    def _is_elsewhere(self, run: Run) -> bool:
        """Tells whether another server carries the run out, or will take it up in a moment."""
        return self._is_shared and not run.status.is_terminal and self._leases.number(run.run_id) is None

    async def _do(self, errand: Errand) -> None:
        """Does what another server asks of a run that is carried out here. Raises AgentError."""
        given = errand.arguments
        match errand.deed:
            case "interrupt":
                await self.interrupt(errand.run_id, by=errand.by, **given)
            case "resolve":
                await self.resolve(errand.run_id, by=errand.by, **given | {"decision": Decision(given["decision"])})
            case "answer":
                await self.answer(errand.run_id, by=errand.by, **given)
            case _:
                raise InvalidRequest(f"This server is older than the one that asks it to {errand.deed!r}: update it.")

    async def approvals(self, run_id: str, *, by: Principal) -> list[Approval]:
        """Returns all approvals of a run, pending and decided, oldest first."""
        await self._rows.get_run(run_id, by=by)
        transcript = self._journal.transcript(run_id) or await self._journal.load(run_id)
        return [one for one in ask_rows(transcript) if isinstance(one, Approval)]

    async def find_approval(self, approval_id: str, *, by: Principal) -> Approval:
        """Returns an approval, of a run that is over too. Raises ApprovalNotFound."""
        for run in tuple(self._active.values()):
            if approval_id in run.transcript.approvals and (by.is_system or run.started.user_id == by.user_id):
                return run.transcript.approvals[approval_id]
        return await self._rows.get_approval(approval_id, by=by)

    async def _get_active(self, run_id: str, *, by: Principal) -> ActiveRun:
        row = await self._rows.get_run(run_id, by=by)
        if run_id not in self._active or self._active[run_id].is_over:
            raise RunFinished(f"Run {run_id} is not going on: its status is {row.status}.")
        return self._active[run_id]

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
        await self._leases.open()
        try:
            await self._journal.sweep()
            await self._rows.forget()
        except StorageError:
            log.exception("Deletions that were cut short could not be finished; a later start will.")
        left = {run.run_id: run for run in await self._rows.unattended_runs()}
        for run_id in await asyncio.to_thread(lambda: list(self._lines.run_ids())):
            if run_id not in left:
                try:
                    left[run_id] = await self._rows.get_run(run_id, by=SYSTEM)
                except RunNotFound:
                    log.warning("The journal of run %s has no row: `jupyter agent rebuild` makes one.", run_id)
        taken_up = [run for run in left.values() if await self._take_up(run)]
        if self._leases.ttl_s is not None:
            self._looking = asyncio.create_task(self._look_around(self._leases.ttl_s / LOOKS), name="takeover")
            self._errands.open()
        return len(taken_up)

    async def _look_around(self, every_s: float) -> None:
        """Takes up what other servers left, and starts what waited here for a run of theirs."""
        while True:
            await asyncio.sleep(every_s)
            try:
                for run in await self._rows.unattended_runs():
                    if await self._take_up(run):
                        log.warning("Run %s was left by its server and goes on here.", run.run_id)
                await self._look_after_queued()
            except StorageError as fault:
                log.warning("What other servers left could not be looked for: %s", fault)
            except Exception:
                log.exception("Something that other servers left could not be taken up; it is tried again.")

    async def _look_after_queued(self) -> None:
        for run_id in self._leases.run_ids:
            if run_id not in self._tasks and run_id not in self._starting and run_id not in self._ending:
                run = await self._rows.get_run(run_id, by=SYSTEM)
                if run.queued and not run.status.is_terminal:
                    await self._start_next(run.thread_id)

    async def _take_up(self, run: Run) -> bool:
        """Leases a run and goes on with it; False where another server has it, or could not let go of it yet."""
        if run.run_id in self._tasks or run.run_id in self._starting or run.run_id in self._ending:
            return False
        with self._being_started(run.run_id):
            try:
                if not await self._leases.take(run.run_id):
                    return False
            except RunNotFound:
                return False  # it was deleted since it was looked for
            try:
                await self._resume(run)
            except (RunActive, RunFinished, LeaseLost) as fault:
                # The process that was taken over has the journal's file still: it lets go as soon as it notices. Or
                # somebody else was quicker and has brought the run to its end.
                log.info("Run %s cannot be taken up now: %s", run.run_id, fault)
                await self._give_back(run.run_id)
                return False
            except Exception:
                log.exception("Run %s could not be taken up.", run.run_id)
                await self._give_back(run.run_id)
                return True
            if run.run_id not in self._tasks and not run.queued:
                await self._give_back(run.run_id)
        if run.queued:
            await self._start_next(run.thread_id)
        return True

    async def _resume(self, run: Run) -> None:
        if self._is_shared:
            # Whoever has the journal still lost the run: it may be stopped in the middle of a write.
            await asyncio.to_thread(self._lines.expel, run.run_id)
        try:
            transcript = await self._journal.open(run.run_id)
        except JournalDamaged as fault:
            log.error("%s", fault)
            transcript = await self._journal.open(run.run_id, quarantine=True)
            await self._end(run.run_id, RunStatus.ERROR, transcript, error=fault)
            return
        if transcript.started is None:
            # Its row was made and its first event never was: nobody was told of it.
            await self._forget(run)
        elif transcript.status.is_terminal or transcript.is_complete:
            await self._end(run.run_id, transcript.status, transcript)
        elif run.queued:
            await self._journal.close(run.run_id)
        else:
            await self._go_on(run, transcript)

    async def _go_on(self, run: Run, transcript: Transcript) -> None:
        """Takes a run up where it stopped; one that brought the server down again and again is ended instead."""
        fruitless = fruitless_restarts(transcript)
        await self._means.append(run.run_id, ev.Log(message=RESTARTED))
        if fruitless >= self.settings.max_fruitless_restarts:
            fault = AgentError(
                f"The server stopped {fruitless} times while this run was at the same place, so it is not taken up "
                "again."
            )
            await self._end(run.run_id, RunStatus.ERROR, transcript, error=fault)
            return
        await self._launch(run)

    async def _end(
        self, run_id: str, status: RunStatus, transcript: Transcript, *, error: AgentError | None = None
    ) -> None:
        await finish(run_id, status, means=self._means, transcript=transcript, projection=self._projection, error=error)

    async def close(self) -> None:
        """Lets go of all runs within the settings' `drain_within_s`; they go on when a server starts again."""
        self._is_closing = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._errands.close()
        for stop in self._stops.values():
            stop.leave()
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=self.settings.drain_within_s)
        for task in self._tasks.values():
            task.cancel()
        await self._leases.close()


def _text_of(request: RunRequest) -> str:
    if isinstance(request.input, str):
        return request.input
    return " ".join(part.text for part in request.input if isinstance(part, Text))


def _check_may_delete(by: Principal) -> None:
    if not by.may_approve:
        raise Forbidden(
            "Kernels may not delete runs or threads: do it in a client that holds the server's token, or let the "
            "operator set allow_kernel_approvals."
        )
