"""Workflows of the server from Python: what there is, approving, running, following, opening again, cancelling."""

import asyncio
import json

import pandas as pd
import pytest

import jupyter_agent as ja
from jupyter_agent.client.session import session
from jupyter_agent.client.workflow import Defaults, Workflow
from jupyter_agent.exceptions import Conflict, InvalidRequest, RunFailed, RunFinished, WorkflowNotApproved
from tests.live_server import TOKEN, LiveServer

COUNTS = """
meta = {"name": "counts", "description": "Counts", "args": {"type": "object", "properties": {"n": {"type": "integer"}}}}
phase("Count")
said = await parallel([agent(f"number {n}", label=f"n{n}", model="echo", tools=[]) for n in range(args.get("n", 2))])
log("counted")
if args.get("n") == 0:
    raise ValueError("nothing to count")
{"said": said}
"""
ASKS = (
    'meta = {"name": "asks"}\nawait agent("Create a file b.txt that says hello", model="demo", tools=["create_file"])'
)


@pytest.fixture
async def server(tmp_path):
    folder = tmp_path / "root" / ".jupyter_agent" / "workflows"
    folder.mkdir(parents=True)
    (folder / "counts.py").write_text(COUNTS)
    (folder / "find-issues.py").write_text('meta = {"name": "find-issues"}\n1')
    (folder / "broken.py").write_text("x = (")
    config = tmp_path / "config" / "agent" / "workflows"
    config.mkdir(parents=True)
    (config / "asks.py").write_text(ASKS)
    async with LiveServer(tmp_path, environment={"JUPYTER_AGENT_DEMO_PACE": "0"}) as started:
        session().connect(ja.connect(f"{started.url}/", TOKEN)._fixed)
        yield started
        await asyncio.to_thread(ja.connect().close)


async def test_from_the_list_to_the_result_and_back(server, capsys):
    found = {one.name or one.file: one for one in await ja.aworkflows()}
    assert {name: one.state for name, one in found.items() if one.place != "built-in"} == {
        "counts": "not approved", "find-issues": "shadowed", "broken.py": "broken", "asks": "ready",
    }  # fmt: skip
    rows = await ja.aworkflows()
    assert "review-code · built-in · ready" in repr(rows)
    assert "broken, line 1" in repr(rows) or "broken" in repr(found["broken.py"])
    frame = rows.df
    assert list(frame.columns[:4]) == ["name", "place", "state", "description"]
    assert frame.set_index("file").loc["review-code.py", "takes"] == "path*, aspects, context"

    with pytest.raises(WorkflowNotApproved, match="jupyter agent workflow approve counts") as refused:
        await ja.arun_workflow("counts", n=3)
    read = await asyncio.to_thread(ja.approve_workflow, "counts")
    assert not read.approved
    assert COUNTS.strip() in repr(read)
    assert f"ja.approve_workflow('counts', {read.digest!r})" in repr(read)
    assert refused.value.details["digest"] == read.digest
    with pytest.raises(Conflict):
        await ja.aapprove_workflow("counts", "0" * 64)
    assert (await asyncio.to_thread(ja.approve_workflow, "counts", read.digest)).approved

    run = await ja.arun_workflow("counts", n=3)
    assert await run == {"said": ["number 0", "number 1", "number 2"]}
    assert (run.status, run.phase, run.is_done) == ("completed", "Count", True)
    assert run.said == ["counted"]
    assert run.df[["label", "status", "reused"]].values.tolist() == [[f"n{n}", "done", False] for n in range(3)]
    assert "0 of 3 calls from the store" in repr(run)
    told = capsys.readouterr().err
    assert "▸ Count" in told
    assert "✓ n1" in told

    again = await asyncio.to_thread(lambda: ja.run_workflow("counts", args={"n": 2}, show=False).result(timeout=30))
    assert again == {"said": ["number 0", "number 1"]}
    thrifty = await ja.arun_workflow("counts", n=3, budget=5_000, show=False)
    await thrifty
    assert (await server.request("GET", f"jupyter-agent/api/workflow-runs/{thrifty.id}/budget"))[1]["tokens"] == 5_000
    with pytest.raises(InvalidRequest, match="budget"):
        await ja.arun_workflow("counts", n=3, budget="much")
    opened = await ja.aworkflow_run(run.id)
    assert await opened == await run
    assert [event.number for event in opened.events] == [event.number for event in run.events]
    runs = await asyncio.to_thread(ja.workflow_runs, "counts")
    assert [(one.calls, one.hits) for one in runs] == [(3, 3), (2, 2), (3, 0)]
    assert [one.workflow_run_id for one in await ja.aworkflow_runs(limit=1)] == [runs[0].workflow_run_id]
    assert "counts · " in repr(runs)
    assert "completed · 3 of 3 calls from the store" in repr(runs)
    assert runs.df.from_store.tolist() == [3, 2, 0]
    assert opened.events.df.type.tolist()[0] == "status"


