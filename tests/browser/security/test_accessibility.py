"""The run view for everybody: nothing serious that axe finds, in both themes, and nothing that moves where that is not
wanted."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.notebook import PATIENCE_MS, leave_notebook
from tests.browser.security import lab as labs
from tests.browser.security.lab import Lab, Outside, bundle, leave, showing
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

CHECK = """
async selector => {
  // JupyterLab's body has no height of its own: axe takes whatever overflows it for hidden.
  document.body.style.height = '100vh';
  const places = [...document.querySelectorAll(selector)].filter(node => node.offsetHeight > 0);
  const found = await axe.run({ include: places });
  const told = (rule, node) => `${rule.impact} ${rule.id}: ${node.html.slice(0, 120)} | ${node.failureSummary}`;
  return {
    places: places.length,
    contrasts: found.passes.find(rule => rule.id === 'color-contrast')?.nodes.length ?? 0,
    faults: found.violations
      .filter(rule => ['serious', 'critical'].includes(rule.impact))
      .flatMap(rule => rule.nodes.map(node => told(rule, node)))
  };
}
"""
SAID = """Some **words** with `code` and [a link](https://example.com/), ~~struck~~ and _stressed_.

# One heading
## Another

1. one
   - [x] done
   - [ ] to do

> A quotation.

| a | b |
|---|--:|
| 1 | 2 |

```python
# A comment.
@decorated
def f(x: int = 1) -> str:
    \"\"\"A text.\"\"\"
    return f"{x}" if x else None
```

```json
{"a": [1, true, null, "x"]}
```

![a picture](https://example.com/a.png)
"""
SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "title": "Name", "description": "As it is written."},
        "size": {"type": "string", "enum": ["small", "large"]},
        "count": {"type": "integer", "minimum": 0},
        "really": {"type": "boolean", "title": "Really"},
    },
}
READS = [
    {"name": "list_files", "arguments": {"pattern": "*"}},
    {"name": "read_file", "arguments": {"path": "there-is-none.txt"}},
    {"name": "read_file", "arguments": {"path": "data.json"}},
]


def creates(content: str, **more: Any) -> dict[str, Any]:
    return {"calls": [{"name": "create_file", "arguments": {"path": "made.txt", "content": content}}], **more}


SCRIPTS: dict[str, list[Any]] = {
    "waits for an approval": [creates("one\ntwo\n\u200bthree\n", thinking="I must ask.", text=SAID), "The end."],
    "waits for a long approval": [creates("line\n" * 500), "The end."],
    "waits for an answer": [{"text": SAID, "calls": [{"name": "ask_user", "arguments": {"prompt": "Who?"}}]}, "Done."],
    "waits for a form": [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Who?", "schema": SCHEMA}}]}, "Done."],
    "waits for several": [{"calls": [*creates("a")["calls"], *creates("b")["calls"], *creates("c")["calls"]]}, "Done."],
    "works": [{"thinking": "I think.", "text": f"{SAID}\n\nand more and more " * 3, "duration_s": 120}],
    "completed": [{"thinking": "I think.", "text": SAID, "calls": READS}, SAID],
    "failed": [{"text": SAID, "fail": {"code": "model_refused", "at": "text", "message": "It does not want to."}}],
}
OVER = ("completed", "failed")


async def started(server: LiveServer, name: str) -> str:
    (server.root / "data.json").write_text('{"a": [1, 2, {"b": null}]}')
    run_id = await server.start_run(SCRIPTS[name], onAsk="wait")
    if name in OVER:
        await labs.ended(server, run_id)
    return run_id


async def in_both_themes(lab: Lab, check: Callable[[], Awaitable[None]]) -> None:
    for theme in ("Light", "Dark"):
        change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
        await lab.page.evaluate(change, f"JupyterLab {theme}")
        await expect(lab.page.locator("body")).to_have_attribute("data-jp-theme-name", f"JupyterLab {theme}")
        await lab.page.wait_for_timeout(1_000)  # colours fade
        await check()


async def is_for_everybody(lab: Lab, axe: str, selector: str) -> None:
    await lab.page.evaluate(axe)
    found = await lab.page.evaluate(CHECK, selector)
    assert found["places"] > 0
    assert found["contrasts"] > 5  # else nothing was looked at
    assert found["faults"] == [], "\n\n".join(found["faults"])


async def open_everything(lab: Lab) -> None:
    """Opens tool calls, thoughts, and what else waits."""
    await lab.page.evaluate(
        """() => {
          document.querySelectorAll('.jp-agent-Run-thinking').forEach(node => (node.open = true));
          document.querySelectorAll('.jp-agent-Call-line[aria-expanded="false"]').forEach(node => node.click());
          document.querySelectorAll('.jp-agent-Dock-more:not([hidden])').forEach(node => node.click());
        }"""
    )


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_live_run(server: LiveServer, lab: Lab, axe: str, name: str) -> None:
    run_id = await started(server, name)
    await lab.open(leave(server, "live.ipynb", showing(bundle({"runId": run_id, "status": "running"}))))
    await lab.shows(1, source="gateway")
    if name.startswith("waits"):
        await expect(lab.page.locator(".jp-agent-Decision").first).to_be_visible(timeout=PATIENCE_MS)
    await open_everything(lab)
    await in_both_themes(lab, lambda: is_for_everybody(lab, axe, ".jp-agent-Run"))
    await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_saved_copy(server: LiveServer, lab: Lab, axe: str, name: str) -> None:
    run_id = await started(server, name)
    kept = (await server.request("GET", f"jupyter-agent/api/runs/{run_id}/display"))[1]
    kept[labs.MIME]["runId"] = labs.unknown_id()
    await lab.open(leave(server, "saved.ipynb", showing(kept)))
    await expect(lab.runs).to_contain_text("Saved copy", timeout=PATIENCE_MS)
    await open_everything(lab)
    await in_both_themes(lab, lambda: is_for_everybody(lab, axe, ".jp-agent-Run"))
    await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})


@pytest.mark.parametrize("name", ["waits for an approval", "waits for a form"])
async def test_the_dialog_of_the_status_bar(server: LiveServer, lab: Lab, axe: str, name: str) -> None:
    run_id = await started(server, name)
    await lab.open(leave(server, "dialog.ipynb", showing()))
    await lab.page.locator(".jp-agent-Status").get_by_role("button").click(timeout=PATIENCE_MS)
    dialog = lab.page.locator(".jp-agent-Answer")
    await expect(dialog.locator(".jp-agent-Decision")).to_be_visible(timeout=PATIENCE_MS)
    await in_both_themes(lab, lambda: is_for_everybody(lab, axe, ".jp-agent-Answer .jp-Dialog-content"))
    await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})


async def test_where_a_thread_goes_on(server: LiveServer, lab: Lab, axe: str) -> None:
    run_id = await started(server, "completed")
    await lab.open(leave(server, "on.ipynb", showing(bundle({"runId": run_id, "status": "running"}))))
    await lab.shows(1, source="gateway", status="completed")
    await lab.page.get_by_role("button", name="Continue").click(timeout=PATIENCE_MS)
    await expect(lab.page.get_by_label("Next prompt of this thread")).to_be_visible()
    await in_both_themes(lab, lambda: is_for_everybody(lab, axe, ".jp-agent-Run"))


async def execute(server: LiveServer, lab: Lab, code: str) -> None:
    """Opens a notebook of this cell alone, and executes it."""
    leave_notebook(server.root, "widget.ipynb", f"import jupyter_agent as ja\n{code}")
    await lab.open("widget.ipynb")
    await lab.execute_all()


async def what_waits_is_for_everybody(server: LiveServer, lab: Lab, axe: str) -> None:
    ids = [await started(server, name) for name in SCRIPTS if name.startswith("waits")]
    await execute(server, lab, "ja.ApprovalsView()")
    view = lab.page.locator(".jp-agent-Waiting")
    await expect(view.locator(".jp-agent-Decision[data-state='open']:visible")).to_have_count(
        len(ids), timeout=PATIENCE_MS
    )
    await open_everything(lab)
    await in_both_themes(lab, lambda: is_for_everybody(lab, axe, ".jp-agent-Waiting"))
    for run_id in ids:
        await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})
    await expect(view).to_contain_text("Nothing waits for you.", timeout=PATIENCE_MS)


async def test_what_waits_anywhere(server: LiveServer, lab: Lab, axe: str) -> None:
    await what_waits_is_for_everybody(server, lab, axe)


async def test_nothing_moves_for_those_who_do_not_want_it(
    server: LiveServer, browser: Browser, outside: Outside
) -> None:
    runs = [await started(server, name) for name in ("works", "waits for an approval")]
    moving = await animations(server, browser, outside, runs, "no-preference")
    assert "jp-agent-pulse" in moving  # else there is nothing that could be still
    assert await animations(server, browser, outside, runs, "reduce") == set()
    for run_id in runs:
        await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})


async def animations(server: LiveServer, browser: Browser, outside: Outside, runs: list[str], motion: Any) -> set[str]:
    """Returns the names of what is animated in our views."""
    lab = await Lab.start(server, browser, outside, reduced_motion=motion)
    kept = [bundle({"runId": run_id, "status": "running"}) for run_id in runs]
    await lab.open(leave(server, "motion.ipynb", showing(*kept)))
    await lab.shows(2, source="gateway")
    await lab.runs.first.scroll_into_view_if_needed()
    await lab.page.wait_for_timeout(1_000)
    found = await lab.page.evaluate(
        """() => document.getAnimations()
          .filter(one => one.effect?.target?.closest('[class*="jp-agent-"]'))
          .map(one => one.animationName ?? one.transitionProperty ?? 'unnamed')"""
    )
    await lab.close()
    return set(found)
