"""The status bar of a real JupyterLab in a real browser tells of a real server's runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.live_server import TOKEN, LiveServer
from tests.requirements import require

LAB = ("jupyterlab", "jupyter_lsp", "notebook_shim")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE_MS = 60_000
ITEM = ".jp-agent-Status"
SCRIPT = [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Which sheet?"}}]}, "That one."]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path, extensions=LAB, options=("--LabApp.news_url=None",)) as server:
        yield server


@pytest.fixture
async def page(server: LiveServer) -> AsyncIterator[Page]:
    chromium = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = await browser.new_page()
        await page.goto(f"{server.url}/lab?token={TOKEN}")
        yield page
        await browser.close()


@pytest.mark.timeout(240)
async def test_it_counts_runs_as_they_come_wait_and_end(server: LiveServer, page: Page) -> None:
    item = page.locator(ITEM)
    await expect(item).to_have_text("Agent: 0 running · 0 waiting", timeout=PATIENCE_MS)

    run_id = await server.start_run(SCRIPT)
    await expect(item).to_have_text("Agent: 0 running · 1 waiting", timeout=PATIENCE_MS)

    await page.reload()
    await expect(item).to_have_text("Agent: 0 running · 1 waiting", timeout=PATIENCE_MS)

    await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})
    await expect(item).to_have_text("Agent: 0 running · 0 waiting", timeout=PATIENCE_MS)


@pytest.mark.timeout(240)
async def test_it_is_offline_while_the_server_is_gone_and_comes_back(server: LiveServer, page: Page) -> None:
    item = page.locator(ITEM)
    await expect(item).to_have_text("Agent: 0 running · 0 waiting", timeout=PATIENCE_MS)
    await server.kill()
    await expect(item).to_have_text("Agent: offline", timeout=PATIENCE_MS)
    await server.start()
    await expect(item).to_have_text("Agent: 0 running · 0 waiting", timeout=PATIENCE_MS)