async def test_of_two_passes_at_once_the_one_that_joins_says_so(server):
    """What is in flight is paid for once, and by whom is told: the rows sum to what both passes spent."""
    script = [{"text": "said", "wait_s": 2}]
    passes = [Workflow(session().client, "twins") for _ in range(2)]
    for one in passes:
        one.defaults = Defaults(model="scripted", script=script)
    await asyncio.gather(*(one.parallel([one.agent(f"t{n}", tools=[]) for n in range(4)]) for one in passes))
    rows = [row for one in passes for row in one.calls]
    assert [row.answer for row in rows] == ["said"] * 8
    assert sum(not row.reused for row in rows) == 4
    assert all(row.why in ("in flight", "unchanged") for row in rows if row.reused)
    spent = [await asyncio.to_thread(one.budget.spent) for one in passes]
    assert sum(row.tokens or 0 for row in rows) == sum(spent) > 0


async def test_what_fails_says_so_and_can_be_resumed(server):
    read = await asyncio.to_thread(ja.approve_workflow, "counts")
    await asyncio.to_thread(ja.approve_workflow, "counts", read.digest)
    with pytest.raises(InvalidRequest, match="does not take these arguments"):
        await ja.arun_workflow("counts", n="x")
    with pytest.raises(InvalidRequest, match=r"'frame' is a DataFrame.*ja\.profile\(frame\)"):
        await ja.arun_workflow("counts", frame=pd.DataFrame({"a": [1]}))
    run = await ja.arun_workflow("counts", n=0, show=False)
    with pytest.raises(RunFailed, match="nothing to count") as failed:
        await run
    assert failed.value.details["code"] == "workflow_failed"
    resumed = await asyncio.to_thread(lambda: run.resume(show=False))
    assert resumed.resumes == run.id
    with pytest.raises(RunFailed):
        await resumed


async def test_a_run_outlives_its_server_and_is_cancelled(server):
    run = await ja.arun_workflow("asks", show=False)
    async with asyncio.timeout(30):
        while not run.calls:
            await asyncio.sleep(0.05)
    with pytest.raises(TimeoutError, match="It goes on"):
        await asyncio.to_thread(run.result, 0.1)
    await server.kill()
    await server.start()
    assert await run.acancel() == 1
    with pytest.raises(RunFailed, match="interrupted"):
        await run
    assert run.status == "interrupted"
    with pytest.raises(RunFinished):
        await run.acancel()


def test_a_frame_as_text_has_exact_figures():
    frame = pd.DataFrame(
        {"city": ["A", "B", None, "A"], "n": [1, 2, 3, 1], "twice": [2, 4, 6, 2], "odd": [[1], [2], [1], [1]]}
    )
    told = ja.profile(frame, "df")
    assert told.startswith("df has 4 rows and 4 columns.")
    assert "- city: object, 1 missing (25.0%), 2 distinct, most frequent 'A' 2, 'B' 1" in told.replace(
        ": str,", ": object,"
    )
    assert "- n: int64, 0 missing, 3 distinct, 1 to 3, quartiles 1, 1.5, 2.25, mean 1.75" in told
    assert "- twice and n: 1.00" in told
    assert "values that cannot be compared" in told
    assert "1 of them are doubled" in ja.profile(frame[["n", "twice"]])
    assert "value" in ja.profile(pd.Series([1.5, None]))
    assert "0 rows" in ja.profile(pd.DataFrame({"a": []}))
    assert "more columns" in ja.profile(pd.DataFrame([range(120)]))
    assert json.dumps(told)
    with pytest.raises(InvalidRequest):
        ja.profile({"a": 1})
