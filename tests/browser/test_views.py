"""Views of facts in a real JupyterLab: live, and in a notebook that is opened again without a kernel."""

import json
import re

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import Opens
from tests.browser.notebook import PATIENCE_MS, Notebook
from tests.browser.security.test_accessibility import CHECK
from tests.browser.test_widgets import Asked
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

HOSTILE = "<img src=x onerror=window.__pwned=1>"
IMPORT = "import time\nimport jupyter_agent as ja\nimport numpy as np\nimport pandas as pd"
FRAME = f"""{IMPORT}
n = 100_000
rng = np.random.default_rng(3)
frame = pd.DataFrame({{
    "turn": np.arange(n) // 4,
    "name": pd.Categorical(rng.choice(["run_cell", "read_file", "list_files", "search_files", "edit_file"], n,
                                      p=[.4, .3, .15, .1, .05])),
    "arguments": [f'{{{{"path": "data/part-{{i:05}}.csv"}}}}' for i in range(n - 50)] + ["{HOSTILE}"] * 50,
    "outcome": pd.Categorical(rng.choice(["success", "error", "timed_out"], n, p=[.93, .05, .02])),
    "latency": pd.to_timedelta(rng.gamma(0.7, 1_800, n), unit="ms"),
    "result": [f"{{i % 900 + 12}} rows, 8 columns\\nNo value is missing in part-{{i:05}}." for i in range(n - 50)]
              + ["{HOSTILE}\\nsecond line"] * 50,
}})
view = ja.TraceTable(frame)
view"""
SHOWS = "print(len(view.df), view.df.iloc[0].turn, view.df.name.nunique())"
LOOKS = {"name": "list_files", "arguments": {"pattern": "*.ipynb"}}
STEPS = [
    {"calls": [LOOKS, LOOKS], "text": "I look.", "duration_s": 2},
    {"calls": [LOOKS], "duration_s": 4},
    "There it is.",
]


def live(notebook: Notebook, number: int = 0) -> Locator:
    """The view in a cell's output that its kernel tells."""
    return notebook.cell(number).locator(".jp-agent-Widget .jp-agent-View")


def rows(view: Locator) -> Locator:
    return view.locator(".jp-agent-Grid-row:not([aria-busy])")


async def is_for_everybody(notebook: Notebook, selector: str) -> None:
    """Nothing serious that axe finds, in both themes."""
    from tests.browser.security.conftest import AXE

    await notebook.page.evaluate(AXE.read_text())
    for theme in ("Dark", "Light"):
        await notebook.theme(theme)
        await notebook.page.wait_for_timeout(1_000)  # colours fade
        found = await notebook.page.evaluate(CHECK, selector)
        assert found["places"] > 0
        assert found["contrasts"] > 5
        assert found["faults"] == [], "\n\n".join(found["faults"])


async def pictures(notebook: Notebook, name: str, view: Locator) -> None:
    for theme in ("Dark", "Light"):
        await notebook.picture(f"{name}-{theme.lower()}", view, theme)


async def is_unharmed(notebook: Notebook, asked: Asked) -> None:
    assert await notebook.page.evaluate("() => typeof window.__pwned") == "undefined"
    assert asked.hosts <= {f"127.0.0.1:{notebook._server.port}", "blob:", "data:"}, "Nothing is loaded from elsewhere."
    assert notebook.faults == []


async def reopened(notebook: Notebook, server: LiveServer) -> Notebook:
    """Saves the notebook, and opens a copy of it without a kernel."""
    await notebook.save()
    document = json.loads((server.root / notebook._path).read_text())
    document["metadata"] = {}
    name = f"again-{notebook._path}"
    (server.root / name).write_text(json.dumps(document))
    again = notebook.other(name, notebook.page)
    await again.open(kernel=False)
    await again.takes_no_kernel()
    return again


def copy(notebook: Notebook, number: int = 0) -> Locator:
    """What a notebook kept of a view."""
    return notebook.cell(number).locator(".jp-agent-View[data-source='copy']")


