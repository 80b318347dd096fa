"""One JupyterLab and one browser for each module; a page, and the folder of its pictures, for each notebook."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ViewportSize, async_playwright, expect

from tests.browser.notebook import FLAGS, LAB, LAB_OPTIONS, PATIENCE_MS, Notebook, leave_notebook, leave_settings
from tests.live_server import LiveServer
from tests.requirements import require

VIEWPORT = ViewportSize(width=1280, height=860)
Opens = Callable[..., Awaitable[Notebook]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = require("chromium")
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


def lab(home: Path, *, base_url: str = "/", **environment: str) -> LiveServer:
    """Returns a server with JupyterLab in a home of its own, not started yet."""
    leave_settings(home)
    return LiveServer(home, extensions=LAB, options=LAB_OPTIONS, environment=environment, base_url=base_url)


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """What a person's tabs share: cookies and storage."""
    context = await browser.new_context(viewport=VIEWPORT)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def opens(
    server: LiveServer, context: BrowserContext, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Opens]:
    """Writes a notebook of these code cells and opens it in a page of its own."""
    name = f"{request.node.name.replace('[', '-').replace(']', '')}.ipynb"

    async def opened(*sources: str) -> Notebook:
        leave_notebook(server.root, name, *sources)
        notebook = Notebook(server, await context.new_page(), name, tmp_path)
        await notebook.open()
        return notebook

    yield opened
    await end_sessions(server)


async def end_sessions(server: LiveServer) -> None:
    """Ends all kernels, so that the next notebook has the machine to itself."""
    for session in (await server.request("GET", "api/sessions"))[1]:
        await server.request("DELETE", f"api/sessions/{session['id']}")
