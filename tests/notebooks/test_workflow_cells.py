"""Workflows written cell by cell: what runs live, what comes from the store and why, through edits and restarts."""

import asyncio
import json
from typing import Any

import pytest

from tests.notebooks.kernel import ServerKernel

LOAD = "%load_ext jupyter_agent"
FIRST = "%%workflow review -m echo\nphase('Read')\ncode = await agent('the module', label='read', tools=[])"
SECOND = (
    "%%workflow review -m echo\nphase('Review')\n"
    "views = await parallel([agent(f'{what}: {code}', label=what, tools=[]) for what in ('correct', 'secure')])"
)
THIRD = "%%workflow review -m echo\nresult = await agent(f'merge {views}', label='merge', tools=[])\nresult"


async def calls(kernel: ServerKernel) -> list[dict[str, Any]]:
    code = "print(wf.calls.df[['label', 'phase', 'reused', 'why', 'was', 'now']].to_json(orient='records'))"
    reply = await kernel.execute(code)
    assert reply["status"] == "ok", reply
    return list(json.loads(kernel.text()))


async def play(kernel: ServerKernel, *cells: str) -> None:
    for place, cell in enumerate(cells):
        kernel.client.session.metadata = {"cellId": f"cell-{place}"}
        reply = await kernel.execute(cell)
        assert reply["status"] == "ok", reply
    kernel.client.session.metadata = {}


def reasons(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["label"]: row["why"] for row in rows}


async def test_an_edit_runs_what_changed_and_nothing_else(server, kernel):
    await kernel.execute(LOAD)
    await play(kernel, FIRST, SECOND, THIRD)
    [shown] = kernel.shown("text/html")
    assert "from the store" in shown
    rows = await calls(kernel)
    assert [(row["label"], row["phase"], row["reused"]) for row in rows] == [
        ("read", "Read", False), ("correct", "Review", False), ("secure", "Review", False), ("merge", "Review", False),
    ]  # fmt: skip
    assert set(reasons(rows).values()) == {"first time"}

    edited = SECOND.replace("'secure'", "'fast'")
    await play(kernel, FIRST, edited, THIRD)
    rows = await calls(kernel)
    assert reasons(rows) == {
        "read": "unchanged", "correct": "unchanged", "fast": "first time", "merge": "prompt changed",
    }  # fmt: skip
    merge = rows[-1]
    assert "secure" in merge["was"]
    assert "fast" in merge["now"]
    await kernel.execute("print(wf.calls)")
    assert "4 calls\n  <call read · done · unchanged · 0 tokens>\n" in kernel.text()
    await kernel.execute("print([name for name in dir(wf) if name[0] != '_'])")
    assert "explain" in kernel.text()
    assert "add_row" not in kernel.text()
    await kernel.execute("print(wf.explain('merge'))")
    assert "'merge' ran live: compared with the nearest earlier call, its prompt was" in kernel.text()

    await server.request("POST", f"api/kernels/{kernel.kernel_id}/restart")
    await kernel.client.wait_for_ready(timeout=60)
    await kernel.execute(LOAD)
    await play(kernel, FIRST, edited, THIRD)
    assert {row["reused"] for row in await calls(kernel)} == {True}
    await kernel.execute("print(wf.budget.spent(), result)")
    assert kernel.text().startswith("0 merge ")


async def test_a_cell_without_an_id_is_known_by_its_position(kernel):
    await kernel.execute(LOAD)
    for _ in range(2):
        for cell in (FIRST, THIRD.replace("{views}", "{code}")):
            assert (await kernel.execute(cell.replace("review", "positions")))["status"] == "ok"
        rows = await calls(kernel)
        await kernel.execute("wf.new_pass()")
    assert reasons(rows) == {"read": "unchanged", "merge": "unchanged"}