async def test_a_table_of_100_000_rows(opens: Opens, server: LiveServer) -> None:
    notebook = await opens(FRAME, SHOWS)
    asked = Asked(notebook)
    await notebook.run(0)
    view = live(notebook)
    await expect(view).to_contain_text("100,000 tool calls", timeout=PATIENCE_MS)
    await expect(rows(view).first).to_contain_text("part-00000")
    await expect(notebook.cell(0).locator(".jp-agent-View:visible")).to_have_count(1)
    assert await view.locator(".jp-agent-Grid-row").count() < 50

    # to the end by keyboard, and one row opened
    await view.get_by_role("grid").focus()
    await notebook.page.keyboard.press("End")
    await expect(rows(view).last).to_contain_text("24,999")
    await notebook.page.keyboard.press("Enter")
    opened = view.locator(".jp-agent-Opened")
    await expect(opened).to_contain_text(HOSTILE)
    await expect(opened).to_contain_text("second line")
    await notebook.page.keyboard.press("Enter")
    await expect(opened).to_be_hidden()

    # sorted, filtered, grouped: and the frame is what is listed
    await view.get_by_role("button", name="Latency").click()
    await view.get_by_role("button", name="Latency").click()
    await expect(view.get_by_role("columnheader", name="Latency")).to_have_attribute("aria-sort", "descending")
    await view.get_by_label("Search in all texts").fill("PART-0001")
    await expect(view).to_contain_text("10 listed")
    await notebook.run(1)
    await notebook.says(1, "10 ")
    await view.get_by_label("Search in all texts").fill("")
    await view.get_by_label("Group by").select_option("tool")
    await expect(view).to_contain_text("5 groups")
    await expect(rows(view)).to_have_count(5)
    await rows(view).nth(2).click()
    await expect(rows(view).nth(4)).to_contain_text("read_file")
    await rows(view).nth(4).click()
    await expect(opened).to_contain_text("Input")
    await is_for_everybody(notebook, ".jp-agent-Widget .jp-agent-View")
    await notebook.cell(0).scroll_into_view_if_needed()
    await pictures(notebook, "trace-table", view)
    await is_unharmed(notebook, asked)

    notebook = await reopened(notebook, server)
    kept = copy(notebook)
    await expect(kept).to_contain_text("Saved copy · the first 200 are here, 99,800 more were where it was made")
    await expect(rows(kept).first).to_contain_text("part-00000")
    await expect(notebook.cell(0)).not_to_contain_text("Error displaying widget")
    await rows(kept).nth(1).click()
    await expect(kept.locator(".jp-agent-Opened")).to_contain_text("No value is missing in part-00001")
    await is_for_everybody(notebook, ".jp-agent-View[data-source='copy']")
    await is_unharmed(notebook, asked)


async def test_a_table_of_a_run_is_live_while_the_kernel_is_busy_and_ends_with_its_output(
    opens: Opens, server: LiveServer
) -> None:
    start = f"{IMPORT}\nrun = ja.run('Play.', model='scripted', script={STEPS!r}, show=False)"
    notebook = await opens(f"{start}\nview = ja.TraceTable(run)\nview", "time.sleep(40)", "print(view._talk._is_on)")
    asked = Asked(notebook)
    await notebook.run(0)
    await notebook.run(1)
    view = live(notebook)
    await expect(view).to_contain_text("3 tool calls", timeout=PATIENCE_MS)
    assert await notebook.is_executing(1)
    await expect(rows(view)).to_have_count(3)
    await expect(rows(view).last).to_contain_text("success")
    assert asked.agent_sockets == 0, "The kernel has the connection, and every view of a run shares it."
    await notebook.command("notebook:interrupt-kernel")
    await notebook.was_executed(1)
    await expect(view).to_be_visible()
    await is_unharmed(notebook, asked)
    notebook = await reopened(notebook, server)
    kept = copy(notebook)
    await expect(kept).to_contain_text("3 tool calls")
    await expect(rows(kept)).to_have_count(3)
    [output] = notebook.saved()
    assert "list_files" in output["data"]["text/html"]
    assert not re.search(r"<(img|script|a)\b", output["data"]["text/html"])


async def test_a_table_that_is_cleared_has_its_kernel_say_no_more(opens: Opens) -> None:
    slow = [{"calls": [LOOKS], "text": "word " * 100, "duration_s": 60}, "Done."]
    start = f"{IMPORT}\nrun = ja.run('Play.', model='scripted', script={slow!r}, show=False)"
    told = "print('told:', view._talk._is_on, len(view._talk._stops))"
    notebook = await opens(f"{start}\nview = ja.TraceTable(run)\nview", told)
    await notebook.run(0)
    await expect(live(notebook)).to_contain_text("tool call", timeout=PATIENCE_MS)
    await notebook.run(1)
    await notebook.says(1, "told: True 1")
    await notebook.command("notebook:clear-all-cell-outputs")
    await notebook.page.wait_for_timeout(2_500)
    await notebook.run(1)
    await notebook.says(1, "told: False 0")
    assert notebook.faults == []
