"""Clients that send too much and take nothing: the server's memory does not follow them, and others notice nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.abuse.raw import CLOSE, raw, resident_mib
from tests.gateway.talk import QUICK, SLOW, talking
from tests.live_server import LiveServer

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
]

STALLED_AFTER_S = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    options = (f"--AgentGateway.stalled_after_s={STALLED_AFTER_S}",)
    async with LiveServer(tmp_path_factory.mktemp("server"), options=options) as server:
        await server.start_run(QUICK)
        yield server
        log = server.log.read_text(errors="replace")
        assert "Traceback" not in log
        assert "never retrieved" not in log


async def test_answers_that_nobody_reads_do_not_pile_up(server: LiveServer) -> None:
    start = {"type": "start_run", "clientId": "large", "model": "echo", "input": "x", "follow": False}
    before = resident_mib(server.pid)
    async with raw(server) as client:
        with contextlib.suppress(ConnectionError):
            for _ in range(700):
                # The same command acts once, and its large answer is due each time.
                await client.say({**start, "metadata": {"large": "x" * 200_000}})
        async with talking(server) as other:
            await other.say({"type": "heartbeat"})
            await other.until("heartbeat_ack", 5)
        await asyncio.sleep(STALLED_AFTER_S + 0.5)
        assert resident_mib(server.pid) - before < 70
        last = await asyncio.wait_for(client.last_bytes(), STALLED_AFTER_S + 20)
    assert CLOSE in last or not last
    # What it started is there, once.
    _, page = await server.request("GET", "jupyter-agent/api/runs?model=echo")
    assert len(page["items"]) == 1


async def test_a_flood_of_interrupts_holds_up_nobody(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with raw(server) as client, talking(server) as other:
        for number in range(3_000):
            await client.say({"type": "interrupt", "runId": "run_of_nobody", "clientId": str(number)})
        await other.say({"type": "heartbeat"})
        await other.until("heartbeat_ack", 5)
        assert (await other.command("interrupt", runId=run_id))["type"] == "ack"
    assert (await server.run(run_id))["status"] == "interrupted"
