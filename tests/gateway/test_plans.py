"""Plans, budgets and exports of scripts over REST: what would happen is said, and nothing of it happens."""

from typing import Any

import pytest

from jupyter_agent.script.people import VERDICT
from tests.gateway.talk import api
from tests.gateway.test_scripts import approved, ended, start, waiting, write
from tests.gateway.test_workflows import claim, echo, settled
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

BRANCHES = """
meta = {"name": "NAME", "model": "echo", "instructions": "Be brief."}
import asyncio
await asyncio.sleep(3600)
async def branch(n):
    first = await agent(f"first {n}", label="first", tools=[])
    return await agent(f"second {first}", label="second", tools=[])
both = await parallel([branch(n) for n in range(args["count"])])
sure = await gate("Go on?")
await agent("never planned before", tools=[])
"""
BUDGETS = """
meta = {"name": "NAME", "model": "echo", "phases": [{"title": "Read", "budget": {"tokens": 5000}}, "Write"]}
phase("Read")
seen = []
async def tried(prompt, **more):
    try:
        await agent(prompt, tools=[], **more)
        seen.append("done")
    except Exception as fault:
        seen.append(str(fault)[:60])
await tried("fits", budget={"tokens": 4000})
await tried("does not", budget={"tokens": 5001})
phase("Write", budget={"tokens": 700})
await tried("does not either", budget={"tokens": 800})
phase("Rest")
await tried("no more than the whole", budget={"tokens": 20001})
[seen, budget.total, budget.total - budget.remaining() == budget.spent() > 0]
"""


async def plan(server: LiveServer, name: str, **args: Any) -> dict[str, Any]:
    status, told = await api(server, "POST", f"workflows/{name}/plan", {"args": args})
    assert status == 200, told
    return dict(told)


async def answered(server: LiveServer, workflow: str, *prompts: str) -> None:
    """Has the calls with these prompts answered, as an earlier run of the script would."""
    _, run = await api(server, "POST", "workflow-runs", {"workflow": workflow})
    calls = [echo(prompt, label="first", instructions="Be brief.") for prompt in prompts]
    await settled(server, run["workflowRunId"], await claim(server, run["workflowRunId"], *calls))


async def test_a_dry_pass_goes_as_far_as_stored_answers_reach(server: LiveServer) -> None:
    name = await approved(server, "branches", BRANCHES)
    told = await plan(server, name, count=3)
    assert (told["basis"], told["hits"], told["live"], told["tokens"]) == ("script", 0, 3, None)
    assert "Nothing is known of what 3 of the live calls take" in " ".join(told["unknown"])
    await answered(server, name, "first 0", "first 2")
    before = await everything(server)
    for _ in range(2):
        told = await plan(server, name, count=3)
        items = {item["prompt"]: item for item in told["items"]}
        assert {prompt: item["reused"] for prompt, item in items.items()} == {
            "first 0": True, "first 1": False, "first 2": True, "second first 0": False, "second first 2": False,
        }  # fmt: skip
        assert (told["hits"], told["live"]) == (2, 3)
        assert items["first 1"]["why"] == "prompt changed"
        assert items["first 1"]["likenedTo"] == 2
        assert told["tokens"]["low"] < told["tokens"]["expected"] < told["tokens"]["high"]
        assert told["seconds"]["expected"] > 0
    assert await everything(server) == before, "nothing was claimed, nothing ran"
    await answered(server, name, "first 1", "second first 0", "second first 1", "second first 2")
    told = await plan(server, name, count=3)
    assert (told["hits"], told["live"]) == (6, 0)
    unknown = "A person is to be asked 'Go on?': what they say, and what comes after it, is not known."
    assert told["unknown"] == [unknown]
    _, run = await api(server, "POST", "workflow-runs", {"workflow": name})
    gate = {"kind": "gate", "prompt": "Go on?", "schema": VERDICT}
    asked = await claim(server, run["workflowRunId"], gate)
    (approval,) = await waiting(server, 1)
    await api(server, "POST", f"approvals/{approval['approvalId']}", {"approved": True})
    await settled(server, run["workflowRunId"], asked)
    told = await plan(server, name, count=3)
    assert (told["hits"], told["live"]) == (7, 1), "what a person said is known, too"
    assert told["items"][-1]["prompt"] == "never planned before"


