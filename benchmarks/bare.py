"""A server extension for measuring: a bare Tornado socket beside the gateway's, in one process, fed the same bytes.

The gateway is fed through its journal, as runs feed it; the bare sockets by a loop over `write_message`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.websocket import WebSocketHandler

from jupyter_agent import events as ev
from jupyter_agent.journal import Journal

BURST = 64
"""Events between two rests: both sides give the loop a chance, and wait for the socket, as often."""
MARK = "the last word"


class BareSocket(WebSocketHandler):
    """Sends what it is given. A client that speaks is sent all lines at once."""

    everybody: ClassVar[set["BareSocket"]] = set()
    lines: ClassVar[list[bytes]] = []

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.set_nodelay(True)
        self.everybody.add(self)

    def on_close(self) -> None:
        self.everybody.discard(self)

    async def on_message(self, _message: str | bytes) -> None:
        for place, line in enumerate(self.lines, start=1):
            sent = self.write_message(line)
            if place % BURST == 0 or place == len(self.lines):
                await sent


class Driver(APIHandler):
    """`POST /bench/append`, `/bench/keep` and `/bench/send`: feeds one side or the other."""

    @web.authenticated
    async def post(self, deed: str) -> None:
        body: dict[str, Any] = self.get_json_body() or {}
        [app] = self.settings["serverapp"].extension_manager.extension_apps["jupyter_agent"]
        journal: Journal = app.rooms.journal
        began = time.monotonic_ns()
        match deed:
            case "append":
                await self._append(journal, **body)
            case "keep":
                BareSocket.lines = [line async for batch in _stored(journal, body["runId"]) for line in batch]
            case "send":
                await self._send(**body)
        self.finish({"beganNs": began, "tookNs": time.monotonic_ns() - began, "kept": len(BareSocket.lines)})

    async def _append(self, journal: Journal, *, runId: str, count: int, content: str, rate: float | None) -> None:  # noqa: N803
        async def one(place: int) -> None:
            text = MARK if place == count - 1 else content or str(time.monotonic_ns())
            await journal.append(runId, ev.AgentEvent(event=ev.TextDelta(content=text)))

        await _paced(one, count, rate)

    async def _send(self, *, rate: float | None) -> None:
        lines = [line for line in BareSocket.lines if line.startswith(b'{"type":"agent_event"')]

        async def one(place: int) -> None:
            line = lines[place]
            if rate is not None and place < len(lines) - 1:
                line = line.replace(line.split(b'"content":"')[1].split(b'"')[0], str(time.monotonic_ns()).encode())
            sent = [socket.write_message(line) for socket in BareSocket.everybody]
            if place % BURST == BURST - 1 or place == len(lines) - 1:
                await asyncio.gather(*sent)

        await _paced(one, len(lines), rate)


async def _stored(journal: Journal, run_id: str) -> Any:
    async for batch in journal.follow(run_id):
        yield batch.lines
        if batch.caught_up:
            return


async def _paced(one: Callable[[int], Awaitable[None]], count: int, rate: float | None) -> None:
    """Does it so often, so many times a second, or as fast as it goes."""
    clock = asyncio.get_running_loop().time
    began = clock()
    for place in range(count):
        if rate is not None:
            await asyncio.sleep(max(0.0, began + place / rate - clock()))
        elif place % BURST == 0:
            await asyncio.sleep(0)
        await one(place)


def _load_jupyter_server_extension(server: Any) -> None:
    base = server.web_app.settings["base_url"]
    server.web_app.settings["serverapp"] = server
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, "bench", "bare"), BareSocket),
            (url_path_join(base, "bench", "(append|keep|send)"), Driver),
        ],
    )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "benchmarks.bare"}]
