"""The notebook about frames, executed from a real kernel under a real server, as its reader does."""

import shutil
from pathlib import Path

import nbformat

from tests.notebooks.kernel import ServerKernel

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "notebooks" / "01-traces-as-frames.ipynb"

FOUND = """
assert len(runs) == 6 and set(runs["status"]) == {"completed"}
means = runs.groupby("way")["cost"].mean()
assert means["guesses"] > means["looks"] > 0
failed = calls["outcome"].ne("success").groupby(calls["name"], observed=True).mean()
assert failed.to_dict() == {"list_files": 0.0, "read_file": 1.0}, failed
assert abs(ja.usage("run", run=made)["cost"].sum() - turns["cost"].sum()) < 1e-9
rated = ja.feedback(run=made).merge(runs, on="run_id").groupby("way")["rating"].mean()
assert rated.to_dict() == {"guesses": -1.0, "looks": 1.0}, rated
assert ja.pass_at_k(runs, 3, by="way")["pass@3"].to_dict() == {"guesses": 0.0, "looks": 1.0}
assert (d.turn, d.region, d.label) == (1, "message", "assistant"), d
assert fork.forked_from == (made[3].id, 1) and fork.text == "There is no such file."
assert len(ja.tool_calls(run=fork)) == 0
assert len(pd.read_parquet("tool_calls.parquet")) == len(calls) == 9
assert live.is_done and len(live.df) == sum(len(run.events) for run in made)
"""


async def test_every_line_says_what_happened(server):
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks")
    cells = [cell.source for cell in nbformat.read(TRACES, as_version=4).cells if cell.cell_type == "code"]
    async with ServerKernel(server, "notebooks/01-traces-as-frames.ipynb") as kernel:
        for source in [*cells, FOUND]:
            reply = await kernel.execute(source)
            assert reply["status"] == "ok", (source, reply)
            assert not [output for output in kernel.outputs if output["type"] == "error"]
            assert not kernel.text(), "Nothing warns."
