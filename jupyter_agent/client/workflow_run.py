"""A workflow that the server carries out, in Python's hands: followed live, waited for, cancelled, opened again."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import msgspec

from .. import records
from ..display import words
from ..exceptions import AgentError, ConnectionLost, RunFailed, RunFinished, StorageUnavailable
from .client import Client
from .rows import Rows
from .workflow import CallRow

WAIT_S: Final = 20.0
TICK_S: Final = 0.5
PAUSES_S: Final = (0.2, 0.5, 1.0, *[2.0] * 150)
"""Before another try while nothing answers: five minutes, as for runs. The workflow itself goes on."""
SAID: Final = 200
STATUSES: Final = frozenset(map(str, records.RunStatus))
_STATES: Final = {"hit": "done", "gone": "failed"}


class WorkflowRun:
    """One run of a workflow on the server, live. `await run` or `run.result()` gives its result, plain data.

    It goes on whatever becomes of this process: `ja.workflow_run(id)` opens it again.
    """

    def __init__(self, client: Client, record: records.HeadlessRun) -> None:
        self._client = client
        self._record = record
        self._events: list[records.WorkflowEvent] = []
        self._calls: dict[str, CallRow] = {}
        self._watchers: list[Callable[[], None]] = []
        self._fault: AgentError | None = None
        self._over = threading.Event()
        self.view: Any = None
        """What shows it live where it was started."""
        self._task: asyncio.Task[None] | None = None
        client.threads_loop.call_soon_threadsafe(self._follow_soon)

    def __repr__(self) -> str:
        return f"<WorkflowRun {self.id} {self.summary()}>"

    def summary(self) -> str:
        """Returns where it stands, on a line: status, phase, how many calls came from the store, what was spent."""
        calls = self.calls
        reused = sum(1 for call in calls if call.reused)
        said = [f"{self.name}: {self.status}"]
        if self.phase and not self.is_done:
            said.append(self.phase)
        said.append(f"{reused} of {words.count(len(calls), 'call')} from the store")
        if failed := sum(1 for call in calls if call.status == "failed"):
            said.append(f"{failed} failed")
        said.append(f"{sum(call.tokens or 0 for call in calls):,} tokens")
        if self._record.error_message:
            said.append(self._record.error_message)
        return " · ".join(said)

    # --- facts ------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self._record.workflow_run_id

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._record.workflow

    @property
    def args(self) -> Mapping[str, Any]:
        return self._record.args

    @property
    def resumes(self) -> str | None:
        """The run that this one took up, None for one that began at the start."""
        return self._record.resumes

    @property
    def status(self) -> records.RunStatus:
        return self._record.status

    @property
    def phase(self) -> str | None:
        return self._record.phase

    @property
    def is_done(self) -> bool:
        """Whether it has ended and all that it told has come in."""
        return self._over.is_set()

    @property
    def events(self) -> Rows[records.WorkflowEvent]:
        """What it told so far, in order."""
        return Rows.of("workflow_events", list(self._events))

    @property
    def said(self) -> list[str]:
        """The last lines that it told."""
        return [event.text for event in self._events if event.type == "log"][-SAID:]

    @property
    def calls(self) -> Rows[CallRow]:
        """Its calls, in the order in which they were made, as they stand; `.df` has a row a call."""
        return Rows.of("calls", list(self._calls.values()))

    @property
    def df(self) -> Any:
        """The calls as a DataFrame."""
        return self.calls.df

    # --- waiting ----------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and returns the result; `timeout` is in seconds. Ctrl-C or ■ cancels the run.

        Raises RunFailed when it failed or was interrupted, TimeoutError and ConnectionLost (it goes on).
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._over.is_set() and self._fault is None:
                left_s = TICK_S if until is None else min(TICK_S, until - time.monotonic())
                if left_s <= 0:
                    raise TimeoutError(f"The workflow {self.name!r} did not end within {timeout:g} s. It goes on.")
                self._over.wait(left_s)
        except KeyboardInterrupt:
            with suppress(AgentError):
                self.cancel()
            raise
        return self._answer()

    def __await__(self) -> Generator[Any, None, Any]:
        return self.aresult().__await__()

    async def aresult(self) -> Any:
        """Awaits the end and returns the result, like `result()`. Cancelling it leaves the workflow going."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        end = self.watch(wake)
        try:
            while not self._over.is_set() and self._fault is None:
                news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await news.wait()
        finally:
            end()
        return self._answer()

    def _answer(self) -> Any:
        if self._fault is not None:
            raise self._fault
        if self.status is records.RunStatus.COMPLETED:
            return self._record.result
        code = self._record.error_code or str(self.status)
        said = self._record.error_message or f"It was {self.status}."
        raise RunFailed(
            f"The workflow {self.name!r} did not complete: {said}", details={"code": code, "workflowRunId": self.id}
        )

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Calls the watcher, in a thread of the client's, when something is new; returns what ends that."""
        self._watchers.append(watcher)

        def end() -> None:
            with suppress(ValueError):
                self._watchers.remove(watcher)

        return end

    # --- deeds ------------------------------------------------------------------------------------------------

    def cancel(self) -> int:
        """Ends it for good, with its calls, and returns how many of those were stopped. Raises RunFinished."""
        return int(self._client.wait(self._cancel()))

    async def acancel(self) -> int:
        """Awaits what `cancel` returns."""
        return int(await self._client.join(self._cancel()))

    async def _cancel(self) -> int:
        try:
            return int((await self._client.request("POST", f"{self._path}/cancel", body={}))["count"])
        except RunFinished:
            self._record = await read_run(self._client, self.id)
            raise

    def resume(self, *, show: bool = True) -> "WorkflowRun":
        """Starts it once more where it failed or was interrupted, in a run of its own: what is stored is not run again.

        Raises Conflict for one that goes on or was completed.
        """
        from .workflows import shown

        return shown(self._client.wait(resumed(self._client, self.id)), show=show)

    # --- following --------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return f"workflow-runs/{quote(self.id, safe='')}"

    def _follow_soon(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._follow(), name=f"following {self.id}")

    async def _follow(self) -> None:
        """Hears what the run tells, from its first event to its end."""
        after = 0
        try:
            while True:
                said = await self._asked(f"{self._path}/events", {"after": after, "wait": WAIT_S})
                after = said["next"]
                for event in msgspec.convert(said["items"], list[records.WorkflowEvent]):
                    self._hear(event)
                if said["isOver"] and not said["items"]:
                    break
                if said["items"]:
                    self._told()
            self._record = await self._asked_record()
            self._over.set()
        except AgentError as fault:
            self._fault = fault
        finally:
            self._told()

    async def _asked_record(self) -> records.HeadlessRun:
        return msgspec.convert(await self._asked(f"{self._path}/status", {}), records.HeadlessRun)

    async def _asked(self, path: str, query: Mapping[str, Any]) -> Any:
        """Asks until something answers. Raises the gateway's fault, and ConnectionLost after five minutes."""
        for pause_s in PAUSES_S:
            try:
                return await self._client.request("GET", path, query=query)
            except (ConnectionLost, StorageUnavailable):
                await asyncio.sleep(pause_s)
        return await self._client.request("GET", path, query=query)

    def _hear(self, event: records.WorkflowEvent) -> None:
        self._events.append(event)
        match event.type:
            case "phase":
                self._record = msgspec.structs.replace(self._record, phase=event.text)
            case "status" if event.text in STATUSES:
                self._record = msgspec.structs.replace(self._record, status=records.RunStatus(event.text))
            case "call":
                self._hear_call(event)

    def _hear_call(self, event: records.WorkflowEvent) -> None:
        name = event.call_id or f"#{event.number}"
        before = self._calls.get(name) or CallRow(number=len(self._calls) + 1, prompt=event.text, label=event.text)
        is_hit = event.status == "hit"
        self._calls[name] = msgspec.structs.replace(
            before, status=_STATES.get(str(event.status), str(event.status)), phase=event.phase, model=event.model,
            run_id=event.run_id, tokens=0 if is_hit else event.tokens, cost=0.0 if is_hit else event.cost,
            seconds=event.seconds, error=event.message, reused=is_hit or (None if event.status == "running" else False),
            why="unchanged" if is_hit else before.why,
        )  # fmt: skip

    def _told(self) -> None:
        for watcher in tuple(self._watchers):
            watcher()


async def read_run(client: Client, workflow_run_id: str) -> records.HeadlessRun:
    """Returns the record of a run. Raises WorkflowRunNotFound."""
    said = await client.request("GET", f"workflow-runs/{quote(workflow_run_id, safe='')}/status")
    return msgspec.convert(said, records.HeadlessRun)


async def resumed(client: Client, workflow_run_id: str) -> WorkflowRun:
    """Resumes a run and returns the new one. Raises Conflict, WorkflowRunNotFound, WorkflowNotApproved."""
    path = f"workflow-runs/{quote(workflow_run_id, safe='')}/resume"
    return WorkflowRun(client, msgspec.convert(await client.request("POST", path, body={}), records.HeadlessRun))
