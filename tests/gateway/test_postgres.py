"""A server on PostgreSQL, from outside: runs outlive it, and its password is told to nobody."""

import asyncio

import sqlalchemy as sa

from tests.live_server import LiveServer


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
