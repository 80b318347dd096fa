"""One JupyterLab and one browser for each module; a page, and what it is watched by, for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.notebook import FLAGS, LAB, leave_settings
from tests.browser.security.lab import Lab, Outside
from tests.live_server import LiveServer
from tests.requirements import lacking, require

AXE = Path(__file__).parents[3] / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
OPTIONS = ("--LabApp.expose_app_in_browser=True",)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outside() -> AsyncIterator[Outside]:
    outside = Outside()
    await outside.start()
    yield outside
    await outside.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(outside: Outside) -> AsyncIterator[Browser]:
    chromium = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *outside.flags])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    home = tmp_path_factory.mktemp("lab")
    leave_settings(home)
    async with LiveServer(home, extensions=LAB, options=OPTIONS) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def lab(server: LiveServer, browser: Browser, outside: Outside) -> AsyncIterator[Lab]:
    lab = await Lab.start(server, browser, outside)
    yield lab
    await lab.close()


@pytest.fixture(scope="session")
def axe() -> str:
    return AXE.read_text() if AXE.exists() else lacking("axe", f"{AXE} is missing: `jlpm install` brings it")
