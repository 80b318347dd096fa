"""Where tools act on a Jupyter server: its workspace, its kernels, and the clients that brought tools of their own."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..exceptions import KernelUnavailable
from ..protocol.commands import ClientToolResult
from ..protocol.control import ClientToolCall
from ..records import Image, Run
from ..runtime.calls import MAX_RICH_RESULTS
from ..tools.contract import ToolAnswer, ToolContext
from .cells import BUSY_NOTE, POLL_S, Cell, Output, as_bytes
from .client_tools import ClientTools

log = logging.getLogger(__name__)

RUN_CELL: Final = "run_cell"
MAX_RICH_BYTES: Final = 20 * 1024 * 1024
SEEN_BY_MODELS: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
REAP_WITHIN_S: Final = 3600.0


@dataclass(eq=False)
class ThreadKernel:
    """A kernel that we started for a thread whose runs have none."""

    kernel_id: str
    active: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass
class JupyterEnvironment:
    """The `tools.Environment` of a Jupyter server. `redact` takes secrets out of what kernels print."""

    workspace: Path
    kernel_manager: Any
    client_tools: ClientTools
    redact: Callable[[str], str]
    kernel_idle_s: float
    _thread_kernels: dict[str, ThreadKernel] = field(default_factory=dict)
    _starting: dict[str, asyncio.Lock] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # --- cells ----------------------------------------------------------------------------------------------

    async def run_cell(self, code: str, *, context: ToolContext, timeout_s: float) -> ToolAnswer:
        """Executes code in the run's kernel (see `tools.Environment`).

        In the waiting cell where there is one, since an ordinary request would queue behind that cell for ever; else
        through the server; in a kernel of the run's thread where the run has no kernel.
        """
        if context.kernel_id is None and not self.client_tools.is_offered(context.run_id, RUN_CELL):
            return await self._in_thread_kernel(code, context, timeout_s)
        if await self._is_taken_by_client(context):
            return await self.call_client(RUN_CELL, json.dumps({"code": code}), context=context, timeout_s=timeout_s)
        return await self._execute(context.kernel_id or "", code, context, timeout_s)

    async def _is_taken_by_client(self, context: ToolContext) -> bool:
        """Tells whether the cell that waits for the run takes the call, after waiting for it or for an idle kernel."""
        noted = False
        while not self.client_tools.is_offered(context.run_id, RUN_CELL):
            if not self._is_busy(context.kernel_id):
                return False
            if not noted:
                context.progress(BUSY_NOTE)
                noted = True
            try:
                async with asyncio.timeout(POLL_S):
                    await self.client_tools.offered(context.run_id, RUN_CELL)
            except TimeoutError:
                continue
        return True

    def _is_busy(self, kernel_id: str | None) -> bool:
        if kernel_id is None or kernel_id not in self.kernel_manager:
            return False
        return bool(getattr(self.kernel_manager.get_kernel(kernel_id), "execution_state", "idle") == "busy")

    async def _execute(self, kernel_id: str, code: str, context: ToolContext, timeout_s: float) -> ToolAnswer:
        cell = Cell(self.kernel_manager, kernel_id, code, progress=lambda text: context.progress(self.redact(text)))
        try:
            output = await cell.run(timeout_s=timeout_s)
        finally:
            self._own(cell.interrupt_when_started(within_s=REAP_WITHIN_S))
        return await self._answer(output, context)

    async def _answer(self, output: Output, context: ToolContext) -> ToolAnswer:
        """Keeps rich results as blobs, and gives the model the text and the pictures."""
        images: list[Image] = []
        mime: dict[str, str] = {}
        for bundle in output.displays:
            for name, value in bundle.items():
                data = None if name == "text/plain" else as_bytes(name, value)
                if data is None or len(data) > MAX_RICH_BYTES:
                    continue
                key = await context.keep(data)
                mime[_free_name(name, mime)] = key
                if name in SEEN_BY_MODELS:
                    images.append(Image(blob=key, mime=name))
        content = self.redact(output.content) or "[The cell printed nothing.]"
        return ToolAnswer(content=content, is_error=output.is_error, images=tuple(images), mime=mime)

    # --- kernels of threads ---------------------------------------------------------------------------------

    async def _in_thread_kernel(self, code: str, context: ToolContext, timeout_s: float) -> ToolAnswer:
        kernel = await self._thread_kernel(context)
        kernel.active += 1
        try:
            return await self._execute(kernel.kernel_id, code, context, timeout_s)
        finally:
            kernel.active -= 1
            self._shut_down_later(context.thread_id, kernel)

    async def _thread_kernel(self, context: ToolContext) -> ThreadKernel:
        """Returns the thread's kernel, started in the workspace if need be."""
        async with self._starting.setdefault(context.thread_id, asyncio.Lock()):
            kernel = self._thread_kernels.get(context.thread_id)
            if kernel is not None and kernel.kernel_id in self.kernel_manager:
                if kernel.timer is not None:
                    kernel.timer.cancel()
                return kernel
            context.progress("[Starting a kernel for this thread.]\n")
            try:
                kernel_id = await self.kernel_manager.start_kernel(cwd=str(self.workspace))
            except Exception as fault:
                log.exception("No kernel could be started for thread %s.", context.thread_id)
                raise KernelUnavailable(
                    f"No kernel could be started on the server: {type(fault).__name__}. Its log says more; "
                    "`jupyter kernelspec list` shows which kernels there are."
                ) from fault
            kernel = self._thread_kernels[context.thread_id] = ThreadKernel(kernel_id)
            return kernel

    def _shut_down_later(self, thread_id: str, kernel: ThreadKernel) -> None:
        """Its variables are there for the thread's next run; after a while of idleness it goes."""
        if kernel.timer is not None:
            kernel.timer.cancel()
        loop = asyncio.get_running_loop()
        kernel.timer = loop.call_later(self.kernel_idle_s, lambda: self._own(self._shut_down(thread_id, kernel)))

    async def _shut_down(self, thread_id: str, kernel: ThreadKernel) -> None:
        if kernel.active or self._thread_kernels.get(thread_id) is not kernel:
            return
        del self._thread_kernels[thread_id]
        self._starting.pop(thread_id, None)
        if kernel.kernel_id in self.kernel_manager:
            await self.kernel_manager.shutdown_kernel(kernel.kernel_id)

    # --- tools of clients -----------------------------------------------------------------------------------

    async def call_client(self, name: str, arguments: str, *, context: ToolContext, timeout_s: float) -> ToolAnswer:
        """Has a client carry a tool out (see `tools.Environment`)."""
        frame = ClientToolCall(
            run_id=context.run_id,
            tool_call_id=context.tool_call_id,
            name=name,
            arguments=arguments,
            timeout_s=timeout_s,
        )
        # Shorter than the caller's patience, so that it is we who say how the call ended.
        wait_s = max(timeout_s - 1.0, 0.9 * timeout_s)
        call = asyncio.ensure_future(self.client_tools.call(frame, progress=context.progress, wait_s=wait_s))
        try:
            while not call.done():
                await asyncio.wait({call}, timeout=1.0)
                if not call.done() and context.kernel_id is not None and context.kernel_id not in self.kernel_manager:
                    self.client_tools.lost(context.run_id, f"The kernel of {name} is gone; the call may have acted.")
            return await self._client_answer(call.result(), context)
        except BaseException:
            call.cancel()
            await asyncio.wait({call})
            raise

    async def _client_answer(self, result: ClientToolResult, context: ToolContext) -> ToolAnswer:
        images: list[Image] = []
        mime: dict[str, str] = {}
        for name, value in islice(result.mime.items(), MAX_RICH_RESULTS):
            data = as_bytes(name, value)
            if data is None or len(data) > MAX_RICH_BYTES:
                continue
            mime[name] = await context.keep(data)
            if name.split(";")[0] in SEEN_BY_MODELS:
                images.append(Image(blob=mime[name], mime=name.split(";")[0]))
        return ToolAnswer(content=result.result, is_error=result.is_error, images=tuple(images), mime=mime)

    # --- life -----------------------------------------------------------------------------------------------

    def run_changed(self, run: Run) -> None:
        """Lets go of what a run that is over held."""
        if run.status.is_terminal:
            self.client_tools.lost(run.run_id, "The run is over.")

    def _own(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Lets go of the thread's kernels; the server shuts its kernels down itself."""
        for kernel in self._thread_kernels.values():
            if kernel.timer is not None:
                kernel.timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()


def _free_name(mime: str, taken: dict[str, str]) -> str:
    """A second picture of one kind gets a number of its own, as a parameter of its type."""
    name, number = mime, 1
    while name in taken:
        number += 1
        name = f"{mime};n={number}"
    return name
