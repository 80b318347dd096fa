"""Workflows in a real JupyterLab: three cells, the second one edited, a restart (J6); calls that go on and are stopped;
the notebook about them as a newcomer runs it."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import Opens, end_sessions
from tests.browser.notebook import PATIENCE_MS, Notebook
from tests.browser.shown import Card
from tests.browser.test_views import copy, is_for_everybody, is_unharmed, live, pictures, reopened, rows
from tests.browser.test_widgets import Asked
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=window.__pwned=1>"
LOAD = "%load_ext jupyter_agent"
READ = """%%workflow notes -m demo
phase("Read")
stock = await agent("Read notebooks/data/stock.csv", label="stock", tools=["read_file"])"""
MORE = """%%workflow notes -m demo
phase("Read more")
names = ["orders", "survey"]
more = await parallel([agent(f"Read notebooks/data/{name}.csv", label=name, tools=["read_file"]) for name in names])"""
MERGE = """%%workflow notes -m echo
phase("Merge")
log("All are read.")
notes = "\\n\\n".join([stock, *more])
report = await agent(f"Notes on stock, {' and '.join(names)}:\\n\\n{notes}", label="merge", tools=[])"""
SLOW = f"""%%workflow slow -m scripted
phase("Quick")
await parallel([agent(str(n), label=f"quick {{n}}", model="echo", tools=[]) for n in range(3)])
phase("Slow")
log({HOSTILE!r})
log("Now the slow ones.")
await parallel([agent(str(n), label=f"slow {{n}}", tools=[]) for n in range(20)], on_error="raise")
print("not reached")"""
LATE = [{"text": f"{HOSTILE} late", "wait_s": 120}]


@pytest.fixture
def data(server: LiveServer) -> None:
    shutil.rmtree(server.root / "notebooks", ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))


def call(view: Locator, name: str) -> Locator:
    """The line of a call."""
    return rows(view).filter(has=view.page.locator(".jp-agent-Workflow-name", has_text=re.compile(f"^{name}$")))


async def run_all(notebook: Notebook, last: int, *, count: int) -> None:
    """Runs all cells as a person does, and waits for the last of them to be executed as the so many-th."""
    await notebook.command("notebook:run-all-cells")
    await expect(notebook.cell(last).locator(".jp-InputArea-prompt")).to_have_text(f"[{count}]:", timeout=PATIENCE_MS)


async def test_the_second_of_three_cells_is_edited_and_the_rest_comes_from_the_store(
    data: None, opens: Opens, server: LiveServer
) -> None:
    notebook = await opens(LOAD, READ, MORE, MERGE, "wf")
    asked = Asked(notebook)
    await run_all(notebook, 4, count=5)
    whole = live(notebook, 4)
    await expect(whole).to_contain_text("notes: 0 of 4 calls from the store", timeout=PATIENCE_MS)
    await expect(copy(notebook, 2)).to_contain_text("0 of 2 calls from the store")
    await expect(call(copy(notebook, 2), "survey")).to_contain_text("ran live")
    await notebook.photograph("first")

    # the word is changed in the page
    word = notebook.cell(2).locator(".cm-content").get_by_text('"survey"', exact=True)
    await word.dblclick()
    await notebook.page.keyboard.type("weather")
    await expect(notebook.cell(2).locator(".cm-content")).to_contain_text('["orders", "weather"]')
    await run_all(notebook, 4, count=10)
    await expect(copy(notebook, 1)).to_contain_text("1 of 1 call from the store")
    await expect(call(copy(notebook, 1), "stock")).to_contain_text("from the storeunchanged")
    edited = copy(notebook, 2)
    await expect(edited).to_contain_text("1 of 2 calls from the store")
    await expect(call(edited, "orders")).to_contain_text("from the storeunchanged")
    await expect(call(edited, "weather")).to_contain_text("ran livefirst time")
    merged = copy(notebook, 3)
    await expect(call(merged, "merge")).to_contain_text("ran liveprompt changed: survey")
    await expect(call(merged, "merge")).to_contain_text("weather")
    whole = live(notebook, 4)
    await expect(whole).to_contain_text("notes: 2 of 4 calls from the store", timeout=PATIENCE_MS)
    await expect(whole.get_by_role("treegrid")).to_have_attribute("aria-rowcount", "8")
    await call(whole, "merge").click()
    opened = whole.locator(".jp-agent-Opened")
    await expect(opened).to_contain_text("prompt before")
    await expect(opened).to_contain_text("Notes on stock, orders and survey")
    await expect(opened).to_contain_text("Notes on stock, orders and weather")
    await is_for_everybody(notebook, ".jp-agent-Widget .jp-agent-Workflow")
    await is_for_everybody(notebook, ".jp-agent-Workflow[data-source='copy']")
    await pictures(notebook, "workflow-opened", whole)
    await opened.get_by_role("button", name="Close").click()
    await pictures(notebook, "workflow", whole)
    await notebook.photograph("edited")

    # its run in place
    await call(whole, "weather").click()
    await opened.get_by_role("button", name="Show its run").click()
    run = opened.locator(".jp-agent-Run")
    await expect(run).to_have_attribute("data-status", "completed", timeout=PATIENCE_MS)
    await expect(run.locator(".jp-agent-Call")).to_contain_text("read_file")
    await pictures(notebook, "workflow-run", whole)

    # a new kernel spends nothing
    await notebook.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:restart-run-all') }")
    await notebook.page.locator(".jp-Dialog").locator("button.jp-mod-accept").click()
    whole = live(notebook, 4)
    await expect(whole).to_contain_text("notes: 4 of 4 calls from the store", timeout=PATIENCE_MS)
    await expect(whole).to_contain_text("0 tokens spent")
    await expect(whole).to_contain_text("saved")
    for number, calls in ((1, "1 of 1 call"), (2, "2 of 2 calls"), (3, "1 of 1 call")):
        await expect(copy(notebook, number)).to_contain_text(f"{calls} from the store")
        await expect(copy(notebook, number)).to_contain_text("0 tokens spent")
    await pictures(notebook, "workflow-restarted", whole)
    await notebook.photograph("restarted")
    await is_unharmed(notebook, asked)

    notebook = await reopened(notebook, server)
    for number in (1, 2, 3):
        await notebook.cell(number).scroll_into_view_if_needed()
        await expect(copy(notebook, number)).to_contain_text("0 tokens spent")
    await notebook.cell(4).scroll_into_view_if_needed()
    kept = copy(notebook, 4)
    await expect(kept).to_contain_text("notes: 4 of 4 calls from the store")
    await call(kept, "merge").click()
    await expect(kept.locator(".jp-agent-Opened")).to_contain_text("Notes on stock, orders and weather")
    await is_unharmed(notebook, asked)


async def test_calls_that_go_on_are_shown_live_and_stopped(opens: Opens, server: LiveServer) -> None:
    before = (
        f"{LOAD}\nimport jupyter_agent as ja\nwf = ja.workflow('slow', model='scripted', script={LATE!r})\n"
        "await wf.parallel([wf.agent(str(n), model='echo', tools=[]) for n in range(2)])\nwf.new_pass()"
    )
    notebook = await opens(before, SLOW, "print([row.status for row in wf.calls].count('failed'))")
    asked = Asked(notebook)
    await notebook.run(0)
    await notebook.was_executed(0)
    await notebook.run(1)
    view = live(notebook, 1)
    await expect(view).to_contain_text("slow: 2 of 23 calls from the store", timeout=PATIENCE_MS)
    await expect(view).to_contain_text("16 running · 4 queued", timeout=PATIENCE_MS)
    await expect(call(view, "slow 0")).to_contain_text("running")
    await expect(view.locator(".jp-agent-Workflow-last")).to_have_text("Now the slow ones.")
    await expect(view.locator(".jp-agent-Workflow-lines")).to_contain_text(HOSTILE)
    assert await notebook.is_executing(1)
    await is_for_everybody(notebook, ".jp-agent-Widget .jp-agent-Workflow")
    await notebook.cell(1).scroll_into_view_if_needed()
    await pictures(notebook, "workflow-live", view)
    await notebook.page.emulate_media(reduced_motion="reduce")
    moving = "() => document.getAnimations().filter(one => one.effect.target.closest('.jp-agent-Workflow')).length"
    assert await notebook.page.evaluate(moving) == 0
    await notebook.page.emulate_media(reduced_motion="no-preference")

    await call(view, "slow 3").click()
    await view.get_by_role("button", name="Show its run").click()
    await expect(view.locator(".jp-agent-Opened .jp-agent-Run")).to_have_attribute("data-status", "running")
    await view.locator(".jp-agent-Workflow-stop").click()
    await notebook.was_executed(1)
    ended = copy(notebook, 1)
    await expect(ended).to_contain_text("20 failed")
    await expect(call(ended, "slow 0")).to_contain_text("It was stopped.")
    # what was open is open still, in what the notebook keeps
    await expect(ended.locator(".jp-agent-Opened .jp-agent-Run")).to_have_attribute(
        "data-status", "interrupted", timeout=PATIENCE_MS
    )
    await expect(notebook.cell(1).locator(".jp-OutputArea")).to_contain_text("RunFailed")
    await notebook.photograph("stopped")
    await notebook.run(2)
    await notebook.says(2, "20")
    async with asyncio.timeout(20):
        while (await server.request("GET", "jupyter-agent/api/runs?status=running"))[1]["items"]:
            await asyncio.sleep(0.1)
    await is_unharmed(notebook, asked)


async def test_the_notebook_about_workflows_as_a_newcomer_runs_it(
    data: None, opens: Opens, server: LiveServer, tmp_path: Path
) -> None:
    first = await opens("print('fine')")
    notebook = first.other("notebooks/02-workflow-cell-by-cell.ipynb", first.page)
    await notebook.open()
    asked = Asked(notebook)
    await run_all(notebook, 6, count=7)
    for number, says in ((1, "0 of 1 call"), (2, "0 of 2 calls"), (3, "0 of 1 call")):
        await expect(copy(notebook, number)).to_contain_text(f"{says} from the store", timeout=PATIENCE_MS)
    await expect(live(notebook, 4)).to_contain_text("0 of 4 calls from the store", timeout=PATIENCE_MS)
    await notebook.says(5, "first time")
    await notebook.says(6, "'merge' ran live")
    for number in (1, 3, 6):
        await notebook.cell(number).scroll_into_view_if_needed()
        await notebook.photograph(f"newcomer-{number}", "Light")
    await is_unharmed(notebook, asked)
    await end_sessions(server)


async def test_a_gate_is_shown_as_what_the_workflow_asks(opens: Opens, server: LiveServer) -> None:
    detail = "All of\n2 parts."
    notebook = await opens(LOAD, f"%%workflow asks\nprint(await gate('Merge <b>it</b>?', {detail!r}))")
    await notebook.run(0)
    await notebook.run(1)
    await expect(notebook.toasts).to_contain_text("A workflow asks for your decision", timeout=PATIENCE_MS)
    await notebook.status.get_by_role("button").click()
    card = Card(notebook.dialog.locator(".jp-agent-Decision").first)
    await expect(card.node).to_contain_text("A workflow asks for your decision")
    await expect(card.picture).to_contain_text("Merge <b>it</b>?")
    await expect(card.picture).to_contain_text("2 parts.")
    await notebook.photograph("gate")
    await card.approve()
    await expect(notebook.cell(1)).to_contain_text("True", timeout=PATIENCE_MS)
    await expect(notebook.toasts).to_have_count(0)
