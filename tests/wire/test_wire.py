"""An independent browser client against a real server: without delay, at 300 ms and at 1 s of round trip."""

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_agent.testing import check_events
from tests.live_server import TOKEN, LiveServer
from tests.wire.proxy import HOWS, Fault, Proxy

CLIENT = Path(__file__).parent / "client"
TRIALS = CLIENT / "dist" / "trials" / "all.test.js"
NODE = shutil.which("node")
TRIALS_TIMEOUT_S = 240
MANY_FROM_HERE = ("--AgentGateway.max_pending_sockets=500", "--AgentGateway.max_pending_sockets_per_address=500")
"""All clients of the trials come from one address, and many at once."""


def refuse(reason: str) -> None:
    """Skips, or fails where everything must be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wire")


@pytest.fixture
async def server(home: Path) -> AsyncIterator[LiveServer]:
    async with LiveServer(home, options=MANY_FROM_HERE) as server:
        yield server


async def break_now_and_then(proxy: Proxy) -> None:
    """Gives each connection to come a fault of its own, at a random byte of one of its ways."""
    chance = random.Random(1)
    while True:
        how = chance.choice(HOWS)
        if chance.random() < 0.75:
            proxy.fault = Fault(how, chance.randrange(100, 12_000), "client")
        else:
            proxy.fault = Fault(how, chance.randrange(50, 900), "server")
        await asyncio.sleep(0.02)


@pytest.mark.timeout(TRIALS_TIMEOUT_S + 60)
@pytest.mark.parametrize("rtt_ms", [0, 300, 1_000])
async def test_a_browser_client_is_told_everything_once(server: LiveServer, tmp_path: Path, rtt_ms: int) -> None:
    if NODE is None:
        refuse("Node is not installed: the browser client needs it.")
    if not TRIALS.exists():
        refuse(f"The browser client is not built: `npm ci && npm run build` in {CLIENT.name}, or `make test`.")
    async with (
        Proxy("127.0.0.1", server.port, rtt_s=rtt_ms / 1_000) as network,
        Proxy("127.0.0.1", server.port, rtt_s=rtt_ms / 1_000) as bad_network,
    ):
        breaking = asyncio.create_task(break_now_and_then(bad_network))
        environment = {
            "PATH": os.environ["PATH"],
            "GATEWAY_REST": server.url,
            "GATEWAY_SOCKETS": f"ws://127.0.0.1:{network.port}",
            "GATEWAY_CUTTING_SOCKETS": f"ws://127.0.0.1:{bad_network.port}",
            "GATEWAY_TOKEN": TOKEN,
            "GATEWAY_RTT_MS": str(rtt_ms),
            "GATEWAY_LOGS": str(tmp_path),
        }
        code, said = await node("--test", "--test-reporter=spec", str(TRIALS), environment=environment)
        breaking.cancel()
    assert code == 0, said
    check_logs(tmp_path)


async def node(*arguments: str, environment: dict[str, str]) -> tuple[int, str]:
    """Runs node and returns its exit code and what it said."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), TRIALS_TIMEOUT_S)
    except TimeoutError:
        return 1, f"The trials did not end within {TRIALS_TIMEOUT_S} s."
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")


def check_logs(folder: Path) -> None:
    """What each client was told is a good log, from the first event on."""
    logs = [path.read_bytes().splitlines() for path in folder.glob("witness-*.jsonl")]
    assert logs, "The trials left no logs."
    for lines in logs:
        check_events(lines, is_complete=any(line.startswith(b'{"type":"session_complete"') for line in lines))
