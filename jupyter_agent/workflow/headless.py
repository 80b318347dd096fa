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
    RunFinished,
    SandboxUnavailable,
    StorageError,
    WorkflowInvalid,
    WorkflowNotApproved,
)
from ..records import HeadlessRun, Principal, RunStatus, WorkflowBudget, WorkflowEvent, WorkflowRun, new_id, utc_now
from ..script import AgentCall
from ..script.plan import WorkflowPlan
from ..storage import Storage
from .active_time import DEFAULT_ACTIVE_S, Turn
from .approvals import Approval, Approvals
from .calls import Calls
from .carrying import Carrying
from .checking import check, check_or_refuse
from .discovery import Listing, Place, list_workflows
from .dry import dry_pass
from .dumps import Dumps
from .exporting import Exported, problem_of, script_of, text_of, write_script
from .limits import Limits
from .meta import check_name
from .nesting import RunsOfCalls, carry_within, check_args, run_id_of
from .portable import problems_in
from .sandbox import Sandbox, library
from .script_file import Script
from .store_host import StoreHost

AT_ONCE: Final = 3
"""Scripts that work at the same time; more wait for their turn."""
PLANS_AT_ONCE: Final = 2
TELL_EVERY_S: Final = 0.25
TRY_AGAIN_S: Final = 1.0
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
    ) -> None:
        """`active_s` is how long a run may work, without the time in which it merely waits for people; None for no
        limit."""
        self._rows = storage.rows
        self._is_shared = storage.is_shared
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
        if self._is_shared:
            raise Conflict("Servers that share a database do not carry scripts out yet: run it in a notebook.")
        if model is not None:
            self._calls.check_model(model)
        await check_or_refuse(await self._its_sandbox(), script)
        now = utc_now()
        run = HeadlessRun(
            workflow_run_id=new_id("wfr") if called_by is None else run_id_of(called_by), user_id=by.user_id,
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
        await self._rows.create_headless_run(run, msgspec.to_builtins(script))
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
        while True:
            change = self._changes.setdefault(workflow_run_id, asyncio.Event())
            run = await self.get(workflow_run_id, by=by)
            yield run
            if run.status.is_terminal:
                return
            await change.wait()

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
            goes_on = workflow_run_id in self._tasks
            change = self._changes.setdefault(workflow_run_id, asyncio.Event()) if goes_on else None
            events = await self._rows.list_workflow_events(workflow_run_id, by=by, after=after, limit=limit)
            left_s = until - asyncio.get_running_loop().time()
            if events or change is None or left_s <= 0:
                return events
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await change.wait()

    def is_over(self, run: HeadlessRun) -> bool:
        """Tells whether a run has ended and told all that it had to tell."""
        run_id = run.workflow_run_id
        return run.status.is_terminal and run_id not in self._tasks and run_id not in self._ending

    async def cancel(self, workflow_run_id: str, *, by: Principal) -> int:
        """Ends a run for good, with its calls, and returns how many of those were stopped.

        Raises WorkflowRunNotFound, RunFinished.
        """
        run = await self.get(workflow_run_id, by=by)
        if run.status.is_terminal:
            raise RunFinished(f"The run {workflow_run_id!r} has ended before: {run.status.value}.")
        ended = {"status": RunStatus.INTERRUPTED, "ended_at": utc_now(), "error_code": "interrupted", "waits_for": ()}
        self._ending.add(workflow_run_id)
        try:
            if not await self._rows.update_headless_run(workflow_run_id, **ended):
                raise RunFinished(f"The run {workflow_run_id!r} has just ended.")
            flying = [call.call_id for call in await self._rows.held_calls(workflow_run_id) if not call.is_done]
            task = self._tasks.get(workflow_run_id)
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            await self._stop_left(run)
            await self._rows.tell_headless_run(workflow_run_id, [_status("interrupted")])
        finally:
            self._ending.discard(workflow_run_id)
            self._changed(workflow_run_id)
        return len(flying)

    # --- carrying out -------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Takes up the scripts that a stopped server left; returns how many. Without a sandbox they go on waiting."""
        if self._is_shared:
            return 0
        left = await self._rows.unfinished_headless_runs(self._calls.project)
        for run in left:
            script = msgspec.convert(await self._rows.headless_script(run.workflow_run_id), Script)
            self._carry(run, script)
        return len(left)

    async def close(self) -> None:
        """Lets go of all scripts, so that a server that starts again takes them up, and ends the sandbox."""
        for host in self._hosts.values():
            host.leave()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))
        await self._open.aclose()

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
        """Owns a run to its end: nothing it raises is lost."""
        turn = Turn(self._turns, allowed_s=self._active_s, spent_s=run.active_s)
        try:
            await turn.work()
            await self._lasting(run, [_status("running"), *_first_words(run)], status=RunStatus.RUNNING)
            ended: dict[str, Any] = {"status": RunStatus.COMPLETED, "result": await self._carried(run, script, turn)}
        except SandboxUnavailable as fault:
            log.warning("The workflow run %s waits for a sandbox: %s", run.workflow_run_id, fault.message)
            return
        except asyncio.CancelledError:
            events, now = self._last_words(run)
            with contextlib.suppress(StorageError):
                await self._rows.tell_headless_run(run.workflow_run_id, events, **now)
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
        await self._stop_left(run)
        last = {**now, **ended, "ended_at": utc_now(), "waits_for": ()}
        await self._lasting(run, [*events, _status(str(ended["status"]))], **last)

    async def _stop_left(self, run: HeadlessRun) -> None:
        """Stops calls that outlived the script: some were being claimed when it ended, or when it was taken up after a
        restart had not been said again."""
        try:
            held = await self._rows.held_calls(run.workflow_run_id)
            flying = [call.call_id for call in held if not call.is_done]
            await self._calls.stop(run.workflow_run_id, flying, by=Principal(user_id=run.user_id))
        except StorageError as fault:
            log.warning("Calls of the workflow run %s could not be looked for: %s", run.workflow_run_id, fault)

    async def _lasting(self, run: HeadlessRun, events: Sequence[WorkflowEvent], **changed: Any) -> None:
        """Writes, and waits while the store is full or away: how a run ended is not thrown away."""
        while True:
            try:
                await self._rows.tell_headless_run(run.workflow_run_id, events, **changed)
                return
            except StorageError as fault:
                log.warning("What became of a workflow run cannot be written down yet: %s", fault)
                await asyncio.sleep(TRY_AGAIN_S)

    async def _carried(self, run: HeadlessRun, script: Script, turn: Turn) -> Any:
        sandbox = await self._its_sandbox()
        news = asyncio.Event()
        by = Principal(user_id=run.user_id, actor=f"workflow {run.workflow}")
        host = self._hosts[run.workflow_run_id] = StoreHost(
            self._calls, run, by=by, told=news.set, turn=turn, nest=self._nested, meta=script.meta
        )
        over = asyncio.Event()
        telling = asyncio.create_task(self._tell(run, host, turn, news, over))
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

    async def _tell(
        self, run: HeadlessRun, host: StoreHost, turn: Turn, news: asyncio.Event, over: asyncio.Event
    ) -> None:
        """Writes what a run tells, a few times a second, until it is over."""
        while True:
            await news.wait()
            if over.is_set():
                return
            news.clear()
            await self._told(run, host, turn)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY_S):
                    await over.wait()

    async def _told(self, run: HeadlessRun, host: StoreHost, turn: Turn) -> None:
        events = host.telling.take()
        try:
            await self._rows.tell_headless_run(run.workflow_run_id, events, **_now(host, turn))
        except StorageError as fault:
            log.warning("What a workflow run tells cannot be written down yet: %s", fault)
            host.telling.put_back(events)
        self._changed(run.workflow_run_id)


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
