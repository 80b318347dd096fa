"""Connections to the gateway that stay open from one request to the next: a new one for each costs more than the rest.

For requests that may be sent twice: one that is lost with a connection that had been idle is sent again by itself.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

MOST: Final = 4
"""Connections that are kept while nobody uses them."""
CONNECT_TIMEOUT_S: Final = 10.0
MAX_BODY_BYTES: Final = 2**40


class Answer(Struct):
    """What was answered: the status, the headers, the body."""

    code: int
    headers: Mapping[str, str]
    body: bytes
    error: str | None = None


class Kept:
    """Connections over HTTP without TLS, by address. Lives in one loop."""

    def __init__(self) -> None:
        self._idle: dict[str, list[IOStream]] = {}
        self._tcp: TCPClient | None = None

    @staticmethod
    def can_reach(url: str) -> bool:
        """Tells whether it speaks to such an address."""
        return url.startswith("http://")

    async def fetch(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        """Returns the answer to a request that may be sent twice. Raises OSError (StreamClosedError, TimeoutError)
        where there is none."""
        async with asyncio.timeout(timeout_s):
            address = urlsplit(url).netloc
            while idle := self._idle.get(address):
                stream = idle.pop()
                if not stream.closed():
                    try:
                        return await self._ask(stream, method, url, headers, body)
                    except StreamClosedError:
                        # The server had closed it, or went away: a new one will tell.
                        continue
            return await self._ask(await self._connect(address), method, url, headers, body)

    def close(self) -> None:
        for stream in [stream for idle in self._idle.values() for stream in idle]:
            stream.close()
        self._idle.clear()
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None

    async def _connect(self, address: str) -> IOStream:
        parts = urlsplit(f"//{address}")
        if self._tcp is None:
            self._tcp = TCPClient()
        stream = await self._tcp.connect(
            parts.hostname or "", parts.port or 80, timeout=CONNECT_TIMEOUT_S, max_buffer_size=MAX_BODY_BYTES
        )
        stream.set_nodelay(True)
        return stream

    async def _ask(
        self, stream: IOStream, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        parts = urlsplit(url)
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        data = body or b""
        told = HTTPHeaders({"Host": parts.netloc, **headers, "Content-Length": str(len(data))})
        connection = HTTP1Connection(stream, True, HTTP1ConnectionParameters(max_body_size=MAX_BODY_BYTES))
        heard = _Heard()
        is_whole = False
        try:
            connection.write_headers(RequestStartLine(method, path, ""), told, data)
            connection.finish()
            await connection.read_response(heard)
            is_whole = heard.is_whole
            if not is_whole:
                raise StreamClosedError
        finally:
            if not is_whole:
                # Nobody may take up what is left of this answer for one of theirs.
                stream.close()
        if heard.headers.get("Connection", "").lower() == "close":
            stream.close()
        elif not stream.closed():
            connection.detach()
            idle = self._idle.setdefault(parts.netloc, [])
            if len(idle) < MOST:
                idle.append(stream)
            else:
                stream.close()
        return Answer(heard.code, dict(heard.headers), b"".join(heard.chunks))


class _Heard(HTTPMessageDelegate):
    """One answer as it comes."""

    def __init__(self) -> None:
        self.code = 0
        self.headers = HTTPHeaders()
        self.chunks: list[bytes] = []
        self.is_whole = False

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        if isinstance(start_line, ResponseStartLine):
            self.code, self.headers = start_line.code, headers

    def data_received(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def finish(self) -> None:
        self.is_whole = True
