"""Flows over REST: registered by the configuration, started, decided by people, gone on with after a killed server."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.cli.test_cli import Called
from tests.gateway.talk import api
from tests.gateway.test_scripts import waiting
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = """
import os
from pathlib import Path

from jupyter_agent.flow import Flow, Step

ECHO = {"model": "echo", "tools": []}


def note(ctx):
    with Path(os.environ["FLOW_LEDGER"]).open("a") as file:
        file.write(ctx.args["text"] + "\\n")
    return ctx.args["text"].strip()


report = Flow(
    "report",
    steps=[
        Step(id="read", kind="code", do=note),
        Step(id="review", kind="agent", deps=["read"], prompt=lambda ctx: f"Review {ctx['read']}", options=ECHO),
        Step(id="score", kind="agent", deps=["read"], prompt='{"n": 3}', options=ECHO | {"schema": {"n": "int"}}),
        Step(id="ok", kind="approval", deps=["review"], prompt=lambda ctx: f"Publish {ctx['review']!r}?"),
        Step(id="merge", kind="code", deps=["ok", "score"], do=lambda ctx: [ctx["review"], ctx["score"]["n"]]),
    ],
    render=lambda ctx: " ".join(map(str, ctx["merge"])),
    output="report.md",
)
writes = Flow(
    "writes",
    steps=[
        Step(id="note", kind="code", do=note),
        Step(id="write", kind="agent", deps=["note"], options={"model": "demo", "tools": ["create_file"]},
             prompt=lambda ctx: f"Create a file {ctx['note']}.txt that says hello"),
        Step(id="ok", kind="approval", deps=["note"], prompt="Go on?"),
        Step(id="end", kind="code", deps=["write", "ok"], do=lambda ctx: ctx["ok"]),
    ],
)
odd = Flow("odd", steps=[Step(id="ask", kind="agent", prompt="x", options={"colour": "red"})])
circle = Flow("circle", steps=[Step(id=a, kind="code", deps=[b], do=note) for a, b in ("ab", "ba")])
other = Flow("another", steps=[Step(id="a", kind="code", do=note)])
number = 3
"""
FLOWS = {
    **{name: f"flows_of_tests:{name}" for name in ("report", "writes", "odd", "circle", "other", "number", "absent")},
    "nowhere": "no_such_module:flow",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    home = tmp_path_factory.mktemp("flows")
    (home / "modules").mkdir()
    (home / "modules" / "flows_of_tests.py").write_text(MODULE)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(home / "modules"), str(Path(__file__).parents[2])]),
        "FLOW_LEDGER": str(home / "ledger"), "JUPYTER_AGENT_DEMO_PACE": "0",
    }  # fmt: skip
    async with LiveServer(home, options=(f"--AgentGateway.flows={FLOWS!r}",), environment=environment) as server:
        yield server


def ledger(server: LiveServer) -> list[str]:
    return (server.home / "ledger").read_text().splitlines()


async def start(server: LiveServer, flow: str, **args: Any) -> str:
    status, run = await api(server, "POST", f"flows/{flow}/runs", {"args": args})
    assert status == 201, run
    return str(run["flowRunId"])


async def until(server: LiveServer, run: str, *statuses: str, within_s: float = 30) -> dict[str, Any]:
    async with asyncio.timeout(within_s):
        while True:
            status, told = await api(server, "GET", f"flow-runs/{run}")
            assert status == 200, told
            if told["run"].get("status", "running") in statuses:
                return dict(told)
            await asyncio.sleep(0.05)


def steps_of(told: dict[str, Any]) -> dict[str, str]:
    return {step["stepId"]: step.get("status", "pending") for step in told["steps"]}


async def test_what_the_configuration_names_is_listed_with_what_is_wrong(server: LiveServer) -> None:
    status, told = await api(server, "GET", "flows")
    assert status == 200
    found = {one["name"]: one for one in told["items"]}
    assert [step["stepId"] for step in found["report"]["steps"]] == ["read", "review", "score", "ok", "merge"]
    assert {name: one["error"].split("\n")[0] for name, one in found.items() if "error" in one} == {
        "circle": "Flow 'circle' cannot start:",
        "other": "it calls itself 'another': name it so in AgentGateway.flows",
        "number": "flows_of_tests:number is a int, no Flow",
        "absent": "flows_of_tests:absent cannot be imported: module 'flows_of_tests' has no attribute 'absent'",
        "nowhere": "no_such_module:flow cannot be imported: No module named 'no_such_module'",
    }
    status, fault = await api(server, "POST", "flows/circle/runs", {"args": {}})
    assert (status, fault["code"]) == (422, "flow_invalid")
    status, fault = await api(server, "POST", "flows/nothing/runs", {"args": {}})
    assert (status, fault["code"]) == (404, "flow_not_found")
    status, fault = await api(server, "POST", "flows/report/runs", {"flow": "os:system"})
    assert (status, fault["code"]) == (422, "invalid_request")


async def test_a_flow_asks_real_agents_and_a_person(server: LiveServer) -> None:
    run = await start(server, "report", text=" it ")
    told = await until(server, run, "waiting_confirmation")
    assert told["asks"] == {"ok": "Publish 'Review it'?"}
    async with asyncio.timeout(30):
        while steps_of(told) != {
            "read": "completed",
            "review": "completed",
            "score": "completed",
            "ok": "running",
            "merge": "pending",
        }:
            await asyncio.sleep(0.05)
            _, told = await api(server, "GET", f"flow-runs/{run}")
    status, fault = await api(server, "POST", f"flow-runs/{run}/steps/merge", {"approved": True})
    assert (status, fault["code"]) == (409, "conflict")
    status, step = await api(server, "POST", f"flow-runs/{run}/steps/ok", {"approved": True})
    assert (status, step["status"]) == (200, "completed")
    told = await until(server, run, "completed")
    assert (told["run"]["result"], told["run"]["output"], told.get("asks", {})) == (
        "Review it 3",
        "report.md",
        {},
    )
    _, runs = await api(server, "GET", "runs?limit=50")
    mine = [one for one in runs["items"] if one["metadata"].get("workflowRunId") == run]
    assert sorted(one["metadata"]["label"] for one in mine) == ["review", "score"]
    status, fault = await api(server, "POST", f"flow-runs/{run}/steps/ok", {"approved": True})
    assert (status, fault["code"]) == (409, "run_finished")
    again = await start(server, "report", text="it")
    await until(server, again, "waiting_confirmation")
    _, runs = await api(server, "GET", "runs?limit=50")
    assert [one for one in runs["items"] if one["metadata"].get("workflowRunId") == again]
    await api(server, "POST", f"flow-runs/{again}/steps/ok", {"approved": False, "reason": "Not now"})
    told = await until(server, again, "error")
    (rejected,) = [step for step in told["steps"] if step["stepId"] == "ok"]
    assert rejected["error"].endswith("Not now")
    status, listed = await api(server, "GET", "flow-runs?limit=1")
    assert [one["flowRunId"] for one in listed["items"]] == [again]
    assert listed["nextCursor"]


async def test_options_that_no_agent_takes_fail_the_step_in_words(server: LiveServer) -> None:
    told = await until(server, await start(server, "odd"), "error")
    assert "colour" in told["steps"][0]["error"]


async def test_cancel_stops_the_steps_with_their_runs(server: LiveServer) -> None:
    run = await start(server, "writes", text="cancelled")
    await waiting(server, 1)
    began = time.monotonic()
    assert await api(server, "POST", f"flow-runs/{run}/cancel") == (200, {"count": 2})
    assert time.monotonic() - began < 10
    told = await until(server, run, "interrupted")
    assert steps_of(told) == {"note": "completed", "write": "cancelled", "ok": "cancelled", "end": "cancelled"}
    assert await waiting(server, 0) == []
    assert not (server.root / "cancelled.txt").exists()
    status, fault = await api(server, "POST", f"flow-runs/{run}/cancel")
    assert (status, fault["code"]) == (409, "run_finished")


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_a_flow_goes_on_after_its_server(server: LiveServer, end: str) -> None:
    run = await start(server, "writes", text=end)
    (before,) = await waiting(server, 1)
    await (server.kill() if end == "killed" else server.stop())
    await server.start()
    (asked,) = await waiting(server, 1)
    assert asked["runId"] == before["runId"]
    async with asyncio.timeout(30):
        while True:
            # After a kill the lease of the dead process has to pass before.
            status, _ = await api(server, "POST", f"flow-runs/{run}/steps/ok", {"approved": True})
            if status == 200:
                break
            await asyncio.sleep(0.2)
    status, _ = await api(server, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
    assert status == 200
    told = await until(server, run, "completed")
    assert steps_of(told) == dict.fromkeys(["note", "write", "ok", "end"], "completed")
    assert (server.root / f"{end}.txt").exists()
    assert ledger(server).count(end) == 1
    _, runs = await api(server, "GET", "runs?limit=100")
    assert len([one for one in runs["items"] if one["metadata"].get("workflowRunId") == run]) == 1


async def test_from_the_command_line(server: LiveServer) -> None:
    code, out, err = await Called(server, "flow", "list")()
    assert (code, "report" in out, "read (code)" in out) == (0, True, True), err
    code, out, err = await Called(server, "flow", "run", "report", "-a", "text=line", "--detach")()
    assert code == 0, err
    run = out.strip()
    await until(server, run, "waiting_confirmation")
    code, out, _ = await Called(server, "flow", "status", run)()
    assert (code, "? ok: Publish 'Review line'?" in out) == (0, True)
    code, _, err = await Called(server, "flow", "approve", run, "ok")()
    assert (code, "Approved" in err) == (0, True)
    code, out, err = await Called(server, "flow", "status", run, "--follow")()
    assert (code, out) == (0, "Review line 3\n"), err
    code, out, err = await Called(server, "flow", "cancel", run)()
    assert (code, out) == (2, "")
    code, out, err = await Called(server, "flow", "run", "nothing")()
    assert (code, "There is no flow 'nothing'" in err) == (2, True)


async def test_runs_that_ended_long_ago_go_with_their_steps(server: LiveServer, tmp_path: Path) -> None:
    options = (
        f"--AgentGateway.flows={({'report': 'flows_of_tests:report'})!r}", "--AgentGateway.flow_runs_days=0",
        "--AgentGateway.retention_every_s=0.5",
    )  # fmt: skip
    async with LiveServer(tmp_path, options=options, environment=server.environment) as short:
        kept = await start(short, "report", text="x")
        gone = await start(short, "report", text="y")
        await until(short, kept, "waiting_confirmation")
        await api(short, "POST", f"flow-runs/{gone}/cancel")
        async with asyncio.timeout(30):
            while (await api(short, "GET", f"flow-runs/{gone}"))[0] != 404:
                await asyncio.sleep(0.1)
        assert (await api(short, "GET", f"flow-runs/{kept}"))[0] == 200
