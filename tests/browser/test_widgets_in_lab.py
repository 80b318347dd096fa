"""Widgets of runs where our lab extension is: it shows them, and the widget does where only that can."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import Opens
from tests.browser.notebook import MIME, PATIENCE_MS
from tests.browser.test_widgets import IMPORT, STREAMING, WORDS, Asked, shows
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    """A gateway that the page's server knows nothing of."""
    async with LiveServer(tmp_path_factory.mktemp("other")) as other:
        yield other


async def test_a_widget_whose_kernel_is_gone_does_not_hide_its_run(opens: Opens) -> None:
    notebook = await opens(shows(STREAMING), "print('fine')")
    asked = Asked(notebook)
    await notebook.run(0)
    await notebook.shown().has("running", source="gateway")
    assert asked.agent_sockets == 0, "The page's connection is there already."
    await notebook.save()
    await notebook.restart_kernel()
    await notebook.still_works(1)
    await notebook.save()
    await notebook.shown().has("completed", source="gateway")
    assert await notebook.shown().text() == WORDS
    # The page writes the end, since the kernel is gone, and the person is told that there is something to save.
    await notebook.page.wait_for_function("() => window.jupyterapp.shell.currentWidget.context.model.dirty")
    await notebook.save()
    [output] = notebook.saved()
    assert output["data"][MIME]["status"] == "completed"
    assert WORDS[:100] in output["data"]["text/html"]

    await notebook.page.reload()
    await notebook.shown().has("completed", source="gateway")
    await expect(notebook.cell(0)).not_to_contain_text("Error displaying widget")
    await expect(notebook.cell(0).locator(".jp-agent-Run")).to_have_count(1)
    assert notebook.faults == []


async def test_a_run_of_another_server_is_shown_by_its_widget(opens: Opens, other: LiveServer) -> None:
    notebook = await opens(f"{IMPORT}\nja.connect({other.url!r}, {other.token!r})", shows(STREAMING), "time.sleep(60)")
    asked = Asked(notebook)
    for number in range(3):
        await notebook.run(number)
    widget = notebook.cell(1).locator(".jp-agent-Widget .jp-agent-Run")
    await expect(widget).to_have_attribute("data-status", "running", timeout=PATIENCE_MS)
    await expect(widget).to_contain_text("word20", timeout=PATIENCE_MS)
    await expect(notebook.cell(1).locator(".jp-agent-Run:visible")).to_have_count(1)
    assert await notebook.is_executing(2)
    assert asked.agent_sockets == 0
    await notebook.photograph("stands-in", "Light")

    await notebook.command("notebook:interrupt-kernel")
    await notebook.was_executed(2)
    await notebook.save()
    await notebook.page.reload()
    await expect(widget).to_have_attribute("data-status", "completed", timeout=PATIENCE_MS)
    await expect(notebook.cell(1).locator(".jp-agent-Run:visible")).to_have_count(1)
    assert notebook.faults == []


async def test_a_dead_widget_of_another_servers_run_leaves_what_was_kept(opens: Opens, other: LiveServer) -> None:
    notebook = await opens(
        f"{IMPORT}\nja.connect({other.url!r}, {other.token!r})", shows(["All of it."], "run.result()\n")
    )
    await notebook.run(0)
    await notebook.run(1)
    await expect(notebook.cell(1).locator(".jp-agent-Widget .jp-agent-Run")).to_be_visible(timeout=PATIENCE_MS)
    await notebook.save()
    await notebook.restart_kernel()
    await notebook.page.reload()
    shown = notebook.shown(1)
    await shown.has("completed", source="copy")
    await shown.notes("Saved copy: this server does not know the run.")
    await expect(notebook.cell(1).locator(".jp-agent-Run:visible")).to_have_count(1)
    await expect(notebook.cell(1).get_by_text("Loading widget")).to_be_hidden()
