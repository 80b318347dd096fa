"""Runs in notebooks that were saved: without a kernel, on a server that does not know them, not trusted."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import VIEWPORT, end_sessions, lab
from tests.browser.notebook import MIME, PATIENCE_MS, Notebook, leave_notebook, starting
from tests.browser.shown import ShownRun
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

ENDED = "ended.ipynb"
WAITING = "waiting.ipynb"
NO_KERNEL = "no-kernel.ipynb"

LOOK = {"name": "list_files", "arguments": {"pattern": "*.ipynb"}}
WRITE = {"name": "create_file", "arguments": {"path": "kept.txt", "content": "ended.ipynb\n"}}
PROMPT = "Which notebooks are here? Note their names in kept.txt."
TABLE = "| notebooks | empty |\n|--:|--:|\n| 1 | 0 |"
STORY = [
    {"thinking": "First I look.", "text": "Let me **look**.", "calls": [LOOK]},
    {"text": f"There is one:\n\n{TABLE}\n\nNow I write it down.", "calls": [WRITE]},
    {"text": "Its name is in `kept.txt`."},
]
ASKING = [{"text": "I want to write.", "calls": [WRITE]}, {"text": "It is written."}]


@dataclass
class Asked:
    """What a page asked of the gateway."""

    requests: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("request", lambda one: self.requests.append(f"{one.method} {one.url}"))
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: self.sent.append(str(frame))))

    def of(self, run_id: str) -> list[str]:
        return [one.partition("/jupyter-agent/api/")[2] for one in self.requests if run_id in one]

    def frames_of(self, run_id: str) -> list[str]:
        return [frame for frame in self.sent if run_id in frame]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(server: LiveServer, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two notebooks with a run each, one ended and one that waits, saved as a person does; the ids of the runs."""
    context = await browser.new_context(viewport=VIEWPORT)
    screens = tmp_path_factory.mktemp("kept")
    found = {}
    for name, script in ((ENDED, STORY), (WAITING, ASKING)):
        leave_notebook(server.root, name, starting(script, prompt=PROMPT), "print('fine')")
        notebook = Notebook(server, await context.new_page(), name, screens)
        await notebook.open()
        await notebook.run(0)
        await notebook.shown().has("waiting_confirmation")
        if name == ENDED:
            await notebook.shown().card.approve()
            await notebook.shown().has("completed")
        status = "completed" if name == ENDED else "waiting_confirmation"
        data = await notebook.saved_when(lambda data, status=status: data[MIME]["status"] == status)
        found[name] = data[MIME]["runId"]
    await context.close()
    await end_sessions(server)
    bare = json.loads((server.root / ENDED).read_text())
    bare["metadata"] = {}
    (server.root / NO_KERNEL).write_text(json.dumps(bare))
    found[NO_KERNEL] = found[ENDED]
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranger(
    server: LiveServer, kept: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveServer]:
    """Another server, which has the notebooks and knows nothing of their runs."""
    async with lab(tmp_path_factory.mktemp("stranger")) as stranger:
        for name in kept:
            shutil.copy(server.root / name, stranger.root / name)
        yield stranger


@pytest_asyncio.fixture(loop_scope="module")
async def looks(context: BrowserContext, tmp_path: Path) -> AsyncIterator[Any]:
    """Opens a notebook, and keeps count of what the page asks for."""
    servers: set[LiveServer] = set()

    async def looked(server: LiveServer, name: str, *, kernel: bool = True) -> tuple[Notebook, Asked]:
        servers.add(server)
        notebook = Notebook(server, await context.new_page(), name, tmp_path)
        asked = Asked()
        asked.listen(notebook.page)
        await notebook.open(kernel=kernel)
        return notebook, asked

    yield looked
    for server in servers:
        await end_sessions(server)


async def tells_the_story(shown: ShownRun) -> None:
    """All that happened can be read: what was said, thought, called and given."""
    await shown.says("Let me look.")
    await expect(shown.node.locator("table td")).to_have_text(["1", "0"])
    assert (await shown.text()).endswith("Its name is in kept.txt.")
    await shown.called("list_files", "done")
    await shown.called("create_file", "done")
    await expect(await shown.open_call("list_files")).to_contain_text(ENDED)
    await expect(await shown.open_call("create_file")).to_contain_text("Created kept.txt")
    thinking = shown.node.locator(".jp-agent-Run-thinking")
    await thinking.locator("summary").click()
    await expect(thinking).to_contain_text("First I look.")


