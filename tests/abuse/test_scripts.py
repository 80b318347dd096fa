"""Scripts of workflows that attack their server, over a real one: each ends with a typed fault, nothing of it happened,
and the next script is carried out."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jupyter_agent.workflow.dumps import Dumps
from tests.gateway.disk import filled
from tests.gateway.talk import api
from tests.gateway.test_scripts import ended, start, waiting
from tests.gateway.test_trouble import server_on, small_disk
from tests.live_server import LiveServer

__all__ = ["small_disk"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

OVER = {
    "time": ("while True: pass", "cell_s"),
    "memory": ("x = []\nwhile True: x.append([0] * 100_000)", "memory_bytes"),
    "recursion": ("def f(n): return f(n + 1)\nf(0)", "recursion"),
    "output": ("'x' * 5_000_000", "output_bytes"),
    "printing": ("while True: print('x' * 10_000)", "printed_chars"),
    "telling": ("while True: log('x' * 10_000)", "printed_chars"),
    "long-call": ("await agent('x' * 2_000_000, model='echo', tools=[])", "call_bytes"),
}
"""Ends by a limit, which cannot be caught."""
NO_JSON = {"set": "{1, 2}", "nan": "float('nan')", "function": "lambda: 1", "circle": "x = []\nx.append(x)\nx"}
FORGED = {
    "call": 'await _call(\'agent\', \'{"prompt": "x", "model": "echo"}\')',
    "tell": "_tell('phase', '\"forged\"')",
    "host": "_host('agent')",
    "run": "await run_command(['id'])",
}
HOLDS = """
import asyncio
phase("One")
log("before")
for _ in range(40):
    await asyncio.sleep(0.1)
log("after")
7
"""
HIDDEN = {
    "getattr": "getattr(budget, '_call')('agent', '{}')",
    "attribute": "budget.__class__.__init__.__globals__",
    "format": "'{0.__class__.__init__.__globals__}'.format(budget) + 1",
}
"""What the checker does not see, and the sandbox refuses."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path_factory.mktemp("scripts"), environment={"JUPYTER_AGENT_DEMO_PACE": "0"}) as server:
        write(server, "well", "await agent(args['said'], model='echo', tools=[])")
        yield server
        assert await answers(server, "at the end") == "at the end"


def write(server: LiveServer, name: str, text: str) -> None:
    """Writes a workflow where it needs no approval."""
    folder = server.home / "config" / "agent" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f'meta = {{"name": "{name}"}}\n{text}')


async def answers(server: LiveServer, said: str) -> Any:
    """Whatever was done to it: the next script is carried out, and the server is well."""
    told = await ended(server, await start(server, "well", said=said))
    status, health = await server.request("GET", "jupyter-agent/api/health")
    assert (status, health["status"]) == (200, "ok")
    return told["result"]


async def count_runs(server: LiveServer) -> int:
    """How many calls are carried out or were; a page holds at most 200."""
    _, runs = await api(server, "GET", "runs?limit=200")
    return len(runs["items"])


async def test_each_limit_ends_its_script_and_no_other(server: LiveServer) -> None:
    for name, (text, _) in OVER.items():
        write(server, name, text)
    runs = {name: await start(server, name) for name in OVER}
    for name, run in runs.items():
        told = await ended(server, run, within_s=90)
        assert (told["status"], told["errorCode"]) == ("error", "sandbox_limit"), (name, told)
        assert told["errorMessage"].startswith("The script ")
        assert sum(map(len, told.get("said", ()))) <= 200 * 1_000
        _, page = await api(server, "GET", f"workflow-runs/{run}/events?limit=1000")
        assert all(len(event["text"]) <= 1_000 for event in page["items"])
    assert await count_runs(server) == 0
    assert await answers(server, "after") == "after"


async def test_a_limit_cannot_be_caught(server: LiveServer) -> None:
    write(server, "caught", "while True:\n    try: print('x' * 50_000)\n    except BaseException: pass")
    told = await ended(server, await start(server, "caught"), within_s=60)
    assert (told["status"], told["errorCode"]) == ("error", "sandbox_limit")


async def test_a_flood_of_calls_is_cut_off(server: LiveServer) -> None:
    write(server, "items", "await parallel([agent(str(n), model='echo', tools=[]) for n in range(4_097)])")
    before = await count_runs(server)
    told = await ended(server, await start(server, "items"))
    assert "4,097 items are more than the 4,096" in told["errorMessage"]
    assert await count_runs(server) == before
    write(server, "flood", "await parallel([agent(f'{n}', model='demo', tools=[]) for n in range(1_001)])")
    began = time.monotonic()
    told = await ended(server, await start(server, "flood"), within_s=90)
    assert (told["status"], told["errorCode"]) == ("error", "sandbox_limit")
    assert "more than 1,000 calls" in told["errorMessage"]
    assert time.monotonic() - began < 90
    count = await count_runs(server)
    for status in ("pending", "running"):
        assert (await api(server, "GET", f"runs?status={status}&limit=1"))[1]["items"] == [], "none outlives its script"
    await server.kill()
    await server.start()
    assert await answers(server, "dry again") == "dry again"
    assert await count_runs(server) == count + 1, "and none is begun after a restart"


