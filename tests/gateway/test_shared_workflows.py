"""Workflows and flows on two servers that share one PostgreSQL database: whichever is asked, the one that carries it
out does it, and everybody hears of it."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.gateway.talk import api
from tests.gateway.test_flows import start as start_flow
from tests.gateway.test_flows import steps_of, until
from tests.gateway.test_scripts import approved, ended, start
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TTL_S = 3.0
MODULE = """
from jupyter_agent.flow import Flow, Step

ECHO = {"model": "echo", "tools": []}
asks = Flow(
    "asks",
    steps=[
        Step(id="read", kind="agent", prompt=lambda ctx: f"Read {ctx.args['text']}", options=ECHO),
        Step(id="ok", kind="approval", deps=["read"], prompt="Go on?"),
        Step(id="end", kind="agent", deps=["ok"], prompt=lambda ctx: f"End of {ctx['read']}", options=ECHO),
    ],
    render=lambda ctx: ctx["end"],
)
"""
GATED = """
meta = {"name": "NAME"}
phase("Read")
first = await parallel([agent(f"{args['n']} first {i}", model="echo", tools=[]) for i in range(6)], on_error="raise")
sure = await gate(f"{args['n']} Go on?", "really")
phase("End")
[sure, await agent(f"{args['n']} last of {len(first)}", model="echo", tools=[])]
"""


class Two(NamedTuple):
    """Both servers, and the database's own."""

    a: LiveServer
    b: LiveServer


