"""Charts of runs, and runs side by side, in a real JupyterLab: live, and in a notebook that is opened again."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Opens
from tests.browser.notebook import PATIENCE_MS
from tests.browser.test_views import copy, is_for_everybody, is_unharmed, live, pictures, reopened, rows
from tests.browser.test_widgets import Asked
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

HOSTILE = "<img src=x onerror=window.__pwned=1>"
IMPORT = """import time
from pathlib import Path
import jupyter_agent as ja
import pandas as pd
Path("data").mkdir(exist_ok=True)
Path("data/stations.csv").write_text("station,height\\nUlm,478\\nGraz,353\\n")"""
LOOKS = {"name": "list_files", "arguments": {"pattern": "*.csv"}}
READS = {"name": "read_file", "arguments": {"path": "data/stations.csv"}}
WRONG = {"name": HOSTILE, "arguments": {"path": HOSTILE}}


def usage(whole: int, cached: int, said: int, thought: int = 0) -> dict[str, int]:
    return {
        "input_tokens": whole, "cache_read_tokens": cached, "output_tokens": said, "reasoning_tokens": thought
    }  # fmt: skip


STEPS = [
    {"text": "I look.", "calls": [LOOKS, READS], "duration_s": 1.5, "usage": usage(2_400, 0, 120)},
    {"text": "Once more.", "calls": [READS], "duration_s": 2, "usage": usage(2_900, 2_300, 260, 180)},
    {"text": "And again.", "calls": [LOOKS], "duration_s": 1, "usage": usage(3_600, 1_400, 90)},
    {
        "text": "Two of 14 have gaps: Ulm and Graz.",
        "duration_s": 2,
        "usage": usage(4_100, 3_500, 400, 250),
    },
]
PLAY = f"{IMPORT}\nrun = ja.run({{!r}}, model='scripted', script={{!r}}, show=False)\n"
START = PLAY.format("Which stations have gaps?", STEPS)
EVIL = PLAY.format(HOSTILE, [{"text": HOSTILE, "calls": [WRONG]}, HOSTILE])
OTHER = [STEPS[0], {"text": "No station has a gap.\nI read the first file only.", "usage": usage(2_800, 2_300, 40)}]


async def test_a_timeline(opens: Opens, server: LiveServer) -> None:
    selected = "print(view.selected['name'], len(view.df))"
    evil = f"{EVIL}ja.Timeline(run)"
    notebook = await opens(f"{START}view = ja.Timeline(run)\nview", "time.sleep(25)", selected, evil)
    asked = Asked(notebook)
    await notebook.run(0)
    await notebook.run(1)
    view = live(notebook)
    await expect(view).to_contain_text("4 turns, 4 tool calls", timeout=PATIENCE_MS)
    assert await notebook.is_executing(1)
    await expect(rows(view)).to_have_count(8)
    await expect(rows(view).last).to_contain_text("4,100 in, 3,500 cached, 400 out, 250 reasoning")
    await view.get_by_role("grid").focus()
    await notebook.page.keyboard.press("ArrowDown")
    await notebook.page.keyboard.press("ArrowDown")
    await notebook.page.keyboard.press("Enter")
    await expect(view.locator(".jp-agent-Opened")).to_contain_text("list_files")
    await notebook.was_executed(1)
    await notebook.run(2)
    await notebook.says(2, "list_files 8")
    await is_for_everybody(notebook, ".jp-agent-Widget .jp-agent-View")
    await notebook.cell(0).scroll_into_view_if_needed()
    await pictures(notebook, "timeline", view)
    await notebook.run(3)
    await expect(rows(live(notebook, 3)).nth(1)).to_contain_text("<img")
    await is_unharmed(notebook, asked)
    notebook = await reopened(notebook, server)
    await expect(copy(notebook)).to_contain_text("4 turns, 4 tool calls")
    await expect(rows(copy(notebook))).to_have_count(8)
    await is_unharmed(notebook, asked)


async def test_a_chart_of_the_cache(opens: Opens, server: LiveServer) -> None:
    frame = (
        f"{IMPORT}\nframe = pd.DataFrame({{'turn': range(2_000), 'input_tokens': [1000] * 2_000, "
        "'cache_read_tokens': [100, 400, 900, None] * 500, "
        f"'cause': ['prefix_changed', None, '{HOSTILE}', 'unknown'] * 500, 'region': ['{HOSTILE}'] * 2_000}})\n"
        "ja.CacheChart(frame)"
    )
    notebook = await opens(f"{START}view = ja.CacheChart(run)\nview", frame)
    asked = Asked(notebook)
    await notebook.run(0)
    view = live(notebook)
    await expect(view).to_contain_text("4 turns: 55% of 13,000 prompt tokens came from the cache", timeout=PATIENCE_MS)
    await expect(rows(view)).to_have_count(4)
    await expect(rows(view).nth(1)).to_contain_text("79 % good")
    await expect(rows(view).nth(2)).to_contain_text("39 % fair")
    await expect(rows(view).first).to_contain_text("first request")
    await is_for_everybody(notebook, ".jp-agent-Widget .jp-agent-View")
    await pictures(notebook, "cache-chart", view)
    await notebook.run(1)
    hostile = live(notebook, 1)
    await expect(rows(hostile).first).to_contain_text("10 % poor")
    await expect(rows(hostile).nth(2)).to_contain_text(HOSTILE)
    assert await rows(hostile).count() < 60
    await is_unharmed(notebook, asked)
    notebook = await reopened(notebook, server)
    await expect(copy(notebook)).to_contain_text("came from the cache")
    await copy(notebook, 1).scroll_into_view_if_needed()
    await expect(copy(notebook, 1)).to_contain_text("1,500 earlier rows left out here")
    await is_unharmed(notebook, asked)


async def test_runs_side_by_side(opens: Opens, server: LiveServer) -> None:
    other = f"other = ja.run('Which stations have gaps?', model='scripted', script={OTHER!r}, show=False)\n"
    evil = f"{EVIL}ja.CompareView([run, other])"
    notebook = await opens(
        f"{START}{other}view = ja.CompareView([run, other])\nview", "print(view.df.turns.tolist())", evil
    )
    asked = Asked(notebook)
    await notebook.run(0)
    view = live(notebook)
    await expect(view.locator("tbody tr").first).to_have_text("StatusCompletedCompleted", timeout=PATIENCE_MS)
    await expect(view).to_contain_text("turn 1")
    await expect(view).to_contain_text("No station has a gap.")
    await notebook.run(1)
    await notebook.says(1, "[4, 2]")
    await is_for_everybody(notebook, ".jp-agent-Widget .jp-agent-View")
    await pictures(notebook, "compare", view)
    await notebook.run(2)
    await expect(live(notebook, 2)).to_contain_text(HOSTILE)
    await is_unharmed(notebook, asked)
    notebook = await reopened(notebook, server)
    await expect(copy(notebook)).to_contain_text("No station has a gap.")
    await expect(copy(notebook).locator("tbody tr").first).to_have_text("StatusCompletedCompleted")
    await is_unharmed(notebook, asked)