async def everything(server: LiveServer) -> tuple[Any, ...]:
    _, runs = await api(server, "GET", "runs?limit=200")
    _, headless = await api(server, "GET", "workflows/branches/runs")
    return [run["runId"] for run in runs["items"]], headless["items"]


async def test_only_what_may_run_is_planned(server: LiveServer) -> None:
    write(server, "unapproved", BRANCHES)
    status, fault = await api(server, "POST", "workflows/unapproved/plan", {"args": {}})
    assert (status, fault["code"]) == (403, "workflow_not_approved")
    status, fault = await api(server, "POST", "workflows/nowhere/plan", {"args": {}})
    assert (status, fault["code"]) == (404, "workflow_not_found")
    for body in ({"code": "1"}, {"basis": "guess"}, {"calls": [{"prompt": ""}]}):
        assert (await api(server, "POST", "workflows/branches/plan", body))[0] == 422
    name = await approved(server, "breaks", 'meta = {"name": "NAME"}\n1 / 0\n')
    assert (
        "With the stored answers the script fails: Line 2: ZeroDivisionError"
        in (await plan(server, name))["unknown"][0]
    )


async def test_calls_that_were_made_are_planned_again(server: LiveServer) -> None:
    await answered(server, "remade", "a", "a")
    calls = [echo(prompt, label="first", instructions="Be brief.") for prompt in ("a", "a", "a", "b")]
    bad = echo("c", tools=["no_such_tool"])
    status, told = await api(server, "POST", "workflows/remade/plan", {"basis": "calls", "calls": [*calls, bad]})
    assert (status, told["hits"], told["live"]) == (200, 2, 3)
    assert [item["why"].split(":")[0] for item in told["items"]] == [
        "unchanged", "unchanged", "one more of the same", "prompt changed", "refused",
    ]  # fmt: skip


async def test_a_script_has_a_budget_and_phases_have_theirs(server: LiveServer) -> None:
    name = await approved(server, "budgets", BUDGETS)
    status, run = await api(server, "POST", f"workflows/{name}/runs", {"args": {}, "budget": {"tokens": 20_000}})
    assert status == 201, run
    told = await ended(server, run["workflowRunId"])
    assert told["status"] == "completed", told
    assert told["result"] == [
        [
            "done",
            "BudgetExceeded: The phase 'Read' may take 5,000 tokens, of w",
            "BudgetExceeded: The phase 'Write' may take 700 tokens, of wh",
            "BudgetExceeded: The workflow may take 20,000 tokens, of whic",
        ],
        20_000,
        True,
    ]
    again = await ended(server, await start(server, name))
    assert (again["hits"], again["result"][1]) == (1, 100_000)
    for wrong in ('{"tokens": -1}', '{"turns": 3}'):
        write(server, "wrong", BUDGETS.replace('{"tokens": 5000}', wrong))
        _, listed = await api(server, "GET", "workflows")
        assert "The budget of the phase 'Read'" in next(one["error"] for one in listed["broken"])


