"""Nothing that a model or a tool wrote makes the page ask anybody: not at once, not under the pointer, not with the
focus, not even for the address behind a name. A click does, and only for what was clicked."""

import asyncio
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from jupyter_agent import display
from jupyter_agent.compact import CompactRun
from tests.browser.notebook import PATIENCE_MS
from tests.browser.security import attacks
from tests.browser.security import lab as labs
from tests.browser.security.lab import Lab, Outside, bundle, leave, leave_trusted, showing
from tests.live_server import TOKEN, LiveServer
from tests.requirements import require

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

TALL = ".jp-agent-Run-scroller.jp-agent-Run-scroller { height: 700px; max-height: 700px }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loading(server: LiveServer) -> str:
    """The id of a run that names every kind of remote thing, as text and as what a tool gave."""
    texts = [f"{attacks.marker(number)}\n\n{attack}\n\n- {attack}" for number, attack in enumerate(attacks.REMOTE)]
    (server.root / "remote.html").write_text("\n".join(texts))
    turns: list[Any] = [{"text": text, "chunk": 4_000} for text in texts]
    turns[0]["thinking"] = "\n".join(attacks.REMOTE)
    for number, turn in enumerate(turns):
        part = {"path": "remote.html", "start_line": 4 * number + 1, "max_lines": 4}
        turn["calls"] = [{"name": "read_file", "arguments": part}]
    run_id = await server.start_run([*turns, "The end."], budget={"turns": 200})
    assert await labs.ended(server, run_id) == "completed"
    return run_id


async def test_the_watch_sees_what_leaves(server: LiveServer, lab: Lab) -> None:
    """Else the other tests would hold whatever happens."""
    await lab.open(leave(server, "empty.ipynb", showing()))
    await lab.page.evaluate("host => { new Image().src = `http://seen.${host}/a.png`; }", attacks.HOST)
    await expect_said(lab, "seen.evil.example")
    assert [url for url in lab.foreign if "seen" in url]


async def expect_said(lab: Lab, host: str) -> None:
    async with asyncio.timeout(20):
        while not any(host in said for said in lab.outside):
            await asyncio.sleep(0.05)


async def touch_everything(lab: Lab) -> Counter[str]:
    """Moves the focus onto all that could be pressed in the first run, and the pointer over it; returns what it was.

    Slot by slot: what is far away is taken off the page and made anew, so that an element is no name for a thing.
    """
    scroller = lab.page.locator(".jp-agent-Run-scroller").first
    await scroller.scroll_into_view_if_needed()
    touched: Counter[str] = Counter()
    for slot in range(await scroller.locator(".jp-agent-Run-slot").count()):
        await lab.page.evaluate(NEAR, slot)
        for number in itertools.count():
            place = await lab.page.evaluate(TOUCH, [slot, number])
            if place is None:
                break
            await lab.page.mouse.move(place["x"], place["y"])
            touched[place["tag"]] += 1
    return touched


NEAR = """
async number => {
  const scroller = document.querySelector('.jp-agent-Run-scroller');
  const slot = scroller.querySelectorAll('.jp-agent-Run-slot')[number];
  for (let tries = 0; tries < 100 && (tries === 0 || !slot.firstChild); tries += 1) {
    slot.scrollIntoView({ block: 'start' });
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  }
}
"""
TOUCH = """
([slot, number]) => {
  const scroller = document.querySelector('.jp-agent-Run-scroller');
  const all = scroller.querySelectorAll('.jp-agent-Run-slot')[slot].querySelectorAll('a, button, summary, [tabindex]');
  const node = [...all].filter(one => one.offsetHeight > 0)[number];
  if (node === undefined) {
    return null;
  }
  node.focus({ preventScroll: true });
  node.scrollIntoView({ block: 'center' });
  const { left, top, height } = node.getBoundingClientRect();
  return { x: left + 4, y: top + height / 2, tag: node.tagName };
}
"""


def is_all(touched: Counter[str]) -> bool:
    """Whether every turn's tool call was touched, and what Markdown makes of links and pictures."""
    return touched["BUTTON"] > len(attacks.REMOTE) and touched["A"] >= 10


@pytest.mark.parametrize("source", ["gateway", "copy"])
async def test_nothing_is_loaded_by_looking_pointing_and_tabbing(
    server: LiveServer, lab: Lab, loading: str, source: str
) -> None:
    run = await labs.transcript(server, loading)
    shown = bundle(run) if source == "gateway" else bundle(run, runId=labs.unknown_id())
    await lab.open(await leave_trusted(server, f"remote-{source}.ipynb", showing(shown)))
    await lab.shows(1, source=source)
    found = await lab.sweep()
    assert len(found["markers"]) == len(attacks.REMOTE)
    await lab.page.add_style_tag(content=TALL)
    touched = await touch_everything(lab)
    assert is_all(touched), touched
    await lab.is_unharmed()


