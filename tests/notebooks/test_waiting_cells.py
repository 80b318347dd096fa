"""Cells of a workflow that ask people and call workflows of the server, through a restart of the kernel and a stop."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.gateway.talk import api
from tests.live_server import LiveServer
from tests.notebooks.kernel import ServerKernel

LOAD = "%load_ext jupyter_agent"
ASK = "%%workflow review -m echo\nform = await ask('Which?', {'colour': str})"
GATE = "%%workflow review -m echo\nsure = await gate('Merge?', f'All of {form[\"colour\"]}.')"
INNER = 'meta = {"name": "inner"}\n[await agent(f"{args[\'x\']}", model="echo", tools=[]), budget.spent() > 0]'
CALL = "%%workflow review -m echo\ngot = await workflow('inner', x='a')"
WAITS = 'meta = {"name": "waits"}\nawait gate("Inside?")'


async def play(kernel: ServerKernel, place: int, cell: str) -> dict[str, Any]:
    kernel.client.session.metadata = {"cellId": f"cell-{place}"}
    return await kernel.execute(cell)


async def shown(kernel: ServerKernel, found: Callable[[str], bool]) -> str:
    """Waits until the cell shows it."""
    async with asyncio.timeout(30):
        while not (displayed := kernel.shown("text/plain")) or not found(displayed[-1]):
            await asyncio.sleep(0.05)
    return displayed[-1]


async def waiting(server: LiveServer, status: str) -> str:
    async with asyncio.timeout(30):
        while True:
            _, runs = await api(server, "GET", f"runs?status={status}")
            if runs["items"]:
                return str(runs["items"][0]["runId"])
            await asyncio.sleep(0.05)


async def answer(server: LiveServer, content: str) -> None:
    run = await waiting(server, "waiting_input")
    _, told = await api(server, "GET", f"runs/{run}/inputs")
    status, fault = await api(server, "POST", f"runs/{run}/inputs/{told['items'][0]['requestId']}", {"content": content})
    assert status == 204, fault


async def restart(server: LiveServer, kernel: ServerKernel) -> None:
    await server.request("POST", f"api/kernels/{kernel.kernel_id}/restart")
    await kernel.client.wait_for_ready(timeout=60)
    await kernel.execute(LOAD)


async def value(kernel: ServerKernel, code: str) -> Any:
    reply = await kernel.execute(f"import json; print(json.dumps({code}))")
    assert reply["status"] == "ok", reply
    return json.loads(kernel.text())


async def approve_text(server: LiveServer, name: str, text: str) -> None:
    folder = server.root / ".jupyter_agent" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    _, told = await api(server, "GET", f"workflows/{name}")
    status, _ = await api(server, "POST", f"workflows/{name}/approve", {"digest": told["digest"]})
    assert status == 200


async def test_a_cell_waits_for_a_person_and_run_all_reuses_the_answer(server, kernel):
    await kernel.execute(LOAD)
    asking = asyncio.create_task(play(kernel, 0, ASK))
    said = await shown(kernel, lambda text: "1 waiting for a person" in text)
    assert "jupyter agent approve" in said
    asking.cancel()
    await asyncio.wait({asking})
    await restart(server, kernel)
    await answer(server, '{"colour": "red"}')

    assert (await play(kernel, 0, ASK))["status"] == "ok"
    deciding = asyncio.create_task(play(kernel, 1, GATE))
    await shown(kernel, lambda text: "1 waiting for a person" in text)
    run = await waiting(server, "waiting_confirmation")
    _, told = await api(server, "GET", f"runs/{run}/approvals")
    await api(server, "POST", f"approvals/{told['items'][0]['approvalId']}", {"approved": False, "reason": "Not yet."})
    assert (await asyncio.wait_for(deciding, 60))["status"] == "ok"
    assert await value(kernel, "[form, sure, wf.said]") == [
        {"colour": "red"}, False, ["Gate 'Merge?' was rejected: Not yet."],
    ]  # fmt: skip

    await restart(server, kernel)
    for place, cell in enumerate((ASK, GATE)):
        assert (await play(kernel, place, cell))["status"] == "ok"
    rows = await value(kernel, "json.loads(wf.calls.df[['reused', 'why', 'tokens', 'cost']].to_json(orient='records'))")
    assert rows == [{"reused": True, "why": "unchanged", "tokens": 0, "cost": 0.0}] * 2
    assert await value(kernel, "[form, sure]") == [{"colour": "red"}, False]


async def test_a_cell_calls_a_workflow_of_the_server(server, kernel):
    await approve_text(server, "inner", INNER)
    await kernel.execute(LOAD)
    assert (await play(kernel, 0, CALL))["status"] == "ok"
    assert await value(kernel, "[got, wf.calls[0].tokens > 0, wf.calls[0].why]") == [["a", True], True, "first time"]
    _, runs = await api(server, "GET", "workflows/inner/runs")
    assert len(runs["items"]) == 1
    await kernel.execute("wf.new_pass()")
    assert (await play(kernel, 0, CALL))["status"] == "ok"
    assert await value(kernel, "[got, wf.calls[0].reused, wf.budget.spent()]") == [["a", True], True, 0]
    await approve_text(server, "inner", INNER.replace("[await", "['new', await"))
    assert (await play(kernel, 0, CALL))["status"] == "ok"
    assert await value(kernel, "[got, wf.calls[0].why]") == [["new", "a", False], "workflow changed"]

    for cell, said in (
        ("workflow('nowhere')", "There is no workflow 'nowhere'"),
        ("workflow('review')", "cannot call itself"),
    ):
        reply = await kernel.execute(f"%%workflow review -m echo\nawait {cell}")
        assert reply["status"] == "error"
        assert said in reply["evalue"]
    await approve_text(server, "deep", 'meta = {"name": "deep"}\nawait workflow("inner", x="a")')
    reply = await kernel.execute("%%workflow review -m echo\nawait workflow('deep')")
    assert "workflows nest one level deep" in reply["evalue"]


async def test_a_stopped_cell_stops_the_workflow_that_it_called(server, kernel):
    await approve_text(server, "waits", WAITS)
    await kernel.execute(LOAD)
    asking = asyncio.create_task(play(kernel, 0, "%%workflow review -m echo\nawait workflow('waits')"))
    await shown(kernel, lambda text: "1 waiting for a person" in text)
    await kernel.interrupt()
    assert (await asyncio.wait_for(asking, 60))["status"] == "error"
    async with asyncio.timeout(30):
        while True:
            _, runs = await api(server, "GET", "workflows/waits/runs")
            if runs["items"][0]["status"] == "interrupted":
                break
            await asyncio.sleep(0.05)
