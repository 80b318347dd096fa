"""Workflows of the server from a notebook: the run shows itself in the cell, and goes on without the kernel."""

import json

from tests.notebooks.kernel import ServerKernel

SUMS = """meta = {"name": "sums"}
phase("Add")
said = await parallel([agent(f"number {n}", label=f"n{n}", model="echo", tools=[]) for n in range(args["n"])])
log("added")
len(said)
"""


async def test_a_run_shows_itself_in_its_cell_and_is_opened_again(server, kernel: ServerKernel):
    folder = server.home / "config" / "agent" / "workflows"
    folder.mkdir(parents=True)
    (folder / "sums.py").write_text(SUMS)
    came = server.root / ".jupyter_agent" / "workflows"
    came.mkdir(parents=True)
    (came / "came.py").write_text('meta = {"name": "came"}\n1')
    await kernel.execute("%load_ext jupyter_agent\nimport jupyter_agent as ja")
    reply = await kernel.execute("run = ja.run_workflow('sums', n=3)\nprint(run.result())")
    assert reply["status"] == "ok", reply
    assert kernel.text().strip().endswith("3")
    shown = kernel.shown("text/html")
    assert shown
    reply = await kernel.execute(
        "again = ja.workflow_run(run.id)\nassert await again == 3\nimport json\n"
        "print(json.dumps([again.df.label.tolist(), repr(again)]))"
    )
    assert reply["status"] == "ok", reply
    labels, told = json.loads(kernel.text())
    assert labels == ["n0", "n1", "n2"]
    assert "sums: completed · 0 of 3 calls from the store" in told
    reply = await kernel.execute("read = ja.approve_workflow('came')\nja.approve_workflow('came', read.digest)")
    assert reply["status"] == "error"
    assert "may not approve" in reply["evalue"]
    assert "in a terminal jupyter agent workflow approve came" in reply["evalue"]
    reply = await kernel.execute("print(read)")
    assert "Approve it in a terminal: jupyter agent workflow approve came" in kernel.text()
