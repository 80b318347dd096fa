"""Hostile words run nothing, wherever they come from and wherever they are shown."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest
import pytest_asyncio
from nbconvert import HTMLExporter
from playwright.async_api import expect

from jupyter_agent import display
from jupyter_agent.compact import CompactRun
from tests.browser.notebook import PATIENCE_MS, leave_notebook
from tests.browser.security import attacks
from tests.browser.security import lab as labs
from tests.browser.security.lab import Lab, bundle, executing, leave, leave_trusted, showing
from tests.gateway.talk import fetch
from tests.live_server import TOKEN, LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

BUDGET = {"turns": 1_000, "toolCalls": 5_000, "seconds": 600}
OWN_FOLDER = "words"
NAMES_FOLDER = "names"
PARTS = 4
TURNS_OF_ONE = 6


def hostile_script(numbers: range) -> dict[str, Any]:
    """A script that says these attacks: as thinking, as text, as arguments, as what tools give and refuse, as names of
    tools and files, and as the error that ends it."""
    turns: list[dict[str, Any]] = []
    for number in numbers:
        text, raw, mark = attacks.texts()[number], attacks.raw()[number], attacks.marker(number)
        calls = [
            {"name": "read_file", "arguments": {"path": f"{OWN_FOLDER}/{number}.txt"}},
            {"name": "read_file", "arguments": {"path": f"{raw} {mark}"}},
            {"name": f"{mark}{raw}", "arguments": raw},
        ]
        turns.append({"thinking": f"{mark} {raw}", "text": text, "calls": calls})
    turns.append({"text": "Names.", "calls": [{"name": "list_files", "arguments": {"pattern": f"{NAMES_FOLDER}/**"}}]})
    everything = "\n".join(attacks.raw()[number] for number in numbers)
    turns.append({"text": "The end.", "fail": {"code": "model_refused", "at": "text", "message": everything[:9_000]}})
    return {"turns": turns, "chunk": 4_000}


def leave_files(server: LiveServer) -> None:
    """Files that hold the attacks, and files that are called like them."""
    for folder in (OWN_FOLDER, NAMES_FOLDER):
        (server.root / folder).mkdir(exist_ok=True)
    for number, (text, raw) in enumerate(zip(attacks.texts(), attacks.raw(), strict=True)):
        (server.root / OWN_FOLDER / f"{number}.txt").write_text(text)
        name = raw.replace("/", "\u2215").replace("\0", "")[:60]
        if name.strip(". "):
            (server.root / NAMES_FOLDER / name).write_text("x")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(server: LiveServer) -> list[dict[str, Any]]:
    """The transcripts of runs that said everything."""
    await asyncio.to_thread(leave_files, server)
    return [await said(server, numbers) for numbers in parts(len(attacks.raw()))]


def parts(count: int) -> list[range]:
    """One script has its bounds: several runs say it all."""
    bounds = [count * part // PARTS for part in range(PARTS + 1)]
    return [range(*pair) for pair in itertools.pairwise(bounds)]


async def said(server: LiveServer, numbers: range) -> dict[str, Any]:
    prompt = "\n\n".join(attacks.texts()[number] for number in numbers[::8])
    run_id = await server.start_run(hostile_script(numbers), input=prompt, budget=BUDGET)
    assert await labs.ended(server, run_id) == "error"
    run = await labs.transcript(server, run_id)
    assert len(run["turns"]) == len(numbers) + 2
    return run


async def leave_as(server: LiveServer, kind: str, name: str, *bundles: dict[str, Any]) -> str:
    """Leaves a notebook with these outputs: a stranger's, a trusted one, or one whose cells make them when executed."""
    if kind == "stranger":
        return leave(server, name, showing(*bundles))
    if kind == "trusted":
        return await leave_trusted(server, name, showing(*bundles))
    files = [f"{name}-{place}.json" for place, _ in enumerate(bundles)]
    for file, one in zip(files, bundles, strict=True):
        (server.root / file).write_text(json.dumps(one))
    return leave(server, name, executing(*files))


async def all_said(lab: Lab, selector: str = ".jp-agent-Run") -> None:
    """Every attack was on the page, and left nothing there but our own elements."""
    found = await lab.sweep(selector)
    assert found["faults"] == [], "\n".join(found["faults"])
    everything = {attacks.marker(number) for number in range(len(attacks.raw()))}
    assert set(found["markers"]) == everything, sorted(everything - set(found["markers"]))


