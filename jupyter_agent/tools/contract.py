"""What a tool is to the runtime, and what the world is to a tool.

A tool is a specification and an async function. It gets a `ToolContext`, raises ToolError for what the model should
read as an error, and stops at once when its task is cancelled, child processes included.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from ..records import Image, ToolSpec


class ToolAnswer(Struct, frozen=True, kw_only=True):
    """What a tool gives back: text for the model, pictures for models that see, rich results (MIME type to blob key)
    for people."""

    content: str
    is_error: bool = False
    images: tuple[Image, ...] = ()
    mime: dict[str, str] = {}
    diff: str | None = None


class Environment(Protocol):
    """Where tool calls act. The gateway implements it with Jupyter's own kernels; tests with a folder."""

    @property
    def workspace(self) -> Path:
        """The root that file tools stay inside."""

    async def run_cell(self, code: str, *, context: "ToolContext", timeout_s: float) -> ToolAnswer:
        """Executes code in the run's kernel and returns its output; an exception in the code is an `is_error` answer.

        While a cell of that kernel waits for the run the code executes in that cell, else through the server. Output
        streams through `context.progress`. Raises KernelUnavailable when there is no kernel to use, OutcomeUnknown
        when it died meanwhile. Cancelling interrupts the kernel.
        """

    async def call_client(self, name: str, arguments: str, *, context: "ToolContext", timeout_s: float) -> ToolAnswer:
        """Has a client tool carried out by the client that registered it; `arguments` is JSON text.

        Waits for a client that is reconnecting. Raises ToolTimedOut, or OutcomeUnknown when the call was sent and the
        client is gone. Cancelling tells the client.
        """


class ToolContext(Protocol):
    """What a running tool may use."""

    @property
    def run_id(self) -> str: ...

    @property
    def thread_id(self) -> str: ...

    @property
    def tool_call_id(self) -> str: ...

    @property
    def kernel_id(self) -> str | None: ...

    @property
    def environment(self) -> Environment: ...

    def progress(self, content: str) -> None:
        """Streams output while the tool works."""

    async def keep(self, data: bytes) -> str:
        """Keeps bytes as a blob of this run and returns the key."""

    async def ask(self, prompt: str, schema: dict[str, Any] | None = None) -> str | None:
        """Asks the person and returns the answer, None when nobody answered in time."""


class Tool(Struct, frozen=True, kw_only=True):
    """A tool: what the model is told, and the function that does it.

    `preview` makes the server's picture of what a call will do (argv, code, path, diff), for approvals.
    """

    spec: ToolSpec
    call: Callable[[ToolContext, dict[str, Any]], Awaitable[ToolAnswer]]
    preview: Callable[[Environment, dict[str, Any]], dict[str, Any]] | None = None