async def test_steps_are_stored_once_and_within_the_caps(server: LiveServer) -> None:
    _, run = await api(server, "POST", "workflow-runs", {"workflow": "steps"})
    path = f"workflow-runs/{run['workflowRunId']}/steps"
    step = {"token": "tok_1", "name": "double", "source": "def double(x): …", "inputs": ["x = 1"]}
    status, told = await api(server, "POST", path, {"steps": [step]})
    assert (status, told["items"][0]["status"], told["items"][0]["why"]) == (200, "missed", "first time")
    for _ in range(2):
        status, told = await api(server, "POST", path, {"steps": [{**step, "answer": '{"n":2}', "seconds": 0.5}]})
        assert (status, told["items"][0]["status"], told["items"][0]["answer"]) == (200, "done", '{"n":2}')
    _, keys = await api(server, "GET", path)
    assert keys == {"keys": [told["items"][0]["key"]], "left": []}, "this pass has claimed it"
    _, other = await api(server, "POST", "workflow-runs", {"workflow": "steps"})
    again = {"steps": [{**step, "token": token} for token in ("a", "b")]}
    status, told = await api(server, "POST", f"workflow-runs/{other['workflowRunId']}/steps", again)
    assert [one["status"] for one in told["items"]] == ["hit", "missed"], "sent twice, it was stored once"
    many = [{**step, "token": f"t{n}", "inputs": [f"x = {n}"], "answer": "1"} for n in range(1_001)]
    status, fault = await api(server, "POST", path, {"steps": many})
    assert (status, fault["code"]) == (409, "too_many_calls")
    assert (await api(server, "GET", path))[1] == keys, "nothing of it was stored"
    for wrong in ({**step, "answer": "{"}, {**step, "name": ""}, {**step, "code": "1"}):
        assert (await api(server, "POST", path, {"steps": [wrong]}))[0] == 422


async def test_cells_are_exported_or_told_what_keeps_them(server: LiveServer) -> None:
    async def export(name: str, *cells: str, **more: Any) -> tuple[int, dict[str, Any]]:
        return await api(server, "POST", f"workflows/{name}/export", {"cells": cells, **more})

    status, told = await export("out", "x = 1\n!ls\n", "yield 3")
    assert (status, told["problems"][0]["construct"], told["problems"][0]["line"]) == (200, "!ls", 3)
    assert "file" not in told or told["file"] is None
    for cell, said in (("def f():\n    yield 3", "generators"), ("await step(len, 'x')", "step(): it is there in"),
                       ("x = (", "never closed"), ("nowhere + 1", "`nowhere` used when not defined"),
                       ("meta = {'name': 'other'}", "one name"), ("x = 1; meta = {}", "lines of its own")):  # fmt: skip
        status, told = await export("out", "1 + 1", cell)
        assert status == 200
        assert said in told["problems"][0]["message"], told
        assert told["problems"][0]["cell"] == 2
    folder = server.root / ".jupyter_agent" / "workflows"
    assert not (folder / "out.py").exists()

    cells = ("meta = {'description': 'Adds',\n        'phases': ['A']}\nx = await agent('é')", "f'{x}'")
    status, told = await export("out", *cells, model="echo", settings={"thinking": "low"}, instructions="Be brief.")
    assert (status, told["file"]) == (200, ".jupyter_agent/workflows/out.py")
    assert (folder / "out.py").read_text() == told["text"]
    _, listed = await api(server, "GET", "workflows/out")
    assert (listed["digest"], listed["description"], listed["approved"]) == (told["digest"], "Adds", False)
    assert "'model': 'echo'" in told["text"]
    assert "\n# %%\nx = await agent('é')\n\n# %%\nf'{x}'\n" in told["text"]
    assert (await export("out", *cells, model="echo", settings={"thinking": "low"}, instructions="Be brief."))[0] == 200
    status, fault = await export("out", "2")
    assert (status, fault["code"]) == (409, "conflict")
    assert (await export("out", "2", replace=True))[1]["digest"] != told["digest"]
    (folder / "out.py").unlink()
    (folder / "out.py").symlink_to(server.root / "elsewhere.py")
    assert (await export("out", "2", replace=True))[0] >= 400
    assert not (server.root / "elsewhere.py").exists()
    for name in ("..%2Fout", ".hidden", "a" * 81):
        status, _ = await export(name, "2")
        assert status in (404, 422), name
