"""What is damaged, unknown, gone, refused, blocked or enormous: the view says what happened and what to do, and the
rest of the notebook works."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, WebSocketRoute, expect

from tests.browser.conftest import Opens, lab
from tests.browser.notebook import IMPORT, MIME, PATIENCE_MS, Notebook, leave_notebook, starting
from tests.browser.shown import ShownRun
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

FIVE_MB = 5_000_000
RUN_ID = "run_" + "0" * 20
RUN = {"runId": RUN_ID, "status": "completed", "prompt": "Asked.", "turns": [{"turn": 0, "text": "Said."}]}
UNREADABLE = "it cannot be read: it is damaged, or not made by jupyter_agent"

DAMAGED: list[tuple[str, Any, str]] = [
    ("a text", "run", UNREADABLE),
    ("a list", [RUN], UNREADABLE),
    ("nothing", None, UNREADABLE),
    ("an address for an id", {**RUN, "runId": "https://evil.example/run"}, UNREADABLE),
    ("a path for an id", {**RUN, "runId": "../threads"}, UNREADABLE),
    ("an id of another kind", {**RUN, "runId": 7}, UNREADABLE),
    ("no status", {"runId": RUN_ID}, "Nothing of this run was kept here that can be read"),
    ("an unknown status", {**RUN, "status": "exploded"}, "Nothing of this run was kept here that can be read"),
    ("turns that are a text", {**RUN, "turns": "many"}, "Asked."),
    ("turns that are nothing", {**RUN, "turns": [None, 7, [], {"text": 3}, {"toolCalls": 1}]}, "Asked."),
    ("fields that nobody knows", {**RUN, "colour": "red", "turns": [{"turn": 0, "text": "Said.", "x": {}}]}, "Said."),
    ("numbers that are none", {**RUN, "usage": {"inputTokens": "1e999", "cost": -1}, "contextMax": "0"}, "Said."),
    ("times that are none", {**RUN, "firstAt": "yesterday", "lastAt": 7}, "Said."),
    ("one turn twice", {**RUN, "turns": [{"turn": 0, "text": "Said."}, {"turn": 0, "text": "Again."}]}, "Again."),
    (
        "a call twice",
        {**RUN, "turns": [{"turn": 0, "toolCalls": [{"toolCallId": "a", "name": "one"}] * 2}]},
        "one",
    ),
    (
        "a call without anything",
        {**RUN, "turns": [{"turn": 0, "toolCalls": [{}, {"mime": {"image/png": "../x"}, "diff": "@@"}]}]},
        "(a tool without a name)",
    ),
    ("a newer version", {**RUN, "schemaVersion": 99}, "Said."),
    ("depth", {**RUN, "turns": [{"turn": 0, "text": "> " * 3_000 + "deep"}]}, "deep"),
]
"""What an output may hold after somebody edited the file, and what is said or shown."""


def leave_outputs(server: LiveServer, name: str, kept: list[Any]) -> None:
    path = leave_notebook(server.root, name, *(["'a run'"] * len(kept)), "print('fine')")
    notebook = nbformat.read(path, as_version=4)
    for cell, value in zip(notebook.cells, kept, strict=False):
        data = {MIME: value, "text/plain": "plain words"}
        cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    path.write_text(json.dumps(notebook))


async def test_outputs_that_somebody_edited(server: LiveServer, opens: Opens, context: BrowserContext) -> None:
    leave_outputs(server, "damaged.ipynb", [value for _, value, _ in DAMAGED])
    notebook = (await opens("print('fine')")).other("damaged.ipynb", await context.new_page())
    console: list[str] = []
    notebook.page.on("console", lambda said: console.append(said.text) if said.type == "error" else None)
    await notebook.open()
    for place, (what, _, said) in enumerate(DAMAGED):
        output = notebook.cell(place).locator(".jp-OutputArea-output")
        await output.scroll_into_view_if_needed()
        await expect(output, what).to_contain_text(said, timeout=PATIENCE_MS)
        if said == UNREADABLE:
            await expect(output, what).to_contain_text("plain words")
        await expect(output.get_by_role("button", name=re.compile("Approve|Stop"))).to_have_count(0)
    await notebook.photograph("damaged")
    await notebook.still_works(len(DAMAGED))
    assert notebook.faults == []
    assert [text for text in console if "404" not in text] == []


async def test_a_run_that_is_deleted_while_it_is_watched(server: LiveServer, opens: Opens) -> None:
    notebook = await opens(starting([{"text": "Here I am."}]) + "\nprint(run.id)", "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("completed", source="gateway")
    run_id = (await notebook.cell(0).locator(".jp-RenderedText").last.inner_text()).strip()
    await notebook.saved_when(lambda data: data[MIME]["status"] == "completed")
    status, said = await server.request("DELETE", f"jupyter-agent/api/runs/{run_id}")
    assert status in (200, 204), said
    await shown.notes("The run was deleted.")
    await shown.says("Here I am.")
    await notebook.page.reload()
    await shown.has("completed", source="copy")
    await shown.notes("Saved copy: this server does not know the run.")
    await shown.says("Here I am.")
    await notebook.is_ready()
    await notebook.still_works(1)


async def test_a_run_that_is_deleted_while_it_speaks(server: LiveServer, opens: Opens) -> None:
    script = [{"text": "still here " * 600, "duration_s": 60}]
    notebook = await opens(starting(script) + "\nprint(run.id)", "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.says("still here still here")
    run_id = (await notebook.cell(0).locator(".jp-RenderedText").last.inner_text()).strip()
    status, said = await server.request("DELETE", f"jupyter-agent/api/runs/{run_id}")
    if status == 409:  # only what has ended can be deleted
        await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})
        await shown.has("interrupted")
        status, said = await server.request("DELETE", f"jupyter-agent/api/runs/{run_id}")
    assert status in (200, 204), said
    await shown.notes("The run was deleted.")
    await shown.says("still here still here")  # what it had heard stays
    await expect(shown.stop).to_be_hidden(timeout=PATIENCE_MS)
    await notebook.photograph("deleted", "Light")
    await notebook.still_works(1)
    assert notebook.faults == []


async def test_a_socket_that_is_blocked(server: LiveServer, opens: Opens, context: BrowserContext) -> None:
    """As behind a proxy that lets no WebSocket of ours through: the run is looked up, and decided, by requests."""
    call = {"name": "create_file", "arguments": {"path": "blocked.txt", "content": "x"}}
    script = [{"text": "I ask.", "calls": [call]}, {"text": "slowly " * 20, "duration_s": 5}]

    async def block(socket: WebSocketRoute) -> None:
        await socket.close()

    await context.route_web_socket(re.compile("/jupyter-agent/ws"), block)
    notebook = await opens(starting(script), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="gateway")
    await shown.notes(re.compile("WebSocket"))
    await notebook.photograph("blocked")
    await shown.card.approve()
    await shown.has("completed", source="gateway")
    assert (await shown.text()).startswith("I ask. slowly slowly")
    assert (server.root / "blocked.txt").exists()
    await notebook.still_works(1)


async def test_a_run_can_be_stopped_behind_a_blocked_socket(opens: Opens, context: BrowserContext) -> None:
    async def block(socket: WebSocketRoute) -> None:
        await socket.close()

    await context.route_web_socket(re.compile("/jupyter-agent/ws"), block)
    notebook = await opens(starting([{"text": "on and on " * 900, "duration_s": 120}]), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.notes(re.compile("WebSocket"))
    await shown.says("on and on on and on")
    await shown.stop.click()
    await shown.has("interrupted", source="gateway")
    await notebook.still_works(1)


async def test_a_stop_that_the_socket_swallows_is_carried_out(opens: Opens, context: BrowserContext) -> None:
    """The socket is open, and what is said over it does not arrive."""
    swallowed: list[str] = []

    def swallow(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            if "interrupt" in str(message):
                swallowed.append(str(message))
            else:
                server.send(message)

        socket.on_message(pass_on)

    await context.route_web_socket(re.compile("/jupyter-agent/ws"), swallow)
    notebook = await opens(starting([{"text": "on and on " * 900, "duration_s": 120}]))
    await notebook.run(0)
    shown = notebook.shown()
    await shown.says("on and on on and on")
    await shown.stop.click()
    await shown.has("interrupted", source="gateway")
    assert len(swallowed) == 1
    await expect(shown.notices).to_be_hidden()


async def test_a_thread_goes_on_behind_a_blocked_socket(opens: Opens, context: BrowserContext) -> None:
    async def block(socket: WebSocketRoute) -> None:
        await socket.close()

    await context.route_web_socket(re.compile("/jupyter-agent/ws"), block)
    notebook = await opens(starting(["The first answer."]), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("completed", source="gateway")
    await shown.node.get_by_role("button", name="Continue").click()
    form = shown.node.locator(".jp-agent-Composer")
    await form.get_by_label("Model").select_option("echo")
    prompt = form.get_by_label("Next prompt of this thread")
    await prompt.fill("Does it go on?")
    await form.get_by_role("button", name="Send").click()
    following = ShownRun(shown.node.locator(".jp-agent-Run-nested > .jp-agent-Run").first)
    await following.has("completed", source="gateway")
    await following.says("Does it go on?")
    await expect(prompt).to_have_value("")
    await notebook.still_works(1)


# --- much -----------------------------------------------------------------------------------------------------


async def test_ten_thousand_items_of_a_list(opens: Opens) -> None:
    text = "\n".join(f"- item {number}" for number in range(10_000))
    notebook = await opens(
        f"{IMPORT}\ntext = '\\n'.join(f'- item {{n}}' for n in range(10_000))\n"
        "run = ja.run('x', model='scripted', script=[{'text': text, 'chunk': 2000, 'duration_s': 4}])",
        "print('fine')",
    )
    await notebook.run(0)
    shown = notebook.shown()
    await notebook.still_works(1)
    await shown.has("completed", source="gateway")
    await shown.says("item 9999")
    whole = shown.node.get_by_role("button", name=re.compile("Show all"))
    await expect(whole).to_be_visible()
    await notebook.photograph("many-items", "Light")
    await whole.click()
    await expect(shown.node.locator(".jp-agent-Run-text li")).to_have_count(10_000, timeout=PATIENCE_MS)
    assert await shown.text() == " ".join(text.replace("- ", "").split())
    await notebook.still_works(1)
    assert notebook.faults == []


async def test_a_line_of_five_megabytes(opens: Opens) -> None:
    call = {"name": "run_cell", "arguments": {"code": "print('x' * 5_000_000 + ' end')"}}
    script = [{"calls": [call]}, {"text": "That was much."}]
    notebook = await opens(starting(script, more=", waits=True)\nrun.result("), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.card.approve()
    await shown.has("completed", source="gateway")
    await shown.called("run_cell", "done")
    body = await shown.open_call("run_cell")
    await expect(body).to_contain_text("xxxxxxxx")
    await notebook.photograph("long-line", "Light")
    if await body.get_by_role("button", name="Show all of it").count():
        await body.get_by_role("button", name="Show all of it").click()
        await expect(body).to_contain_text("All of it", ignore_case=True)
    await notebook.still_works(1)
    await notebook.save()
    size = len(json.dumps(notebook.saved()))
    assert size < 600_000, f"The document holds {size} characters of it."
    assert notebook.faults == []


async def test_five_megabytes_that_the_model_says_in_one_line(opens: Opens) -> None:
    """The script repeats what a tool printed: no message of a client may be so long."""
    call = {"name": "run_cell", "arguments": {"code": f"print('x' * {FIVE_MB // 200}, end='')"}}
    said = {"text": "{result}" * 200, "chunk": 100_000, "duration_s": 10}
    notebook = await opens(starting([{"calls": [call]}, said]), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.card.approve()
    whole = shown.node.get_by_role("button", name="Show all")
    await expect(whole).to_be_visible(timeout=PATIENCE_MS)
    await shown.has("running")
    await notebook.still_works(1)

    await shown.has("completed", source="gateway")
    await expect(whole).to_have_text(f"Show all {FIVE_MB:,} characters")
    await shown.says(re.compile("characters are not shown here"))
    characters = "node => node.querySelector('.jp-agent-Run-text').textContent.length"
    assert 10_000 < await shown.node.evaluate(characters) < 100_000
    await notebook.photograph("long-text", "Light")
    await notebook.still_works(1)
    await whole.click()
    await expect(whole).to_be_hidden(timeout=PATIENCE_MS)
    assert await shown.node.evaluate(characters) == FIVE_MB
    await notebook.still_works(1)
    await notebook.save()
    assert len(json.dumps(notebook.saved())) < 600_000
    assert notebook.faults == []


# --- another token --------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def rekeyed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    """A server whose token is going to change, and which will not know its cookies any more."""
    assert browser.is_connected()
    async with lab(tmp_path_factory.mktemp("rekeyed")) as server:
        yield server


async def test_another_token_after_a_restart(rekeyed: LiveServer, context: BrowserContext, tmp_path: Path) -> None:
    leave_notebook(rekeyed.root, "key.ipynb", starting([{"text": "word " * 400, "duration_s": 30}]), "print('fine')")
    notebook = Notebook(rekeyed, await context.new_page(), "key.ipynb", tmp_path)
    await notebook.open()
    await notebook.dismisses_dialogs()
    await notebook.run(0)
    shown = notebook.shown()
    await shown.says("word word word")
    await notebook.save()
    await shown.says("word " * 40)
    await rekeyed.stop()
    seen = await shown.text()
    (rekeyed.home / "runtime" / "jupyter_cookie_secret").unlink()
    rekeyed.token = "another-token-of-the-tests"
    await rekeyed.start()
    await shown.notes("reload it, and sign in again if it asks")
    await expect(shown.node.get_by_role("button", name="Try again")).to_be_visible()
    await notebook.snapshot("another-token")
    assert await shown.text() == seen, "What was there stays there."

    # What the view says helps: the page is loaded again with the token.
    await notebook.open(kernel=False)
    await shown.has("completed", source="gateway")
    said = (await shown.text()).split()  # what was cut off, and the whole again
    assert set(said) == {"word"}
    assert len(said) >= 400


async def test_another_token_while_a_decision_is_edited(
    rekeyed: LiveServer, context: BrowserContext, tmp_path: Path
) -> None:
    """What was typed into an open decision stays, nothing false is said of it, and it is still there to be decided."""
    call = {"name": "create_file", "arguments": {"path": "rekeyed.txt", "content": "one"}}
    script = [{"text": "I ask.", "calls": [call]}, {"text": "Done."}]
    leave_notebook(rekeyed.root, "edit.ipynb", starting(script))
    notebook = Notebook(rekeyed, await context.new_page(), "edit.ipynb", tmp_path)
    await notebook.open()
    await notebook.dismisses_dialogs()
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="gateway")
    await shown.card.read()
    await shown.card.button("Edit").click()
    content = shown.card.node.get_by_label("content", exact=True)
    await content.fill("two, said at len")
    await notebook.save()
    await rekeyed.stop()
    (rekeyed.home / "runtime" / "jupyter_cookie_secret").unlink()
    rekeyed.token = "a-third-token-of-the-tests"
    await rekeyed.start()
    await shown.notes("reload it, and sign in again if it asks")
    await asyncio.sleep(4)  # longer than a card says how it ended
    await expect(content).to_have_value("two, said at len")
    await expect(shown.node).not_to_contain_text("It does not wait any more")
    await notebook.snapshot("refused-editing")

    # A decision that cannot be carried out says so, and loses nothing.
    await shown.card.button("Approve with changes").click()
    await expect(shown.card.node.locator(".jp-agent-Decision-status")).to_contain_text("This was not carried out")
    await expect(content).to_have_value("two, said at len")
    assert not (rekeyed.root / "rekeyed.txt").exists()

    await notebook.open(kernel=False)
    await shown.has("waiting_confirmation", source="gateway")
    await shown.first_open_card().edit(content="two, said at length")
    await shown.has("completed")
    assert (rekeyed.root / "rekeyed.txt").read_text() == "two, said at length"
