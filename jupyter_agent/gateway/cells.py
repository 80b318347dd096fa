"""Executes one cell in a kernel of this server, as a front end would: over the kernel's own channels.

A cell is sent when the kernel is idle, so that one that is cancelled while it waits never ran. A cell that has started
is interrupted; a kernel that ignores that does not hold its caller up.
"""

import asyncio
import base64
import binascii
import contextlib
import itertools
import queue
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from jupyter_client.asynchronous.client import AsyncKernelClient

from ..exceptions import KernelUnavailable, OutcomeUnknown, ToolError, ToolTimedOut

POLL_S: Final = 0.25
STOP_WITHIN_S: Final = 0.8
"""How long an interrupted cell may take to stop before its caller goes on without it."""
SUBSCRIBE_WITHIN_S: Final = 10.0
BUSY_AFTER_S: Final = 1.0
BUSY_NOTE: Final = "[The kernel is busy; this cell runs when the one before it is done.]\n"

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


MAX_DISPLAYS: Final = 128
"""Rich results of one cell that are kept; a loop can make any number."""


@dataclass
class Output:
    """What a cell gave: text as it came, displays as MIME bundles in order, and whether it failed."""

    text: list[str] = field(default_factory=list)
    displays: list[dict[str, Any]] = field(default_factory=list)
    is_error: bool = False

    @property
    def content(self) -> str:
        return "".join(self.text)


