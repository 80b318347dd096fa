"""A server on PostgreSQL, from outside: runs outlive it, and its password is told to nobody."""

import asyncio
import secrets

import sqlalchemy as sa

from jupyter_agent.storage import DATABASE_URL
from jupyter_agent.testing import check_events
from tests.gateway.disk import filled
from tests.gateway.talk import QUICK, api, talking
from tests.live_server import LiveServer

STREAMS = {"turns": [{"text": "word " * 120, "delay_s": 0.02}]}


async def finished(server, run_id):
    async with asyncio.timeout(90):
        while True:
            status, run = await server.request("GET", f"jupyter-agent/api/runs/{run_id}")
            assert status == 200, run
            if run["status"] in ("completed", "error", "interrupted"):
                return run
            await asyncio.sleep(0.2)


async def test_runs_outlive_a_killed_server_and_its_password_is_told_to_nobody(postgres, database_url, tmp_path):
    url = sa.make_url(database_url).set(password="canary-of-the-tests").render_as_string(hide_password=False)
    server = LiveServer(tmp_path, environment={"JUPYTER_AGENT_DATABASE_URL": url})
    async with server:
        status, run = await server.request("POST", "jupyter-agent/api/runs", {"input": "hello", "model": "echo"})
        assert status in (200, 201, 202), run
        done = await finished(server, run["runId"])
        await server.kill()
        await asyncio.to_thread(postgres.end_connections, sa.make_url(database_url).database)
        await server.start()
        after = await finished(server, run["runId"])
        # Its last event may come, and it is archived, a moment after its end.
        later = {"detailBlob": None, "updatedAt": None}
        assert after | later == done | later
        status, again = await server.request("POST", "jupyter-agent/api/runs", {"input": "again", "model": "echo"})
        assert (await finished(server, again["runId"]))["status"] == done["status"] == "completed"
        assert "canary-of-the-tests" not in server.log.read_text()
    assert not list(tmp_path.rglob("jupyter_agent.db"))


async def test_what_the_database_weighs_is_not_guessed(database_url, tmp_path):
    """A limit of size would delete nothing, or everything: the folder holds none of it."""
    async with LiveServer(tmp_path, environment={"JUPYTER_AGENT_DATABASE_URL": database_url}) as server:
        status, fault = await server.request("POST", "jupyter-agent/api/prune", {"largerThan": 0, "dryRun": True})
        assert (status, fault["code"]) == (422, "invalid_request")
        assert "Choose by age" in fault["message"]
        status, told = await server.request("POST", "jupyter-agent/api/prune", {"olderThanS": 0, "dryRun": True})
        assert (status, told["threads"]) == (200, 0)


async def test_a_full_disk_refuses_starts_and_runs_go_on_when_there_is_room(postgres, tmp_path):
    """Without a restart of either server."""
    long = secrets.token_hex(40_000)
    options = ("--AgentGateway.lease_ttl_s=2.0",)
    with postgres.small_database(24) as (url, disk):
        async with LiveServer(tmp_path, environment={DATABASE_URL: url}, options=options) as server:
            run_id = await server.start_run(QUICK)
            await api(server, "GET", f"runs/{run_id}?wait=30")
            slow = await server.start_run(STREAMS)
            async with talking(server, f"chatKey={slow}") as talk:
                await talk.until(lambda frame: frame["type"] == "agent_event")
                _, before = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
                async with filled(disk):
                    for _ in range(3):
                        status, fault = await api(server, "POST", "runs", {"input": long, "model": "echo"})
                        assert (status, fault["code"]) == (507, "storage_full"), fault
                        assert "Make room" in fault["message"]
                    await talk.silence(1.0)
                    await talk.say({"type": "heartbeat"})
                    await talk.until("heartbeat_ack")
                    assert (await api(server, "GET", f"runs/{run_id}/events?limit=1000"))[1] == before, "reading works"
                    assert (await api(server, "GET", f"runs/{slow}"))[1]["status"] == "running"
                status, run = await api(server, "POST", "runs", {"input": long, "model": "echo"})
                assert status == 201, run
                assert (await api(server, "GET", f"runs/{run['runId']}?wait=30"))[1]["status"] == "completed"
                await talk.until("session_complete", timeout_s=60)
            check_events(talk.heard, is_complete=True)
            assert (await api(server, "GET", f"runs/{slow}?wait=30"))[1]["status"] == "completed"
            _, after = await api(server, "GET", "runs")
            assert {one["runId"] for one in after["items"]} == {run_id, slow, run["runId"]}, "nothing was half started"
