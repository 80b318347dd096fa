"""How a table of 100,000 tool calls scrolls in a page.

    python -m benchmarks.view_table [--rows N]

One JupyterLab, one browser. A frame is the time between two animation frames while the table is scrolled by a thousand
pixels at each; rows are there when what is on the screen has come from the kernel after a jump to somewhere else. Input
delay is the browser's own (Event Timing API), of the arrow keys that are pressed in the table.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from playwright.async_api import expect

from benchmarks.fanout import Table
from benchmarks.view import WATCH, lab, page_of

SELECTOR = ".jp-agent-Widget .jp-agent-Grid"
CODE = """import jupyter_agent as ja, numpy as np, pandas as pd
n = {rows}
rng = np.random.default_rng(1)
frame = pd.DataFrame({{
    "turn": np.arange(n) // 4,
    "name": pd.Categorical(rng.choice(["run_cell", "read_file", "list_files"], n)),
    "arguments": [f'{{{{"path": "part-{{i}}.csv"}}}}' for i in range(n)],
    "outcome": pd.Categorical(rng.choice(["success", "error"], n)),
    "latency": pd.to_timedelta(rng.gamma(1, 1_500, n), unit="ms"),
    "result": ["word " * 100 for i in range(n)],
}})
"""
SCROLL = """
async selector => {
  const grid = document.querySelector(selector);
  const frames = [];
  let last = performance.now();
  for (let at = 0; at < 300; at += 1) {
    grid.scrollTop += 1000;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return frames;
}
"""
JUMP = """
async selector => {
  const grid = document.querySelector(selector);
  const spent = [];
  for (let at = 0; at < 30; at += 1) {
    grid.scrollTop = ((at * 7919) % 30) / 30 * (grid.scrollHeight - grid.clientHeight);
    const began = performance.now();
    do {
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
    } while (grid.querySelector('[aria-busy]') && performance.now() - began < 10_000);
    spent.push(performance.now() - began);
  }
  return spent;
}
"""


def spread(values: list[float]) -> str:
    """Returns the median, the 95th percentile and the longest, in ms."""
    ordered = sorted(values) or [0.0]
    late = ordered[int(0.95 * (len(ordered) - 1))]
    return f"{statistics.median(ordered):.0f} / {late:.0f} / {ordered[-1]:.0f} ms"


async def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        async with lab(Path(home)) as (server, browser):
            notebook = await page_of(server, browser, "table.ipynb", CODE.format(rows=rows), "ja.TraceTable(frame)")
            page = notebook.page
            await notebook.run(0)
            await notebook.was_executed(0)
            began = time.monotonic()
            await notebook.run(1)
            await expect(page.locator(f"{SELECTOR} .jp-agent-Grid-row:not([aria-busy])").first).to_be_visible()
            shown = time.monotonic() - began
            frames = await page.evaluate(SCROLL, SELECTOR)
            jumps = await page.evaluate(JUMP, SELECTOR)
            await page.locator(SELECTOR).focus()
            await page.evaluate(WATCH)
            for _ in range(40):
                await page.keyboard.press("PageDown")
                await asyncio.sleep(0.05)
            delays = [float(delay) for delay in await page.evaluate("() => window.__delays")]
    table = Table()
    table.add(f"{rows:,} rows shown after", f"{shown:.2f} s", "", "", "")
    table.add("a frame while scrolling: median / p95 / longest", spread(frames), "", "", "")
    table.add("rows there after a jump", spread(jumps), "", "", "")
    table.add(f"input delay of 40 presses, {len(delays)} reported (16 ms or more)", spread(delays), "", "", "< 100 ms")
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().rows))
