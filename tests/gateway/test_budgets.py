"""Budgets of whole workflows over REST: refused before it starts, waited for, ended there, and kept through a kill."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.talk import api
from tests.gateway.test_workflows import claim, echo, settled
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def opened(server: LiveServer, workflow: str, **budget: Any) -> str:
    status, run = await api(server, "POST", "workflow-runs", {"workflow": workflow, "budget": budget})
    assert status == 201, run
    return str(run["workflowRunId"])


async def spending(server: LiveServer, run: str) -> dict[str, Any]:
    status, told = await api(server, "GET", f"workflow-runs/{run}/budget")
    assert status == 200, told
    return dict(told)


def slow(prompt: str, *, wait_s: float = 60.0, **more: Any) -> dict[str, Any]:
    turns = [{"wait_s": wait_s, "text": "done"}]
    return {"prompt": prompt, "model": "scripted", "tools": [], "script": {"turns": turns}, **more}


async def test_a_pass_has_the_servers_budget_or_its_own(server: LiveServer) -> None:
    told = await spending(server, await opened(server, "limits"))
    assert (told["tokens"], told["cost"], told["spentTokens"], told["reservedTokens"]) == (100_000, None, 0, 0)
    run = await opened(server, "limits", tokens=None, cost=2.5)
    assert (await spending(server, run))["cost"] == 2.5
    assert (await spending(server, run))["tokens"] is None
    for wrong in ({"tokens": 0}, {"cost": -1}, {"turns": 3}, {"tokens": "many"}):
        status, fault = await api(server, "POST", "workflow-runs", {"workflow": "limits", "budget": wrong})
        assert (status, fault["code"]) == (422, "invalid_request"), wrong


async def test_a_call_that_does_not_fit_is_refused_and_no_run_is_made(server: LiveServer) -> None:
    run = await opened(server, "small", tokens=500)
    fits, does_not = await settled(
        server, run, await claim(server, run, echo("a", budget={"tokens": 400}), echo("b", budget={"tokens": 501}))
    )
    assert fits["status"] == "done"
    assert (does_not["status"], does_not["code"]) == ("failed", "budget_exceeded")
    assert "The workflow may take 500 tokens" in does_not["message"]
    assert does_not["details"]["needed"] == 501
    _, runs = await api(server, "GET", "runs?limit=200")
    assert [one for one in runs["items"] if one["metadata"].get("callId") == does_not["callId"]] == []
    told = await spending(server, run)
    assert (told["spentTokens"], told["reservedTokens"]) == (fits["tokens"], 0)
    again = await opened(server, "small", tokens=500)
    await claim(server, again, echo("a", budget={"tokens": 400}))
    assert (await spending(server, again))["spentTokens"] == 0, "what is in the store reserves and spends nothing"


async def test_branches_wait_for_what_others_give_back(server: LiveServer) -> None:
    """Sixteen at once want 8,000 of 20,000 tokens each, and take a few: all go, two at a time, and none too far."""
    run = await opened(server, "branches", tokens=20_000)
    calls = [echo(str(n), budget={"tokens": 8_000}) for n in range(16)]
    states = await settled(server, run, await claim(server, run, *calls))
    assert {one["status"] for one in states} == {"done"}
    told = await spending(server, run)
    assert told["spentTokens"] == sum(one["tokens"] for one in states) <= 20_000


async def test_the_last_tokens_go_to_one_of_many_branches(server: LiveServer) -> None:
    run = await opened(server, "last", tokens=1_000)
    flying = await claim(server, run, *[slow(str(n), budget={"tokens": 700}) for n in range(16)])
    async with asyncio.timeout(20):
        while (await spending(server, run))["reservedTokens"] == 0:
            await asyncio.sleep(0.05)
    assert (await spending(server, run))["reservedTokens"] == 700
    _, runs = await api(server, "GET", "runs?limit=200")
    assert len([one for one in runs["items"] if one["metadata"].get("workflow") == "last"]) <= 1
    status, told = await api(
        server, "POST", f"workflow-runs/{run}/calls/stop", {"callIds": [one["callId"] for one in flying]}
    )
    assert (status, told) == (200, {"count": 16})
    assert {one["code"] for one in await settled(server, run, flying)} == {"interrupted"}
    assert (await spending(server, run))["reservedTokens"] == 0


async def test_a_call_is_ended_at_its_reservation_and_what_it_took_counts(server: LiveServer) -> None:
    run = await opened(server, "ended", tokens=2_000)
    read = {"calls": [{"name": "list_files", "arguments": {}}], "usage": {"input_tokens": 900, "output_tokens": 100}}
    call = {"prompt": "p", "model": "scripted", "tools": ["list_files"], "script": {"turns": [read] * 12}}
    (state,) = await settled(server, run, await claim(server, run, {**call, "budget": {"tokens": 1_500}}))
    told = await spending(server, run)
    assert told["reservedTokens"] == 0
    assert 1_500 <= told["spentTokens"] <= 3_000, (state, told)
    (after,) = await settled(server, run, await claim(server, run, echo("late", budget={"tokens": 600})))
    assert after["code"] == "budget_exceeded"
    await api(server, "PUT", f"workflow-runs/{run}/budget", {"tokens": 10_000})
    (after,) = await settled(server, run, await claim(server, run, echo("late", budget={"tokens": 600})))
    assert after["status"] == "done", "more was allowed"


async def test_a_phase_has_a_budget_of_its_own(server: LiveServer) -> None:
    run = await opened(server, "phases")
    of_read = {"phase": "Read", "phaseBudget": {"tokens": 300}, "budget": {"tokens": 250}}
    states = await settled(server, run, await claim(server, run, echo("word " * 60, **of_read)))
    assert states[0]["status"] == "done"
    took = states[0]["tokens"]
    assert took > 50
    left = {**of_read, "budget": {"tokens": 301 - took}}
    refused, other = await settled(
        server, run, await claim(server, run, echo("c", **left), echo("d", phase="Write", budget={"tokens": 250}))
    )
    assert refused["code"] == "budget_exceeded"
    assert "The phase 'Read' may take 300 tokens" in refused["message"]
    assert other["status"] == "done"
    status, fault = await api(
        server, "POST", f"workflow-runs/{run}/calls", {"calls": [echo("x", phase="A", phaseBudget={"turns": 1})]}
    )
    assert (status, fault["code"]) == (422, "invalid_request")


async def test_a_killed_server_knows_what_was_reserved(tmp_path: Path) -> None:
    options = ("--AgentGateway.workflow_budget_tokens=1000",)
    async with LiveServer(tmp_path, options=options) as server:
        run = await opened(server, "killed")
        flying = await claim(server, run, slow("a", wait_s=3.0, budget={"tokens": 700}))
        async with asyncio.timeout(20):
            while not (await api(server, "GET", "runs?limit=5"))[1]["items"]:
                await asyncio.sleep(0.05)
        await server.kill()
        await server.start()
        assert (await spending(server, run))["reservedTokens"] == 700
        (waits,) = await claim(server, run, echo("b", budget={"tokens": 700}))
        assert waits["status"] == "running"
        first, second = await settled(server, run, [*(await looked(server, run, flying)), waits])
        assert (first["status"], second["status"]) == ("done", "done")
        told = await spending(server, run)
        assert (told["spentTokens"], told["reservedTokens"]) == (first["tokens"] + second["tokens"], 0)


async def looked(server: LiveServer, run: str, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = {"callIds": [one["callId"] for one in states]}
    _, told = await api(server, "POST", f"workflow-runs/{run}/calls/look", body)
    return [{**one, "cursor": told["cursor"]} for one in told["items"]]
