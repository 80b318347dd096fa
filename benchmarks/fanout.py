"""What the gateway adds to a bare Tornado loop that sends the same bytes, and to `print` through a kernel's channel.

    python -m benchmarks.fanout [--quick]

Both sides live in one `jupyter server` process and are read by the same clients in another process.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.live_server import TOKEN, LiveServer

ROOT = Path(__file__).resolve().parent.parent
CONTENT = "a word or two of text, as models stream. "
IDLE_SCRIPT = [{"wait_s": 3600, "text": "never said"}]
OPTIONS = (
    "--ZMQChannelsWebsocketConnection.limit_rate=False",
    "--AgentGateway.max_sockets=1000",
    "--AgentGateway.stalled_after_s=120",
)
STILL = 20
"""Clients for the figures of memory."""
ROUNDS = 3
"""Each ratio is the median of so many rounds, in which the two sides take turns."""


@dataclass
class Table:
    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, ours: str, bare: str, ratio: str, wanted: str) -> None:
        self.rows.append((what, ours, bare, ratio, wanted))
        print(f"  {what}: {ours} | {bare} | {ratio}", flush=True)

    def __str__(self) -> str:
        head = ("what", "gateway", "beside it", "ratio (of computing time)", "wanted")
        lines = [head, ("---", "---:", "---:", "---:", "---"), *self.rows]
        widths = [max(len(row[place]) for row in lines) for place in range(5)]
        return "\n".join(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in lines
        )


class Pace(NamedTuple):
    """Events a second of the clock, and a second of the server's computing time."""

    by_clock: float
    by_cpu: float


