"""What a live run costs the page that shows it, beside a cell that prints the same words through its kernel.

    python -m benchmarks.view [--quick]

One JupyterLab, one browser. Input delay is the browser's own: from a key press to the start of its handler, by the
Event Timing API, while somebody types into another cell. Paintings are counted by the changes that the stream makes to
the page. The rate is what was reached: of the run by the times in its journal, of the cell by the kernel's clock.

A run opens from the moment in which its output is added to a cell, before anything of it is built, until the view shows
the end of the run as the gateway has it, and the browser has drawn that. Beside it the words of the run are added to a
cell as printed text.
"""

import argparse
import asyncio
import gzip
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, CDPSession, async_playwright

from benchmarks.fanout import Table
from tests.browser.notebook import FLAGS, LAB, LAB_OPTIONS, Notebook, leave_notebook, leave_settings, starting
from tests.live_server import LiveServer
from tests.requirements import find_chromium

OPTIONS = (*LAB_OPTIONS, "--ZMQChannelsWebsocketConnection.limit_rate=False")
"""Jupyter leaves out what a kernel prints at this rate, and the end with it."""
RATE = 1_000
"""Pieces of text a second that are asked for."""
LAST = "That was the last of them."
PACKAGE = Path(__file__).resolve().parents[1] / "jupyter_agent"
WATCH = """
() => {
  window.__delays = [];
  new PerformanceObserver(list => list.getEntries().forEach(entry => {
    if (entry.name === 'keydown') window.__delays.push(entry.processingStart - entry.startTime);
  })).observe({ type: 'event', durationThreshold: 16, buffered: false });
}
"""
COUNT = """
selector => {
  window.__paintings = 0;
  new MutationObserver(() => { window.__paintings += 1; }).observe(
    document.querySelector(selector), { childList: true, subtree: true, characterData: true });
}
"""
OPEN = """
([number, output, selector, last]) => new Promise(resolve => {
  const { model, node } = window.jupyterapp.shell.currentWidget.content.widgets[number];
  const began = performance.now();
  const look = () => {
    const shown = node.querySelector(selector);
    if (!shown?.textContent.includes(last)) {
      requestAnimationFrame(look);
    } else {
      const made = shown.querySelectorAll('.jp-agent-Run-items').length;
      requestAnimationFrame(() => setTimeout(() => resolve({ ms: performance.now() - began, made })));
    }
  };
  model.outputs.add(output);
  look();
})
"""


@asynccontextmanager
async def lab(home: Path) -> AsyncIterator[tuple[LiveServer, Browser]]:
    leave_settings(home)
    async with LiveServer(home, extensions=LAB, options=OPTIONS) as server, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        yield server, browser
        await browser.close()


async def page_of(server: LiveServer, browser: Browser, name: str, *cells: str) -> Notebook:
    leave_notebook(server.root, name, *cells)
    notebook = Notebook(server, await browser.new_page(viewport={"width": 1280, "height": 900}), name, server.root)
    await notebook.open()
    return notebook


async def heap(session: CDPSession) -> float:
    """Returns the MiB that the page's JavaScript holds, after collecting what it does not."""
    await session.send("HeapProfiler.collectGarbage")
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(item["value"] for item in metrics if item["name"] == "JSHeapUsedSize")) / 2**20


@dataclass(frozen=True)
class Cost:
    """What a page paid while its first cell streamed."""

    delays: list[float]
    paintings_per_s: float
    grown_mib: float


async def cost(notebook: Notebook, streams: str, ended: str) -> Cost:
    """Types into the second cell four times a second while the first one streams into this element, until it ended."""
    page = notebook.page
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    await notebook.run(0)
    await notebook.says(0, "word word")
    before = await heap(session)
    await page.evaluate(COUNT, streams)
    await notebook.cell(1).locator(".cm-content").click()
    await page.evaluate(WATCH)
    began = time.monotonic()
    while not await page.evaluate(ended):
        await page.keyboard.press("a")
        await asyncio.sleep(0.25)
    spent = time.monotonic() - began
    paintings = await page.evaluate("() => window.__paintings")
    delays = sorted(await page.evaluate("() => window.__delays"))
    return Cost(delays, paintings / spent, await heap(session) - before)


def at(delays: list[float], part: float) -> float:
    """Presses that took less than 16 ms in all are not reported: no entry is no delay worth one."""
    return delays[min(len(delays) - 1, int(len(delays) * part))] if delays else 0.0


async def told_per_s(server: LiveServer) -> float:
    """Returns how many pieces of text a second the newest run told, by its journal."""
    [run, *_] = (await server.request("GET", "jupyter-agent/api/runs"))[1]["items"]
    times: list[datetime] = []
    cursor: str | None = ""
    while cursor is not None:
        path = f"jupyter-agent/api/runs/{run['runId']}/events?limit=1000" + (f"&cursor={cursor}" if cursor else "")
        _, page = await server.request("GET", path)
        told = (item for item in page["items"] if item.get("event", {}).get("kind") == "text_delta")
        times += [datetime.fromisoformat(item["at"]) for item in told]
        cursor = page["nextCursor"]
    return (len(times) - 1) / (times[-1] - times[0]).total_seconds()


