"""A TCP proxy that makes a network of loopback: it delays, and cuts, stalls, resets or half-closes at a chosen byte.

    python tests/wire/proxy.py 127.0.0.1:8888 --rtt 0.3          prints its own port, runs until it is stopped

Bytes of one direction keep their order; each is delivered half a round trip after it came, a new connection costs a
whole one, and how one side ends (closed or reset) reaches the other after the same delay.
"""

import argparse
import asyncio
import contextlib
import socket
import struct
from typing import Literal, NamedTuple

CHUNK = 64 * 1024
IN_FLIGHT = 256
"""Chunks that one direction holds at most: a receiver that stops is felt by the sender."""


How = Literal["cut", "reset", "half_close", "stall"]
HOWS: tuple[How, ...] = ("cut", "reset", "half_close", "stall")


class Fault(NamedTuple):
    """What happens to a connection when `at` bytes went one way. `cut` closes both sides, `reset` sends RST to both,
    `half_close` ends this direction alone, `stall` delivers nothing more in it and keeps everything open."""

    how: How
    at: int
    towards: Literal["client", "server"] = "client"


class Proxy:
    """Forwards to `host:port`. `rtt_s` and `fault` may be changed at any time; they hold for connections made later."""

    def __init__(self, host: str, port: int, *, rtt_s: float = 0.0, fault: Fault | None = None) -> None:
        self.upstream, self.rtt_s, self.fault = (host, port), rtt_s, fault
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        # Transports close in the loop's next turn.
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = (writer,)
        rtt_s, fault = self.rtt_s, self.fault
        try:
            await asyncio.sleep(rtt_s)
            connecting = asyncio.create_task(asyncio.open_connection(*self.upstream))
            try:
                up_reader, up_writer = await asyncio.shield(connecting)
            except asyncio.CancelledError:
                # A connection that is given up half made would leave its socket open.
                (await connecting)[1].close()
                raise
            self._open[task] = (writer, up_writer)
            for each in (writer, up_writer):
                each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as lanes:
                for way, source, sink in (("client", up_reader, writer), ("server", reader, up_writer)):
                    chosen = fault if fault and fault.towards == way else None
                    lanes.create_task(_carry(source, sink, rtt_s / 2, chosen))
        except* OSError:
            for each in self._open[task]:
                _reset(each)
        except* asyncio.CancelledError:
            for each in self._open[task]:
                each.transport.abort()
        except* EOFError:
            pass
        finally:
            for each in self._open.pop(task):
                each.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay_s: float, fault: Fault | None) -> None:
    """Carries one direction until it ends. Raises OSError to reset both sides, EOFError to close them."""
    line: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(IN_FLIGHT)
    filling = asyncio.create_task(_fill(line, source, delay_s))
    passed = 0
    try:
        while True:
            due, data = await line.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if isinstance(data, OSError):
                raise data
            how = None if data else "half_close"
            if fault and passed + len(data) >= fault.at:
                how, data = fault.how, data[: fault.at - passed]
            sink.write(data)
            await sink.drain()
            passed += len(data)
            match how:
                case "half_close":
                    return sink.write_eof()
                case "stall":
                    await asyncio.Event().wait()
                case "reset":
                    raise ConnectionResetError("As ordered.")
                case "cut":
                    raise EOFError("As ordered.")
    finally:
        filling.cancel()


async def _fill(
    line: asyncio.Queue[tuple[float, bytes | OSError]], source: asyncio.StreamReader, delay_s: float
) -> None:
    """Puts what comes, and how it ends, on the line with the time when it is due."""
    data: bytes | OSError = b"-"
    while data and not isinstance(data, OSError):
        try:
            data = await source.read(CHUNK)
        except OSError as fault:
            data = fault
        await line.put((asyncio.get_running_loop().time() + delay_s, data))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST instead of FIN."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Delay what goes to a port.")
    parser.add_argument("upstream", help="host:port")
    parser.add_argument("--rtt", type=float, default=0.0, help="round trip in seconds")
    options = parser.parse_args()
    host, _, port = options.upstream.rpartition(":")
    async with Proxy(host, int(port), rtt_s=options.rtt) as proxy:
        print(proxy.port, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
