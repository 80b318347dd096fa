"""Stop in the cell: the run is stopped within two seconds, with the programs that its tools started."""

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Opens
from tests.browser.notebook import IMPORT, Notebook, starting
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

STOPPED_S = 2.0
"""What the server promises, from the command to the run's last event."""
SHOWN_S = 6.0
"""The same with a browser on a busy machine."""


def processes(mark: str) -> list[int]:
    """Returns the processes with this in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in line.split(b"\0"):
            found.append(int(folder.name))
    return found


async def until(condition: Any, what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def stops(notebook: Notebook) -> None:
    shown = notebook.shown()
    began = time.monotonic()
    await shown.stop.click()
    await expect(shown.word).to_have_text("Stopped", timeout=SHOWN_S * 1000)
    assert time.monotonic() - began < SHOWN_S
    await shown.has("interrupted", source="gateway")
    await expect(shown.stop).to_be_hidden()


async def test_a_model_that_speaks_is_stopped(server: LiveServer, opens: Opens) -> None:
    script = [{"text": "on and on " * 2_000, "duration_s": 120}]
    notebook = await opens(starting(script) + "\nprint(run.id)", "print('fine', run.status)")
    await notebook.run(0)
    await notebook.shown().says("on and on on and on")
    run_id = (await notebook.cell(0).locator(".jp-RenderedText").last.inner_text()).strip()
    clicked = time.time()
    await stops(notebook)
    run = await server.run(run_id)
    assert run["status"] == "interrupted"
    ended = datetime.fromisoformat(run["endedAt"]).timestamp()
    assert ended - clicked < STOPPED_S
    await notebook.still_works(1)
    await notebook.says(1, "interrupted")
    await notebook.photograph("stopped")


@pytest.mark.parametrize("more", [", waits=True)\nrun.result(", ""], ids=["waiting cell", "free kernel"])
async def test_the_programs_that_a_tool_started_end_with_the_run(opens: Opens, more: str) -> None:
    mark = str(3_600 + time.time_ns() % 1_000_000_000)
    code = f"import subprocess\nsubprocess.run(['sleep', '{mark}'])"
    script = [{"calls": [{"name": "run_cell", "arguments": {"code": code}}]}, {"text": "Never."}]
    notebook = await opens(starting(script, more=more), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation")
    await shown.card.approve()
    await until(lambda: processes(mark), "The approved program was never started.")
    await shown.called("run_cell", "running")
    await notebook.photograph("tool-runs", "Light")
    await stops(notebook)
    await until(lambda: not processes(mark), "The program outlives its run.", timeout_s=5)
    await notebook.is_ready()
    await notebook.still_works(1)
    assert "Never." not in await shown.text()


async def test_a_run_that_waits_for_a_person_is_stopped(server: LiveServer, opens: Opens) -> None:
    call = {"name": "create_file", "arguments": {"path": "stopped.txt", "content": "x"}}
    notebook = await opens(starting([{"calls": [call]}]))
    await notebook.run(0)
    await notebook.shown().card.is_open()
    await stops(notebook)
    await expect(notebook.shown().card.node).to_have_count(0)
    assert not (server.root / "stopped.txt").exists()


async def test_a_cell_that_waits_ends_with_its_run(opens: Opens) -> None:
    """`%%agent` is stopped in the cell's output: the cell says so in one paragraph, and the kernel is free."""
    ask = {"name": "ask_user", "arguments": {"prompt": "Which one?"}}
    notebook = await opens(
        f"{IMPORT}\nrun = ja.run('x', model='scripted', script={[{'calls': [ask]}]!r}, waits=True)\nrun.result()",
        "print('fine')",
    )
    await notebook.run(0)
    await notebook.shown().has("waiting_input")
    await stops(notebook)
    await notebook.was_executed(0)
    await notebook.photograph("cell-stopped", "Light")
    await notebook.still_works(1)
