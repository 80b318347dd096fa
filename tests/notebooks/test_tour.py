"""The tour notebook, executed from a real kernel under a real server, as its reader does."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.kernel import ServerKernel

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOUR = ROOT / "notebooks" / "00-tour.ipynb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.outputs for cell in cells if cell.outputs]
    assert not [cell for cell in cells if cell.execution_count]
    assert notebook.cells[0].cell_type == "markdown"
    assert "you can" in notebook.cells[0].source


async def test_the_tour_in_ten_cells(server, second_client):
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks")
    cells = [cell.source for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == "code"]
    assert len(cells) == 10
    said = []
    async with ServerKernel(server, "notebooks/00-tour.ipynb") as kernel:
        for source in cells:
            reply = await kernel.execute(source)
            assert reply["status"] == "ok", (source, reply)
            said.append({"html": kernel.shown("text/html"), "text": kernel.text(), "png": kernel.shown("image/png")})
            said[-1]["plain"] = kernel.shown("text/plain")
            assert not [output for output in kernel.outputs if output["type"] == "error"]
        await _check_frames(kernel)
    main, turns, calls, again, survey, counted, question, stopped, played = said[1:]
    assert "survey.csv has the most missing values" in re.sub(r"[`*]|\S+/", "", main["html"][0])
    assert "completed" in main["html"][0]
    assert len(main["png"]) == 1, "The plot belongs below the run, once."
    assert len(main["html"]) == 1, "The run is shown once, not again as the cell's value."
    assert "tool_calls" in turns["plain"][0]
    assert "run_cell" in calls["plain"][0]
    assert "approve" in calls["plain"][0]
    assert "data/survey.csv: 61 lines" in again["html"][0]
    assert "sent for {survey}" in survey["text"]
    assert "comment: " in survey["text"]
    assert "I describe the frame" in survey["html"][0]
    assert '"missing":31' in counted["html"][0].replace("&quot;", '"').replace(" ", "")
    assert "Porto" in question["html"][0]
    assert any("interrupted" in plain for plain in stopped["plain"])
    assert "session_complete" in played["plain"][-1]
    assert second_client.questions
    assert {approval.tool_name for approval in second_client.approvals} == {"run_cell"}


async def _check_frames(kernel):
    """The frames of the main job are whole and say what happened."""
    reply = await kernel.execute(
        "events, calls = first.events.df, first.tool_calls.df\n"
        "assert list(events.seq) == list(range(1, len(events) + 1)), 'holes'\n"
        "assert events['type'].iloc[0] == 'run_started' and events['type'].iloc[-1] == 'session_complete'\n"
        "assert calls.outcome.notna().all() and calls.latency.notna().all()\n"
        "assert first.turns.df.input_tokens.sum() == first.usage.input_tokens > 0\n"
        "assert str(first.turns.df.started_at.dtype) == 'datetime64[us, UTC]'\n"
        "assert again.thread == first.thread and len(first.thread.runs) >= 3\n"
        "assert long.status == 'interrupted'\n"
    )
    assert reply["status"] == "ok", reply
