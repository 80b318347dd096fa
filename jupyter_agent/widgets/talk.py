"""What a widget says to its pages over the kernel's comm, and hears of them.

Rules:

- Everything happens in the client's loop, so that views go on while the kernel computes. What a page says is handed
  over to that loop at once.
- At most ten messages and 640 KB a second: Jupyter's server drops what a kernel says beyond 1 MB/s. Messages are
  numbered, so that a page which misses one asks for all of it again.
- A page that hears nothing for long knows that the kernel is gone, since a sign of life comes every ten seconds.
"""

import asyncio
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ..client.client import Client
from ..client.discovery import URL_VARIABLE
from ..exceptions import AgentError, Forbidden, InvalidRequest, TooLarge
from ..protocol import commands

APPROVALS_VARIABLE = "JUPYTER_AGENT_APPROVALS"
"""Set by the server for kernels whose token may approve."""

FRAME_S = 0.1
TICK_S = 10.0
BYTES_PER_S = 640 * 1024
MOST_BLOB_BYTES = 2 * 1024 * 1024

Send = Callable[[dict[str, Any], list[bytes]], None]

Answering = commands.ToolConfirmation | commands.UserInput
"""What only a kernel that may decide for people does for a page."""

_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch


class Talk(ABC):
    """One widget's talk with its pages. `send` publishes a message; it is called in the client's loop.

    What there is to say, and which commands are obeyed, is up to the heirs.
    """

    def __init__(self, client: Client, send: Send, *, may_decide: bool) -> None:
        self._client = client
        self._publish = send
        self._may_decide = may_decide
        self._number = 0
        self._is_on = False
        self._timer: asyncio.TimerHandle | None = None
        self._said_at = 0.0
        self._pause_s = FRAME_S
        self._tasks: set[asyncio.Task[None]] = set()

    # --- for any thread ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Tells everything from now on, unasked: a page that a busy kernel cannot hear yet still sees it."""
        self._call(self._follow)

    def hear(self, content: Any) -> None:
        """Takes in what a page says. What is not understood is ignored."""
        self._call(self._heard, content)

    def close(self) -> None:
        """Says nothing any more."""
        self._call(self._close)

    @property
    def is_on(self) -> bool:
        """Whether there is a page to be told, as far as is known."""
        return self._is_on

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        self._client.threads_loop.call_soon_threadsafe(function, *arguments)

    # --- in the client's loop ---------------------------------------------------------------------------------

    def _heard(self, content: Any) -> None:
        match content:
            case {"ask": "follow"}:
                self._follow()
            case {"ask": "unfollow"}:
                self._rest()
                self._say({"type": "rest"})  # other pages that show this widget ask for more
            case {"ask": "blob", "clientId": str(client_id), "digest": str(digest)}:
                self._work(self._answered(client_id, self._blob(digest)))
            case {"ask": "command", "clientId": str(client_id), "command": dict(command)}:
                self._work(self._answered(client_id, self._obey(command)))
            case _:
                pass

    def _follow(self) -> None:
        """Begins to tell, or tells everything anew."""
        self._is_on = True
        self._changed()

    def _rest(self) -> None:
        """Stops telling until a page asks for it."""
        self._is_on = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._rest()
        for task in self._tasks:
            task.cancel()

    def _changed(self) -> None:
        """There is news: tells it soon."""
        if self._is_on:
            self._tell_in(max(0.0, self._said_at + self._pause_s - self._now()))

    def _tell_in(self, delay_s: float) -> None:
        """Tells the news by then; what was to be told sooner stays so."""
        if self._timer is not None and self._timer.when() > self._now() + delay_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._client.threads_loop.call_later(delay_s, self._tell_now)

    def _tell_now(self) -> None:
        self._timer = None
        self._tell()

    @abstractmethod
    def _tell(self) -> None:
        """Says what there is to say, and when to look again."""

    @abstractmethod
    async def _obey(self, command: dict[str, Any]) -> Any:
        """Carries a page's command out and returns the answer. Raises what it is refused for."""

    async def _decided(self, command: Answering) -> Any:
        """Decides or answers for a person where this kernel may. Raises what the gateway refuses it for, Forbidden."""
        if not self._may_decide:
            raise Forbidden(
                "This kernel may not decide or answer: do it in JupyterLab, or with `jupyter agent approve`."
            )
        return await self._client.transport.command(command)

    def _say(self, message: dict[str, Any]) -> None:
        self._number += 1
        self._said_at = self._now()
        self._pause_s = max(FRAME_S, len(message.get("text", "")) / BYTES_PER_S)
        self._publish({**message, "n": self._number}, [])

    def _now(self) -> float:
        return self._client.threads_loop.time()

    @property
    def _is_time_for_a_sign(self) -> bool:
        return self._now() - self._said_at >= TICK_S

    # --- what a page asks for ---------------------------------------------------------------------------------

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._client.threads_loop.create_task(work, name="jupyter_agent widget")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answered(self, client_id: str, work: Coroutine[Any, Any, Any]) -> None:
        answer: dict[str, Any] = {"type": "answer", "clientId": client_id}
        try:
            result = await work
        except AgentError as fault:
            self._publish({**answer, "code": fault.code, "message": fault.message}, [])
        else:
            is_data = isinstance(result, bytes)
            self._publish(
                {**answer, "result": None if is_data else msgspec.to_builtins(result)}, [result] if is_data else []
            )

    async def _blob(self, digest: str) -> bytes:
        if not _is_digest(digest):
            raise InvalidRequest(f"{digest[:80]!r} names no blob.")
        data = await self._client.request("GET", f"blobs/{digest}")
        data = data if isinstance(data, bytes) else msgspec.json.encode(data)
        if len(data) > MOST_BLOB_BYTES:
            raise TooLarge(
                f"This is too large to come through the kernel ({len(data) / 1e6:.1f} MB): open it in JupyterLab."
            )
        return data


def may_decide(client: Client) -> bool:
    """Tells whether this kernel decides for people: where the operator lets it, with the token it was given."""
    found = client._found
    return bool(found and found.source == URL_VARIABLE and os.environ.get(APPROVALS_VARIABLE) == "1")


def understood(command: dict[str, Any], kind: Any) -> Any:
    """Returns a page's command as one of this kind. Raises InvalidRequest."""
    try:
        return msgspec.convert({**command, "clientId": None}, kind)
    except msgspec.ValidationError as misfit:
        raise InvalidRequest(f"A page cannot ask for this over a kernel: {misfit}.") from misfit
