"""Workflow scripts over REST: listed, approved, carried out, cancelled, and gone on with after a killed server."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.talk import api
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

REVIEW = """
meta = {"name": "NAME", "description": "Reads and reviews", "phases": ["Read", "Review"],
        "args": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}
phase("Read")
code = await agent(f"read {args['path']}", label="read", model="echo", tools=[])
# %%
phase("Review")
views = await parallel([agent(f"{what}: {code}", label=what, model="echo", tools=[]) for what in ["one", "two"]])
print("both", "there")
{"code": code, "views": views, "spent": budget.spent() > 0}
"""
WAITS = """
meta = {"name": "NAME"}
first = await agent("first", model="echo", tools=[])
# %%
calls = [agent(f"Create a file {name}.txt that says hello", model="demo", tools=["create_file"]) for name in ["a", "b"]]
await parallel(calls)
# %%
await agent("last", model="echo", tools=[])
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path_factory.mktemp("scripts")) as server:
        yield server


def write(server: LiveServer, name: str, text: str) -> str:
    """Writes a workflow into the workspace and returns the digest of its text."""
    folder = server.root / ".jupyter_agent" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text.replace("NAME", name))
    return name


async def approved(server: LiveServer, name: str, text: str) -> str:
    write(server, name, text)
    status, told = await api(server, "GET", f"workflows/{name}")
    assert (status, told["approved"]) == (200, False)
    assert hashlib.sha256(told["text"].encode()).hexdigest() == told["digest"]
    status, done = await api(server, "POST", f"workflows/{name}/approve", {"digest": told["digest"]})
    assert (status, done["digest"]) == (200, told["digest"])
    return name


async def start(server: LiveServer, name: str, **args: Any) -> str:
    status, run = await api(server, "POST", f"workflows/{name}/runs", {"args": args})
    assert status == 201, run
    return str(run["workflowRunId"])


async def ended(server: LiveServer, run: str, *, within_s: float = 30) -> dict[str, Any]:
    async with asyncio.timeout(within_s):
        while True:
            _, told = await api(server, "GET", f"workflow-runs/{run}/status")
            if told["status"] in ("completed", "error", "interrupted"):
                return dict(told)
            await asyncio.sleep(0.05)


async def waiting(server: LiveServer, count: int) -> list[dict[str, Any]]:
    """Waits until so many runs wait for a person, and returns what they ask."""
    async with asyncio.timeout(30):
        while True:
            _, runs = await api(server, "GET", "runs?status=waiting_confirmation")
            if len(runs["items"]) == count:
                break
            await asyncio.sleep(0.05)
    asked = []
    for run in runs["items"]:
        _, told = await api(server, "GET", f"runs/{run['runId']}/approvals?status=pending")
        asked += told["items"]
    return asked


async def test_what_there_is_is_listed_with_what_is_broken(server: LiveServer) -> None:
    write(server, "listed", REVIEW)
    write(server, "broken", 'meta = {"name": "broken"}\nx = (\n')
    status, told = await api(server, "GET", "workflows")
    assert status == 200
    (one,) = [item for item in told["items"] if item["name"] == "listed"]
    assert (one["place"], one["approved"], one["file"]) == ("workspace", False, "listed.py")
    assert [phase["title"] for phase in one["phases"]] == ["Read", "Review"]
    assert one["args"]["required"] == ["path"]
    assert [(item["file"], item["line"]) for item in told["broken"]] == [("broken.py", 2)]
    (server.root / ".jupyter_agent" / "workflows" / "broken.py").unlink()


async def test_a_script_is_refused_until_its_very_text_is_approved(server: LiveServer) -> None:
    write(server, "refused", REVIEW)
    status, fault = await api(server, "POST", "workflows/refused/runs", {"args": {"path": "a"}})
    assert (status, fault["code"]) == (403, "workflow_not_approved")
    status, fault = await api(server, "POST", "workflows/refused/approve", {"digest": "0" * 64})
    assert (status, fault["code"]) == (409, "conflict")
    await approved(server, "refused", REVIEW)
    write(server, "refused", REVIEW.replace("both", "all"))
    status, fault = await api(server, "POST", "workflows/refused/runs", {"args": {"path": "a"}})
    assert (status, fault["code"]) == (403, "workflow_not_approved")