PRINTING = """
import time
began = time.monotonic()
for number in range({count}):
    time.sleep(max(0.0, began + number / {rate} - time.monotonic()))
    print('word', end=' ', flush=True)
print(f'! {{{count} / (time.monotonic() - began):.0f}}')
"""


async def streaming(server: LiveServer, browser: Browser, table: Table, count: int) -> None:
    script = [{"text": "word " * count, "duration_s": count / RATE}]
    notebook = await page_of(server, browser, "live.ipynb", starting(script), "")
    ended = "() => document.querySelector('.jp-agent-Run').dataset.status === 'completed'"
    ours = await cost(notebook, ".jp-agent-Run-scroller", ended)
    await notebook.page.close()
    our_rate = await told_per_s(server)

    notebook = await page_of(server, browser, "print.ipynb", PRINTING.format(count=count, rate=RATE).strip(), "")
    ended = "() => document.querySelector('.jp-OutputArea').textContent.includes('!')"
    bare = await cost(notebook, ".jp-OutputArea", ended)
    bare_rate = (await notebook.cell(0).locator(".jp-OutputArea").inner_text()).rpartition("! ")[2].strip()
    await notebook.page.close()

    table.add(f"pieces told, of {RATE:,}/s asked", f"{our_rate:.0f}/s", f"{bare_rate}/s", "", "")
    for name, part in (("p95", 0.95), ("most", 1.0)):
        mine, its = at(ours.delays, part), at(bare.delays, part)
        ratio = f"{mine / its:.2f}" if its else ""
        table.add(f"input delay at that rate, {name}", f"{mine:.0f} ms", f"{its:.0f} ms", ratio, "< 100 ms")
    paintings = (f"{one.paintings_per_s:.1f}/s" for one in (ours, bare))
    table.add("paintings of a view", *paintings, f"{ours.paintings_per_s / bare.paintings_per_s:.2f}", "≤ 10/s")
    grown = (f"{one.grown_mib:+.1f} MiB" for one in (ours, bare))
    table.add(f"memory after {count:,} pieces", *grown, "", "bounded")


def turn_text(turn: int) -> str:
    return f"Turn {turn} looks **again**."


async def run_of(server: LiveServer, turns: int) -> str:
    """Returns the id of a run of so many turns that is over; each calls a tool."""
    script: list[Any] = [
        {"text": turn_text(turn), "calls": [{"name": "list_files", "arguments": {"pattern": f"*.{turn}"}}]}
        for turn in range(turns - 1)
    ]
    run_id = await server.start_run([*script, LAST], budget={"turns": turns + 1, "toolCalls": turns})
    for _ in range(10):
        _, run = await server.request("GET", f"jupyter-agent/api/runs/{run_id}?wait=60")
        if run["status"] not in {"pending", "running"}:
            break
    if run["status"] != "completed":
        raise RuntimeError(f"The long run is {run['status']}: {run.get('errorMessage')}")
    return run_id


async def long_run(server: LiveServer, browser: Browser, table: Table, turns: int) -> None:
    run_id = await run_of(server, turns)
    _, data = await server.request("GET", f"jupyter-agent/api/runs/{run_id}/display")
    notebook = await page_of(server, browser, "long.ipynb", "", "")
    ours = {"output_type": "display_data", "data": data, "metadata": {}}
    opened = await notebook.page.evaluate(OPEN, [0, ours, ".jp-agent-Run[data-source='gateway']", LAST])
    printed = {"output_type": "stream", "name": "stdout", "text": "\n".join([*map(turn_text, range(turns - 1)), LAST])}
    bare = await notebook.page.evaluate(OPEN, [1, printed, ".jp-OutputArea-output", LAST])
    await notebook.page.close()
    times = (f"{one['ms']:.0f} ms" for one in (opened, bare))
    table.add(f"a run of {turns:,} turns opens in", *times, f"{opened['ms'] / bare['ms']:.1f}", "< 1,000 ms")
    table.add("of its turns on the page", f"{opened['made']}", f"{turns:,}", "", "bounded")


def bundles(table: Table) -> None:
    for name, wanted in (("widget.js", "< 300 kB"), ("widget.css", "")):
        size = len(gzip.compress((PACKAGE / "widgets" / "static" / name).read_bytes(), 9)) / 1_000
        table.add(f"{name}, gzipped", f"{size:.0f} kB", "", "", wanted)


async def measure(*, quick: bool) -> Table:
    table = Table()
    with tempfile.TemporaryDirectory() as home:
        async with lab(Path(home)) as (server, browser):
            await streaming(server, browser, table, 3_000 if quick else 10_000)
            await long_run(server, browser, table, 300 if quick else 2_000)
    bundles(table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, for a look")
    table = asyncio.run(measure(quick=parser.parse_args().quick))
    print(f"\n{table}")


if __name__ == "__main__":
    main()