@dataclass
class Bench:
    server: LiveServer
    table: Table

    # --- the two sides --------------------------------------------------------------------------------------

    async def drive(self, deed: str, **body: Any) -> dict[str, Any]:
        status, answer = await self.server.request("POST", f"bench/{deed}", body)
        if status != 200:
            raise RuntimeError(f"/bench/{deed} answered {status}: {answer}")
        return dict(answer)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        """A run that does nothing itself, for events to be appended to."""
        run_id = await self.server.start_run(IDLE_SCRIPT)
        try:
            yield run_id
        finally:
            await self.server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt")

    async def gateway_readers(self, run_id: str, clients: int, *options: str) -> "Readers":
        follow = json.dumps({"type": "follow", "runId": run_id})
        until = () if "--replay" in options else ("--until", "replay_complete")
        options = tuple(option for option in options if option != "--replay")
        return await Readers.start(self.server.port, "/jupyter-agent/ws", clients, "--say", follow, *until, *options)

    async def append(
        self, run_id: str, count: int, *, content: str = CONTENT, rate: float | None = None
    ) -> dict[str, Any]:
        return await self.drive("append", runId=run_id, count=count, content=content, rate=rate)

    # --- figures --------------------------------------------------------------------------------------------

    async def fan_out(self, clients: int, count: int, wanted: str) -> None:
        """Events a second from the first append until every client has the last, beside sending alone."""
        ours, bare = [], []
        for _ in range(ROUNDS):
            async with self.run() as run_id:
                readers = await self.gateway_readers(run_id, clients)
                cpu_s = self.cpu_s()
                driven = await self.append(run_id, count)
                ours.append(await self.pace(readers, count, cpu_s, driven["beganNs"]))
                await self.drive("keep", runId=run_id)
            readers = await Readers.start(self.server.port, "/bench/bare", clients)
            cpu_s = self.cpu_s()
            driven = await self.drive("send", rate=None)
            bare.append(await self.pace(readers, count, cpu_s, driven["beganNs"]))
        self.ratio(f"live fan-out to {clients} client{'s' * (clients > 1)}, events/s", ours, bare, wanted)

    async def replay(self, count: int, wanted: str) -> None:
        """Events a second of a stored run, from asking for them to the last, beside frames that lie in memory."""
        ours, bare = [], []
        async with self.run() as run_id:
            await self.append(run_id, count)
            await self.drive("keep", runId=run_id)
            for _ in range(ROUNDS):
                cpu_s = self.cpu_s()
                readers = await self.gateway_readers(run_id, 1, "--replay")
                ours.append(await self.pace(readers, count, cpu_s))
                cpu_s = self.cpu_s()
                readers = await Readers.start(self.server.port, "/bench/bare", 1, "--say", "go")
                bare.append(await self.pace(readers, count, cpu_s))
        self.ratio(f"replay of {count:,} events, events/s", ours, bare, wanted)

    def cpu_s(self) -> float:
        """Seconds that the server has computed so far."""
        times = psutil.Process(self.server.pid).cpu_times()
        return float(times.user + times.system)

    async def pace(self, readers: "Readers", count: int, cpu_s: float, began_ns: int | None = None) -> "Pace":
        """Waits for the readers and returns how fast it went."""
        seconds = await readers.seconds(began_ns, at_least=count)
        return Pace(count / seconds, count / (self.cpu_s() - cpu_s))

    def ratio(self, what: str, ours: "list[Pace]", bare: "list[Pace]", wanted: str) -> None:
        pairs = list(zip(ours, bare, strict=True))
        by_clock = statistics.median(mine.by_clock / its.by_clock for mine, its in pairs)
        by_cpu = statistics.median(mine.by_cpu / its.by_cpu for mine, its in pairs)
        mine, its = (statistics.median(pace.by_clock for pace in side) for side in (ours, bare))
        self.table.add(what, f"{mine:,.0f}", f"{its:,.0f}", f"{by_clock:.2f} ({by_cpu:.2f})", wanted)

    async def latency(self, count: int) -> None:
        """Milliseconds from append to a client at 1,000 events a second."""
        async with self.run() as run_id:
            readers = await self.gateway_readers(run_id, 1, "--timed")
            await self.append(run_id, count, content="", rate=1_000)
            ours = await readers.late_ms()
            await self.drive("keep", runId=run_id)
        readers = await Readers.start(self.server.port, "/bench/bare", 1, "--timed")
        await self.drive("send", rate=1_000)
        bare = await readers.late_ms()
        for name, place, wanted in (("p50", 0.5, "< 1 ms added"), ("p99", 0.99, "< 10 ms added")):
            mine, its = quantile(ours, place), quantile(bare, place)
            self.table.add(
                f"append → client at 1,000 events/s, {name}",
                f"{mine:.2f} ms",
                f"{its:.2f} ms",
                f"{mine - its:+.2f} ms",
                wanted,
            )

    async def printing(self, count: int) -> None:
        """Events a second to one client beside prints a second through the kernel's own channel."""
        async with self.run() as run_id:
            readers = await self.gateway_readers(run_id, 1)
            driven = await self.append(run_id, count)
            ours = count / await readers.seconds(driven["beganNs"], at_least=count)
        bare = await self._prints(count // 5)
        what = "streaming to one client, pieces/s (beside: print)"
        self.table.add(what, f"{ours:,.0f}", f"{bare:,.0f}", f"{ours / bare:.1f}", "≥ 10")

    async def _prints(self, count: int) -> float:
        status, kernel = await self.server.request("POST", "api/kernels", {"name": "python3"})
        assert status == 201, kernel
        url = f"ws://127.0.0.1:{self.server.port}/api/kernels/{kernel['id']}/channels?session_id=bench"
        socket = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"}))
        took = 0.0
        # The first is for the kernel to come up.
        for number, code in enumerate(("0", f"for _ in range({count}): print({CONTENT!r}, flush=True)")):
            await socket.write_message(execute_request(f"bench-{number}", code))
            began, heard = time.monotonic(), 0
            while True:
                message = json.loads(await socket.read_message() or "{}")
                if message["parent_header"].get("msg_id") != f"bench-{number}":
                    continue
                if message["msg_type"] == "stream":
                    heard += message["content"]["text"].count("\n")
                elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    break
            took = time.monotonic() - began
            assert heard == count * number, f"{heard} of {count} prints arrived"
        socket.close()
        await self.server.request("DELETE", f"api/kernels/{kernel['id']}")
        return count / took

    async def growth_mib(self, clients: int, count: int, *options: str) -> float:
        """MiB by which the server's memory grows while so many clients are sent so much."""
        async with self.run() as run_id:
            readers = await self.gateway_readers(run_id, clients, *options) if clients else None
            before = self.rss_mib()
            await self.append(run_id, count, content="x" * 1_000)
            await asyncio.sleep(0.5)
            grown = self.rss_mib() - before
            if readers is not None:
                await readers.end()
        return grown

    def rss_mib(self) -> float:
        return float(psutil.Process(self.server.pid).memory_info().rss) / 2**20


def quantile(values: list[float], place: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * place))]


