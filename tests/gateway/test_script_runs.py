"""Runs of workflow scripts over REST: what they tell, resuming one, their turns, the model of their calls."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.talk import api
from tests.gateway.test_scripts import ended, start, waiting
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TELLS = """
phase("Read")
code = await agent("read", label="read", model="echo", tools=[])
log("halfway")
phase("Fail")
try:
    await agent("x", label="broken", model="no-such-model", tools=[])
except Exception as fault:
    log("it failed")
code
"""
HALF = """
phase("First")
done = await parallel([agent(f"part {n}", label=f"part {n}", model="echo", tools=[]) for n in range(4)])
phase("Second")
await agent("second", label="second", model="echo", tools=[])
raise ValueError("not yet")
"""
ASKS = """
await agent(f"Create a file {args['file']}.txt that says hello", model="demo", tools=["create_file"])
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path_factory.mktemp("runs"), environment={"JUPYTER_AGENT_DEMO_PACE": "0"}) as server:
        for name, text in {"tells": TELLS, "half": HALF, "asks": ASKS}.items():
            write(server, name, text)
        yield server


def write(server: LiveServer, name: str, text: str) -> None:
    """Writes a workflow where it needs no approval."""
    folder = server.home / "config" / "agent" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f'meta = {{"name": "{name}"}}\n{text}')


async def heard(server: LiveServer, run: str, *, after: int = 0) -> list[dict[str, Any]]:
    """Follows what a run tells to its end, as a client does."""
    told: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while True:
            status, page = await api(server, "GET", f"workflow-runs/{run}/events?after={after}&wait=10&limit=3")
            assert status == 200, page
            told += page["items"]
            after = page["next"]
            if page["isOver"] and not page["items"]:
                return told


async def test_a_run_tells_its_phases_its_lines_and_its_calls_as_they_change(server: LiveServer) -> None:
    run = await start(server, "tells")
    told = await heard(server, run)
    assert [one["number"] for one in told] == list(range(1, len(told) + 1))
    assert [(one["type"], one.get("status") or one["text"]) for one in told] == [
        ("status", "running"), ("phase", "Read"), ("call", "running"), ("call", "done"), ("log", "halfway"),
        ("phase", "Fail"), ("call", "running"), ("call", "failed"), ("log", "it failed"), ("status", "completed"),
    ]  # fmt: skip
    done = told[3]
    assert (done["text"], done["phase"], done["model"]) == ("read", "Read", "echo")
    assert done["tokens"] > 0
    assert done["runId"].startswith("run_")
    assert "no-such-model" in told[7]["message"]
    assert await heard(server, run, after=8) == told[8:]
    again = await heard(server, await start(server, "tells"))
    assert [one["status"] for one in again if one["type"] == "call"] == ["hit", "running", "failed"]
    await server.kill()
    await server.start()
    assert await heard(server, run) == told
    status, fault = await api(server, "GET", "workflow-runs/wfr_nothing/events")
    assert (status, fault["code"]) == (404, "workflow_run_not_found")


async def test_resuming_what_failed_runs_only_what_is_not_stored(server: LiveServer) -> None:
    failed = await ended(server, await start(server, "half"))
    assert (failed["status"], failed["calls"], failed.get("hits", 0)) == ("error", 5, 0)
    status, resumed = await api(server, "POST", f"workflow-runs/{failed['workflowRunId']}/resume", {})
    assert (status, resumed["resumes"], resumed["digest"]) == (201, failed["workflowRunId"], failed["digest"])
    told = await ended(server, resumed["workflowRunId"])
    assert (told["status"], told["calls"], told["hits"]) == ("error", 5, 5)
    lines = [one["text"] for one in await heard(server, resumed["workflowRunId"]) if one["type"] == "log"]
    assert lines[0] == f"This resumes {failed['workflowRunId']}: what is stored of it is not run again."


