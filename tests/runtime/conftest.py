"""A whole runtime in a folder: real storage, real journals, the scripted model, and a kernel that is this process."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_agent import events as ev
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.models import ModelCatalog
from jupyter_agent.records import Approval, Decision, Principal, Run, RunRequest, RunStatus
from jupyter_agent.runtime import Leaseholder, Runner, RunnerSettings
from jupyter_agent.storage import open_storage
from jupyter_agent.testing import check_events
from jupyter_agent.tools import Toolbox, first_toolbox
from jupyter_agent.tools.contract import Environment, ToolAnswer, ToolContext

ALICE = Principal(user_id="alice", actor="Alice")
KERNEL = Principal(user_id="alice", actor="kernel", may_approve=False, kernel_id="k1")
TIMEOUT_S = 20.0


class Folder(Environment):
    """An environment that is a folder; cells execute in this process."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self.executed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def workspace(self) -> Path:
        return self._workspace

    async def run_cell(self, code: str, *, context: ToolContext, timeout_s: float) -> ToolAnswer:
        self.executed.append(code)
        context.progress("started\n")
        await asyncio.wait_for(self.gate.wait(), timeout_s)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, {})  # noqa: S102 - it is what a kernel does
        return ToolAnswer(content=out.getvalue())

    async def call_client(self, name: str, arguments: str, *, context: ToolContext, timeout_s: float) -> ToolAnswer:
        return ToolAnswer(content=f"{name} got {arguments} for {context.run_id} within {timeout_s:g} s")


class World:
    """A runner over a folder. Opening a second one on the same folder is a restart."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: RunnerSettings,
        toolbox: Toolbox | None = None,
        ttl_s: float | None = None,
        database_url: str = "",
        models: ModelCatalog | None = None,
    ) -> None:
        """With `ttl_s` it shares its store with other worlds."""
        self.folder = folder
        self.settings = settings
        self.toolbox = toolbox or first_toolbox()
        self.ttl_s = ttl_s
        self.database_url = database_url
        self.models = models or ModelCatalog()
        self._is_closed = False

    async def open(self) -> "World":
        self.storage = open_storage(self.folder / "data", self.database_url)
        await self.storage.rows.open()
        self.leases = Leaseholder(self.storage.rows, ttl_s=self.ttl_s)
        self.projection = Projection(
            self.storage.rows,
            self.storage.blobs,
            lease_no=self.leases.number,
            on_given_back=None if self.leases.is_shared else self.leases.given_back,
        )
        self.journal = Journal(
            self.storage.lines, self.storage.blobs, observer=self.projection, unused_s=0.0, look_every_s=0.2
        )
        workspace = self.folder / "work"
        workspace.mkdir(exist_ok=True)
        self.workspace = workspace
        self.environment = Folder(workspace)
        self.runner = Runner(
            storage=self.storage,
            journal=self.journal,
            projection=self.projection,
            models=self.models,
            toolbox=self.toolbox,
            environment=self.environment,
            settings=self.settings,
            leases=self.leases,
        )
        self.recovered = await self.runner.recover()
        return self

    async def close(self) -> None:
        """Does nothing to a world that is closed."""
        if self._is_closed:
            return
        self._is_closed = True
        await self.runner.close()
        await self.journal.aclose()
        await self.projection.aclose()
        await self.storage.close()

    async def start(self, script: Any = None, *, by: Principal = ALICE, **fields: Any) -> Run:
        model = "scripted" if script is not None else "echo"
        request = RunRequest(**{"input": "go", "model": model, "script": script} | fields)
        return await self.runner.start(request, by=by)

    async def until(self, run: Run, found: Callable[[Any], bool]) -> Any:
        """Follows the run and returns its first event for which `found` is true."""
        async with asyncio.timeout(TIMEOUT_S):
            async for batch in self.journal.follow(run.run_id):
                for line in batch.lines:
                    event = ev.decode_line(line)
                    if found(event):
                        return event
        raise AssertionError("The run ended without that event.")

    async def until_type(self, run: Run, kind: type[Any]) -> Any:
        return await self.until(run, lambda event: isinstance(event, kind))

    async def events(self, run: Run) -> list[Any]:
        """Follows the run to its end, checks its log and returns all events."""
        lines: list[bytes] = []
        async with asyncio.timeout(TIMEOUT_S):
            async for batch in self.journal.follow(run.run_id):
                lines += batch.lines
        check_events(lines)
        return [ev.decode_line(line) for line in lines]

    async def end(self, run: Run) -> Run:
        """Waits until the run is over and its rows say so."""
        await self.events(run)
        async with asyncio.timeout(TIMEOUT_S):
            while run.run_id in self.runner.active_run_ids:
                await asyncio.sleep(0.005)
        return await self.storage.rows.get_run(run.run_id, by=ALICE)

    async def decide(self, run: Run, decision: Decision = Decision.APPROVE, **more: Any) -> Approval:
        """Waits for the run's first pending approval and decides it."""
        asked = (await self.pending(run))[0]
        await self.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=decision, by=ALICE, **more)
        return asked

    async def pending(self, run: Run) -> tuple[Approval, ...]:
        """Waits until the run waits for a decision and returns what it asks."""
        async for batch in self.journal.follow(run.run_id):
            transcript = self.journal.transcript(run.run_id)
            if (batch.lines or batch.caught_up) and transcript and transcript.pending_approvals:
                return transcript.pending_approvals
        raise AssertionError("The run ended without asking.")


OpenWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def open_world(tmp_path: Path) -> AsyncIterator[OpenWorld]:
    """Opens worlds over one folder; each call is a start of the server."""
    opened: list[World] = []

    async def open_one(
        *,
        toolbox: Toolbox | None = None,
        ttl_s: float | None = None,
        database_url: str = "",
        models: ModelCatalog | None = None,
        **settings: Any,
    ) -> World:
        chosen = RunnerSettings(**{"retry_base_s": 0.01} | settings)
        world = World(tmp_path, settings=chosen, toolbox=toolbox, ttl_s=ttl_s, database_url=database_url, models=models)
        await world.open()
        opened.append(world)
        return world

    yield open_one
    for world in opened:
        await world.close()


@pytest.fixture
async def world(open_world: OpenWorld) -> World:
    return await open_world()


def kinds(events: list[Any]) -> list[str]:
    """Returns the names of the events' types, and of the kinds of agent events."""
    return [type(one.event if isinstance(one, ev.AgentEvent) else one).__name__ for one in events]


def result_of(events: list[Any]) -> Any:
    """Returns the last tool result."""
    return next(
        one.event
        for one in reversed(events)
        if isinstance(one, ev.AgentEvent) and isinstance(one.event, ev.ToolResultReady)
    )


def is_over(run: Run) -> bool:
    return RunStatus(run.status).is_terminal