async def test_an_error_points_at_the_line_and_variables_live_on(kernel):
    await kernel.execute(LOAD)
    cell = "%%workflow lines -m echo\nkept = await agent('x', tools=[])\n1 / 0"
    reply = await kernel.execute(cell)
    assert reply["ename"] == "ZeroDivisionError"
    assert "line 3" in "".join(reply["traceback"]) or "3 \x1b" in "".join(reply["traceback"])
    await kernel.execute("print(kept, await agent('later, without the magic', tools=[]))")
    assert kernel.text() == "x later, without the magic\n"
    assert (await kernel.execute("%%workflow help\n1"))["status"] == "ok"
    nameless = await kernel.execute("%%workflow\nprint('carried ' + 'out')")
    assert "needs the name of a workflow" in nameless["evalue"]
    assert "carried out" not in kernel.text()
    assert (await kernel.execute("%%workflow two names\nx"))["ename"] == "InvalidRequest"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("agent('a\\ud800b\\0', label='\\udfff', attach=['\\ud800'])", ["a\N{REPLACEMENT CHARACTER}b"]),
        ("workflow('find-issues', path=object())", ["cannot be sent", "plain data"]),
        ("workflow('find-issues', path='\\ud800')", ["cannot be sent", "surrogates"]),
        ("agent('x', budget=5000)", ["{'tokens': 5000}"]),
        ("agent('x', budget={'tokens': -1})", ["numbers from 0"]),
        ("agent('x', budget={'cost': float('nan')})", ["numbers from 0"]),
    ],
)
async def test_what_cannot_be_sent_is_cleaned_or_refused_and_nobody_waits_for_it(kernel, call, said):
    await kernel.execute(LOAD)
    cell = f"%%workflow odd -m echo\ntold, fine = None, agent('fine', tools=[])\ntold = await {call}"
    reply = await asyncio.wait_for(kernel.execute(cell), 60)
    await kernel.execute("print(repr(told))")
    told = kernel.text() if reply["status"] == "ok" else reply["evalue"]
    assert reply["status"] == "ok" or reply["ename"] == "InvalidRequest", reply
    assert all(words in told for words in said), told
    reply = await kernel.execute("import numpy\nwf.take_args({'n': numpy.arange(3)})")
    assert "The argument 'n' is a ndarray, which cannot be sent" in reply["evalue"]
    await kernel.execute("print(await fine)")
    assert kernel.text() == "fine\n"


async def test_stop_in_the_cell_stops_the_calls(server, kernel):
    await kernel.execute(LOAD)
    await kernel.execute("import jupyter_agent as ja\nja.workflow('slow', script=[{'wait_s': 60, 'text': 'late'}])")
    cell = "%%workflow slow -m scripted\nawait parallel([agent(str(n), tools=[]) for n in range(3)])"
    running = asyncio.create_task(kernel.execute(cell))
    active: list[Any] = []
    for _ in range(200):
        _, runs = await server.request("GET", "jupyter-agent/api/runs?status=running")
        active = [one for one in runs["items"] if one["metadata"].get("workflow") == "slow"]
        if len(active) == 3:
            break
        await asyncio.sleep(0.05)
    assert len(active) == 3
    await kernel.interrupt()
    reply = await asyncio.wait_for(running, 60)
    assert (reply["status"], reply["ename"]) == ("error", "CancelledError")
    assert reply["traceback"] == [
        "Interrupted: calls in flight were stopped, with their runs. Finished ones are kept: run the cell to go on."
    ]
    async with asyncio.timeout(10):
        for one in active:
            while (await server.run(one["runId"]))["status"] != "interrupted":
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("again", [False, True])
async def test_what_has_side_effects_is_neither_repeated_nor_replayed_silently(kernel, again):
    """Where nobody can be asked the recorded result stands; a person decides."""
    name = f"effects-{again}"
    cell = f"%%workflow {name} -m echo\nprint(await agent('send it', label='send', side_effects=True, tools=[]))"
    await kernel.execute(LOAD)
    await kernel.execute(cell)
    await kernel.execute("wf.new_pass()")
    asked: list[str] = []

    def answer(message: Any) -> None:
        asked.append(message["content"]["prompt"])
        kernel.client.input("n" if again else "y")

    await kernel.execute(cell, allow_stdin=True, stdin_hook=answer)
    assert "has side effects and was carried out before" in asked[0]
    rows = await calls(kernel)
    assert [row["reused"] for row in rows] == ([True, False] if again else [True])
