"""A client that reads nothing unless it is told to: a bare TCP connection that speaks just enough WebSocket."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.live_server import TOKEN, LiveServer

CLOSE = b"\x88"


class Raw:
    """Its receive buffer is as small as the system allows, so that the server soon finds it stalled."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, frame: Any) -> None:
        """Sends a text frame, masked with zeros."""
        data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        size = len(data)
        if size < 126:
            head = bytes((0x81, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x81, 0x80 | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x81, 0x80 | 127)) + size.to_bytes(8, "big")
        self.writer.write(head + bytes(4) + data)
        await self.writer.drain()

    async def last_bytes(self) -> bytes:
        """Reads to the end and returns the last of it; a connection that was reset ends there."""
        last = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(1 << 16):
                last = (last + data)[-256:]
        return last


@contextlib.asynccontextmanager
async def raw(server: LiveServer, query: str = "", *, token: str | None = TOKEN) -> AsyncIterator[Raw]:
    """Opens a socket and reads the answer to its handshake, not more."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
    lines = [
        f"GET /jupyter-agent/ws{query} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        *([f"Authorization: token {token}"] if token else []),
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "",
        "",
    ]
    writer.write("\r\n".join(lines).encode())
    try:
        assert b" 101 " in await reader.readline()
        while (await reader.readline()).strip():
            pass
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def resident_mib(pid: int) -> float:
    """How much memory a process has at present."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