async def test_a_click_loads_what_was_clicked_and_nothing_else(server: LiveServer, lab: Lab) -> None:
    text = f"![one](http://one.{attacks.HOST}/a.png) ![two](http://two.{attacks.HOST}/a.png)"
    run_id = await server.start_run([text])
    await labs.ended(server, run_id)
    await lab.open(leave(server, "click.ipynb", showing(bundle({"runId": run_id, "status": "running"}))))
    chip = lab.page.get_by_role("button", name=f"load from one.{attacks.HOST}")
    await chip.click(timeout=PATIENCE_MS)
    await expect_said(lab, f"one.{attacks.HOST}")
    await lab.page.wait_for_timeout(500)
    assert not [said for said in lab.outside if f"two.{attacks.HOST}" in said]
    # The picture's host is not told where it is shown.
    assert not [said for said in lab.outside if "Referer" in said or "click.ipynb" in said]


async def test_a_link_opens_apart_and_tells_nothing(server: LiveServer, lab: Lab) -> None:
    run_id = await server.start_run([f"[a link](http://link.{attacks.HOST}/)"])
    await labs.ended(server, run_id)
    await lab.open(leave(server, "link.ipynb", showing(bundle({"runId": run_id, "status": "running"}))))
    link = lab.page.get_by_role("link", name="a link")
    await expect(link).to_be_visible(timeout=PATIENCE_MS)
    await lab.page.wait_for_timeout(500)
    assert lab.outside == []
    async with lab.context.expect_page() as opening:
        await link.click()
    opened = await opening.value
    await expect_said(lab, f"link.{attacks.HOST}")
    assert await opened.evaluate("() => window.opener") is None
    assert not [said for said in lab.outside if "Referer" in said]


GUESSING = ("--headless=new", "--no-sandbox", "--disable-gpu")
CAREFUL = ["--headless", "--disable-background-networking"]
"""What Playwright would add, and what keeps a browser from looking ahead."""
ALONE = ", ".join(f"MAP *.{name} ~NOTFOUND" for name in ("google.com", "googleapis.com", "gstatic.com", "gvt1.com"))


async def test_no_name_is_looked_up(server: LiveServer, outside: Outside, loading: str, tmp_path: Path) -> None:
    """Browsers look up where a link leads as soon as the pointer is over it, or before: a name can carry a secret.

    They do so for people, who have a profile, and not for most tests.
    """
    log = tmp_path / "net-log.json"
    run = await labs.transcript(server, loading)
    own_html = display.bundle(msgspec.convert(run, CompactRun))["text/html"]
    shown = (bundle(run), bundle(run, runId=labs.unknown_id()), {"text/html": own_html})
    notebook = await leave_trusted(server, "names.ipynb", showing(*shown))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=require("chromium"),
            args=[*GUESSING, f"--host-resolver-rules={ALONE}", f"--log-net-log={log}"],
            ignore_default_args=CAREFUL,
            viewport={"width": 1280, "height": 900},
        )
        lab = Lab(server, context, await context.new_page(), outside)
        await lab.open(notebook)
        await expect(lab.runs).to_have_count(2, timeout=PATIENCE_MS)
        await lab.sweep()
        await lab.page.add_style_tag(content=TALL)
        touched = await touch_everything(lab)
        assert is_all(touched), touched
        await lab.page.wait_for_timeout(1_000)
        assert await lab.page.evaluate("() => typeof window.__pwned") == "undefined"
        await point_at_a_link(lab, f"control.{attacks.HOST}")
        await lab.close()
    assert names_in(log) == {f"control.{attacks.HOST}"}


async def point_at_a_link(lab: Lab, host: str) -> None:
    """On a page that does nothing about it."""
    page = await lab.context.new_page()
    await page.goto(f"{lab.server.url}/api/status?token={TOKEN}")
    await page.evaluate("host => { document.body.innerHTML = `<a href='http://${host}/'>a link</a>`; }", host)
    await page.hover("a")
    await page.wait_for_timeout(1_000)


def names_in(log: Path) -> set[str]:
    """Returns the names of the attacks in a browser's own log of its network."""
    return set(re.findall(rf"[\w.-]+\.{re.escape(attacks.HOST)}", log.read_text()))
