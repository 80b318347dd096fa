"""Opens and closes what carries out runs: the store, the journal, the runner, and what stands between them and us."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..journal import Journal, Projection
from ..journal.archive import decode_detail
from ..journal.retention import Limits
from ..models import ModelCatalog
from ..models.prices import Prices
from ..records import TurnRecord, WorkflowBudget
from ..runtime import Leaseholder, Runner, RunnerSettings
from ..runtime.history import load_turns
from ..storage import Storage, open_storage
from ..tools import Toolbox, first_toolbox
from ..workflow.calls import Calls
from ..workflow.discovery import CATALOG, places
from ..workflow.flows import Flows
from ..workflow.headless import Headless
from ..workflow.resolving import Resolver
from .actions import Actions
from .changes import Changes
from .client_tools import ClientTools
from .environment import JupyterEnvironment
from .sniffing import is_digest
from .sweeping import ResultLimits, Sweeper

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
LONG_AT_ONCE: Final = 4
LOOK_EVERY_S: Final = 1.0
"""How often followers look for what other servers append to a run: nobody waits longer than two seconds for it."""


@dataclass(frozen=True)
class Plan:
    """What the operator decided, ready to open. `replay` is given by `open_rooms`."""

    folder: Path
    project: str
    workspace: Path
    config_dir: Path
    database_url: str = field(repr=False)
    lease_ttl_s: float
    default_model: str
    base_urls: dict[str, dict[str, Any]]
    prices: dict[str, dict[str, Any]]
    settings: RunnerSettings
    flows: dict[str, str]
    retention: Limits
    results: ResultLimits
    workflow_active_s: float | None
    workflow_silent_s: float
    workflow_budget: WorkflowBudget
    sweep_every_s: float
    reverify_every_s: float
    stalled_after_s: float


@dataclass(frozen=True)
class Rooms:
    """Everything that is open. Nothing of it is used before `open_rooms` returned, nor after `close`."""

    storage: Storage
    journal: Journal
    projection: Projection
    models: ModelCatalog
    prices: Prices
    toolbox: Toolbox
    runner: Runner
    actions: Actions
    calls: Calls
    headless: Headless
    flows: Flows
    sweeper: Sweeper
    changes: Changes
    client_tools: ClientTools
    environment: JupyterEnvironment
    long_work: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LONG_AT_ONCE))
    """Held by what takes a thread for long: journals and blobs need threads too. A reader of facts has a process or a
    connection of its own besides."""

    async def close(self) -> None:
        """Lets runs go within five seconds, so that a server that starts again takes them up."""
        await self.sweeper.close()
        await self.flows.close()
        await self.headless.close()
        await self.calls.close()
        await self.runner.close()
        await self.actions.drain(timeout_s=1.0)
        await self.environment.close()
        await self.models.close()
        await self.projection.aclose()
        await self.journal.aclose()
        await self.storage.close()


async def recorded_turns(key: str, storage: Storage, journal: Journal) -> Sequence[TurnRecord]:
    """Returns the turns of a run, by its id or the hash of its detail blob. Raises NotFound, StorageError."""
    run_id = decode_detail(await storage.blobs.get(key), key).run_id if is_digest(key) else key
    return await load_turns(storage.blobs, await journal.load(run_id))


async def open_rooms(
    plan: Plan, *, changes: Changes, client_tools: ClientTools, environment: JupyterEnvironment
) -> Rooms:
    """Opens everything and takes up the runs that a stopped server left. Raises StorageError; then nothing is open."""
    storage = await asyncio.to_thread(open_storage, plan.folder, plan.database_url)
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(storage.close)
        await asyncio.to_thread(storage.enter)
        await storage.rows.open()
        runs = _runs_over(storage, plan, environment)
        undo.push_async_callback(runs.journal.aclose)
        runs.runner.subscribe(changes.run_changed)
        actions = Actions(
            storage=storage,
            journal=runs.journal,
            runner=runs.runner,
            changes=changes,
            client_tools=client_tools,
            reverify_every_s=plan.reverify_every_s,
            stalled_after_s=plan.stalled_after_s,
        )
        workflows = _workflows_over(runs, plan)
        for room in (runs.runner, workflows.calls, workflows.headless):
            undo.push_async_callback(room.close)
        await _take_up(runs.runner, workflows)
        await workflows.flows.open()
        sweeper = Sweeper(
            storage=storage,
            journal=runs.journal,
            runner=runs.runner,
            changes=changes,
            limits=plan.retention,
            results=plan.results,
            every_s=plan.sweep_every_s,
        )
        sweeper.start()
        undo.pop_all()
    return Rooms(
        **vars(runs),
        **vars(workflows),
        actions=actions,
        sweeper=sweeper,
        changes=changes,
        client_tools=client_tools,
        environment=environment,
    )


@dataclass(frozen=True)
class _Runs:
    """What carries out runs."""

    storage: Storage
    journal: Journal
    projection: Projection
    models: ModelCatalog
    prices: Prices
    toolbox: Toolbox
    runner: Runner


def _lease_ttl_s(storage: Storage, plan: Plan) -> float | None:
    """Returns for how long a lease holds; None for who is alone with its store."""
    return plan.lease_ttl_s if storage.is_shared else None


def _runs_over(storage: Storage, plan: Plan, environment: JupyterEnvironment) -> _Runs:
    leases = Leaseholder(storage.rows, ttl_s=_lease_ttl_s(storage, plan))
    projection = Projection(
        storage.rows,
        storage.blobs,
        lease_no=leases.number,
        on_given_back=None if leases.is_shared else leases.given_back,
    )
    journal = Journal(
        storage.lines,
        storage.blobs,
        observer=projection,
        look_every_s=LOOK_EVERY_S if storage.is_shared else None,
    )
    models = ModelCatalog(
        plan.default_model, base_urls=plan.base_urls, replay=lambda key: recorded_turns(key, storage, journal)
    )
    toolbox, prices = first_toolbox(), Prices(plan.prices)
    runner = Runner(
        storage=storage,
        journal=journal,
        projection=projection,
        models=models,
        toolbox=toolbox,
        environment=environment,
        prices=prices,
        settings=plan.settings,
        leases=leases,
    )
    return _Runs(storage, journal, projection, models, prices, toolbox, runner)


@dataclass(frozen=True)
class _Workflows:
    """What composes runs: calls, scripts of them, and declared graphs."""

    calls: Calls
    headless: Headless
    flows: Flows


def _workflows_over(runs: _Runs, plan: Plan) -> _Workflows:
    lease_ttl_s = _lease_ttl_s(runs.storage, plan)
    calls = Calls(
        storage=runs.storage,
        journal=runs.journal,
        runner=runs.runner,
        resolver=Resolver(models=runs.models, toolbox=runs.toolbox, settings=plan.settings),
        project=plan.project,
        budget=plan.workflow_budget,
        lease_ttl_s=lease_ttl_s,
        silent_after_s=plan.workflow_silent_s,
    )
    headless = Headless(
        storage=runs.storage,
        calls=calls,
        folder=plan.folder,
        where=places(plan.workspace, plan.config_dir, CATALOG),
        active_s=plan.workflow_active_s,
        lease_ttl_s=lease_ttl_s,
    )
    flows = Flows(storage=runs.storage, calls=calls, named=plan.flows, lease_ttl_s=lease_ttl_s)
    return _Workflows(calls, headless, flows)


async def _take_up(runner: Runner, workflows: _Workflows) -> None:
    """Goes on with what a stopped server left: runs, then the calls that wait for them, then the scripts that wait for
    those."""
    for what, recover in (
        ("runs", runner.recover),
        ("calls of workflows", workflows.calls.recover),
        ("workflows", workflows.headless.recover),
    ):
        if count := await recover():
            log.info("Took up %d %s that a stopped server left.", count, what)
