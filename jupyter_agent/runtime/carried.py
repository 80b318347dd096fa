"""The runs that this process has in hand: about to start, carried out, being ended. It owns each one's task."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from ..exceptions import AgentError, LeaseLost
from ..journal import Projection
from ..records import SYSTEM, Run, RunStatus
from ..tools import Toolbox
from ..transcript import Transcript
from .active import ActiveRun, Means
from .finish import finish
from .preparation import prepare
from .supervision import Stop, supervise

log = logging.getLogger(__name__)


class Carried:
    """What goes on here, by run id. `on_over` is told of the thread of every run that came to its end.

    `starting` are the runs whose row is there before their journal and task; `turns` say of those that wait in a queue
    meanwhile that it is their turn. `ending` are those that end before they began.
    """

    def __init__(self, means: Means, *, toolbox: Toolbox, projection: Projection) -> None:
        self._means = means
        self._toolbox = toolbox
        self._projection = projection
        self.on_over: Callable[[str], Awaitable[None]] = _nobody
        self.active: dict[str, ActiveRun] = {}
        self.stops: dict[str, Stop] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.starting: dict[str, asyncio.Event] = {}
        self.turns: dict[str, asyncio.Event] = {}
        self.ending: dict[str, asyncio.Task[None]] = {}
        self._thread_grants: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self.is_closing = False

    def has(self, run_id: str) -> bool:
        """Tells whether something is being done about the run here."""
        return run_id in self.tasks or run_id in self.starting or run_id in self.ending

    def is_elsewhere(self, run: Run) -> bool:
        """Tells whether another server carries the run out, or will take it up in a moment."""
        leases = self._means.leases
        return leases.is_shared and not run.status.is_terminal and leases.number(run.run_id) is None

    # --- begin ----------------------------------------------------------------------------------------------

    @contextmanager
    def being_started(self, run_id: str) -> Iterator[None]:
        """Has whoever wants to end the run wait until it has begun: its row is there before its journal and task."""
        begun, self.turns[run_id] = asyncio.Event(), asyncio.Event()
        self.starting[run_id] = begun
        try:
            yield
        finally:
            del self.starting[run_id]
            del self.turns[run_id]
            begun.set()

    async def launch(self, run: Run, *, is_first: bool = False) -> None:
        """Begins to carry a run out, or goes on with it; `is_first` says that it is its thread's first.

        Raises what preparing it raises; then it is given back."""
        grants = self._thread_grants.setdefault(run.thread_id, set())
        try:
            active = await prepare(
                run, means=self._means, toolbox=self._toolbox, thread_grants=grants, is_first=is_first
            )
        except BaseException:
            await self.give_back(run.run_id)
            raise
        stop = Stop()
        self.active[run.run_id], self.stops[run.run_id] = active, stop
        task = asyncio.create_task(self._own(active, stop), name=f"run {run.run_id}")
        self.tasks[run.run_id] = task

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
            await self.give_back(run.run_id)
            self.active.pop(run.run_id, None)
            self.stops.pop(run.run_id, None)
            self.tasks.pop(run.run_id, None)
        if is_over:
            await self.on_over(run.thread_id)

    # --- let go and end -------------------------------------------------------------------------------------

    def let_go(self, run_id: str) -> None:
        """Stops what another server may carry out by now."""
        if (stop := self.stops.get(run_id)) is not None:
            stop.leave()
        else:
            # It waits for its turn, and whoever takes it up needs its journal.
            self.keep(self._means.journal.close(run_id))

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something beside everything else: a task that nobody holds may be swept away in the middle."""
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def give_back(self, run_id: str) -> None:
        """Lets go of a run that is not carried out here any more. The lease goes last: whoever takes the run up now
        finds its journal closed."""
        await self._means.journal.close(run_id)
        await self._means.leases.release(run_id)

    async def end_unstarted(self, run: Run) -> None:
        """Ends a run that waits in a queue, once however many ask for it."""
        if run.run_id not in self.ending:
            ending = self.ending[run.run_id] = asyncio.create_task(self._end_queued(run), name=f"end {run.run_id}")
            ending.add_done_callback(lambda _: self.ending.pop(run.run_id, None))
        # Shielded: an end that has begun is written whole, whatever happens to the caller.
        await asyncio.shield(self.ending[run.run_id])

    async def _end_queued(self, run: Run) -> None:
        if (await self._means.rows.get_run(run.run_id, by=SYSTEM)).status.is_terminal:
            return
        if self._means.leases.number(run.run_id) is None and not await self._means.leases.take(run.run_id):
            self._means.leases.check(run.run_id)
        try:
            transcript = await self._means.journal.open(run.run_id)
            await self.end(run.run_id, RunStatus.INTERRUPTED, transcript)
        finally:
            await self.give_back(run.run_id)

    async def end(
        self, run_id: str, status: RunStatus, transcript: Transcript, *, error: AgentError | None = None
    ) -> None:
        """Puts an end to a run that is not carried out. Raises LeaseLost."""
        await finish(run_id, status, means=self._means, transcript=transcript, projection=self._projection, error=error)

    async def close(self) -> None:
        """Lets go of all runs within the settings' `drain_within_s`; they go on when a server starts again."""
        for stop in self.stops.values():
            stop.leave()
        if self.tasks:
            await asyncio.wait(set(self.tasks.values()), timeout=self._means.settings.drain_within_s)
        for task in self.tasks.values():
            task.cancel()


async def _nobody(_: str) -> None:
    """Nobody waits for a thread yet."""
