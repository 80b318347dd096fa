"""The tour as a newcomer takes it: JupyterLab in a browser, the main job, its approval given where the reader is."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.notebook import FLAGS, LAB, PATIENCE_MS, Notebook, leave_settings
from tests.live_server import LiveServer
from tests.requirements import require

ROOT = Path(__file__).parents[2]
TOUR = "notebooks/00-tour.ipynb"
OPTIONS = ("--LabApp.expose_app_in_browser=True",)
PACE = {"JUPYTER_AGENT_DEMO_PACE": "0.2"}

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    home = tmp_path_factory.mktemp("lab")
    leave_settings(home)
    async with LiveServer(home, extensions=LAB, options=OPTIONS, environment=PACE) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def tour(server: LiveServer, browser: Browser, tmp_path: Path) -> AsyncIterator[Notebook]:
    """The tour, copied with its data; screenshots go to the test's own folder."""
    shutil.rmtree(server.root / "notebooks", ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    tour = Notebook(server, await context.new_page(), TOUR, tmp_path)
    await tour.open()
    yield tour
    await context.close()
    for session in (await server.request("GET", "api/sessions"))[1]:
        await server.request("DELETE", f"api/sessions/{session['id']}")


async def newest_run(server: LiveServer) -> dict[str, Any]:
    _, page = await server.request("GET", "jupyter-agent/api/runs?limit=1")
    return dict(page["items"][0])


async def test_the_main_job_is_approved_from_the_status_bar(server: LiveServer, tour: Notebook) -> None:
    await tour.run(0)
    await tour.run(1)
    await tour.shows("0 running · 1 waiting")
    await expect(tour.toasts).to_contain_text("run_cell wants to execute code")
    await expect(tour.cell(1)).to_contain_text('click "Agent: … waiting" in JupyterLab\'s status bar')
    await tour.photograph("waiting")

    await tour.status.get_by_role("button").click()
    await expect(tour.dialog).to_contain_text("import pandas as pd")
    await tour.photograph("approval")
    await tour.page.keyboard.press("Enter")
    await expect(tour.dialog).to_be_visible()
    await tour.approve()

    await tour.shows("0 running · 0 waiting")
    await expect(tour.toasts).to_have_count(0)
    cell = tour.cell(1)
    await expect(cell).to_contain_text("completed", timeout=PATIENCE_MS)
    await expect(cell).to_contain_text("survey.csv` has the most missing values")
    plot = cell.locator(".jp-OutputArea-output img")
    await expect(plot).to_have_count(1, timeout=PATIENCE_MS)
    assert await plot.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    await plot.scroll_into_view_if_needed()
    await tour.photograph("answer")


async def test_a_run_goes_on_when_the_page_is_loaded_again(server: LiveServer, tour: Notebook) -> None:
    await tour.run(0)
    await tour.run(1)
    await tour.shows("0 running · 1 waiting")
    before = await newest_run(server)

    await tour.page.reload()
    await tour.shows("0 running · 1 waiting")
    await tour.toasts.get_by_role("button", name="Answer").click()
    await expect(tour.dialog).to_contain_text(before["runId"])
    await tour.approve()
    await tour.shows("0 running · 0 waiting")
    await tour.is_ready()

    # The kernel's variable is the same run, and it was asked once.
    await tour.run(3)
    await expect(tour.cell(3).locator("td", has_text="approve")).to_have_count(1, timeout=PATIENCE_MS)
    after = await newest_run(server)
    assert (after["runId"], after["status"]) == (before["runId"], "completed")
    await tour.photograph("after-reload")
