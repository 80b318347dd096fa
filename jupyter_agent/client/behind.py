"""What steps tell the gateway behind the code that goes on: results that are on this machine's disk already, and which
stored results were used. In order, many at a time; whatever leaves the pass waits until all of it is told.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from ..exceptions import AgentError, Conflict, Forbidden, InvalidRequest, NotFound
from ..script.placed import CallState, UsedResult
from ..script.step import PlacedStep
from .loop import LoopThread
from .outbox import Outbox

if TYPE_CHECKING:
    from .calls import Pass

GATHER_S: Final = 0.02
"""How long what is to be told waits for more of it, unless somebody waits."""
IDLE_S: Final = 0.5
"""For so long nothing came: what the gateway has is deleted here."""
MOST: Final = 200
"""Steps that are told at once."""
REFUSALS: Final = (InvalidRequest, NotFound, Forbidden, Conflict)
"""What trying again does not mend."""


class Told(Protocol):
    """Hears of each step what the gateway said, or why it was refused."""

    def __call__(self, step: PlacedStep, said: CallState | AgentError) -> None: ...


class Behind:
    """What one pass has still to tell; `may_store` says that the disk takes results.

    `store` and `use` may be called in any thread, the rest in the client's loop.
    """

    def __init__(self, its_pass: "Pass", threads: LoopThread, *, open_box: Callable[[], Outbox], told: Told) -> None:
        self._pass = its_pass
        self._threads = threads
        self._open_box = open_box
        self._told = told
        self.may_store = True
        self._box: Outbox | None = None
        self._lock = threading.Lock()
        self._steps: list[PlacedStep] = []
        self._used: list[UsedResult] = []
        self._is_awake = False
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._settling = 0
        self._fault: AgentError | None = None

    @property
    def is_told(self) -> bool:
        """Whether the gateway has all of it, and refused nothing that nobody heard of."""
        return not (self._steps or self._used or self._fault)

    def store(self, step: PlacedStep) -> None:
        """Keeps a step's result on disk, and tells it soon. Raises OSError where the disk does not take it."""
        with self._lock:
            if self._box is None:
                self._box = self._open_box()
            self._box.add(step)
            self._steps.append(step)
            self._wake()

    def use(self, used: UsedResult) -> None:
        """Says soon that a stored result was used."""
        with self._lock:
            self._used.append(used)
            self._wake()

    async def settle(self) -> None:
        """Returns when all of it is told. Raises what the gateway refused it for, once, or why it cannot be told."""
        await self.all_told()
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    async def all_told(self) -> None:
        """Returns when the gateway has heard all of it, whatever it said. Raises why it cannot be told."""
        self._settling += 1
        try:
            while self._steps or self._used:
                with self._lock:
                    self._wake()
                self._hurry.set()
                if self._task is None or self._task.done():
                    await asyncio.sleep(0)  # it is about to begin
                else:
                    await asyncio.shield(self._task)
        finally:
            self._settling -= 1
        self._clear()

    async def close(self) -> None:
        """Tells what is left, if that can be done, and lets go of the disk."""
        with suppress(AgentError):
            await self.settle()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        with self._lock, suppress(OSError):
            if self._box is not None:
                self._box.close()
                self._box = None

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._threads.call(self._begin)

    def _begin(self) -> None:
        # Of the loop that there is now: a client that was closed and is used again has another one.
        self._hurry = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._tell(), name="steps that are told behind")
        self._task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _tell(self) -> None:
        try:
            while True:
                await self._gather(GATHER_S)
                if not (self._steps or self._used):
                    await self._gather(IDLE_S)
                with self._lock:
                    steps, used = self._steps[:MOST], self._used
                    if not (steps or used):
                        self._is_awake = False
                        break
                    self._used = []
                if used:
                    await self._pass.report_used(used)
                if steps:
                    await self._deliver(steps)
        except BaseException:
            with self._lock:
                self._is_awake = False
            raise
        self._clear()

    async def _gather(self, seconds: float) -> None:
        if self._settling:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    async def _deliver(self, steps: list[PlacedStep]) -> None:
        answers = [self._pass.put_step(step) for step in steps]
        await asyncio.wait(answers)
        for step, answer in zip(steps, answers, strict=True):
            fault = answer.exception()
            if fault is not None and not isinstance(fault, REFUSALS):
                raise fault
            with self._lock:
                self._steps.remove(step)
            if isinstance(fault, AgentError):
                self._fault = self._fault or fault
                self._told(step, fault)
            else:
                self._told(step, answer.result())

    def _clear(self) -> None:
        with self._lock, suppress(OSError):
            if self._box is not None and not self._steps:
                self._box.clear()