def execute_request(message_id: str, code: str) -> str:
    header = {"msg_id": message_id, "msg_type": "execute_request", "session": "bench", "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    return json.dumps(message | {"buffers": []})


class Readers:
    """The clients' process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, path: str, clients: int, *options: str) -> "Readers":
        """Starts the clients; returns when all of them are ready."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.readers", str(port), path, str(clients), *options),
            cwd=ROOT,
            env={**os.environ, "BENCH_TOKEN": TOKEN},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        readers = cls(process)
        await readers._line()
        return readers

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 300)
        if not line:
            raise RuntimeError("The clients' process failed; its error stands above.")
        return line

    async def seconds(self, began_ns: int | None, *, at_least: int) -> float:
        """Returns how long it took until the last client had the last event; without a begin, from its asking."""
        heard = json.loads(await self._line())
        await self._process.wait()
        short = [frames for frames in heard["frames"] if frames < at_least]
        assert not short, f"Clients heard {short} of {at_least} events."
        return float(heard["lastNs"] - (began_ns or heard["saidNs"])) / 1e9

    async def late_ms(self) -> list[float]:
        heard = json.loads(await self._line())
        await self._process.wait()
        return [late / 1e6 for late in heard["lateNs"]]

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def bench(table: Table) -> AsyncIterator[Bench]:
    """A server of its own for one or more figures."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PYTHONPATH": str(ROOT)}
        server = LiveServer(Path(home), options=OPTIONS, extensions=("benchmarks.bare",), environment=environment)
        async with server:
            yield Bench(server, table)


async def measure(*, scale: float) -> Table:
    table = Table()
    async with bench(table) as one:
        await one.fan_out(1, int(40_000 * scale), "≥ 0.7")
        await one.fan_out(100, int(2_000 * scale), "≥ 0.6")
        await one.replay(int(100_000 * scale), "≥ 0.8")
        await one.latency(int(5_000 * scale))
        await one.printing(int(40_000 * scale))
    await memory(table, int(20_000 * scale))
    return table


async def memory(table: Table, count: int) -> None:
    """MiB of a server's memory for each client that reads nothing, and for each that keeps up, beside none at all."""
    grown: dict[str, float] = {}
    for kind, clients, options in (("none", 0, ()), ("keeps up", STILL, ()), ("is stalled", STILL, ("--stalled",))):
        # A server that has had memory before would use that again.
        async with bench(table) as fresh:
            grown[kind] = await fresh.growth_mib(clients, count, *options)
    for kind, wanted in (("is stalled", "< 4 MiB"), ("keeps up", "none")):
        what = f"memory of a client that {kind}, {count // 1_000:,} MB for each of {STILL}"
        table.add(what, f"{(grown[kind] - grown['none']) / STILL:.2f} MiB", "", "", wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events: to see that it works")
    print(asyncio.run(measure(scale=0.1 if parser.parse_args().quick else 1.0)))


if __name__ == "__main__":
    main()
