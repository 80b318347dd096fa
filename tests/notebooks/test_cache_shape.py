"""The notebook on the shape of the cache, executed from a real kernel under a real server: each cause is provoked."""

import shutil
from pathlib import Path

import nbformat

from tests.notebooks.kernel import ServerKernel

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "03-cache-shape.ipynb"
FOUND = """
causes = shape.df.cause.dropna().tolist()
assert causes == ["first_request", "tools_reordered", "prefix_changed", "expired", "compacted"], causes
assert (shape.df.hit_rate[shape.df.cause.isna()] > 0.6).all(), shape.df
assert shape.segments.hit.sum() == shape.df.cache_read_tokens.sum() == ja.usage(thread=thread).cache_read_tokens.sum()
sorted_tools = shape.what_if(sorted_tools=True, priced_as="anthropic:claude-sonnet-4-5")
assert sorted_tools.predicted_cost.sum() < sorted_tools.cost.sum()
"""


async def test_every_cause_in_one_notebook(server):
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks")
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    said = []
    async with ServerKernel(server, "notebooks/03-cache-shape.ipynb") as kernel:
        for source in cells:
            reply = await kernel.execute(source)
            assert reply["status"] == "ok", (source, reply)
            said.append(kernel.text() + "\n".join(kernel.shown("text/plain")))
        reply = await kernel.execute(FOUND)
        assert reply["status"] == "ok", reply
    assert "· first_request" in said[1]
    assert "tools_reordered in tool: list_files, read_file, search_files, ask_user → ask_user, search_files" in said[3]
    assert "compacted in message: " in said[6]
    assert "prompt tokens came from the cache" in said[7]
