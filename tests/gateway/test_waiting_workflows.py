"""Scripts on the server that ask people, call one another and have a time to work: over REST, a terminal, and through
a killed server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.cli.test_cli import Called
from tests.gateway.talk import api
from tests.gateway.test_scripts import ended, start, write
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKS = """
meta = {"name": "NAME"}
phase("Ask")
form = await ask("Which colour?", {"colour": str, "n": int})
# %%
sure = await gate("Merge?", f"All of {form['n']}.")
# %%
[form, sure, await ask("Why?")]
"""
ACTIVE_S = 6.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    options = (f"--AgentGateway.workflow_active_s={ACTIVE_S}",)
    async with LiveServer(tmp_path_factory.mktemp("waiting"), options=options) as server:
        yield server


async def approved(server: LiveServer, name: str, text: str) -> None:
    write(server, name, text)
    _, told = await api(server, "GET", f"workflows/{name}")
    status, fault = await api(server, "POST", f"workflows/{name}/approve", {"digest": told["digest"]})
    assert status == 200, fault


async def asking(server: LiveServer, run: str, count: int = 1) -> list[str]:
    """Waits until the workflow's run waits for people alone, and returns the runs that ask them."""
    async with asyncio.timeout(30):
        while True:
            _, told = await api(server, "GET", f"workflow-runs/{run}/status")
            asks = told.get("waitsFor", [])
            if told["status"] == "waiting_input" and len(asks) == count:
                return list(asks)
            assert told["status"] in ("pending", "running", "waiting_input"), told
            await asyncio.sleep(0.05)


async def question(server: LiveServer, run_id: str) -> str:
    _, told = await api(server, "GET", f"runs/{run_id}/inputs")
    return f"runs/{run_id}/inputs/{told['items'][0]['requestId']}"


async def decide(server: LiveServer, run_id: str, **said: Any) -> None:
    _, told = await api(server, "GET", f"runs/{run_id}/approvals")
    status, fault = await api(server, "POST", f"approvals/{told['items'][0]['approvalId']}", said)
    assert status == 200, fault


async def test_people_answer_through_a_killed_server_and_the_next_run_asks_nobody(server: LiveServer) -> None:
    await approved(server, "asks", ASKS)
    run = await start(server, "asks")
    (first,) = await asking(server, run)
    where = await question(server, first)
    for bad in ("red", '{"colour": "red"}', '{"colour": "red", "n": "2"}'):
        status, fault = await api(server, "POST", where, {"content": bad})
        assert (status, fault["code"]) == (422, "invalid_request"), fault
    await server.kill()
    await server.start()
    assert await asking(server, run) == [first]
    status, fault = await api(server, "POST", where, {"content": json.dumps({"colour": "red", "n": 2})})
    assert status == 204, fault

    async with asyncio.timeout(30):
        while (second := (await asking(server, run))[0]) == first:
            await asyncio.sleep(0.05)
    await decide(server, second, approved=False, reason="Not today.")

    async with asyncio.timeout(30):
        while (await asking(server, run))[0] == second:
            await asyncio.sleep(0.05)
    code, _, err = await Called(server, "approve", answers="Because.\n")()
    assert (code, "Why?" in err) == (0, True), err
    told = await ended(server, run)
    assert told["status"] == "completed", told
    assert told["result"] == [{"colour": "red", "n": 2}, False, "Because."]
    assert told["said"] == ["# Ask", "Gate 'Merge?' was rejected: Not today."]
    assert (told.get("waitsFor", []), told["calls"]) == ([], 3)

    again = await ended(server, await start(server, "asks"))
    assert (again["result"], again["hits"]) == (told["result"], 3)


async def test_a_form_is_filled_in_at_a_terminal(server: LiveServer) -> None:
    await approved(server, "form", 'meta = {"name": "NAME"}\nawait ask("How?", {"n": int, "is_sure": bool})')
    run = await start(server, "form")
    await asking(server, run)
    code, _, err = await Called(server, "approve", answers="many\nyes\n3\nyes\n")()
    assert code == 0
    assert "The answer does not fit the form: n must be an integer" in err
    assert (await ended(server, run))["result"] == {"n": 3, "is_sure": True}


