"""Decisions in the cell where the run is, whatever the kernel is doing; in two tabs; with keys only."""

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Opens
from tests.browser.notebook import Notebook, starting
from tests.browser.shown import ShownRun
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

SLEEP = "import time\ntime.sleep(60)"
LAST = "print(run.status, run.tool_calls[0].outcome)"


def writing(name: str, content: str = "one\ntwo\n") -> list[Any]:
    """A script that asks to create a file, and then says what came of it."""
    call = {"name": "create_file", "arguments": {"path": name, "content": content}}
    return [{"text": "I write it.", "calls": [call]}, {"text": "It said: {result}"}]


async def waiting_behind_a_busy_kernel(opens: Opens, script: Any) -> tuple[Notebook, ShownRun]:
    """Starts the run in one cell, and a minute of sleep in the next."""
    notebook = await opens(starting(script), SLEEP, LAST)
    await notebook.run(0)
    shown = notebook.shown(0)
    await notebook.run(1)
    await shown.has("waiting_confirmation", source="gateway")
    await notebook.is_busy()
    return notebook, shown


async def test_a_call_is_approved_while_the_kernel_is_busy(server: LiveServer, opens: Opens) -> None:
    notebook, shown = await waiting_behind_a_busy_kernel(opens, writing("approved.txt"))
    assert not (server.root / "approved.txt").exists()
    await expect(shown.card.node).to_contain_text("create_file wants to write")
    await expect(shown.card.picture).to_contain_text("approved.txt")
    await notebook.photograph("busy")
    await shown.card.approve()
    await shown.has("completed", source="gateway")
    await shown.called("create_file", "done")
    await shown.says("It said:")
    assert await notebook.is_executing(1), "The kernel was to be busy until the run was over."
    assert (server.root / "approved.txt").read_text() == "one\ntwo\n"
    await expect(shown.card.node).to_have_count(0)


async def test_a_call_is_rejected_with_a_reason(server: LiveServer, opens: Opens) -> None:
    notebook, shown = await waiting_behind_a_busy_kernel(opens, writing("rejected.txt"))
    await shown.card.reject("Not into this folder.")
    await shown.has("completed", source="gateway")
    await shown.called("create_file", "rejected")
    await shown.says("Not into this folder.")
    assert await notebook.is_executing(1)
    assert not (server.root / "rejected.txt").exists()
    await notebook.photograph("rejected")


async def test_arguments_are_edited_before_they_are_approved(server: LiveServer, opens: Opens) -> None:
    notebook, shown = await waiting_behind_a_busy_kernel(opens, writing("edited.txt"))
    await shown.card.read()
    await shown.card.button("Edit").click()
    await expect(shown.card.button("Approve with changes")).to_be_disabled()
    await notebook.photograph("editing")
    await shown.card.button("Back").click()
    await shown.card.edit(content="three\n")
    await shown.has("completed", source="gateway")
    assert await notebook.is_executing(1)
    assert (server.root / "edited.txt").read_text() == "three\n"
    await expect(shown.call("create_file")).to_contain_text("approved with changes")
    body = await shown.open_call("create_file")
    await expect(body).to_contain_text("three")
    await expect(body).not_to_contain_text("two")
    await notebook.photograph("edited")


async def test_two_tabs_show_one_run_and_decide_once(server: LiveServer, opens: Opens) -> None:
    one = await opens(starting(writing("tabs.txt")))
    await one.run(0)
    await one.shown().has("waiting_confirmation", source="gateway")
    await one.save()
    other = await one.beside()
    await other.shown().has("waiting_confirmation", source="gateway")
    await other.shown().card.is_open()

    card = one.shown().card
    await one.page.bring_to_front()
    await card.approve()
    folded = other.shown().node.locator(".jp-agent-Decision[data-state='over']")
    await expect(folded).to_contain_text("It was approved elsewhere meanwhile.")
    await other.photograph("folded", "Light")
    for tab in (one, other):
        await tab.page.bring_to_front()
        await tab.shown().has("completed", source="gateway")
        await tab.shown().says("It said:")
        await expect(tab.shown().card.node).to_have_count(0)
    assert (server.root / "tabs.txt").exists()


async def test_a_question_is_answered_in_the_cell(opens: Opens) -> None:
    ask = {"name": "ask_user", "arguments": {"prompt": "Which sheet?"}}
    notebook = await opens(starting([{"calls": [ask]}, {"text": "You said: {result}"}]))
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_input", source="gateway")
    await expect(shown.card.node).to_contain_text("Which sheet?")
    await notebook.photograph("question")
    await shown.card.node.locator("textarea, input").first.fill("the second one")
    await shown.card.node.get_by_role("button", name="Answer").click()
    await shown.has("completed", source="gateway")
    assert "the second one" in await shown.text()


