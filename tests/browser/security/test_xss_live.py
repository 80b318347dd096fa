"""Hostile words run nothing while they come: cut anywhere, as text, thoughts, names, arguments and what tools print."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.notebook import PATIENCE_MS
from tests.browser.security import attacks
from tests.browser.security.lab import Lab, bundle, leave, showing
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

SAID = [f"{attacks.marker(number)} {attack}" for number, attack in enumerate(attacks.raw())]
TEXT, THOUGHT = ".jp-agent-Run-text", ".jp-agent-Run-thought"
NAME, GIVEN, PRINTED = ".jp-agent-Call-name", ".jp-agent-Call-given", ".jp-agent-Call-live"
TURNS = 8
ASKED = {"calls": [{"name": "ask_user", "arguments": {"prompt": "Go on?"}}]}
"""Holds the run until the page follows it, and before it is over."""
BUDGET = {"turns": 100, "toolCalls": 500, "seconds": 600}


def streaming(server: LiveServer) -> list[Any]:
    """Says every attack a few characters at a time, as everything that streams."""
    turns: list[Any] = [ASKED]
    for turn in range(TURNS):
        said = SAID[turn::TURNS]
        whole = "\n\n".join(said)
        calls = [{"name": one, "arguments": {"said": one, one: [one]}} for one in said[::6]]
        turns.append({"thinking": whole, "text": whole, "calls": calls, "chunk": 5, "duration_s": 3})
    (server.root / "printed.txt").write_text("\n".join(one.replace("\n", " ") for one in SAID))
    code = (
        f"import time\nfor line in open({str(server.root / 'printed.txt')!r}):\n    print(line)\n    time.sleep(0.03)"
    )
    return [*turns, {"calls": [{"name": "run_cell", "arguments": {"code": code}}]}, ASKED, "The end."]


async def waits_for(server: LiveServer, run_id: str, kind: str) -> dict[str, Any]:
    """Returns the question or approval that the run waits for."""
    while True:
        assert (await server.run(run_id))["status"] not in ("completed", "error", "interrupted")
        _, page = await server.request("GET", f"jupyter-agent/api/runs/{run_id}/{kind}")
        waiting = [item for item in page["items"] if not item.get("decision")]
        if waiting:
            return dict(waiting[0])
        await asyncio.sleep(0.2)


async def answer(server: LiveServer, run_id: str) -> None:
    asked = await waits_for(server, run_id, "inputs")
    path = f"jupyter-agent/api/runs/{run_id}/inputs/{asked['requestId']}"
    status, said = await server.request("POST", path, {"content": "Yes."})
    assert status in (200, 204), said


async def approve(server: LiveServer, run_id: str) -> None:
    asked = await waits_for(server, run_id, "approvals")
    path = f"jupyter-agent/api/approvals/{asked['approvalId']}"
    status, said = await server.request("POST", path, {"approved": True})
    assert status in (200, 204), said


async def test_the_watch_sees_what_comes(server: LiveServer, lab: Lab) -> None:
    """Else the next test would hold whatever comes."""
    run_id = await server.start_run([ASKED, "The end."], onAsk="wait")
    await lab.open(leave(server, "watch.ipynb", showing(bundle({"runId": run_id, "status": "running"}))))
    await lab.shows(1, source="gateway")
    await lab.watch()
    await lab.runs.first.evaluate("node => node.insertAdjacentHTML('beforeend', '<p><svg></svg></p>')")
    with pytest.raises(AssertionError, match="svg"):
        await lab.watched()
    await answer(server, run_id)


async def test_hostile_words_run_nothing_as_they_stream(server: LiveServer, lab: Lab) -> None:
    run_id = await server.start_run(streaming(server), budget=BUDGET, onAsk="wait")
    await lab.open(leave(server, "streaming.ipynb", showing(bundle({"runId": run_id, "status": "running"}))))
    await lab.shows(1, source="gateway")
    await lab.watch(TEXT, THOUGHT, NAME, GIVEN, PRINTED)
    await answer(server, run_id)
    await approve(server, run_id)
    await waits_for(server, run_id, "inputs")
    seen = await lab.watched()
    assert len(seen[TEXT]) > TURNS
    assert len(seen[THOUGHT]) > TURNS
    assert seen[NAME]
    assert seen[GIVEN]
    assert seen[PRINTED]
    # The run goes on, and the page holds what it was told piece by piece.
    found = await lab.sweep()
    assert found["faults"] == [], "\n".join(found["faults"])
    assert len(found["markers"]) == len(SAID)
    await lab.watched()
    await lab.is_unharmed()
    await answer(server, run_id)
    await expect(lab.runs.first).to_have_attribute("data-status", "completed", timeout=PATIENCE_MS)
    await lab.is_unharmed()
