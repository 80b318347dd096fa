"""Calls of which nothing comes: whoever waits for one is told since when, and that it goes on again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from jupyter_agent.workflow.silence import Silence
from tests.gateway.talk import api
from tests.gateway.test_workflows import claim, opened
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SILENT_S = 0.5
WAITS = {"turns": [{"wait_s": 4, "text": "late"}]}
ASKS = {"turns": [{"calls": [{"name": "create_file", "arguments": {"path": "made.txt", "content": "x"}}]}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    options = (f"--AgentGateway.workflow_silent_s={SILENT_S}",)
    async with LiveServer(tmp_path_factory.mktemp("silent"), options=options) as server:
        yield server


async def news(server: LiveServer, run: str, flying: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that is told of a call until it has ended, or waits for a person."""
    told: list[dict[str, Any]] = []
    cursor = flying["cursor"]
    async with asyncio.timeout(60):
        while not told or (told[-1]["status"] == "running" and "waitsFor" not in told[-1]):
            _, answer = await api(server, "GET", f"workflow-runs/{run}/calls/news?wait=5&cursor={cursor}")
            cursor = answer["cursor"]
            told += [one for one in answer["items"] if one["callId"] == flying["callId"]]
    return told


async def test_whoever_waits_is_told_since_when_a_call_is_silent(server: LiveServer) -> None:
    run = await opened(server, "silent")
    (flying,) = await claim(server, run, {"prompt": "p", "model": "scripted", "tools": [], "script": WAITS})
    told = await news(server, run, flying)
    (silent,) = [one for one in told if "silentSince" in one]
    assert silent["status"] == "running"
    assert silent["runId"] == told[-1]["runId"]
    assert datetime.fromisoformat(silent["silentSince"]).tzinfo is not None
    assert told[-1]["status"] == "done"
    assert "silentSince" not in told[-1]


async def test_a_call_that_waits_for_a_person_is_not_stalled(server: LiveServer) -> None:
    run = await opened(server, "asked")
    asks = {"prompt": "p", "model": "scripted", "tools": ["create_file"], "script": ASKS}
    (flying,) = await claim(server, run, asks)
    assert (await news(server, run, flying))[-1]["waitsFor"] == "waiting_confirmation"
    await asyncio.sleep(3 * SILENT_S)
    _, looked = await api(server, "POST", f"workflow-runs/{run}/calls/look", {"callIds": [flying["callId"]]})
    assert "silentSince" not in looked["items"][0]
    assert looked["items"][0]["waitsFor"] == "waiting_confirmation"
    await api(server, "POST", f"workflow-runs/{run}/calls/stop", {"callIds": [flying["callId"]]})


async def test_what_is_heard_again_is_silent_no_more() -> None:
    told: list[bool] = []
    news = asyncio.Event()

    def changed(since: datetime | None) -> None:
        told.append(since is not None)
        news.set()

    silence = Silence(changed, after_s=0.05)
    async with asyncio.timeout(30):
        await news.wait()
        silence.heard()
        silence.heard()
        assert told == [True, False]
        news.clear()
        await news.wait()
    assert told == [True, False, True]
    silence.end()