async def test_several_calls_are_decided_one_after_the_other(server: LiveServer, opens: Opens) -> None:
    names = ("first.txt", "second.txt", "third.txt")
    calls = [{"name": "create_file", "arguments": {"path": name, "content": name}} for name in names]
    notebook = await opens(starting([{"calls": calls}, {"text": "All three."}]))
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation")
    cards = shown.node.locator(".jp-agent-Decision[data-state='open']:visible")
    for left in (3, 2, 1):
        await expect(shown.node.locator(".jp-agent-Decision[data-state='open']")).to_have_count(left)
        await expect(cards).to_have_count(1)
        await notebook.photograph(f"several-{left}", "Light") if left == 3 else None
        await shown.first_open_card().approve()
    await shown.has("completed")
    assert [(server.root / name).read_text() for name in names] == list(names)


# --- keys -----------------------------------------------------------------------------------------------------


async def focused(notebook: Notebook) -> str:
    """Returns what has the focus: its text, or its role, and where it is."""
    return str(
        await notebook.page.evaluate(
            "() => { const node = document.activeElement;"
            " return `${node.className} | ${node.textContent.slice(0, 60)}`; }"
        )
    )


async def tab_to(notebook: Notebook, wanted: str, *, key: str = "Tab", most: int = 40) -> None:
    """Presses Tab until this has the focus."""
    passed = []
    for _ in range(most):
        await notebook.page.keyboard.press(key)
        passed.append(await focused(notebook))
        if wanted in passed[-1]:
            return
    raise AssertionError(f"Tab does not reach {wanted!r}. It went by: {json.dumps(passed, indent=1)}")


async def nothing_happens(notebook: Notebook, place: str) -> None:
    """No key that means something to JupyterLab does anything from here; the focus stays."""
    document = "() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(c => c.cell_type+c.id)"
    before = await notebook.page.evaluate(document)
    for keys in ("d d", "a", "b", "x", "m", "y", "0 0", "z", "Shift+Enter", "Control+Enter", "Alt+Enter", "j", "k"):
        for key in keys.split():
            await notebook.page.keyboard.press(key)
        await notebook.page.wait_for_timeout(150)  # for something that is not to happen
        assert await notebook.page.evaluate(document) == before, f"{keys} changes the notebook."
        assert place in await focused(notebook), f"{keys} moves the focus."


async def test_everything_is_reached_and_decided_by_keys(server: LiveServer, opens: Opens) -> None:
    look = {"name": "list_files", "arguments": {}}
    write = {"name": "create_file", "arguments": {"path": "keys.txt", "content": "keys"}}
    notebook = await opens(starting([{"calls": [look]}, {"calls": [write]}, {"text": "Done."}]), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation")
    await shown.card.read()

    # From the cell's editor onwards: the head, the stream, the lines of tools, the card.
    await notebook.cell(0).locator(".cm-content").click()
    await notebook.page.keyboard.press("Escape")
    await shown.node.locator("button").first.focus()
    await tab_to(notebook, "jp-agent-Run-stop")
    await tab_to(notebook, "jp-agent-Call-line")
    await notebook.page.keyboard.press("Enter")
    await expect(shown.call("list_files").locator(".jp-agent-Call-body")).to_be_visible()
    await notebook.photograph("focus-call", "Light")
    await notebook.page.keyboard.press("Enter")
    await expect(shown.call("list_files").locator(".jp-agent-Call-body")).to_be_hidden()
    await tab_to(notebook, "jp-agent-Decision-picture")
    await tab_to(notebook, "| Approve")
    await notebook.photograph("focus-approve", "Light")

    # JupyterLab's shortcuts of command mode do nothing from here: no cell is deleted, added or executed.
    await nothing_happens(notebook, "| Approve")
    await notebook.page.keyboard.press("Enter")
    await asyncio.sleep(0.5)  # for something that is not to happen
    await shown.has("waiting_confirmation")
    assert not (server.root / "keys.txt").exists()

    await notebook.page.keyboard.press("Space")
    await shown.has("completed")
    assert (server.root / "keys.txt").read_text() == "keys"
    await notebook.still_works(1)


async def test_shortcuts_of_command_mode_do_nothing_in_the_view(opens: Opens) -> None:
    """With the focus in the stream or on a tool's line, too."""
    script = [{"calls": [{"name": "list_files", "arguments": {}}]}, {"text": "Done."}]
    notebook = await opens(starting(script), "print('fine')")
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("completed")
    for part, name in (
        (shown.scroller, "jp-agent-Run-scroller"),
        (shown.call("list_files").locator(".jp-agent-Call-line"), "jp-agent-Call-line"),
    ):
        await part.focus()
        await nothing_happens(notebook, name)
    await notebook.still_works(1)