class Cell:
    """One execution of code in a kernel. `progress` gets text as it comes."""

    def __init__(self, kernel_manager: Any, kernel_id: str, code: str, *, progress: Callable[[str], None]) -> None:
        if kernel_id not in kernel_manager:
            raise KernelUnavailable(
                f"The kernel {kernel_id} is not running on this server. Start it again, or run without a kernel."
            )
        self._kernels = kernel_manager
        self._kernel_id = kernel_id
        self._kernel = kernel_manager.get_kernel(kernel_id)
        self._process = _process_of(self._kernel)
        self._code = code
        self._progress = progress
        self._message_id: str | None = None
        self.has_started = False
        self.is_done = False
        self.output = Output()
        self._has_noted = False

    async def run(self, *, timeout_s: float) -> Output:
        """Executes and returns the output. Raises KernelUnavailable, OutcomeUnknown when the kernel dies meanwhile,
        ToolTimedOut. Cancelling interrupts the cell, if it had started."""
        async with self._client() as client:
            await self._subscribe(client)
            await self._until_idle(client)
            self._message_id = client.execute(
                self._code, silent=False, store_history=False, allow_stdin=False, stop_on_error=False
            )
            try:
                async with asyncio.timeout(timeout_s):
                    await self._until_done(client)
            except TimeoutError as late:
                await self._stop(client)
                said = self.output.content[-2_000:]
                raise ToolTimedOut(
                    f"The cell took longer than {timeout_s:g} s and was interrupted. It printed until then:\n{said}"
                ) from late
            except asyncio.CancelledError:
                await self._stop(client)
                raise
        return self.output

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[AsyncKernelClient]:
        client: AsyncKernelClient = self._kernel.client()
        # A session is also the identity of its sockets: a kernel hears only the first of two that share one.
        client.session.session = uuid4().hex
        client.start_channels(stdin=False, hb=False)
        try:
            yield client
        finally:
            client.stop_channels()

    # --- waiting --------------------------------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        return bool(getattr(self._kernel, "execution_state", "idle") == "busy")

    async def _subscribe(self, client: AsyncKernelClient) -> None:
        """Returns when output reaches us: asked on the control channel, which answers while a cell runs."""
        deadline = asyncio.get_running_loop().time() + SUBSCRIBE_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            client.control_channel.send(client.session.msg("kernel_info_request"))
            if await self._message(client) is not None:
                return
            await self._check_alive()

    async def _until_idle(self, client: AsyncKernelClient) -> None:
        """Returns when the kernel has nothing to do: it is not known to be busy, and answers on the channel where
        cells queue, since what the server knows of a young kernel may be late."""
        while self._is_busy:
            self._note_busy()
            await self._message(client)
            await self._check_alive()
        asked = client.kernel_info()
        for waited in itertools.count():
            if waited * POLL_S >= BUSY_AFTER_S:
                self._note_busy()
            if await self._shell_reply(client, asked) is not None:
                return
            await self._check_alive()

    def _note_busy(self) -> None:
        if not self._has_noted:
            self._has_noted = True
            self._progress(BUSY_NOTE)

    async def _shell_reply(self, client: AsyncKernelClient, asked: str) -> dict[str, Any] | None:
        try:
            reply: dict[str, Any] = await client.get_shell_msg(timeout=POLL_S)
        except queue.Empty:
            return None
        return reply if reply["parent_header"].get("msg_id") == asked else None

    async def _until_done(self, client: AsyncKernelClient) -> None:
        while not self.is_done:
            message = await self._message(client)
            if message is None:
                await self._check_alive()
                await self._look_for_reply(client)
            elif message["parent_header"].get("msg_id") == self._message_id:
                self._take(message)

    async def _message(self, client: AsyncKernelClient) -> dict[str, Any] | None:
        try:
            message: dict[str, Any] = await client.get_iopub_msg(timeout=POLL_S)
        except queue.Empty:
            return None
        return message

    async def _look_for_reply(self, client: AsyncKernelClient) -> None:
        """A kernel that drops a waiting cell, since one before it failed, says so in its reply only."""
        if not await client.shell_channel.msg_ready() or self._message_id is None:
            return
        reply = await self._shell_reply(client, self._message_id)
        if reply is not None and reply["content"].get("status") in ("aborted", "abort"):
            self.is_done = True
            raise ToolError("The kernel dropped the cell, since one before it failed. It did not run; try again.")

    async def _check_alive(self) -> None:
        """Raises OutcomeUnknown, or KernelUnavailable for a cell that was never sent."""
        gone = self._kernel_id not in self._kernels or not await self._kernel.is_alive()
        if not gone and _process_of(self._kernel) == self._process:
            return
        self.is_done = True
        what = "died" if gone else "was restarted"
        if self._message_id is None:
            raise KernelUnavailable(f"The kernel {self._kernel_id} {what} before the cell could run.")
        raise OutcomeUnknown(
            f"The kernel {what} while the cell ran: what the cell did until then is not known, and the kernel's "
            "variables are gone."
        )

    # --- stopping -------------------------------------------------------------------------------------------

    async def _stop(self, client: AsyncKernelClient) -> None:
        """Interrupts the cell if it had started, and waits a moment for it to stop."""
        if not self.has_started or self.is_done:
            return
        with contextlib.suppress(TimeoutError, OutcomeUnknown, ToolError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._kernel.interrupt_kernel()
                await self._until_done(client)

    async def interrupt_when_started(self, *, within_s: float) -> None:
        """Sees to it that a cell that was sent and then cancelled stops as soon as its turn comes."""
        if not self._waits_its_turn():
            return
        with contextlib.suppress(TimeoutError, ToolError):
            async with self._client() as client, asyncio.timeout(within_s):
                while self._waits_its_turn():
                    message = await self._message(client)
                    if message is None:
                        await self._check_alive()
                    elif message["parent_header"].get("msg_id") == self._message_id:
                        self._take(message)
                await self._kernel.interrupt_kernel()

    def _waits_its_turn(self) -> bool:
        return self._message_id is not None and not self.has_started and not self.is_done

    # --- output ---------------------------------------------------------------------------------------------

    def _take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        match message["msg_type"]:
            case "status":
                self.has_started = self.has_started or content["execution_state"] == "busy"
                self.is_done = self.is_done or content["execution_state"] == "idle"
            case "stream":
                self._say(content["text"])
            case "execute_result" | "display_data" | "update_display_data":
                data = content["data"]
                if len(self.output.displays) < MAX_DISPLAYS:
                    self.output.displays.append(data)
                self._say(f"{_ANSI.sub('', str(data.get('text/plain', '')))}\n" if "text/plain" in data else "")
            case "error":
                self.output.is_error = True
                traceback = "\n".join(content.get("traceback") or [f"{content['ename']}: {content['evalue']}"])
                self._say(f"{_ANSI.sub('', traceback)}\n")

    def _say(self, text: str) -> None:
        if text:
            self.output.text.append(text)
            self._progress(text)


def _process_of(kernel: Any) -> object:
    """What tells one life of a kernel from the next: its process, where there is one here."""
    return getattr(getattr(kernel, "provisioner", None), "pid", None)


def as_bytes(mime: str, value: Any) -> bytes | None:
    """Returns the bytes of one entry of a MIME bundle; None for what is no data. Pictures come as base64."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    if not isinstance(value, str):
        return None
    is_binary = mime.startswith(("image/", "audio/", "video/")) and not mime.startswith("image/svg")
    if not is_binary and mime != "application/pdf":
        return value.encode("utf-8", "replace")
    try:
        return base64.b64decode(value, validate=False)
    except (binascii.Error, ValueError):
        return None
