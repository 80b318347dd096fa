"""Runs as widgets, in a JupyterLab without our lab extension: the module that anywidget loads is all there is."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, WebSocket, expect

from tests.browser.conftest import Opens, lab
from tests.browser.notebook import MIME, PATIENCE_MS, Notebook, leave_without_lab_extension
from tests.browser.shown import Card, ShownRun
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

IMPORT = "import time\nimport jupyter_agent as ja"
WORDS = " ".join(f"word{number}" for number in range(200))
STREAMING = [{"text": WORDS, "duration_s": 12}]
WRITE = {"name": "create_file", "arguments": {"path": "made.txt", "content": "made\n"}}
FIRST = [{"calls": [{"name": "create_file", "arguments": {"path": "first.txt", "content": "first\n"}}]}, "Done."]
ASKING = [{"text": "I want to write.", "calls": [WRITE]}, {"text": "It is written."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    home = tmp_path_factory.mktemp("widgets")
    leave_without_lab_extension(home)
    async with lab(home) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    """A gateway that the page's server knows nothing of."""
    async with LiveServer(tmp_path_factory.mktemp("other")) as other:
        yield other


def shows(script: object, more: str = "") -> str:
    return f"{IMPORT}\nrun = ja.run('Play.', model='scripted', script={script!r}, show=False)\n{more}ja.RunView(run)"


class Asked:
    """What a page asked of anybody."""

    def __init__(self, notebook: Notebook) -> None:
        self.hosts: set[str] = set()
        self.sockets: list[str] = []
        self.closed: list[str] = []
        """Sockets of ours that the page has closed."""
        notebook.page.on(
            "request", lambda one: self.hosts.add(one.url.split("/")[2] if "://" in one.url else one.url[:5])
        )
        notebook.page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        if "/jupyter-agent/ws" in socket.url:
            socket.on("close", lambda _: self.closed.append(socket.url))

    @property
    def agent_sockets(self) -> int:
        return sum("/jupyter-agent/ws" in url for url in self.sockets)


async def test_there_is_no_lab_extension_here(opens: Opens) -> None:
    notebook = await opens("print('fine')")
    plugins = "() => window.jupyterapp.listPlugins().filter(id => id.startsWith('jupyter-agent'))"
    assert await notebook.page.evaluate(plugins) == []


async def test_what_waits_is_decided_in_a_view_that_was_there_before_the_first_run(
    opens: Opens, server: LiveServer
) -> None:
    start = f"{IMPORT}\nrun = ja.run('Play.', model='scripted', script={FIRST!r}, show=False)"
    notebook = await opens(f"{IMPORT}\nja.ApprovalsView()", start)
    assert (await server.request("GET", "jupyter-agent/api/runs"))[1]["items"] == []
    await notebook.run(0)
    await notebook.says(0, "Nothing waits for you.")
    await notebook.run(1)
    card = Card(notebook.cell(0).locator(".jp-agent-Decision").first)
    await expect(card.node).to_contain_text("create_file", timeout=PATIENCE_MS)
    await notebook.cell(0).scroll_into_view_if_needed()
    await card.approve()
    await notebook.says(0, "Nothing waits for you.")
    assert (server.root / "first.txt").read_text() == "first\n"
    assert notebook.faults == []


async def test_keys_that_are_pressed_in_a_widget_do_nothing_to_the_notebook(opens: Opens, server: LiveServer) -> None:
    look = {"name": "list_files", "arguments": {}}
    asking = [
        {"calls": [look]},
        {"calls": [WRITE, {**WRITE, "arguments": {"path": "b.txt", "content": "b\n"}}]},
        "Done.",
    ]
    notebook = await opens(shows(asking), f"{IMPORT}\nja.ApprovalsView()")
    for number in range(2):
        await notebook.run(number)
    places = [
        notebook.shown().call("list_files").locator(".jp-agent-Call-line"),
        notebook.shown().node.get_by_role("button", name="Reject", exact=True).first,
        notebook.cell(1).locator(".jp-agent-Dock-more").first,
        notebook.cell(1).locator(".jp-agent-Dock").first,
    ]
    for place in places:
        await expect(place).to_be_visible(timeout=PATIENCE_MS)
        await place.focus()
        await changes_nothing(notebook, place)
    await notebook.page.keyboard.press("Escape")
    [run] = (await server.request("GET", "jupyter-agent/api/runs?status=waiting_confirmation"))[1]["items"]
    await server.request("POST", f"jupyter-agent/api/runs/{run['runId']}/interrupt", {})
    assert notebook.faults == []


