"""Speaks to a live server as strangers, browsers, scripts and kernels do: over HTTP and one socket at a time."""

import asyncio
import contextlib
import json
import secrets
import socket as sockets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse, _RequestProxy
from tornado.httputil import HTTPHeaders
from tornado.websocket import WebSocketClientConnection

from tests.live_server import TOKEN, LiveServer

TIMEOUT_S = 20.0
API = "jupyter-agent/api"
SLOW = {"turns": [{"text": "word " * 400, "delay_s": 0.02}]}
"""A script that streams for about eight seconds."""
QUICK = {"turns": [{"text": "one two three"}]}
ASKS = {
    "turns": [
        {"text": "May I? ", "calls": [{"name": "create_file", "arguments": {"path": "made.txt", "content": "made\n"}}]},
        {"text": "Done."},
    ]
}


def headers_of(token: str | None = TOKEN, **more: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return ({"Authorization": f"token {token}"} if token else {}) | named


async def fetch(
    server: LiveServer,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    raw: bytes | None = None,
) -> HTTPResponse:
    """Returns whatever is answered. With the server's token, unless other headers are given."""
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = HTTPRequest(
        f"{server.url}/{path}",
        method=method,
        headers=headers_of() if headers is None else headers,
        body=data,
        allow_nonstandard_methods=True,
        follow_redirects=False,
        request_timeout=60,
    )
    client = AsyncHTTPClient(force_instance=True)
    try:
        return await client.fetch(request, raise_error=False)
    finally:
        client.close()


class OtherServer(LiveServer):
    """A server with another token, or one whose health is expected to be something else than 200."""

    def __init__(self, home: Path, *, token: str = TOKEN, ready: tuple[int, ...] = (200,), **more: Any) -> None:
        super().__init__(home, **more)
        self._token = token
        self._ready = ready

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = await fetch(self, method, path, body, headers=headers_of(self._token))
        is_ready = path.endswith("health") and answer.code in self._ready
        is_json = "json" in answer.headers.get("Content-Type", "")
        return 200 if is_ready else answer.code, json.loads(answer.body) if is_json and answer.body else answer.body


async def api(server: LiveServer, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    """Returns status and JSON body of a REST call."""
    answer = await fetch(server, method, f"{API}/{path}", body, **more)
    return answer.code, json.loads(answer.body) if answer.body else None


async def cookie_of(server: LiveServer) -> dict[str, str]:
    """Logs in as a browser does, and returns its cookies as a header."""
    answer = await fetch(server, "GET", f"api/status?token={TOKEN}", headers={})
    assert answer.code == 200, answer.body
    page = await fetch(server, "GET", "login", headers={})
    cookies = [one.split(";", 1)[0] for reply in (answer, page) for one in reply.headers.get_list("Set-Cookie")]
    return {"Cookie": "; ".join(cookies)}


class Refused(Exception):
    """The handshake was answered with an HTTP status."""

    def __init__(self, status: int, headers: Any) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers


Wanted = Callable[[dict[str, Any]], bool]


class Talk:
    """One socket. `heard` keeps every frame that came, as text; `frames` those that were read, decoded."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.heard: list[str] = []
        self._is_closed = False

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.heard]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def events(self) -> list[str]:
        """The frames with an id, as they came."""
        return [text for text in self.heard if "id" in json.loads(text)]

    @property
    def code(self) -> int | None:
        return self.socket.close_code

    async def say(self, frame: Any) -> None:
        await self.socket.write_message(frame if isinstance(frame, str | bytes) else json.dumps(frame),
                                        binary=isinstance(frame, bytes))  # fmt: skip

    async def next(self, timeout_s: float = TIMEOUT_S) -> dict[str, Any] | None:
        """Returns the next frame, None when the socket is closed. Raises TimeoutError."""
        text = None if self._is_closed else await asyncio.wait_for(self.socket.read_message(), timeout_s)
        if text is None:
            self._is_closed = True
            return None
        self.heard.append(str(text))
        return dict(json.loads(text))

    async def until(
        self, found: str | Callable[[dict[str, Any]], bool], timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Reads on until a frame of this type, or one that is wanted. Fails when the socket closes before."""
        wanted = (lambda frame: frame["type"] == found) if isinstance(found, str) else found
        async with asyncio.timeout(timeout_s):
            while (frame := await self.next(timeout_s)) is not None:
                if wanted(frame):
                    return frame
        raise AssertionError(f"The socket closed with {self.code} before {found} came. It said {self.heard[-5:]}")

    async def silence(self, for_s: float) -> list[dict[str, Any]]:
        """Listens for a while and returns what came."""
        came = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                while (frame := await self.next()) is not None:
                    came.append(frame)
        return came

    async def ended(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """Reads to the end and returns the close code."""
        async with asyncio.timeout(timeout_s):
            while await self.next(timeout_s) is not None:
                pass
        return self.code

    async def command(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Sends a command and returns its `ack` or `failed`."""
        client_id = fields.pop("clientId", f"c_{secrets.token_hex(8)}")
        await self.say({"type": kind, "clientId": client_id, **fields})
        return await self.until(lambda frame: frame["type"] in ("ack", "failed") and frame.get("clientId") == client_id)


@contextlib.asynccontextmanager
async def connected(
    server: LiveServer, query: str = "", *, headers: dict[str, str] | None = None, host: str | None = None
) -> AsyncIterator[Talk]:
    """Opens a socket without saying anything. Raises Refused. Without headers it is a stranger."""
    url = f"ws://127.0.0.1:{server.port}/jupyter-agent/ws{'?' if query else ''}{query}"
    async with connected_to(url, headers={**(headers or {}), **({"Host": host} if host else {})}) as talk:
        yield talk


@contextlib.asynccontextmanager
async def connected_to(url: str, *, headers: dict[str, str]) -> AsyncIterator[Talk]:
    """Opens a socket at an address. Raises Refused."""
    request = HTTPRequest(url, headers=HTTPHeaders(headers))
    # What `websocket_connect` does, but with the connection at hand: a refused one is closed at once.
    socket = WebSocketClientConnection(_RequestProxy(request, HTTPRequest._DEFAULTS), max_message_size=1 << 26)
    try:
        await socket.connect_future
    except HTTPClientError as refusal:
        if (connection := getattr(socket, "connection", None)) is not None:
            connection.close()
        raise Refused(refusal.code, refusal.response.headers if refusal.response else {}) from refusal
    stream = socket.protocol.stream if socket.protocol else None
    try:
        yield Talk(socket)
    finally:
        socket.close()
        await closed(stream)


async def closed(stream: Any) -> None:
    """Waits for the other side to close too, so that what was said last is read; then leaves."""
    for _ in range(100):
        if stream is None or stream.closed():
            return
        await asyncio.sleep(0.01)
    stream.close()


@contextlib.asynccontextmanager
async def talking(server: LiveServer, query: str = "", *, token: str = TOKEN) -> AsyncIterator[Talk]:
    """Opens a socket and authenticates with a token in the first frame."""
    async with connected(server, query) as talk:
        await talk.say({"type": "auth", "token": token})
        await talk.until("auth_success")
        yield talk


# --- by hand ------------------------------------------------------------------------------------------------------

UPGRADE = (
    "GET /jupyter-agent/ws{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


async def raw_socket(
    server: LiveServer, *, address: str = "127.0.0.1", query: str = "", more: str = ""
) -> tuple[int, sockets.socket]:
    """Opens a socket from one of this machine's addresses by hand; returns the status and the socket, left unread."""
    opened = sockets.socket()
    opened.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    opened.setblocking(False)
    opened.bind((address, 0))
    loop = asyncio.get_running_loop()
    await loop.sock_connect(opened, ("127.0.0.1", server.port))
    await loop.sock_sendall(opened, UPGRADE.format(port=server.port, query=query, more=more).encode())
    async with asyncio.timeout(20):
        head = await loop.sock_recv(opened, 64)
    return int(head.split()[1]), opened


def framed(frame: dict[str, str]) -> bytes:
    """A text frame as a client sends it, masked with zeros."""
    payload = json.dumps(frame).encode()
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload
