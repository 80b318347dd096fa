"""In a kernel: one's own code as steps, plans before anything is spent, budgets, and cells that become a script."""

import asyncio
import json
from typing import Any

from tests.gateway.talk import api
from tests.notebooks.kernel import ServerKernel

LOAD = "%load_ext jupyter_agent"
STEPS = """%%workflow steps
ran = []
def double(x, by=2):
    ran.append(x)
    return {"doubled": x * by}
async def later(x):
    ran.append(x)
    return [x]
print(await step(double, 4), await step(later, "a"), await parallel([step(double, n) for n in (5, 6)]), ran)"""


async def run(kernel: ServerKernel, code: str, *, cell: str | None = None) -> str:
    kernel.client.session.metadata = {"cellId": cell} if cell else {}
    reply = await kernel.execute(code)
    assert reply["status"] == "ok", reply
    return kernel.text()


async def frame(kernel: ServerKernel, expression: str) -> list[dict[str, Any]]:
    return list(json.loads(await run(kernel, f"print({expression}.to_json(orient='records'))")))


async def test_steps_are_recorded_and_explained_and_make_no_run(server, kernel):
    await run(kernel, LOAD)
    said = await run(kernel, STEPS, cell="one")
    assert said == "{'doubled': 8} ['a'] [{'doubled': 10}, {'doubled': 12}] [4, 'a', 5, 6]\n"
    rows = await frame(kernel, "wf.calls.df")
    assert [(row["label"], row["reused"], row["why"], row["tokens"]) for row in rows] == [
        ("double", False, "first time", 0), ("later", False, "first time", 0),
        ("double", False, "inputs changed", 0), ("double", False, "inputs changed", 0),
    ]  # fmt: skip
    assert {row["model"] for row in rows} == {None}
    assert await run(kernel, STEPS, cell="one") == said.replace("[4, 'a', 5, 6]", "[]"), "all from the store"
    assert {row["why"] for row in await frame(kernel, "wf.calls.df")} == {"unchanged"}
    _, runs = await api(server, "GET", "runs")
    assert runs["items"] == []

    edited = STEPS.replace("x * by", "x * by + 1").replace('"a"', '"b"')
    assert "[4, 'b', 5, 6]" in await run(kernel, edited, cell="one")
    rows = await frame(kernel, "wf.calls.df")
    assert [row["why"] for row in rows] == ["source changed", "inputs changed", "source changed", "source changed"]
    assert "x * by + 1" in rows[0]["now"]
    assert "x * by}" in rows[0]["was"]
    assert (await run(kernel, "print(wf.explain('later'))")).startswith("'later' ran live: compared with the nearest")

    await server.request("POST", f"api/kernels/{kernel.kernel_id}/restart")
    await kernel.client.wait_for_ready(timeout=60)
    await run(kernel, LOAD)
    assert (await run(kernel, edited, cell="one")).endswith(" []\n")


async def test_a_step_that_fails_raises_its_own_and_is_not_stored(kernel):
    await run(kernel, LOAD)
    cell = "%%workflow failing\ndef bad(x):\n    return {'x': 1 / x, 'y': (1, 2)}\nawait step(bad, VALUE)"
    assert (await kernel.execute(cell.replace("VALUE", "0")))["ename"] == "ZeroDivisionError"
    reply = await kernel.execute(cell.replace("VALUE", "1"))
    assert (reply["ename"], "result['y'] is a tuple; return a list" in reply["evalue"]) == ("InvalidRequest", True)
    assert (await kernel.execute(cell.replace("VALUE", "0")))["ename"] == "ZeroDivisionError"
    rows = await frame(kernel, "wf.calls.df")
    assert [(row["status"], row["reused"]) for row in rows] == [("failed", None)] * 3
    assert "division by zero" in rows[0]["error"]


async def test_a_plan_says_what_would_be_spent_and_spends_nothing(server, kernel):
    await run(kernel, LOAD)
    cell = (
        "%%workflow planned -m echo --budget 50_000\n"
        "a = await agent('read the module', label='read', tools=[])\n"
        "await parallel([agent(f'{w}: {a}', label='view', tools=[]) for w in ('one', 'two', 'three')])"
    )
    assert "at least 0 live" in await run(kernel, "import jupyter_agent as ja; print(ja.workflow('planned').plan())")
    await run(kernel, cell)
    assert (await run(kernel, "print(budget.total, budget.spent() > 0, budget.remaining() < 50_000)")) == (
        "50000 True True\n"
    )
    _, before = await api(server, "GET", "runs")
    told = await run(kernel, "plan = wf.plan(); print(plan.hits, plan.live, plan.tokens)")
    assert told == "4 0 None\n"
    await run(kernel, "wf.forget('view'); plan = wf.plan(); print(plan.hits, plan.live, plan.tokens.expected > 0)")
    assert kernel.text() == "1 3 True\n"
    said = await run(kernel, "print(plan)")
    assert "1 from the store, at least 3 live" in said
    assert "90 % between" in said
    assert "Not known: What comes after a call that runs live is not known" in said
    rows = await frame(kernel, "plan.df")
    assert [(row["label"], row["reused"]) for row in rows] == [("read", True), *[("view", False)] * 3]
    await run(kernel, "wf.new_pass(); print(wf.plan({'other': 1}))")
    assert "from the calls of its last pass" in kernel.text()
    assert "The arguments are others than in the last pass" in kernel.text()
    _, after = await api(server, "GET", "runs")
    assert len(after["items"]) == len(before["items"]) == 4, "nothing ran"


async def test_a_workflow_stops_at_its_budget(kernel):
    await run(kernel, LOAD)
    cell = "%%workflow tight -m echo --budget 300\nawait agent('x ' * 100, tools=[], budget={'tokens': 290})\n"
    await run(kernel, cell)
    reply = await kernel.execute(cell.replace("x ", "y "))
    assert reply["ename"] == "BudgetExceeded"
    assert "The workflow may take 300 tokens" in reply["evalue"]
    assert "of 300" in await run(kernel, "print(wf.budget)")
    await run(kernel, cell.replace("x ", "y ").replace("--budget 300", "--budget 5000"))
    reply = await kernel.execute("ja_phase = phase('P', budget={'turns': 3})")
    assert (reply["ename"], "tokens and cost" in reply["evalue"]) == ("InvalidRequest", True)
    reply = await completed(kernel, "%%workflow ti")
    assert "tight" in reply
    assert set(await completed(kernel, "%%workflow tight --")) >= {"--model", "--budget"}
    assert "echo" in await completed(kernel, "%%workflow tight -m ec")
    for wrong in ("--budget many", "--budget", "--budget 0", "-x 3"):
        assert (await kernel.execute(f"%%workflow tight {wrong}\n1"))["ename"] == "InvalidRequest", wrong


async def completed(kernel: ServerKernel, line: str) -> list[str]:
    reply = await kernel.client.complete(line, len(line), reply=True, timeout=60)
    return list(reply["content"]["matches"])


FIRST = """%%workflow review -m echo
meta = {"name": "review", "phases": [{"title": "Read", "budget": {"tokens": 9000}}, "Review"],
        "args": {"type": "object", "properties": {"path": {"type": "string"}}}}
phase("Read")
code = await agent(f"read {args.get('path', 'a.py')}", label="read", attach={"notes": "é of all"}, tools=[],
                   budget={"tokens": 5000, "turns": 3})"""
SECOND = """%%workflow review -m echo
phase("Review", budget={"tokens": 20_000})
views = await parallel([agent(f'{{"score": {n}, "notes": ["{code[:4]}"]}}', label=str(n), tools=["read_file"],
                              schema={"score": int, "notes": [str]}) for n in (1, 2)])
[view["score"] for view in views]"""


async def test_cells_become_a_script_that_spends_nothing(server, kernel):
    """J: in the notebook, exported, approved by a person, run by the server: all of it from the store."""
    await run(kernel, LOAD)
    await run(kernel, "import jupyter_agent as ja; ja.workflow('review', instructions='Be brief.', args={'path': 'b.py'})")
    for place, cell in enumerate((FIRST, SECOND)):
        await run(kernel, cell, cell=f"c{place}")
    third = "%%workflow review -m echo\nimport os\nprint(os.getcwd())"
    await run(kernel, third, cell="c2")
    said = await run(kernel, "out = wf.export(); print(out)")
    assert "Not written: 1 place of the workflow 'review' cannot run without the notebook" in said
    assert "Cell 3, line 2, column 1: the sandbox does not run import os" in said
    assert [(row["cell"], row["line"], row["construct"]) for row in await frame(kernel, "out.df")] == [
        (3, 2, "import os")
    ]
    await run(kernel, "%%workflow review -m echo\n[view['score'] for view in views]", cell="c2")
    told = await run(kernel, "out = wf.export(); print(out)")
    assert "was written to .jupyter_agent/workflows/review.py" in told
    assert "jupyter agent workflow approve review" in told

    status, told = await api(server, "GET", "workflows/review")
    assert (status, told["approved"], told["place"]) == (200, False, "workspace")
    refused, _ = await api(server, "POST", "workflows/review/runs", {"args": {}})
    assert refused == 403
    await api(server, "POST", "workflows/review/approve", {"digest": told["digest"]})
    for args, hits, live in (({"path": "b.py"}, 3, 0), ({"path": "c.py"}, 0, 1)):
        status, plan = await api(server, "POST", "workflows/review/plan", {"args": args})
        assert (status, plan["hits"], plan["live"]) == (200, hits, live), plan
    assert plan["items"][0]["why"] == "prompt changed"
    assert plan["tokens"]["low"] <= plan["tokens"]["expected"] <= plan["tokens"]["high"]
    assert plan["unknown"]
    status, started = await api(server, "POST", "workflows/review/runs", {"args": {"path": "b.py"}})
    assert status == 201, started
    run_id = started["workflowRunId"]
    async with asyncio.timeout(30):
        while (ended := (await api(server, "GET", f"workflow-runs/{run_id}/status"))[1])["status"] not in (
            "completed", "error",
        ):  # fmt: skip
            await asyncio.sleep(0.05)
    assert (ended["status"], ended["calls"], ended["hits"], ended["result"]) == ("completed", 3, 3, [1, 2]), ended
    _, spent = await api(server, "GET", f"workflow-runs/{run_id}/budget")
    assert (spent["spentTokens"], spent["tokens"]) == (0, 100_000)

    await run(kernel, "%%workflow review -m echo\n[view['score'] + 1 for view in views]", cell="c2")
    reply = await kernel.execute("wf.export()")
    assert (reply["ename"], "replace=True" in reply["evalue"]) == ("Conflict", True)
    await run(kernel, "print(wf.export(replace=True))")
    assert (await api(server, "GET", "workflows/review"))[1]["approved"] is False