@pytest.mark.parametrize("kind", ["stranger", "trusted", "executed"])
@pytest.mark.parametrize("source", ["gateway", "copy"])
async def test_hostile_words_run_nothing(
    server: LiveServer, lab: Lab, hostile: list[dict[str, Any]], kind: str, source: str
) -> None:
    shown = [bundle(run) if source == "gateway" else bundle(run, runId=labs.unknown_id()) for run in hostile]
    await lab.open(await leave_as(server, kind, f"{kind}-{source}.ipynb", *shown))
    if kind == "executed":
        await lab.execute_all()
    await lab.shows(PARTS, source=source, status="error")
    # What is shown was trusted where it should be: so nothing else than the renderer kept it from running.
    assert await lab.trusts() == [kind != "stranger"] * PARTS
    await all_said(lab)
    await lab.is_unharmed()


# --- where nothing of ours is installed -------------------------------------------------------------------------


def fallbacks(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the HTML that notebooks keep of these runs, a few turns at a time: it has its bounds."""
    found = []
    for run in (msgspec.convert(one, CompactRun) for one in runs):
        for first in range(0, len(run.turns), TURNS_OF_ONE):
            part = msgspec.structs.replace(run, turns=run.turns[first : first + TURNS_OF_ONE])
            kept = display.bundle(part)
            found.append({name: kept[name] for name in ("text/html", "text/plain")})
    return found


@pytest.mark.parametrize("kind", ["stranger", "trusted"])
async def test_hostile_words_run_nothing_as_html(
    server: LiveServer, lab: Lab, hostile: list[dict[str, Any]], kind: str
) -> None:
    kept = fallbacks(hostile)
    await lab.open(await leave_as(server, kind, f"html-{kind}.ipynb", *kept))
    outputs = lab.page.locator(".jp-RenderedHTMLCommon > div")
    await expect(outputs).to_have_count(len(kept), timeout=PATIENCE_MS)
    await lab.page.wait_for_timeout(2_000)  # formulas are set a while later
    assert await lab.trusts() == [kind == "trusted"] * len(kept)
    await all_said(lab, ".jp-RenderedHTMLCommon")
    await lab.is_unharmed()


async def test_hostile_words_run_nothing_in_an_export(
    server: LiveServer, lab: Lab, hostile: list[dict[str, Any]], tmp_path: Path
) -> None:
    """As `jupyter nbconvert --to html` writes it, opened from the disk."""
    exported = tmp_path / "exported.html"
    notebook = nbformat.from_dict(showing(*fallbacks(hostile)))
    exported.write_text(HTMLExporter(exclude_input=True).from_notebook_node(notebook)[0])
    await lab.page.goto(exported.as_uri())
    await all_said(lab, ".jp-RenderedHTMLCommon")
    assert await lab.page.evaluate("() => typeof window.__pwned") == "undefined"
    assert lab.dialogs == []
    assert lab.outside == []


# --- where a person decides -------------------------------------------------------------------------------------


def asking(attack: str) -> list[dict[str, Any]]:
    """Calls that a person must see to, with the attack wherever a model may write."""
    schema = {
        "type": "object",
        "title": attack,
        "description": attack,
        "required": ["one"],
        "properties": {
            "one": {"type": "string", "title": attack, "description": attack, "default": attack},
            "two": {"type": "string", "title": attack, "enum": [attack, "other"]},
            "three": {"type": "boolean", "title": attack},
            attack[:60]: {"type": "integer", "description": attack},
        },
    }
    return [
        {"name": "ask_user", "arguments": {"prompt": attack}},
        {"name": "ask_user", "arguments": {"prompt": attack, "schema": schema}},
        {"name": "create_file", "arguments": {"path": f"made/{attack.replace('/', '')[:60]}", "content": attack}},
        {"name": "run_cell", "arguments": {"code": attack}},
        {"name": "theirs", "arguments": {"said": attack, "more": [attack, {attack: attack}]}},
    ]


async def test_hostile_words_run_nothing_where_a_person_decides(server: LiveServer, lab: Lab) -> None:
    said = [*attacks.CORPUS[::18], attacks.COMMANDS[0]]
    hostile = attacks.HANDLERS[0]
    theirs = {"name": "theirs", "description": hostile, "parameters": {"type": "object", "title": hostile}}
    ids = []
    for attack in said:
        script = [{"calls": asking(attack)}, "The end."]
        tools = [{**theirs, "effects": ["network"], "client": True}]
        ids.append(await server.start_run(script, clientTools=tools, onAsk="wait"))
    kept = [bundle({"runId": one, "status": "running"}) for one in ids]
    await lab.open(leave(server, "asked.ipynb", showing(*kept)))
    await lab.shows(len(ids), source="gateway")
    for run in await lab.runs.all():
        await run.scroll_into_view_if_needed()
        await expect(run.locator(".jp-agent-Decision").first).to_be_attached(timeout=PATIENCE_MS)
        await run.locator(".jp-agent-Dock-more").click()
    await lab.page.wait_for_timeout(500)
    found = await lab.sweep()
    assert found["faults"] == [], "\n".join(found["faults"])
    assert await lab.page.locator(".jp-agent-Decision[data-kind='question']").count() >= len(ids)
    assert await lab.page.locator(".jp-agent-Decision[data-kind='approval']").count() >= len(ids)
    await lab.is_unharmed()
    for one in ids:
        await server.request("POST", f"jupyter-agent/api/runs/{one}/interrupt", {})
    await lab.page.wait_for_timeout(1_000)
    await lab.is_unharmed()


# --- where a prompt names its run -------------------------------------------------------------------------------


def prompts() -> list[str]:
    """Attacks short enough to be seen where only the beginning of a prompt is shown."""
    short = [attack for attack in attacks.CORPUS if len(attack) < 100]
    return [f"{attacks.marker(number)} {attack}" for number, attack in enumerate(short)][::8]


async def is_made_of_ours(lab: Lab, selector: str, said: list[str]) -> None:
    """All of this was shown there, as words."""
    found = await lab.sweep(selector)
    assert found["faults"] == [], "\n".join(found["faults"])
    assert set(found["markers"]) >= {one.split()[0] for one in said}
    await lab.is_unharmed()


async def interrupt(server: LiveServer, *ids: str) -> None:
    for run_id in ids:
        await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})


async def test_hostile_prompts_run_nothing_above_what_waits(server: LiveServer, lab: Lab) -> None:
    """In the list of everything that waits, and in the dialog and the notices that tell of it."""
    said = prompts()
    ids = [await server.start_run([{"calls": asking(one)[2:3]}, "."], input=one, onAsk="wait") for one in said]
    leave_notebook(server.root, "waiting.ipynb", "import jupyter_agent as ja\nja.ApprovalsView()")
    await lab.open("waiting.ipynb")
    await lab.execute_all()
    names = lab.page.locator(".jp-agent-Waiting-name")
    await expect(names).to_have_count(len(said), timeout=PATIENCE_MS)
    await expect(names.last).to_contain_text("attack-", timeout=PATIENCE_MS)
    await is_made_of_ours(lab, ".jp-agent-Waiting", said)
    await expect(lab.page.locator(".Toastify__toast").first).to_contain_text("create_file")
    await lab.page.locator(".jp-agent-Status").get_by_role("button").click()
    await expect(lab.page.locator(".jp-agent-Answer .jp-agent-Decision")).to_be_visible(timeout=PATIENCE_MS)
    await is_made_of_ours(lab, ".jp-agent-Answer-body", [])
    await interrupt(server, *ids)


async def test_hostile_prompts_run_nothing_where_a_thread_goes_on(server: LiveServer, lab: Lab) -> None:
    """Above the runs that follow a run, and as prompts that wait for their turn."""
    first = await server.start_run(["The end."])
    assert await labs.ended(server, first) == "completed"
    thread = {"threadId": (await server.run(first))["threadId"], "followUpToRunId": first, "multitask": "enqueue"}
    busy, *waiting = prompts()
    works = await server.start_run([{"text": busy, "wait_s": 300}], input=busy, **thread)
    queued = [await server.start_run(["."], input=one, **thread) for one in waiting]
    await lab.open(leave(server, "on.ipynb", showing(bundle({"runId": first, "status": "running"}))))
    await expect(lab.page.locator(".jp-agent-Run-nested .jp-agent-Run")).to_contain_text(busy, timeout=PATIENCE_MS)
    await lab.page.get_by_role("button", name="Continue").first.click(timeout=PATIENCE_MS)
    rows = lab.page.locator(".jp-agent-Composer-queued")
    await expect(rows).to_have_count(len(waiting), timeout=PATIENCE_MS)
    await is_made_of_ours(lab, ".jp-agent-Run", [busy, *waiting])
    await rows.first.get_by_role("button", name="Edit").click()
    await expect(lab.page.get_by_label("Next prompt of this thread")).to_have_value(waiting[0], timeout=PATIENCE_MS)
    await lab.is_unharmed()
    await interrupt(server, *reversed(queued), works)


# --- blobs ------------------------------------------------------------------------------------------------------

PWNS = "window.__pwned=1;parent.__pwned=1;top.__pwned=1;opener&&(opener.__pwned=1)"
SCRIPT = f"<script>{PWNS}</script>"
SVG = f"<svg xmlns='http://www.w3.org/2000/svg' onload='{PWNS}'>{SCRIPT}</svg>"
PDF = "%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\ntrailer<</Root 1 0 R>>"
BLOBS: dict[str, bytes] = {
    "html": f"<!DOCTYPE html><html><body>{SCRIPT}</body></html>".encode(),
    "bare script": SCRIPT.encode(),
    "svg": SVG.encode(),
    "svg with a declaration": f"<?xml version='1.0'?>{SVG}".encode(),
    "xhtml": f"<html xmlns='http://www.w3.org/1999/xhtml'>{SCRIPT}</html>".encode(),
    "pdf": PDF.encode(),
    "javascript": PWNS.encode(),
    "gif and html": f"GIF89a/*{SCRIPT}*/=1;{SCRIPT}".encode(),
    "gif and javascript": f"GIF89a=0;{PWNS}".encode(),
    "png and html": b"\x89PNG\r\n\x1a\n" + SCRIPT.encode(),
    "jpeg and html": b"\xff\xd8\xff\xe0" + SCRIPT.encode(),
    "webp and html": b"RIFF0000WEBP" + SCRIPT.encode(),
    "utf-16 html": SCRIPT.encode("utf-16"),
    "utf-7 html": b"+ADw-script+AD4-window.__pwned=1+ADw-/script+AD4-",
    "mhtml": f"MIME-Version: 1.0\nContent-Type: text/html\n\n{SCRIPT}".encode(),
}
EMBED = """
async url => {
  const embedding = [['iframe', 'src'], ['embed', 'src'], ['object', 'data'], ['img', 'src'], ['script', 'src']];
  for (const [name, key] of embedding) {
    const node = document.createElement(name);
    node[key] = url;
    document.body.append(node);
  }
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = url;
  document.head.append(link);
  await new Promise(done => setTimeout(done, 500));
}
"""


@pytest.mark.parametrize("name", BLOBS)
async def test_an_attachment_runs_nothing_however_it_is_opened(server: LiveServer, lab: Lab, name: str) -> None:
    answer = await fetch(server, "POST", "jupyter-agent/api/blobs", raw=BLOBS[name])
    digest = json.loads(answer.body)["blob"]
    url = f"{server.url}/jupyter-agent/api/blobs/{digest}"
    headers = (await fetch(server, "GET", f"jupyter-agent/api/blobs/{digest}")).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "allow-scripts" not in headers["Content-Security-Policy"]
    assert headers["Content-Type"] in ("application/octet-stream", "image/png", "image/jpeg", "image/gif", "image/webp")
    if headers["Content-Type"] == "application/octet-stream":
        assert headers["Content-Disposition"].startswith("attachment")

    page = lab.page
    await page.goto(f"{server.url}/api/status?token={TOKEN}")  # now it has the cookie
    await page.evaluate(EMBED, url)
    assert await page.evaluate("() => typeof window.__pwned") == "undefined"
    async with lab.context.expect_page() as opening:
        await page.evaluate("url => { window.open(url); }", url)
    opened = await opening.value
    await page.wait_for_timeout(300)
    assert await page.evaluate("() => typeof window.__pwned") == "undefined"
    if not opened.is_closed():
        assert await opened.evaluate("() => typeof window.__pwned") == "undefined"
    assert lab.dialogs == []
