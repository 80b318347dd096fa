"""What 1,000 calls of a workflow cost the page that shows them while they go on.

    python -m benchmarks.view_workflow [--calls N]

One JupyterLab, one browser. A cell makes calls of the echo model, each a durable run, 16 at once; meanwhile somebody
types into another cell. Input delay is the browser's own (Event Timing API). Updates are changes of the view's figures.
Then the kernel starts anew, and the same calls come from the store: that takes from the key press that runs the cell
until the view shows all of them as reused.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from playwright.async_api import expect

from benchmarks.fanout import Table
from benchmarks.view import WATCH, at, lab, page_of
from benchmarks.view_table import JUMP, SCROLL, spread

VIEW = ".jp-agent-Workflow"
LOAD = "%load_ext jupyter_agent"
CODE = """%%workflow many -m echo
phase("All")
done = await parallel([agent(f"call {{number}}", label=f"call {{number}}", tools=[]) for number in range({calls})])"""
COUNT = """
selector => {
  window.__updates = 0;
  new MutationObserver(records => {
    window.__updates += records.some(({ target }) => target instanceof Element && target.matches(selector));
  }).observe(document.querySelector('.jp-Notebook'), { childList: true, subtree: true });
}
"""


async def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        async with lab(Path(home)) as (server, browser):
            notebook = await page_of(server, browser, "many.ipynb", LOAD, CODE.format(calls=calls), "# somebody types")
            page = notebook.page
            page.set_default_timeout(600_000)
            await notebook.run(0)
            await notebook.was_executed(0)
            await page.evaluate(COUNT, f"{VIEW}-figures")
            await notebook.run(1)
            began = time.monotonic()
            await notebook.cell(2).locator(".cm-content").click()
            await page.evaluate(WATCH)
            presses = 0
            while await notebook.is_executing(1):
                await page.keyboard.press("a")
                presses += 1
                await asyncio.sleep(0.25)
            live = time.monotonic() - began
            updates = await page.evaluate("() => window.__updates")
            delays = sorted(await page.evaluate("() => window.__delays"))
            await expect(notebook.cell(1).locator(f"{VIEW}:visible")).to_contain_text("tokens spent")
            grid = ".jp-agent-Workflow .jp-agent-Grid"
            frames = await page.evaluate(SCROLL, grid)
            jumps = await page.evaluate(JUMP, grid)

            await notebook.restart_kernel()
            await notebook.is_ready()
            await notebook.run(0)
            await notebook.was_executed(0)
            began = time.monotonic()
            await notebook.run(1)
            await expect(notebook.cell(1).locator(f"{VIEW}:visible")).to_contain_text(
                f"{calls:,} of {calls:,} calls from the store", timeout=600_000
            )
            shown = time.monotonic() - began
    table = Table()
    table.add(f"{calls:,} calls ran live in the page for", f"{live:.1f} s", "", "", "")
    table.add("updates of the view", f"{updates / live:.1f}/s", "", "", "≤ 10/s")
    table.add(f"input delay of {presses} presses, p95 of {len(delays)} reported", f"{at(delays, 0.95):.0f} ms", "", "",
              "< 100 ms")  # fmt: skip
    table.add("the same, the longest", f"{max(delays, default=0):.0f} ms", "", "", "< 100 ms")
    table.add("a frame while scrolling: median / p95 / longest", spread(frames), "", "", "")
    table.add("lines there after a jump", spread(jumps), "", "", "")
    table.add("all from the store, shown after", f"{shown:.2f} s", "", "", "")
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000)
    asyncio.run(main(parser.parse_args().calls))
