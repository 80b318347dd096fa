"""Widgets for everybody, where the module that anywidget loads is all there is of ours: axe finds nothing serious."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.notebook import LAB, PATIENCE_MS, leave_settings, leave_without_lab_extension
from tests.browser.security.conftest import OPTIONS
from tests.browser.security.lab import Lab
from tests.browser.security.test_accessibility import (
    SCRIPTS,
    execute,
    in_both_themes,
    is_for_everybody,
    open_everything,
    started,
    what_waits_is_for_everybody,
)
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    home = tmp_path_factory.mktemp("bare")
    leave_settings(home)
    leave_without_lab_extension(home)
    async with LiveServer(home, extensions=LAB, options=OPTIONS) as server:
        yield server


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_run(server: LiveServer, lab: Lab, axe: str, name: str) -> None:
    run_id = await started(server, name)
    await execute(server, lab, f"ja.RunView({run_id!r})")
    run = lab.page.locator(".jp-agent-Widget .jp-agent-Run")
    await expect(run).to_have_attribute("data-source", "gateway", timeout=PATIENCE_MS)
    if name.startswith("waits"):
        await expect(lab.page.locator(".jp-agent-Decision").first).to_be_visible(timeout=PATIENCE_MS)
    await open_everything(lab)
    await in_both_themes(lab, lambda: is_for_everybody(lab, axe, ".jp-agent-Widget"))
    await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})


async def test_what_waits_anywhere(server: LiveServer, lab: Lab, axe: str) -> None:
    await what_waits_is_for_everybody(server, lab, axe)