async def changes_nothing(notebook: Notebook, place: Locator) -> None:
    document = "() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(c => c.cell_type+c.id)"
    before = await notebook.page.evaluate(document)
    for keys in ("d d", "a", "x", "m"):
        for key in keys.split():
            await notebook.page.keyboard.press(key)
        await notebook.page.wait_for_timeout(150)  # for something that is not to happen
        assert await notebook.page.evaluate(document) == before, f"{keys} changes the notebook."
        await expect(place).to_be_focused()


async def test_it_streams_from_the_gateway_while_the_kernel_is_busy(opens: Opens, server: LiveServer) -> None:
    notebook = await opens(shows(STREAMING), "time.sleep(60)", "print('fine')")
    asked = Asked(notebook)
    await notebook.run(0)
    await notebook.run(1)
    await notebook.shown().has("running", source="gateway")
    assert await notebook.is_executing(1)
    await notebook.photograph("streaming")
    await notebook.shown().has("completed", source="gateway")
    assert await notebook.shown().text() == WORDS
    assert await notebook.is_executing(1)
    assert asked.hosts <= {f"127.0.0.1:{server.port}", "blob:", "data:"}, "Nothing is loaded from elsewhere."
    assert asked.agent_sockets <= 1
    assert notebook.faults == []


async def test_it_is_decided_in_the_widget_while_the_kernel_is_busy(opens: Opens, server: LiveServer) -> None:
    notebook = await opens(shows(ASKING), "time.sleep(60)")
    await notebook.run(0)
    await notebook.run(1)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="gateway")
    await notebook.photograph("deciding")
    await shown.card.approve()
    await shown.has("completed")
    await shown.called("create_file", "done")
    assert await notebook.is_executing(1)
    assert (server.root / "made.txt").read_text() == "made\n"


async def test_many_views_share_one_connection_and_a_reload_finds_them_again(opens: Opens) -> None:
    notebook = await opens(shows(STREAMING), "ja.RunView(run)", "ja.RunView(run)")
    asked = Asked(notebook)
    for number in range(3):
        await notebook.run(number)
    for number in range(3):
        await notebook.shown(number).has("running", source="gateway")
    assert asked.agent_sockets == 1
    await notebook.save()
    await notebook.page.reload()
    for number in range(3):
        await notebook.shown(number).node.scroll_into_view_if_needed()  # what nobody sees is not drawn
        await notebook.shown(number).has("completed", source="gateway")
    assert asked.agent_sockets <= 2
    assert notebook.faults == []


async def test_a_view_whose_output_is_cleared_closes_its_connection(opens: Opens) -> None:
    notebook = await opens(shows(STREAMING), f"{IMPORT}\nja.ApprovalsView()")
    asked = Asked(notebook)
    for number in range(2):
        await notebook.run(number)
    await notebook.shown().has("running", source="gateway")
    await expect(notebook.cell(1).locator(".jp-agent-Waiting")).to_be_visible(timeout=PATIENCE_MS)
    assert (asked.agent_sockets, len(asked.closed)) == (1, 0)
    await notebook.command("notebook:clear-all-cell-outputs")
    for _ in range(50):
        if asked.closed:
            break
        await asyncio.sleep(0.1)
    assert (asked.agent_sockets, len(asked.closed)) == (1, 1)
    await notebook.run(1)
    await notebook.says(1, "Nothing waits for you.")
    assert asked.agent_sockets == 2
    assert notebook.faults == []