def two_servers(home: Path, url: str, *, ttl_s: float, modules: str = MODULE) -> Two:
    """Returns two servers over one database and one workspace, that know the flows of a module."""
    (home / "modules").mkdir()
    (home / "modules" / "shared_flows.py").write_text(modules)
    path = os.pathsep.join([str(home / "modules"), str(Path(__file__).parents[2])])
    options = (
        f"--AgentGateway.database_url={url}", f"--AgentGateway.lease_ttl_s={ttl_s}",
        "--AgentGateway.flows={'asks': 'shared_flows:asks'}",
    )  # fmt: skip
    environment = {"JUPYTER_AGENT_DEMO_PACE": "0", "PYTHONPATH": path}
    servers = [LiveServer(home / name, options=options, environment=environment) for name in ("first", "second")]
    for server in servers:
        server.root = home / "root"
        server.home.mkdir()
    return Two(*servers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    with postgres.database() as url:
        servers = two_servers(tmp_path_factory.mktemp("shared"), url, ttl_s=TTL_S)
        async with servers.a, servers.b:
            await approved(servers.a, "gated", GATED)
            _, told = await api(servers.b, "GET", "workflows/gated")
            await api(servers.b, "POST", "workflows/gated/approve", {"digest": told["digest"]})
            yield servers


async def at_the_gate(server: LiveServer, n: str) -> dict[str, Any]:
    """Waits until the person is asked, and returns what they are asked."""
    async with asyncio.timeout(60):
        while True:
            for asked in await waiting_for_anything(server):
                if asked["preview"]["arguments"]["title"].startswith(f"{n} "):
                    return asked
            await asyncio.sleep(0.05)


async def waiting_for_anything(server: LiveServer) -> list[dict[str, Any]]:
    _, runs = await api(server, "GET", "runs?status=waiting_confirmation&limit=100")
    asked: list[dict[str, Any]] = []
    for run in runs["items"]:
        _, page = await api(server, "GET", f"runs/{run['runId']}/approvals")
        asked += [one for one in page["items"] if one.get("decision") is None]
    return asked


async def test_a_gate_is_answered_and_the_run_followed_on_the_server_that_does_not_carry_it_out(two: Two) -> None:
    run = await start(two.a, "gated", n="g")
    asked = await at_the_gate(two.b, "g")
    async with asyncio.timeout(30):
        while (told := (await api(two.b, "GET", f"workflow-runs/{run}/status"))[1])["status"] != "waiting_input":
            await asyncio.sleep(0.05)
    assert told["waitsFor"] == [asked["runId"]]
    following = asyncio.create_task(all_events(two.b, run))
    status, done = await api(two.b, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
    assert status == 200, done
    told = await ended(two.b, run)
    assert told["result"] == [True, "g last of 6"]
    heard = await following
    assert heard == await all_events(two.a, run)
    assert [one["number"] for one in heard] == list(range(1, len(heard) + 1))
    assert [one["text"] for one in heard if one["type"] == "phase"] == ["Read", "End"]
    assert (heard[-1]["type"], heard[-1]["text"]) == ("status", "completed")
    for server in two:
        _, runs = await api(server, "GET", "workflows/gated/runs")
        assert run in {one["workflowRunId"] for one in runs["items"]}


async def all_events(server: LiveServer, run: str) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while True:
            after = heard[-1]["number"] if heard else 0
            _, page = await api(server, "GET", f"workflow-runs/{run}/events?after={after}&wait=20")
            heard += page["items"]
            if page["isOver"] and not page["items"]:
                return heard


async def test_a_run_is_cancelled_on_the_server_that_does_not_carry_it_out_and_resumed_there(two: Two) -> None:
    run = await start(two.a, "gated", n="c")
    asked = await at_the_gate(two.b, "c")
    status, told = await api(two.b, "POST", f"workflow-runs/{run}/cancel")
    assert (status, told) == (200, {"count": 1})
    for server in two:
        assert (await ended(server, run))["status"] == "interrupted"
        status, fault = await api(server, "POST", f"workflow-runs/{run}/cancel")
        assert (status, fault["code"]) == (409, "run_finished")
    assert (await api(two.a, "GET", f"runs/{asked['runId']}"))[1]["status"] == "interrupted"
    assert (await all_events(two.b, run))[-1]["text"] == "interrupted"
    status, again = await api(two.b, "POST", f"workflow-runs/{run}/resume")
    assert status == 201, again
    asked = await at_the_gate(two.a, "c")
    await api(two.a, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
    told = await ended(two.a, again["workflowRunId"])
    assert (told["result"], told["hits"]) == ([True, "c last of 6"], 6)


async def test_calls_of_a_pass_are_heard_of_and_stopped_on_any_server(two: Two) -> None:
    """A call that one server runs and a person is asked by, for a kernel that speaks to the other."""
    _, opened = await api(two.a, "POST", "workflow-runs", {"workflow": "cell by cell"})
    run = f"workflow-runs/{opened['workflowRunId']}"
    question = {"prompt": "Well?", "kind": "ask"}
    _, begun = await api(
        two.a, "POST", f"{run}/calls", {"calls": [question, question | {"prompt": "No?"}], "start": True}
    )
    ids = [one["callId"] for one in begun["items"]]
    _, looked = await api(two.b, "POST", f"{run}/calls/look", {"callIds": ids})
    assert [one["status"] for one in looked["items"]] == ["running", "running"]
    heard = await news(two.b, run, looked["cursor"], lambda one: one.get("waitsFor") == "waiting_input", 2)
    answered = next(one for one in heard if one["callId"] == ids[0])
    _, told = await api(two.b, "GET", f"runs/{answered['runId']}/inputs")
    status, fault = await api(
        two.b, "POST", f"runs/{answered['runId']}/inputs/{told['items'][0]['requestId']}", {"content": "fine"}
    )
    assert status < 300, fault
    done = await news(two.b, run, looked["cursor"], lambda one: one["status"] == "done", 1)
    assert (done[0]["callId"], done[0]["answer"]) == (ids[0], "fine")
    status, count = await api(two.b, "POST", f"{run}/calls/stop", {"callIds": ids})
    assert (status, count) == (200, {"count": 1})
    failed = await news(two.b, run, looked["cursor"], lambda one: one["status"] in ("failed", "gone"), 1)
    assert failed[0]["callId"] == ids[1]
    there = await news(two.a, run, begun["cursor"], lambda one: one["status"] in ("failed", "gone"), 1)
    assert (there[0]["callId"], there[0]["code"]) == (ids[1], "interrupted")


async def news(server: LiveServer, run: str, cursor: str, is_it: Any, count: int) -> list[dict[str, Any]]:
    """Returns the first news of this kind, of each call the last."""
    found: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            _, told = await api(server, "GET", f"{run}/calls/news?cursor={cursor}&wait=5")
            assert not told["missed"]
            cursor = told["cursor"]
            found |= {one["callId"]: one for one in told["items"] if is_it(one)}
    return list(found.values())


async def test_a_flow_is_decided_on_the_server_that_does_not_carry_it_out_once(two: Two) -> None:
    run = await start_flow(two.a, "asks", text="x")
    told = await until(two.b, run, "waiting_confirmation")
    assert told["asks"] == {"ok": "Go on?"}
    decision = {"approved": True, "reason": "it is fine"}
    answers = await asyncio.gather(
        *(api(server, "POST", f"flow-runs/{run}/steps/ok", decision) for server in (two.b, two.a, two.b))
    )
    assert sorted(status for status, _ in answers) == [200, 409, 409]
    step = next(told for status, told in answers if status == 200)
    assert (step["stepId"], step["status"], step["output"]) == ("ok", "completed", True)
    assert {told["code"] for status, told in answers if status == 409} <= {"already_resolved", "run_finished"}
    done = await until(two.b, run, "completed")
    assert done["run"]["result"] == "End of Read x"
    assert next(one for one in done["steps"] if one["stepId"] == "ok") == step


async def test_a_flow_is_cancelled_on_the_server_that_does_not_carry_it_out(two: Two) -> None:
    run = await start_flow(two.a, "asks", text="y")
    await until(two.b, run, "waiting_confirmation")
    assert await api(two.b, "POST", f"flow-runs/{run}/cancel") == (200, {"count": 1})
    for server in two:
        told = await until(server, run, "interrupted")
        assert steps_of(told) == {"read": "completed", "ok": "cancelled", "end": "cancelled"}
        status, fault = await api(server, "POST", f"flow-runs/{run}/cancel")
        assert (status, fault["code"]) == (409, "run_finished")
