"""The thread goes on below a run: the next prompt, with a file, and the prompts that wait for their turn."""

from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import Opens
from tests.browser.notebook import Notebook, starting
from tests.browser.shown import PATIENCE_MS, ShownRun
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def composer(notebook: Notebook) -> Locator:
    """Opens the place for the next prompt below the first cell's run."""
    shown = notebook.shown()
    await shown.node.get_by_role("button", name="Continue").click()
    form = shown.node.locator(".jp-agent-Composer")
    await expect(form.get_by_label("Model")).to_have_value("demo", timeout=PATIENCE_MS)
    await form.get_by_label("Model").select_option("echo")
    return form


def following(notebook: Notebook, number: int = 0) -> ShownRun:
    return ShownRun(notebook.shown().node.locator(".jp-agent-Run-nested > .jp-agent-Run").nth(number))


async def test_the_next_prompt_is_answered_below_and_after_a_reload_too(
    server: LiveServer, opens: Opens, tmp_path: Path
) -> None:
    notebook = await opens(starting(["The first answer."]), "print('fine')")
    await notebook.run(0)
    await notebook.shown().has("completed", source="gateway")

    form = await composer(notebook)
    (tmp_path / "note.txt").write_text("the secret word is rhubarb")
    await form.locator("input[type=file]").set_input_files(tmp_path / "note.txt")
    await expect(form.locator(".jp-agent-Composer-chip")).to_contain_text("note.txt")
    await form.get_by_label("Next prompt of this thread").fill("What do you make of it?")
    await notebook.page.keyboard.press("Shift+Enter")
    await following(notebook).has("completed", source="gateway")
    await following(notebook).says("What do you make of it?")
    await following(notebook).says("the secret word is rhubarb")
    await expect(form.get_by_label("Next prompt of this thread")).to_have_value("")
    await notebook.photograph("continued")

    _, page = await server.request("GET", "jupyter-agent/api/runs?limit=2")
    last, first = page["items"]
    assert (last["followUpToRunId"], last["threadId"]) == (first["runId"], first["threadId"])

    await notebook.save()
    await notebook.page.reload()
    await following(notebook).says("What do you make of it?")
    await notebook.is_ready()
    await notebook.still_works(1)


async def test_what_one_tab_sends_appears_in_the_other(opens: Opens) -> None:
    one = await opens(starting(["The first answer."]))
    await one.run(0)
    await one.shown().has("completed", source="gateway")
    await one.save()
    other = await one.beside()
    await other.shown().has("completed", source="gateway")

    await one.page.bring_to_front()
    form = await composer(one)
    await form.get_by_label("Next prompt of this thread").fill("And in the other tab?")
    await form.get_by_role("button", name="Send").click()
    await following(one).has("completed", source="gateway")
    await other.page.bring_to_front()
    await following(other).has("completed", source="gateway")
    await following(other).says("And in the other tab?")


async def test_prompts_wait_for_their_turn_and_can_be_taken_back(server: LiveServer, opens: Opens) -> None:
    notebook = await opens(starting([{"text": "on and on " * 900, "duration_s": 90}]))
    await notebook.run(0)
    await notebook.shown().says("on and on")
    form = await composer(notebook)
    prompt = form.get_by_label("Next prompt of this thread")
    queued = form.locator(".jp-agent-Composer-queued")
    for text in ("first thing", "second thing"):
        await prompt.fill(text)
        await form.get_by_role("button", name="Send").click()
        await expect(queued.filter(has_text=text)).to_have_count(1, timeout=PATIENCE_MS)

    await queued.filter(has_text="first thing").get_by_role("button", name="Edit").click()
    await expect(prompt).to_have_value("first thing", timeout=PATIENCE_MS)
    await expect(queued).to_have_count(1, timeout=PATIENCE_MS)
    await prompt.fill("first thing, said better")
    await form.get_by_role("button", name="Send").click()
    await queued.filter(has_text="second thing").get_by_role("button", name="Remove").click()
    await expect(queued.filter(has_text="second thing")).to_have_count(0, timeout=PATIENCE_MS)
    await notebook.photograph("queue")

    await notebook.shown().stop.click()
    last = following(notebook)  # what was taken back is not shown
    await last.says("first thing, said better")
    await last.has("completed", source="gateway")
    _, page = await server.request("GET", "jupyter-agent/api/runs?limit=4")
    assert [run["status"] for run in page["items"]] == ["completed", "interrupted", "interrupted", "interrupted"]


async def test_what_cannot_be_sent_stays_in_the_editor(opens: Opens, tmp_path: Path) -> None:
    notebook = await opens(starting(["An answer."]))
    await notebook.run(0)
    await notebook.shown().has("completed", source="gateway")
    form = await composer(notebook)
    (tmp_path / "blob.bin").write_bytes(b"\x00\xff\xfe" * 10)
    await form.locator("input[type=file]").set_input_files(tmp_path / "blob.bin")
    await expect(form.get_by_role("status")).to_contain_text("neither text nor a picture")
    await expect(form.get_by_role("button", name="Send")).to_be_disabled()

    # A thread that is gone takes no more prompts.
    await notebook.page.evaluate(
        """async () => {
          const { serverSettings } = window.jupyterapp.serviceManager;
          const api = `${serverSettings.baseUrl}jupyter-agent/api/`;
          const headers = { Authorization: `token ${serverSettings.token}` };
          const { items } = await (await fetch(`${api}runs?limit=1`, { headers })).json();
          const answer = await fetch(`${api}threads/${items[0].threadId}`, { headers, method: 'DELETE' });
          if (!answer.ok) throw new Error(await answer.text());
        }"""
    )
    prompt = form.get_by_label("Next prompt of this thread")
    await prompt.fill("Are you still there?")
    await form.get_by_role("button", name="Send").click()
    await expect(form.get_by_role("status")).to_contain_text("It was not sent", timeout=PATIENCE_MS)
    await expect(prompt).to_have_value("Are you still there?")