async def test_cancel_at_a_gate_ends_it_for_good(server: LiveServer) -> None:
    text = 'meta = {"name": "NAME"}\nawait parallel([gate("One?"), gate("Two?"), ask("Three?")])\n1'
    await approved(server, "gates", text)
    run = await start(server, "gates")
    asks = await asking(server, run, 3)
    began = time.monotonic()
    status, told = await api(server, "POST", f"workflow-runs/{run}/cancel")
    assert (status, told["count"]) == (200, 3)
    assert time.monotonic() - began < 10
    for one in asks:
        _, its = await api(server, "GET", f"runs/{one}")
        assert its["status"] == "interrupted"
    told = await ended(server, run)
    assert (told["status"], told["errorCode"]) == ("interrupted", "interrupted")


async def test_waiting_takes_no_turn_and_no_time_and_work_does(server: LiveServer) -> None:
    """Four wait for people, more than work at once; meanwhile one works for longer than it may."""
    await approved(server, "waits", 'meta = {"name": "NAME"}\n[await gate(f"Go on, {args[\'n\']}?"), budget.spent()]')
    waiting = [await start(server, "waits", n=n) for n in range(4)]
    asks = [(await asking(server, run))[0] for run in waiting]
    await approved(server, "long", 'meta = {"name": "NAME"}\nimport asyncio\nawait asyncio.sleep(600)')
    told = await ended(server, await start(server, "long"))
    assert (told["status"], told["errorCode"]) == ("error", "budget_exceeded")
    assert "worked for its 6 seconds" in told["errorMessage"]
    assert told["activeS"] >= ACTIVE_S
    for one in asks:
        await decide(server, one, approved=True)
    for run in waiting:
        told = await ended(server, run)
        assert (told["status"], told["result"]) == ("completed", [True, 0]), told


INNER = """
meta = {"name": "NAME", "args": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}}
phase("Inner")
both = await parallel([agent(f"{args['x']} {n}", model="echo", tools=[]) for n in range(2)])
[both, await gate("Inside?")]
"""
OUTER = """
meta = {"name": "NAME"}
before = budget.spent()
same = await agent("a 0", model="echo", tools=[])
got = await workflow("inner", x="a")
[got, same, budget.spent() > before]
"""


async def test_a_workflow_calls_another_within_its_run(server: LiveServer) -> None:
    await approved(server, "inner", INNER)
    await approved(server, "outer", OUTER)
    run = await start(server, "outer")
    (one,) = await asking(server, run)
    await server.kill()
    await server.start()
    await asking(server, run)
    await decide(server, one, approved=True)
    told = await ended(server, run)
    assert told["status"] == "completed", told
    assert told["result"] == [[["a 0", "a 1"], True], "a 0", True]
    assert (told["calls"], "# inner: Inner" in told["said"]) == (4, True)
    _, runs = await api(server, "GET", "workflows/inner/runs")
    assert runs["items"] == []
    _, all_runs = await api(server, "GET", "runs?limit=100")
    assert len([one for one in all_runs["items"] if one["metadata"].get("workflowRunId") == run]) == 4
    again = await ended(server, await start(server, "outer"))
    assert (again["result"][:2], again["hits"]) == (told["result"][:2], 4)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("deep", 'await workflow("outer")', "workflows nest one level deep"),
        ("lost", 'await workflow("nowhere")', "There is no workflow 'nowhere'"),
        ("itself", 'await workflow("itself")', "cannot call itself"),
        ("unread", 'await workflow("unapproved")', "read it and approve it first"),
        ("crooked", 'await workflow("broken")', "broken.py cannot be used"),
        ("wrong", 'await workflow("inner")', "does not take these arguments: x is missing"),
        ("failing", 'await workflow("fails")', "In the workflow 'fails': Line 2: ZeroDivisionError"),
    ],
)
async def test_what_cannot_be_called_is_said(server: LiveServer, name: str, text: str, said: str) -> None:
    await approved(server, "inner", INNER)
    await approved(server, "outer", OUTER)
    write(server, "unapproved", OUTER)
    write(server, "broken", "meta = {")
    await approved(server, "fails", 'meta = {"name": "NAME"}\n1 / 0')
    await approved(server, name, f'meta = {{"name": "NAME"}}\n{text}')
    told = await ended(server, await start(server, name))
    assert told["status"] == "error", told
    assert said in told["errorMessage"]
