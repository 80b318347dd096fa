"""A server below a prefix, as JupyterHub gives each person one: everything that a page asks for is below it."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import Opens, lab
from tests.browser.notebook import PATIENCE_MS, Notebook, starting
from tests.browser.test_widgets import ASKING, IMPORT, STREAMING, WORDS, shows
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

PREFIX = "/user/alice/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with lab(tmp_path_factory.mktemp("alice"), base_url=PREFIX) as server:
        yield server


class Asked:
    """The paths that a page asked its server for, over requests and sockets."""

    def __init__(self, page: Page) -> None:
        self._paths: list[str] = []
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda socket: self._note(socket.url))

    def _note(self, url: str) -> None:
        where = urlsplit(url)
        if where.netloc:
            self._paths.append(where.path)

    def all_below(self, *parts: str) -> None:
        """Everything was below the prefix, and this was asked for."""
        assert [path for path in self._paths if not path.startswith(PREFIX)] == []
        for part in parts:
            assert [path for path in self._paths if path.startswith(f"{PREFIX}{part}")], part


async def finds_it_again(notebook: Notebook) -> None:
    await notebook.save()
    await notebook.page.reload()
    await notebook.shown().has("completed", source="gateway")


async def test_a_run_is_followed_decided_and_found_again(server: LiveServer, opens: Opens) -> None:
    notebook = await opens(starting(ASKING), "print('fine')")
    asked = Asked(notebook.page)
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="gateway")
    await notebook.shows("0 running · 1 waiting")
    await shown.card.approve()
    await shown.has("completed", source="gateway")
    await shown.says("It is written.")
    assert (server.root / "made.txt").read_text() == "made\n"
    await finds_it_again(notebook)
    await shown.says("It is written.")
    await notebook.still_works(1)
    assert notebook.faults == []
    asked.all_below("jupyter-agent/ws", "jupyter-agent/api/")


async def test_widgets_of_a_run_and_of_what_waits(server: LiveServer, opens: Opens) -> None:
    await server.start_run(ASKING)
    notebook = await opens(shows(STREAMING), f"{IMPORT}\nja.ApprovalsView()")
    asked = Asked(notebook.page)
    await notebook.run(0)
    await notebook.run(1)
    await notebook.shown().has("running", source="gateway")
    card = notebook.cell(1).locator(".jp-agent-Decision").first
    await expect(card).to_contain_text("create_file", timeout=PATIENCE_MS)
    await card.get_by_role("button", name="Reject", exact=True).click()
    await card.get_by_role("button", name="Reject it").click()
    await notebook.says(1, "Nothing waits for you.")
    await notebook.shown().has("completed", source="gateway")
    assert await notebook.shown().text() == WORDS
    await finds_it_again(notebook)
    assert notebook.faults == []
    asked.all_below("jupyter-agent/ws")