async def test_a_cancelled_run_keeps_what_was_answered_and_can_be_resumed(server: LiveServer) -> None:
    write(server, "held", 'await agent("first", model="echo", tools=[])\n' + ASKS)
    run = await start(server, "held", file="held")
    await waiting(server, 1)
    status, fault = await api(server, "POST", f"workflow-runs/{run}/resume", {})
    assert (status, fault["code"]) == (409, "conflict")
    assert (await api(server, "POST", f"workflow-runs/{run}/cancel"))[1] == {"count": 1}
    told = await heard(server, run)
    assert (told[-1]["type"], told[-1]["text"]) == ("status", "interrupted")
    status, resumed = await api(server, "POST", f"workflow-runs/{run}/resume", {})
    assert status == 201, resumed
    (asked,) = await waiting(server, 1)
    await api(server, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
    done = await ended(server, resumed["workflowRunId"])
    assert (done["status"], done["calls"], done["hits"]) == ("completed", 2, 1)
    (server.root / "held.txt").unlink()
    status, fault = await api(server, "POST", f"workflow-runs/{resumed['workflowRunId']}/resume", {})
    assert (status, fault["code"]) == (409, "conflict")
    assert "completed" in fault["message"]
    status, fault = await api(server, "POST", "workflow-runs/wfr_nothing/resume", {})
    assert (status, fault["code"]) == (404, "workflow_run_not_found")


async def test_a_text_that_is_approved_no_more_is_not_resumed(server: LiveServer) -> None:
    folder = server.root / ".jupyter_agent" / "workflows"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text('meta = {"name": "mine"}\n1 / 0')
    _, told = await api(server, "GET", "workflows/mine")
    await api(server, "POST", "workflows/mine/approve", {"digest": told["digest"]})
    run = await ended(server, await start(server, "mine"))
    (approval,) = server.home.glob("data/jupyter_agent/*/workflow-approvals/*")
    approval.unlink()
    status, fault = await api(server, "POST", f"workflow-runs/{run['workflowRunId']}/resume", {})
    assert (status, fault["code"]) == (403, "workflow_not_approved")


async def test_three_work_at_a_time_and_more_wait_for_their_turn(server: LiveServer) -> None:
    write(server, "works", "import asyncio\nawait asyncio.sleep(600)")

    async def statuses(runs: list[str]) -> list[str]:
        return [(await api(server, "GET", f"workflow-runs/{run}/status"))[1]["status"] for run in runs]

    async def come_to(runs: list[str], *wanted: str) -> list[str]:
        async with asyncio.timeout(30):
            while sorted(found := await statuses(runs)) != sorted(wanted):
                await asyncio.sleep(0.05)
        return found

    runs = [await start(server, "works") for _ in range(5)]
    _, listed = await api(server, "GET", "workflow-runs?limit=5")
    assert [one["workflowRunId"] for one in listed["items"]] == runs[::-1]
    found = await come_to(runs, "pending", "pending", "running", "running", "running")
    late = [run for run, status in zip(runs, found, strict=True) if status == "pending"]
    assert (await api(server, "POST", f"workflow-runs/{late[1]}/cancel"))[1] == {"count": 0}
    assert (await ended(server, late[1]))["status"] == "interrupted"
    rest = [run for run in runs if run != late[1]]
    working = next(run for run in rest if run not in late)
    await api(server, "POST", f"workflow-runs/{working}/cancel")
    await come_to(rest, "interrupted", "running", "running", "running")
    for run in rest:
        await api(server, "POST", f"workflow-runs/{run}/cancel")
    assert {(await ended(server, run))["status"] for run in rest} == {"interrupted"}


async def test_the_model_of_a_run_is_that_of_calls_that_name_none(server: LiveServer) -> None:
    write(server, "modelled", 'await parallel([agent("a", tools=[]), agent("b", model="demo", tools=[])])')
    status, run = await api(server, "POST", "workflows/modelled/runs", {"model": "echo:4"})
    assert (status, run["model"]) == (201, "echo:4")
    told = await heard(server, run["workflowRunId"])
    assert {one["text"]: one["model"] for one in told if one["type"] == "call"} == {"a": "echo:4", "b": "demo"}
    for model in ("nobody", "scripted"):
        status, fault = await api(server, "POST", "workflows/modelled/runs", {"model": model})
        assert (status, fault["code"]) == (422, "unknown_model" if model == "nobody" else "invalid_request")


async def test_a_name_may_have_dots(server: LiveServer) -> None:
    write(server, "dotted.v2", "2")
    told = await ended(server, await start(server, "dotted.v2"))
    assert (told["status"], told["result"]) == ("completed", 2)
    assert (await api(server, "GET", "workflows/..dotted"))[0] == 404