async def test_code_in_the_request_is_not_run(server: LiveServer) -> None:
    """G02: only what is found and approved runs."""
    for body in ({"args": {}, "code": "1 + 1"}, {"script": "1"}, {"args": {}, "text": "x"}):
        status, fault = await api(server, "POST", "workflows/refused/runs", body)
        assert (status, fault["code"]) == (422, "invalid_request")
    status, fault = await api(server, "POST", "workflows/nowhere/runs", {"args": {}})
    assert (status, fault["code"]) == (404, "workflow_not_found")


async def test_a_run_tells_where_it_is_and_the_next_one_pays_nothing(server: LiveServer) -> None:
    await approved(server, "review", REVIEW)
    status, fault = await api(server, "POST", "workflows/review/runs", {"args": {"path": 3}})
    assert (status, fault["code"]) == (422, "invalid_request")
    first = await ended(server, await start(server, "review", path="a.py"))
    assert first["status"] == "completed", first
    assert first["result"] == {
        "code": "read a.py",
        "views": ["one: read a.py", "two: read a.py"],
        "spent": True,
    }
    assert (first["calls"], first.get("hits", 0), first["phase"]) == (3, 0, "Review")
    assert first["said"] == ["# Read", "# Review", "both there"]
    again = await ended(server, await start(server, "review", path="a.py"))
    assert (again["calls"], again["hits"]) == (3, 3)
    assert again["result"] == {**first["result"], "spent": False}
    other = await ended(server, await start(server, "review", path="b.py"))
    assert other.get("hits", 0) == 0
    _, runs = await api(server, "GET", "workflows/review/runs")
    assert [run["workflowRunId"] for run in runs["items"]] == [run["workflowRunId"] for run in (other, again, first)]


async def test_a_script_that_fails_or_leaves_the_language_says_where(server: LiveServer) -> None:
    await approved(server, "fails", 'meta = {"name": "NAME"}\n\n1 / 0\n')
    told = await ended(server, await start(server, "fails"))
    assert (told["status"], told["errorCode"]) == ("error", "workflow_failed")
    assert told["errorMessage"] == "Line 3: ZeroDivisionError: division by zero"
    await approved(server, "leaves", 'meta = {"name": "NAME"}\nimport pandas\n')
    status, fault = await api(server, "POST", "workflows/leaves/runs", {"args": {}})
    assert (status, fault["code"], fault["details"]["line"]) == (422, "workflow_invalid", 2)
    await approved(server, "endless", 'meta = {"name": "NAME"}\nx = "a"\nwhile True: x += x\n')
    told = await ended(server, await start(server, "endless"))
    assert (told["status"], told["errorCode"]) == ("error", "sandbox_limit")


async def test_cancel_ends_it_for_good_with_its_calls(server: LiveServer) -> None:
    await approved(server, "cancelled", WAITS)
    run = await start(server, "cancelled")
    await waiting(server, 2)
    began = time.monotonic()
    status, told = await api(server, "POST", f"workflow-runs/{run}/cancel")
    assert (status, told["count"]) == (200, 2)
    assert time.monotonic() - began < 10
    assert await waiting(server, 0) == []
    told = await ended(server, run)
    assert (told["status"], told["errorCode"]) == ("interrupted", "interrupted")
    status, fault = await api(server, "POST", f"workflow-runs/{run}/cancel")
    assert (status, fault["code"]) == (409, "run_finished")
    assert not (server.root / "a.txt").exists()
    assert (await ended(server, run))["status"] == "interrupted"


@pytest.mark.parametrize("dump", ["dumped", "replayed"])
async def test_a_killed_server_goes_on_with_it_and_does_nothing_twice(server: LiveServer, dump: str) -> None:
    text = WAITS.replace('"first", ', '"first", fresh=True, ')
    await approved(server, dump, text)
    run = await start(server, dump)
    await waiting(server, 2)
    await asyncio.sleep(0.5)
    await server.kill()
    (kept,) = server.home.glob(f"data/jupyter_agent/*/workflow-dumps/{run}")
    if dump == "replayed":
        kept.unlink()
    await server.start()
    asked = await waiting(server, 2)
    for one in asked:
        status, told = await api(server, "POST", f"approvals/{one['approvalId']}", {"approved": True})
        assert status == 200, told
    told = await ended(server, run)
    assert (told["status"], told["result"]) == ("completed", "last"), told
    _, all_runs = await api(server, "GET", "runs?limit=100")
    mine = [one for one in all_runs["items"] if one["metadata"].get("workflowRunId") == run]
    assert len(mine) == 4
    for name in ("a.txt", "b.txt"):
        (server.root / name).unlink()
    assert not kept.exists()
