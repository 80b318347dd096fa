"""A run goes on whatever happens around it: the page is loaded again, the kernel restarts, the server is killed.

Nothing is lost on the way and nothing doubled: what is on the page in the end is what the script says.
"""

import asyncio
import json
import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Opens
from tests.browser.notebook import MIME, PATIENCE_MS, Notebook, starting
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

WORDS = " ".join(f"word{number}" for number in range(400))
LAST_WORD = "word399"
STREAMING = [{"text": WORDS, "duration_s": 15}]


async def streams(notebook: Notebook, number: int) -> None:
    """Starts the run, and waits until something of it is there."""
    await notebook.run(0)
    await notebook.shown().has("running", source="gateway")
    await notebook.shown().says(f"word{number}")


async def came_whole(notebook: Notebook) -> None:
    """The run has ended, and its text is what the script says."""
    await notebook.shown().has("completed")
    await notebook.shown().says(LAST_WORD)
    assert await notebook.shown().text() == WORDS


async def kept_texts(notebook: Notebook, texts: list[str]) -> None:
    """The document holds the run as it ended, without anybody's help; saved, so does the file."""
    outputs = "() => window.jupyterapp.shell.currentWidget.content.model.cells.get(0).outputs.toJSON()"
    for _ in range(200):
        text = json.dumps(await notebook.page.evaluate(outputs))
        if LAST_WORD in text and '"status": "completed"' in text:
            break
        await asyncio.sleep(0.2)
    await notebook.save()
    [data] = [output["data"] for output in notebook.saved() if MIME in output.get("data", {})]
    assert data[MIME]["status"] == "completed"
    assert [turn["text"].strip() for turn in data[MIME]["turns"]] == texts
    assert LAST_WORD in data["text/html"]
    assert LAST_WORD in data["text/plain"]


async def test_the_page_is_loaded_again(opens: Opens) -> None:
    notebook = await opens(starting(STREAMING))
    await streams(notebook, 20)
    await notebook.save()
    await notebook.page.reload()
    await notebook.shown().has("running", source="gateway")
    seen = len((await notebook.shown().text()).split())
    assert seen >= 20, "What was there before is there at once."
    await notebook.page.reload()
    await notebook.shown().has("running", source="gateway")
    await notebook.photograph("reloaded", "Light")
    await came_whole(notebook)
    await kept_texts(notebook, [WORDS])


async def test_the_kernel_is_restarted(opens: Opens) -> None:
    notebook = await opens(starting(STREAMING), "print('fine')")
    await streams(notebook, 20)
    await notebook.restart_kernel()
    await notebook.still_works(1)
    await notebook.shown().has("running", source="gateway")
    await notebook.photograph("restarted", "Light")
    await came_whole(notebook)
    await kept_texts(notebook, [WORDS])

    await notebook.page.reload()
    await notebook.is_ready()
    await came_whole(notebook)
    await expect(notebook.shown().notices).to_be_hidden()


async def test_the_kernel_is_restarted_while_its_cell_waits(opens: Opens) -> None:
    """Jupyter interrupts a kernel before it restarts it: that is not the person's ■."""
    notebook = await opens(f"{starting(STREAMING)}\nrun.result()", "print('fine')")
    await streams(notebook, 20)
    await notebook.restart_kernel()
    await notebook.still_works(1)
    await notebook.shown().has("running", source="gateway")
    await came_whole(notebook)


async def test_the_kernel_keeps_the_end_while_it_is_there(opens: Opens) -> None:
    notebook = await opens(starting([{"text": WORDS, "duration_s": 1}]))
    await notebook.run(0)
    await came_whole(notebook)
    await kept_texts(notebook, [WORDS])


async def test_the_server_is_killed_while_the_model_speaks(server: LiveServer, opens: Opens) -> None:
    notebook = await opens(starting(STREAMING), "print('fine')")
    await notebook.dismisses_dialogs()
    await streams(notebook, 40)
    await notebook.save()
    await server.kill()
    shown = notebook.shown()
    await shown.notes(re.compile("lost"))
    assert "word40" in await shown.text(), "What is there stays there."
    await notebook.snapshot("lost")
    await server.start()
    await shown.has("running", source="gateway")
    await expect(shown.notices).to_be_hidden(timeout=PATIENCE_MS)
    await shown.has("completed")
    # The model is asked to go on from what was cut off. This one says its whole turn again.
    said = (await shown.text()).split()
    cut = len(said) - len(WORDS.split())
    assert cut > 40
    assert said == WORDS.split()[:cut] + WORDS.split()
    await kept_texts(notebook, [" ".join(said[:cut]), WORDS])
    await notebook.photograph("resumed", "Light")


async def test_the_server_is_killed_while_a_person_is_asked(server: LiveServer, opens: Opens) -> None:
    call = {"name": "create_file", "arguments": {"path": "killed.txt", "content": "once"}}
    notebook = await opens(starting([{"text": "I ask.", "calls": [call]}, {"text": "Done."}]))
    await notebook.dismisses_dialogs()
    await notebook.run(0)
    shown = notebook.shown()
    await shown.has("waiting_confirmation", source="gateway")
    await server.kill()
    await shown.notes(re.compile("lost"))
    await notebook.snapshot("lost-waiting")
    await server.start()
    await expect(shown.notices).to_be_hidden(timeout=PATIENCE_MS)
    await shown.has("waiting_confirmation", source="gateway")
    await shown.first_open_card().approve()
    await shown.has("completed")
    assert await shown.text() == "I ask. Done."
    await expect(shown.calls).to_have_count(1)
    assert (server.root / "killed.txt").read_text() == "once"