async def test_what_is_no_plain_data_is_no_result(server: LiveServer) -> None:
    for name, text in NO_JSON.items():
        write(server, f"no-json-{name}", text)
        told = await ended(server, await start(server, f"no-json-{name}"))
        assert (told["status"], told["errorCode"]) == ("error", "workflow_failed"), told
        assert told["errorMessage"].startswith("The result is no JSON")


async def test_words_that_are_none_are_refused_or_do_nothing(server: LiveServer) -> None:
    before = await count_runs(server)
    for name, text in FORGED.items():
        write(server, f"forged-{name}", text)
        status, fault = await api(server, "POST", f"workflows/forged-{name}/runs", {"args": {}})
        assert (status, fault["code"], fault["details"]["line"]) == (422, "workflow_invalid", 2), fault
    for name, text in HIDDEN.items():
        write(server, f"hidden-{name}", text)
        status, run = await api(server, "POST", f"workflows/hidden-{name}/runs", {"args": {}})
        if status == 201:
            told = await ended(server, run["workflowRunId"])
            assert (told["status"], told["errorCode"]) == ("error", "workflow_failed"), told
        else:
            assert (status, run["code"]) == (422, "workflow_invalid")
    assert await count_runs(server) == before


async def test_what_cannot_be_parsed_or_is_not_there_is_said(server: LiveServer) -> None:
    write(server, "unclosed", "x = (\n")
    write(server, "deep", "x = " + "(" * 3_000 + ")" * 3_000)
    for name, found in {"unclosed": "'(' was never closed", "deep": "", "nowhere": ""}.items():
        status, fault = await api(server, "POST", f"workflows/{name}/runs", {"args": {}})
        assert (status, fault["code"]) == (404, "workflow_not_found")
        assert found in fault["message"]
    _, listing = await api(server, "GET", "workflows")
    assert {"unclosed.py", "deep.py"} <= {one["file"] for one in listing["broken"]}
    for bad in ("..%2f..%2fetc%2fpasswd", "a%00b", "x" * 300, "%F0%9F%A6%86"):
        for method, path in (("GET", f"workflows/{bad}"), ("POST", f"workflows/{bad}/runs")):
            status, fault = await api(server, method, path, {"args": {}} if method == "POST" else None)
            assert status == 404, (bad, fault)
    for name in ("unclosed", "deep"):
        (server.home / "config" / "agent" / "workflows" / f"{name}.py").unlink()


@pytest.mark.parametrize("harm", ["forged", "torn", "newer"])
async def test_a_state_that_is_not_the_servers_own_is_never_loaded(server: LiveServer, harm: str) -> None:
    prompt = f"Create a file {harm}.txt that says hello"
    first = "first = await agent('first', model='echo', tools=[])"
    write(server, harm, f"{first}\nawait agent({prompt!r}, model='demo', tools=['create_file'])\nfirst")
    run = await start(server, harm)
    (asked,) = await waiting(server, 1)
    folder = next(server.home.glob("data/jupyter_agent/*")) / "workflow-dumps"
    kept = folder / run
    async with asyncio.timeout(20):
        while not kept.exists():
            await asyncio.sleep(0.05)
    _, told = await api(server, "GET", f"workflow-runs/{run}/status")
    await server.kill()
    data = kept.read_bytes()
    match harm:
        case "forged":
            kept.write_bytes(data[:40] + bytes(byte ^ 0xFF for byte in data[40:]))
        case "torn":
            kept.write_bytes(data[: len(data) // 2])
        case "newer":
            dumps, digest = Dumps(folder.parent, sandbox="9.9.9"), told["digest"]
            dump = dumps.load(run, digest)
            assert dump is not None
            dumps.save(run, digest, dump.progress, dump.state)
    await server.start()
    assert [one["approvalId"] for one in await waiting(server, 1)] == [asked["approvalId"]]
    await api(server, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
    told = await ended(server, run)
    assert (told["status"], told["result"]) == ("completed", "first"), told
    (server.root / f"{harm}.txt").unlink()


async def test_a_full_store_loses_nothing_of_a_script(tmp_path: Path, small_disk: Path) -> None:
    async with server_on(tmp_path, small_disk / "data") as server:
        write(server, "well", "await agent(args['said'], model='echo', tools=[])")
        write(server, "holds", HOLDS)
        run = await start(server, "holds")
        async with asyncio.timeout(30):
            while (await api(server, "GET", f"workflow-runs/{run}/status"))[1].get("phase") != "One":
                await asyncio.sleep(0.05)
        async with filled(small_disk):
            status, fault = await api(server, "POST", "workflows/well/runs", {"args": {"said": "x"}})
            assert (status, fault["code"]) == (507, "storage_full")
            async with asyncio.timeout(30):
                while "What became of a workflow run cannot be written down" not in server.log.read_text():
                    await asyncio.sleep(0.1)
            assert (await api(server, "GET", f"workflow-runs/{run}/status"))[1]["status"] == "running"
        told = await ended(server, run, within_s=60)
        assert (told["status"], told["result"]) == ("completed", 7), told
        assert told["said"][-1] == "after"
        _, page = await api(server, "GET", f"workflow-runs/{run}/events?limit=1000")
        assert [event["text"] for event in page["items"] if event["type"] == "log"] == ["before", "after"]
        assert await answers(server, "room again") == "room again"