async def test_a_kernel_whose_views_are_cleared_says_nothing_more(opens: Opens, other: LiveServer) -> None:
    connect = f"{IMPORT}\nja.connect({other.url!r}, {other.token!r})"
    view = "view = ja.RunView(run)\nview"
    is_told = "print('told:', view._talk._is_on, waiting._talk._is_on)"
    notebook = await opens(connect, f"{shows(STREAMING)}\n{view}", "waiting = ja.ApprovalsView()\nwaiting", is_told)
    for number in range(3):
        await notebook.run(number)
    await notebook.shown(1).has("running", source="kernel")
    await notebook.shown(1).notes("Told by the kernel")
    await notebook.says(2, "Told by the kernel")
    await notebook.photograph("told-by-the-kernel", "Light")
    await notebook.run(3)
    await notebook.says(3, "told: True True")
    await notebook.command("notebook:clear-all-cell-outputs")
    await asyncio.sleep(2.5)
    await notebook.run(3)
    await notebook.says(3, "told: False False")
    assert notebook.faults == []


async def test_a_run_of_another_server_comes_over_the_kernel(opens: Opens, other: LiveServer) -> None:
    """It streams while the kernel is busy, is stopped while it is busy, and lets nobody decide."""
    connect = f"{IMPORT}\nja.connect({other.url!r}, {other.token!r})"
    notebook = await opens(connect, shows(STREAMING), "time.sleep(60)", shows(ASKING), shows(STREAMING))
    asked = Asked(notebook)
    await notebook.run(0)
    await notebook.run(1)
    await notebook.run(2)
    shown = notebook.shown(1)
    await shown.has("running", source="kernel")
    await shown.says("word5")
    await notebook.photograph("over-the-kernel")
    await shown.stop.click()
    await shown.has("interrupted", source="kernel")
    assert await notebook.is_executing(2), "The page's word came over a subshell."
    assert asked.agent_sockets == 0
    assert asked.hosts <= {f"127.0.0.1:{notebook._server.port}", "blob:", "data:"}

    await notebook.command("notebook:interrupt-kernel")
    await notebook.was_executed(2)
    await notebook.run(3)
    waiting = notebook.shown(3)
    await waiting.has("waiting_confirmation", source="kernel")
    await expect(waiting.node.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    await notebook.photograph("over-the-kernel-waiting")
    assert notebook.faults == []


async def test_a_restarted_kernel_is_told_to_be_gone_and_what_was_shown_stays(opens: Opens, other: LiveServer) -> None:
    connect = f"{IMPORT}\nja.connect({other.url!r}, {other.token!r})"
    notebook = await opens(connect, shows(STREAMING))
    await notebook.run(0)
    await notebook.run(1)
    shown = notebook.shown(1)
    await shown.says("word9")
    await notebook.restart_kernel()
    await shown.notes("The kernel that fed this view is gone")
    await shown.says("word9")
    await notebook.photograph("kernel-gone")


async def test_what_waits_anywhere_is_shown_and_decided(opens: Opens, server: LiveServer) -> None:
    run_id = await server.start_run(ASKING)
    notebook = await opens(f"{IMPORT}\nja.ApprovalsView()", "time.sleep(60)")
    await notebook.run(0)
    await notebook.run(1)
    card = ShownRun(notebook.cell(0)).node.locator(".jp-agent-Decision").first
    await expect(card).to_contain_text("create_file", timeout=PATIENCE_MS)
    await notebook.photograph("approvals")
    await card.get_by_role("button", name="Reject", exact=True).click()
    await card.get_by_label("Reason").fill("No.")
    await card.get_by_role("button", name="Reject it").click()
    for _ in range(100):
        if (await server.run(run_id))["status"] == "completed":
            break
        await asyncio.sleep(0.2)
    await notebook.says(0, "Nothing waits for you.")
    assert await notebook.is_executing(1)


async def test_the_saved_notebook_holds_the_run_and_nothing_to_act_on(opens: Opens, server: LiveServer) -> None:
    notebook = await opens(shows(STREAMING, "run.result()\n"))
    await notebook.run(0)
    await notebook.shown().has("completed")
    data = await notebook.saved_when(lambda data: data[MIME]["status"] == "completed")
    assert WORDS[:50] in data["text/html"]
    text = json.dumps(data) + (server.root / notebook._path).read_text()
    for secret in (server.token, server.url, "_esm"):
        assert secret not in text