async def test_a_stranger_shows_a_copy_and_says_so(stranger: LiveServer, kept: dict[str, str], looks: Any) -> None:
    notebook, asked = await looks(stranger, ENDED)
    shown = notebook.shown()
    await shown.has("completed", source="copy")
    await shown.notes("Saved copy: this server does not know the run.")
    await expect(shown.word).to_have_text("Completed")
    await expect(shown.stop).to_be_hidden()
    await tells_the_story(shown)
    await notebook.photograph("copy")
    await notebook.picture("saved-copy", shown.node, "Light")
    await notebook.still_works(1)

    run_id = kept[ENDED]
    assert asked.of(run_id) == [f"runs/{run_id}/transcript"]
    assert asked.frames_of(run_id) == []
    assert notebook.faults == []


async def test_what_waited_when_it_was_saved_cannot_be_decided(
    stranger: LiveServer, kept: dict[str, str], looks: Any
) -> None:
    notebook, asked = await looks(stranger, WAITING)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="copy")
    await shown.notes("Partial: the run was still going when this was saved.")
    await shown.notes("It waited for approval of: create_file")
    await expect(shown.node.get_by_role("button", name=re.compile("Approve|Reject|Edit"))).to_have_count(0)
    await expect(shown.card.node).to_have_count(0)
    await expect(shown.stop).to_be_hidden()
    await notebook.photograph("copy-waiting")
    run_id = kept[WAITING]
    assert asked.of(run_id) == [f"runs/{run_id}/transcript"]
    assert asked.frames_of(run_id) == []


@pytest.mark.parametrize("place", ["stranger", "its server"])
async def test_without_a_kernel(
    server: LiveServer, stranger: LiveServer, kept: dict[str, str], looks: Any, place: str
) -> None:
    """The kernel is asked for, and the person wants none."""
    is_stranger = place == "stranger"
    notebook, asked = await looks(stranger if is_stranger else server, NO_KERNEL, kernel=False)
    await notebook.takes_no_kernel()
    shown = notebook.shown()
    await shown.has("completed", source="copy" if is_stranger else "gateway")
    await tells_the_story(shown)
    assert (await (stranger if is_stranger else server).request("GET", "api/kernels"))[1] == []
    run_id = kept[NO_KERNEL]
    assert [one for one in asked.of(run_id) if "transcript" in one] == [f"runs/{run_id}/transcript"]
    await notebook.photograph(f"no-kernel-{place.replace(' ', '-')}", "Light")


async def test_a_run_that_is_known_is_live_again(server: LiveServer, kept: dict[str, str], looks: Any) -> None:
    """Opened where its server is, what waited waits still, and is decided."""
    notebook, _ = await looks(server, WAITING)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="gateway")
    assert kept[WAITING] != kept[ENDED]
    await shown.card.reject("Not any more.")
    await shown.has("completed", source="gateway")


async def test_trusted_or_not_it_looks_alike(stranger: LiveServer, kept: dict[str, str], looks: Any) -> None:
    assert kept
    notebook, _ = await looks(stranger, ENDED)
    shown = notebook.shown()
    await shown.notes("Saved copy")
    trusted = "() => window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.trusted)"
    assert await notebook.page.evaluate(trusted) == [False, False]
    before = await looks_of(shown)
    await notebook.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:trust') }")
    await notebook.page.locator(".jp-Dialog").get_by_role("button", name="Trust").click()
    await expect(notebook.page.locator(".jp-Dialog")).to_have_count(0)
    assert await notebook.page.evaluate(trusted) == [True, True]
    await shown.has("completed", source="copy")
    await shown.notes("Saved copy: this server does not know the run.")
    assert await looks_of(shown) == before


async def looks_of(shown: ShownRun) -> str:
    """Returns the view's elements without what is made up for each view: the ids."""
    markup = str(await shown.node.evaluate("node => node.outerHTML"))
    return re.sub(r"jp-agent-(run|call|decision|argument)-[\w-]+", "id", markup)


async def test_a_second_view_of_the_output_costs_no_second_question(
    stranger: LiveServer, kept: dict[str, str], looks: Any
) -> None:
    notebook, asked = await looks(stranger, ENDED)
    await notebook.shown().notes("Saved copy")
    await notebook.cell(0).locator(".jp-agent-Run").first.click()
    await notebook.command("notebook:create-output-view")
    views = notebook.page.locator(".jp-agent-Run[data-source='copy'][data-status='completed']")
    await expect(views).to_have_count(2, timeout=PATIENCE_MS)
    run_id = kept[ENDED]
    assert asked.of(run_id) == [f"runs/{run_id}/transcript"]
