"""Workflow scripts as runs of the server: found by name, checked, carried out, cancelled, taken up after a restart."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ..exceptions import (
    AgentError,
    Conflict,
    Forbidden,
    LeaseLost,
    RunElsewhere,
    RunFinished,
    SandboxUnavailable,
    StorageError,
    WorkflowInvalid,
    WorkflowNotApproved,
)
from ..records import (
    HeadlessRun,
    Principal,
    RunStatus,
    WorkflowBudget,
    WorkflowEvent,
    WorkflowRun,
    new_id,
    utc_now,
)
from ..script import AgentCall
from ..script.plan import WorkflowPlan
from ..storage import Storage
from .active_time import DEFAULT_ACTIVE_S, Turn
from .approvals import Approval, Approvals
from .call_states import script_run_of
from .calls import Calls
from .carrying import Carrying
from .checking import check, check_or_refuse
from .discovery import Listing, Place, list_workflows
from .dry import dry_pass
from .dumps import Dumps
from .exporting import Exported, problem_of, script_of, text_of, write_script
from .limits import Limits
from .meta import check_name
from .nesting import RunsOfCalls, carry_within, check_args
from .portable import problems_in
from .sandbox import Sandbox, library
from .script_file import Script
from .shared_scripts import SharedScripts
from .store_host import Fence, StoreHost

AT_ONCE: Final = 3
"""Scripts that work at the same time; more wait for their turn."""
PLANS_AT_ONCE: Final = 2
TELL_EVERY_S: Final = 0.25
TRY_AGAIN_S: Final = 1.0
LOOK_EVERY_S: Final = 0.5
"""How often the row of a run is looked at that another server carries out."""
log = logging.getLogger(__name__)


class Headless:
    """All scripts that this server carries out. `by` is on whose behalf something is done."""

    def __init__(
        self,
        *,
        storage: Storage,
        calls: Calls,
        folder: Path,
        where: list[Place],
        limits: Limits | None = None,
        active_s: float | None = DEFAULT_ACTIVE_S,
        lease_ttl_s: float | None = None,
    ) -> None:
        """`active_s` is how long a run may work, without the time in which it merely waits for people; None for no
        limit. `lease_ttl_s` is for how many seconds a run is a server's where several share the store, None for who is
        alone with it."""
        self._rows = storage.rows
        self._shared = SharedScripts(storage.rows, self, project=calls.project, ttl_s=lease_ttl_s)
        self._calls = calls
        self._folder = folder
        self._where = where
        self._limits = limits or Limits()
        self._approvals = Approvals(folder)
        self._sandbox: Sandbox | None = None
        self._opening = asyncio.Lock()
        self._open = contextlib.AsyncExitStack()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._planning = asyncio.Semaphore(PLANS_AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._hosts: dict[str, StoreHost] = {}
        self._active_s = active_s
        self._changes: dict[str, asyncio.Event] = {}
        self._ending: set[str] = set()
        self._said_last: dict[str, tuple[list[WorkflowEvent], dict[str, Any]]] = {}
        calls.workflows = RunsOfCalls(self)

    # --- what there is ------------------------------------------------------------------------------------------

    async def listing(self) -> Listing:
        """Returns all workflows of all places, read and never executed."""
        return await asyncio.to_thread(list_workflows, self._where, self._approvals)

    async def approve(self, name: str, digest: str, *, by: Principal) -> Approval:
        """Approves the text that a workflow has now.

        Raises Forbidden for who may not approve, WorkflowNotFound, and Conflict where the text is another by now.
        """
        if not by.may_approve:
            raise Forbidden(
                f"Code in a kernel may not approve workflows: in a terminal jupyter agent workflow approve {name[:80]} "
                "does, or let the operator set AgentGateway.allow_kernel_approvals."
            )
        found = (await self.listing()).get(name)
        if found.script.digest != digest:
            raise Conflict(
                f"The workflow {name!r} has another text by now: read it again.",
                details={"digest": found.script.digest},
            )
        return await asyncio.to_thread(self._approvals.approve, digest, name=name, actor=by.actor)

    # --- runs ---------------------------------------------------------------------------------------------------

    async def start(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        by: Principal,
        model: str | None = None,
        budget: WorkflowBudget | None = None,
        called_by: str | None = None,
    ) -> HeadlessRun:
        """Starts a workflow and returns its run, with this server's own budget where none is given. `model` is that of
        calls for which nothing names one; `called_by` is the call that calls it, and has one run.

        Raises WorkflowNotFound, WorkflowNotApproved, WorkflowInvalid, SandboxUnavailable, UnknownModel, and
        InvalidRequest for arguments that it does not take; then nothing was started.
        """
        script = (await self.listing()).get_to_run(name)
        check_args(script, args)
        return await self._start(script, args, by=by, model=model, budget=budget, called_by=called_by)

    async def resume(self, workflow_run_id: str, *, by: Principal) -> HeadlessRun:
        """Starts a run that failed or was interrupted once more, as it was, in a pass of its own: whatever of it is
        stored is claimed and not run again.

        Raises WorkflowRunNotFound, WorkflowNotApproved where its text is approved no more, and Conflict for a run that
        goes on or that was completed.
        """
        before = await self.get(workflow_run_id, by=by)
        if not before.status.is_terminal:
            raise Conflict(f"The run {workflow_run_id!r} goes on: there is nothing to resume.")
        if before.status is RunStatus.COMPLETED:
            raise Conflict(
                f"The run {workflow_run_id!r} was completed. Run the workflow again: it pays for changes only."
            )
        script = msgspec.convert(await self._rows.headless_script(workflow_run_id), Script)
        if not (await self.listing()).approves(script.digest) and not self._approvals.holds(script.digest):
            raise WorkflowNotApproved(
                f"The text of {before.workflow!r} with which this run began is approved no more: run the workflow as "
                "it is now.",
                details={"name": before.workflow, "digest": script.digest},
            )
        its_pass = await self._rows.get_workflow_run(workflow_run_id, by=by)
        budget = WorkflowBudget(tokens=its_pass.budget_tokens, cost=its_pass.budget_cost)
        return await self._start(script, before.args, by=by, model=before.model, budget=budget, resumes=workflow_run_id)

    async def _start(
        self,
        script: Script,
        args: Mapping[str, Any],
        *,
        by: Principal,
        model: str | None,
        budget: WorkflowBudget | None,
        called_by: str | None = None,
        resumes: str | None = None,
    ) -> HeadlessRun:
        if model is not None:
            self._calls.check_model(model)
        await check_or_refuse(await self._its_sandbox(), script)
        now = utc_now()
        run = HeadlessRun(
            workflow_run_id=new_id("wfr") if called_by is None else script_run_of(called_by), user_id=by.user_id,
            workflow=script.name, project=self._calls.project, digest=script.digest, status=RunStatus.PENDING,
            args=dict(args), model=model, resumes=resumes, called_by=called_by, created_at=now, updated_at=now,
        )  # fmt: skip
        await self._calls.open(
            WorkflowRun(
                workflow_run_id=run.workflow_run_id, user_id=run.user_id, workflow=run.workflow, project=run.project,
                args=run.args, created_at=now, updated_at=now,
            ),
            budget=budget,
        )  # fmt: skip
        await self._shared.create(run, msgspec.to_builtins(script))
        self._carry(run, script)
        return run

    async def _to_run(self, name: str, args: Mapping[str, Any]) -> Script:
        """Returns the script of a workflow that may run with these arguments."""
        script = (await self.listing()).get_to_run(name)
        check_args(script, args)
        await check_or_refuse(await self._its_sandbox(), script)
        return script

    async def plan(self, name: str, args: Mapping[str, Any], *, by: Principal) -> WorkflowPlan:
        """Returns what a workflow would do with these arguments; claims and starts nothing. Raises what `start`
        does."""
        script = await self._to_run(name, args)
        async with self._planning:
            return await dry_pass(await self._its_sandbox(), script, self._calls, args, by=by, limits=self._limits)

    async def export(self, name: str, cells: Sequence[str], said: Mapping[str, Any], *, replace: bool) -> Exported:
        """Writes a notebook's cells as a script of the workspace, where all of them are portable; `said` is what its
        `meta` is to say for all calls. It runs when a person has approved it.

        Raises Conflict where a file with another text is there, unless it is to be replaced, WorkflowInvalid for a name
        that no script can have, and SandboxUnavailable where nothing can check it.
        """
        check_name(name)
        text = ""
        try:
            script = script_of(name, cells, said)
            text = text_of(script)
            problems = problems_in(script) or await check(await self._its_sandbox(), script)
        except WorkflowInvalid as fault:
            problems = [problem_of(fault)]
        if problems:
            return Exported(name=name, text=text, problems=tuple(problems))
        place = next(place for place in self._where if place.name == "workspace")
        file, digest = await asyncio.to_thread(write_script, place.top, name, text, replace=replace)
        return Exported(name=name, text=text, problems=(), file=file, digest=digest)

    async def get(self, workflow_run_id: str, *, by: Principal) -> HeadlessRun:
        """Raises WorkflowRunNotFound."""
        return await self._rows.get_headless_run(workflow_run_id, by=by)

    async def follow(self, workflow_run_id: str, *, by: Principal) -> AsyncIterator[HeadlessRun]:
        """Gives a run as it stands, and again whenever it has changed, until it has ended. Raises
        WorkflowRunNotFound."""
        told: HeadlessRun | None = None
        while True:
            change = self._change_of(workflow_run_id)
            run = await self.get(workflow_run_id, by=by)
            if run != told:
                yield run
            if run.status.is_terminal:
                return
            told = run
            await _heard(change)

    async def spent_by(self, run: HeadlessRun) -> tuple[int, float | None]:
        """Returns the tokens and dollars of the calls that ran live in a run; None where a price is unknown."""
        live = [call for call in await self._rows.held_calls(run.workflow_run_id) if call.created_at >= run.created_at]
        costs = [call.cost for call in live]
        known = [cost for cost in costs if cost is not None]
        return sum(call.tokens or 0 for call in live), sum(known) if len(known) == len(costs) else None

    async def list_runs(self, name: str | None = None, *, by: Principal, limit: int = 100) -> list[HeadlessRun]:
        """Returns a workflow's newest runs, those of all without a name, newest first."""
        return await self._rows.list_headless_runs(name, self._calls.project, by=by, limit=limit)

    async def events(
        self, workflow_run_id: str, *, by: Principal, after: int = 0, limit: int = 1_000, wait_s: float = 0.0
    ) -> Sequence[WorkflowEvent]:
        """Returns what a run told after that number, waiting for it so long while the run goes on. Raises
        WorkflowRunNotFound."""
        until = asyncio.get_running_loop().time() + wait_s
        while True:
            goes_on = workflow_run_id in self._tasks or await self._goes_on_elsewhere(workflow_run_id, by=by)
            change = self._change_of(workflow_run_id) if goes_on else None
            events = await self._rows.list_workflow_events(workflow_run_id, by=by, after=after, limit=limit)
            left_s = until - asyncio.get_running_loop().time()
            if events or not goes_on or left_s <= 0:
                return events
            await _heard(change, left_s)

    async def is_over(self, run: HeadlessRun) -> bool:
        """Tells whether a run has ended and told all that it had to tell."""
        run_id = run.workflow_run_id
        # Whoever carries it out lets go of it when all is told.
        return run.status.is_terminal and not self.has(run_id) and not await self._shared.is_held(run_id)

    async def _goes_on_elsewhere(self, workflow_run_id: str, *, by: Principal) -> bool:
        return self._shared.are_shared and not await self.is_over(await self.get(workflow_run_id, by=by))

    def _change_of(self, workflow_run_id: str) -> asyncio.Event | None:
        """Returns what is set when a run changes here next; None where another server may carry it out."""
        if self._shared.are_shared and workflow_run_id not in self._tasks:
            return None
        return self._changes.setdefault(workflow_run_id, asyncio.Event())

    async def cancel(self, workflow_run_id: str, *, by: Principal) -> int:
        """Ends a run for good, with its calls, wherever it is carried out, and returns how many of those were stopped.

        Raises WorkflowRunNotFound, RunFinished; RunElsewhere where the server that carries it out does not answer.
        """
        run = await self.get(workflow_run_id, by=by)
        if (fault := _over(run)) is not None:
            raise fault

        async def over() -> RunFinished | None:
            return _over(await self.get(workflow_run_id, by=by))

        # What nobody carries out is ended here.
        if await self._shared.take(workflow_run_id):
            return await self._cancel(run)
        return await self._shared.cancel_elsewhere(workflow_run_id, by=by, over=over)

    async def _cancel(self, run: HeadlessRun) -> int:
        """Ends a run that this server carries out, or nobody."""
        run_id = run.workflow_run_id
        ended: dict[str, Any] = {
            "status": RunStatus.INTERRUPTED, "ended_at": utc_now(), "error_code": "interrupted", "waits_for": (),
        }  # fmt: skip
        self._ending.add(run_id)
        try:
            lease_no = self._shared.lease_no(run_id)
            if not await self._rows.update_headless_run(run_id, lease_no=lease_no, **ended):
                raise RunFinished(f"The run {run_id!r} has just ended.")
            flying = [call.call_id for call in await self._rows.held_calls(run_id) if not call.is_done]
            task = self._tasks.get(run_id)
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            await self._stop_left(run)
            await self._rows.tell_headless_run(run_id, [_status("interrupted")], lease_no=lease_no)
        finally:
            self._ending.discard(run_id)
            await self._shared.release(run_id)
            self._changed(run_id)
        return len(flying)

    # --- carrying out -------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Takes up the scripts that a stopped server left; returns how many. Without a sandbox they go on waiting.
        Where other servers share the store, what they leave is taken up from now on, too."""
        if self._shared.are_shared:
            return await self._shared.open()
        left = await self._rows.unfinished_headless_runs(self._calls.project)
        for run in left:
            self.take_up(run, await self._rows.headless_script(run.workflow_run_id))
        return len(left)

    async def close(self) -> None:
        """Lets go of all scripts, so that a server that starts again takes them up, or another one, and ends the
        sandbox."""
        await self._shared.leave()
        for host in self._hosts.values():
            host.leave()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))
        await self._shared.close()
        await self._open.aclose()

    def has(self, run_id: str) -> bool:
        """Tells whether something is being done about the run here."""
        return run_id in self._tasks or run_id in self._ending

    async def can_carry(self) -> bool:
        """Tells whether scripts can be carried out here at all."""
        try:
            await self._its_sandbox()
        except SandboxUnavailable as fault:
            log.debug("What other servers left of workflows stays there: %s", fault.message)
            return False
        return True

    def take_up(self, run: HeadlessRun, script: dict[str, Any]) -> None:
        """Goes on with a run that was begun before, here or elsewhere."""
        self._carry(run, msgspec.convert(script, Script))

    def let_go(self, run_id: str) -> None:
        """Stops what another server may carry out by now; its calls go on."""
        if (host := self._hosts.get(run_id)) is not None:
            host.leave()
        if (task := self._tasks.get(run_id)) is not None:
            task.cancel()

    async def _its_sandbox(self) -> Sandbox:
        """Returns the sandbox, opened when it is needed first. Raises SandboxUnavailable."""
        async with self._opening:
            if self._sandbox is None:
                self._sandbox = await self._open.enter_async_context(Sandbox())
            return self._sandbox

    def _carry(self, run: HeadlessRun, script: Script) -> None:
        run_id = run.workflow_run_id
        task = self._tasks[run_id] = asyncio.create_task(self._own(run, script), name=f"workflow {run_id}")
        task.add_done_callback(lambda _: self._ended(run_id))

    def _ended(self, run_id: str) -> None:
        self._tasks.pop(run_id, None)
        self._changed(run_id)

    def _changed(self, workflow_run_id: str) -> None:
        if (change := self._changes.pop(workflow_run_id, None)) is not None:
            change.set()

    async def _own(self, run: HeadlessRun, script: Script) -> None:
        """Owns a run to its end, or until another server has it: nothing it raises is lost."""
        run_id = run.workflow_run_id
        try:
            await self._to_its_end(run, script, self._shared.lease_no(run_id))
        except LeaseLost as fault:
            log.warning("The workflow run %s is left to another server: %s", run_id, fault)
        finally:
            if run_id not in self._ending:
                await self._shared.release(run_id)

    async def _to_its_end(self, run: HeadlessRun, script: Script, lease_no: int | None) -> None:
        turn = Turn(self._turns, allowed_s=self._active_s, spent_s=run.active_s)
        try:
            await turn.work()
            words = [_status("running"), *_first_words(run)]
            await self._lasting(run, words, lease_no, status=RunStatus.RUNNING)
            result = await self._carried(run, script, turn, lease_no)
            ended: dict[str, Any] = {"status": RunStatus.COMPLETED, "result": result}
        except SandboxUnavailable as fault:
            log.warning("The workflow run %s waits for a sandbox: %s", run.workflow_run_id, fault.message)
            return
        except asyncio.CancelledError:
            events, now = self._last_words(run)
            with contextlib.suppress(StorageError, LeaseLost):
                await self._rows.tell_headless_run(run.workflow_run_id, events, lease_no=lease_no, **now)
            raise
        except LeaseLost:
            raise
        except AgentError as fault:
            ended = {"status": RunStatus.ERROR, "error_code": fault.code, "error_message": fault.message}
        except Exception:
            log.exception("The workflow run %s could not be carried out.", run.workflow_run_id)
            message = "The server's log says what went wrong."
            ended = {"status": RunStatus.ERROR, "error_code": AgentError.code, "error_message": message}
        finally:
            turn.wait()
        events, now = self._last_words(run)
        # Calls of what another server carries out by now are not stopped.
        self._shared.lease_no(run.workflow_run_id)
        await self._stop_left(run)
        last = {**now, **ended, "ended_at": utc_now(), "waits_for": ()}
        await self._lasting(run, [*events, _status(str(ended["status"]))], lease_no, **last)

    async def _stop_left(self, run: HeadlessRun) -> None:
        """Stops calls that outlived the script: some were being claimed when it ended, or when it was taken up after a
        restart had not been said again."""
        try:
            held = await self._rows.held_calls(run.workflow_run_id)
            flying = [call.call_id for call in held if not call.is_done]
            await self._calls.stop(run.workflow_run_id, flying, by=Principal(user_id=run.user_id))
        except (StorageError, RunElsewhere) as fault:
            log.warning("Calls of the workflow run %s could not be stopped: %s", run.workflow_run_id, fault)

    async def _lasting(
        self, run: HeadlessRun, events: Sequence[WorkflowEvent], lease_no: int | None, **changed: Any
    ) -> None:
        """Writes, and waits while the store is full or away: how a run ended is not thrown away."""
        while True:
            try:
                await self._rows.tell_headless_run(run.workflow_run_id, events, lease_no=lease_no, **changed)
                return
            except StorageError as fault:
                log.warning("What became of a workflow run cannot be written down yet: %s", fault)
                await asyncio.sleep(TRY_AGAIN_S)

    async def _carried(self, run: HeadlessRun, script: Script, turn: Turn, lease_no: int | None) -> Any:
        sandbox = await self._its_sandbox()
        news = asyncio.Event()
        by = Principal(user_id=run.user_id, actor=f"workflow {run.workflow}")
        host = self._hosts[run.workflow_run_id] = StoreHost(
            self._calls, run, by=by, told=news.set, turn=turn, nest=self._nested, meta=script.meta,
            fence=Fence(lease_no, lambda: self.let_go(run.workflow_run_id)),
        )  # fmt: skip
        over = asyncio.Event()
        telling = asyncio.create_task(self._tell(host, turn, news, over))
        dumps = await asyncio.to_thread(Dumps, self._folder, sandbox=library().__version__)
        try:
            await host.resumes()
            carrying = Carrying(
                sandbox, script, host, run_id=run.workflow_run_id, began_at=run.created_at, limits=self._limits,
                dumps=dumps,
            )  # fmt: skip
            return await _within(turn, host, carrying.run(), told=news.set)
        finally:
            del self._hosts[run.workflow_run_id]
            await host.close()
            over.set()
            news.set()
            await telling
            self._said_last[run.workflow_run_id] = (host.telling.take(), _now(host, turn))

    def _last_words(self, run: HeadlessRun) -> tuple[list[WorkflowEvent], dict[str, Any]]:
        """Returns what a run told last: it is written with how it ended."""
        return self._said_last.pop(run.workflow_run_id, ([], {}))

    async def _nested(self, host: StoreHost, call: AgentCall, place: int) -> Any:
        sandbox, listing = await self._its_sandbox(), await self.listing()
        return await carry_within(host, call, place, listing=listing, sandbox=sandbox, limits=self._limits)

    async def _tell(self, host: StoreHost, turn: Turn, news: asyncio.Event, over: asyncio.Event) -> None:
        """Writes what a run tells, a few times a second, until it is over."""
        while True:
            await news.wait()
            if over.is_set():
                return
            news.clear()
            await self._told(host, turn)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY_S):
                    await over.wait()

    async def _told(self, host: StoreHost, turn: Turn) -> None:
        run_id = host.run.workflow_run_id
        events = host.telling.take()
        try:
            await self._rows.tell_headless_run(run_id, events, lease_no=host.fence.lease_no, **_now(host, turn))
        except LeaseLost:
            self.let_go(run_id)
        except StorageError as fault:
            log.warning("What a workflow run tells cannot be written down yet: %s", fault)
            host.telling.put_back(events)
        self._changed(run_id)


async def _heard(change: asyncio.Event | None, within_s: float | None = None) -> None:
    """Waits until a run may have changed, so long at most."""
    if change is None:
        await asyncio.sleep(LOOK_EVERY_S if within_s is None else min(LOOK_EVERY_S, within_s))
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await change.wait()


def _over(run: HeadlessRun) -> RunFinished | None:
    if not run.status.is_terminal:
        return None
    return RunFinished(f"The run {run.workflow_run_id!r} has ended before: {run.status.value}.")


def _now(host: StoreHost, turn: Turn) -> dict[str, Any]:
    """Returns what the row of a run says of it."""
    return {
        "status": RunStatus.WAITING_INPUT if turn.is_waiting else RunStatus.RUNNING, "waits_for": host.asking,
        "active_s": turn.spent_s, "phase": host.phase_now, "said": tuple(host.said), "calls": host.made,
        "hits": host.hits,
    }  # fmt: skip


def _first_words(run: HeadlessRun) -> list[WorkflowEvent]:
    if run.resumes is None:
        return []
    text = f"This resumes {run.resumes}: what is stored of it is not run again."
    return [WorkflowEvent(type="log", text=text, at=utc_now())]


def _status(status: str) -> WorkflowEvent:
    return WorkflowEvent(type="status", text=status, at=utc_now())


async def _within(turn: Turn, host: StoreHost, work: Coroutine[Any, Any, Any], *, told: Callable[[], None]) -> Any:
    """Returns what the work gives. Raises BudgetExceeded where the run's active time is up before; then it is
    stopped, with its calls."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(turn.watch(host.merely_waits, told))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise watching.result()
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.wait({working, watching})
