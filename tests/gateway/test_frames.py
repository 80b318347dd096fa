"""A frame that breaks off in the middle is never taken for all there is."""

import asyncio
import contextlib
import json
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.exceptions import ConnectionLost
from jupyter_agent.facts.query import MOST_KEYS
from jupyter_agent.gateway.rooms import LONG_AT_ONCE
from jupyter_agent.records import OWNER, Run, RunStatus, Thread, ToolTrace, utc_now
from jupyter_agent.storage import DATABASE, open_storage
from tests.gateway.talk import API, api, fetch
from tests.live_server import TOKEN, LiveServer

RUNS, ROWS = 20, 80_000
"""More than a batch."""


async def fill(folder: Path) -> None:
    storage, now = open_storage(folder), utc_now()
    await storage.rows.open()
    await storage.rows.create_thread(Thread(thread_id="t", user_id=OWNER, created_at=now, updated_at=now))
    for number in range(RUNS):
        run = Run(
            run_id=f"r{number:02}", thread_id="t", user_id=OWNER, status=RunStatus.COMPLETED, agent="a", model="m",
            created_at=now, updated_at=now,
        )  # fmt: skip
        await storage.rows.create_run(run)
        known = {"run_id": run.run_id, "position": 0, "tool_call_id": "c", "tool_name": "f"}
        traces = [ToolTrace(turn=turn, tool_output="x" * 200, **known) for turn in range(ROWS // RUNS)]
        await storage.rows.project([run], [], [], traces=traces)
    await storage.close()


def folder_of(home: Path) -> Path:
    return next(path.parent for path in home.rglob(DATABASE))


def damage(database: Path) -> None:
    """Spoils what is read last."""
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(size * 9 // 10)
        file.write(b"\xff" * (size // 20))


def readers_of(server: LiveServer) -> int:
    """Counts the processes that read for a server."""
    found = 0
    for children in Path(f"/proc/{server._process.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            with contextlib.suppress(OSError):
                found += b"jupyter_agent.facts" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return found


@pytest.mark.timeout(120)
async def test_few_read_at_once_and_the_others_wait(tmp_path: Path) -> None:
    async with LiveServer(tmp_path) as server:
        asked = {asyncio.create_task(fetch(server, "GET", f"{API}/frames/runs")) for _ in range(3 * LONG_AT_ONCE)}
        most, left = 0, asked
        while left:
            _, left = await asyncio.wait(left, timeout=0.02)
            most = max(most, await asyncio.to_thread(readers_of, server))
        assert {answer.result().code for answer in asked} == {200}
        assert 0 < most <= LONG_AT_ONCE


async def test_what_no_database_can_look_for_is_refused(tmp_path: Path) -> None:
    too_many = quote(json.dumps({f"k{number}": 1 for number in range(MOST_KEYS + 1)}))
    async with LiveServer(tmp_path) as server:
        for query in (f"metadata={quote(json.dumps({'a': 10**400}))}", f"metadata={too_many}", f"after={2**63}"):
            status, fault = await api(server, "GET", f"frames/events?{query}")
            assert (status, fault["code"]) == (422, "invalid_request"), query


@pytest.mark.timeout(120)
async def test_what_breaks_off_is_no_answer(tmp_path: Path) -> None:
    async with LiveServer(tmp_path):
        pass
    folder = folder_of(tmp_path)
    await fill(folder)
    async with LiveServer(tmp_path) as server:
        whole = await fetch(server, "GET", f"{API}/frames/tool_calls")
        assert pa.ipc.open_stream(whole.body).read_all().num_rows == ROWS
    damage(folder / DATABASE)
    async with LiveServer(tmp_path) as again:
        # Cut off after its head had said that all is well.
        with pytest.raises(HTTPStreamClosedError):
            await fetch(again, "GET", f"{API}/frames/tool_calls")
        client = Client(gateway_at(again.url, TOKEN, source="the test"))
        with pytest.raises(ConnectionLost):
            await client.join(client.facts("tool_calls"))
        await asyncio.to_thread(client.close)
