"""The notebook on workflows, executed from a real kernel: run, run all again after a restart, edit, run all."""

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat

from tests.notebooks.kernel import ServerKernel

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "02-workflow-cell-by-cell.ipynb"
TOLD = "print(wf.calls.df[['label', 'reused', 'why', 'tokens', 'was', 'now']].to_json(orient='records'))"


async def run_all(kernel: ServerKernel, cells: list[str]) -> dict[str, dict[str, Any]]:
    """Executes the cells as a front end that sends no ids, and returns what the frame tells of each call."""
    for source in cells:
        reply = await kernel.execute(source)
        assert reply["status"] == "ok", (source, reply)
    assert (await kernel.execute(TOLD))["status"] == "ok"
    return {row["label"]: row for row in json.loads(kernel.text())}


async def restart(server: Any, kernel: ServerKernel) -> None:
    await server.request("POST", f"api/kernels/{kernel.kernel_id}/restart")
    await kernel.client.wait_for_ready(timeout=60)


async def test_edit_one_cell_and_pay_for_it_alone(server):
    shutil.copytree(ROOT / "notebooks", server.root / "notebooks")
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    async with ServerKernel(server, "notebooks/02-workflow-cell-by-cell.ipynb") as kernel:
        first = await run_all(kernel, cells)
        assert {label: row["why"] for label, row in first.items()} == dict.fromkeys(
            ("stock", "orders", "survey", "merge"), "first time"
        )
        assert all(row["tokens"] > 0 for row in first.values())

        await restart(server, kernel)
        again = await run_all(kernel, cells)
        assert {row["reused"] for row in again.values()} == {True}
        assert sum(row["tokens"] for row in again.values()) == 0, "restart and run all spends nothing"

        edited = [source.replace('"survey"', '"weather"') for source in cells]
        assert edited != cells
        await restart(server, kernel)
        changed = await run_all(kernel, edited)
        assert {label: row["why"] for label, row in changed.items()} == {
            "stock": "unchanged", "orders": "unchanged", "weather": "first time", "merge": "prompt changed",
        }  # fmt: skip
        assert "survey" in changed["merge"]["was"]
        assert "weather" in changed["merge"]["now"]
        assert [label for label, row in changed.items() if row["tokens"]] == ["weather", "merge"]
        await kernel.execute(edited[-1])
        assert "'merge' ran live: compared with the nearest earlier call, its prompt was" in kernel.text()
