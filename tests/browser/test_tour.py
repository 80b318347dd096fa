"""The tour as a newcomer takes it: JupyterLab in a browser, the main job, its approval given where the reader is."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from tests.browser.conftest import end_sessions, lab
from tests.browser.notebook import PATIENCE_MS, Notebook
from tests.browser.shown import Card
from tests.live_server import LiveServer

ROOT = Path(__file__).parents[2]
TOUR = "notebooks/00-tour.ipynb"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    assert browser.is_connected()
    async with lab(tmp_path_factory.mktemp("lab"), JUPYTER_AGENT_DEMO_PACE="0.2") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def tour(server: LiveServer, context: BrowserContext, tmp_path: Path) -> AsyncIterator[Notebook]:
    """The tour, copied with its data; screenshots go to the test's own folder."""
    shutil.rmtree(server.root / "notebooks", ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    tour = Notebook(server, await context.new_page(), TOUR, tmp_path)
    await tour.open()
    yield tour
    await end_sessions(server)


async def newest_run(server: LiveServer) -> dict[str, Any]:
    _, page = await server.request("GET", "jupyter-agent/api/runs?limit=1")
    return dict(page["items"][0])


async def test_the_main_job_is_approved_in_its_cell(server: LiveServer, tour: Notebook) -> None:
    await tour.run(0)
    await tour.run(1)
    shown = tour.shown(1)
    await shown.has("waiting_confirmation", source="gateway")
    await expect(shown.word).to_have_text("Waiting for your approval")
    await expect(shown.card.node).to_contain_text("run_cell wants to execute code")
    await expect(shown.card.node).to_contain_text("import pandas as pd")
    await tour.photograph("waiting")

    await shown.card.read()
    await tour.photograph("approval")
    await tour.picture("live-approval", tour.cell(1), "Light")
    await shown.card.approve()
    await shown.has("completed", source="gateway")
    await expect(shown.word).to_have_text("Completed")
    await shown.says("survey.csv has the most missing values")
    await shown.called("list_files", "done")
    await shown.called("run_cell", "done")
    await tour.shows("0 running · 0 waiting")
    await expect(tour.toasts).to_have_count(0)
    plot = shown.node.locator("img")
    await expect(plot).to_have_count(1, timeout=PATIENCE_MS)
    assert await plot.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    await plot.scroll_into_view_if_needed()
    await tour.photograph("answer")
    await tour.picture("finished-run", tour.cell(1), "Dark")

    await tour.run(3)
    await tour.was_executed(3)
    calls = tour.cell(3).locator("tbody tr")
    _, run = await server.request("GET", f"jupyter-agent/api/runs/{(await newest_run(server))['runId']}/transcript")
    made = [call for turn in run["turns"] for call in turn.get("toolCalls", [])]
    await expect(calls).to_have_count(len(made))
    for place, call in enumerate(made):
        await expect(calls.nth(place)).to_contain_text(call["name"])
        await expect(calls.nth(place)).to_contain_text("success")
    await expect(calls.filter(has_text="run_cell")).to_contain_text("approve")
    assert tour.faults == []


async def test_a_run_goes_on_when_the_page_is_loaded_again(server: LiveServer, tour: Notebook) -> None:
    await tour.run(0)
    await tour.run(1)
    await tour.shown(1).has("waiting_confirmation", source="gateway")
    before = await newest_run(server)
    await tour.save()

    await tour.page.reload()
    shown = tour.shown(1)
    await shown.has("waiting_confirmation", source="gateway")
    await shown.card.approve()
    await shown.has("completed", source="gateway")
    await tour.is_ready()

    # The kernel's variable is the same run, and it was asked once.
    await tour.run(3)
    await expect(tour.cell(3).locator("td", has_text="approve")).to_have_count(1, timeout=PATIENCE_MS)
    after = await newest_run(server)
    assert (after["runId"], after["status"]) == (before["runId"], "completed")
    await tour.photograph("after-reload")


async def test_what_waits_can_be_decided_from_the_status_bar(server: LiveServer, tour: Notebook) -> None:
    await tour.run(0)
    await tour.run(1)
    await tour.shows("0 running · 1 waiting")
    await expect(tour.toasts).to_contain_text("run_cell wants to execute code")
    await tour.status.get_by_role("button").click()
    await expect(tour.dialog).to_contain_text("import pandas as pd")
    await expect(tour.dialog).to_contain_text((await newest_run(server))["runId"])
    await tour.photograph("dialog")
    await tour.page.keyboard.press("Enter")
    await expect(tour.dialog).to_be_visible()
    await Card(tour.dialog.locator(".jp-agent-Decision").first).approve()

    await tour.shows("0 running · 0 waiting")
    await expect(tour.toasts).to_have_count(0)
    await tour.shown(1).has("completed")
