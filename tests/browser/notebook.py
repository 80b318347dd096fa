"""A notebook in a real JupyterLab, seen and used through a real browser."""

import asyncio
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from playwright.async_api import Locator, Page, ViewportSize, expect

from tests.browser.shown import ShownRun
from tests.live_server import LiveServer

LAB = ("jupyterlab", "jupyter_lsp", "notebook_shim")
LAB_OPTIONS = ("--LabApp.expose_app_in_browser=True",)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE_MS = 60_000
ROOM = ViewportSize(width=1280, height=1500)
"""A window in which a whole run can be seen."""
SETTINGS = {"notification": '{"fetchNews": "false"}'}
"""What JupyterLab would ask a new user."""

MIME = "application/vnd.jupyter-agent.run+json"
IMPORT = "%load_ext jupyter_agent\nimport jupyter_agent as ja"
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
SCREENSHOTS = "JUPYTER_AGENT_SCREENSHOTS"
"""Names the folder for the pictures of the documentation, where they are wanted."""


def leave_settings(home: Path) -> None:
    """Writes the settings that every page of this server begins with."""
    folder = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True)
    for name, text in SETTINGS.items():
        (folder / f"{name}.jupyterlab-settings").write_text(text)


def leave_without_lab_extension(home: Path) -> None:
    """Has every page of this server do without our lab extension: the module that anywidget loads is all there is."""
    folder = home / "config" / "labconfig"
    folder.mkdir(parents=True)
    (folder / "page_config.json").write_text(json.dumps({"disabledExtensions": {"jupyter-agent": True}}))


def starting(script: Any, *, prompt: str = "Play the script.", more: str = "") -> str:
    """Returns the code of a cell that starts a run of the scripted model and does not wait for it."""
    return f"{IMPORT}\nrun = ja.run({prompt!r}, model='scripted', script={script!r}{more})"


def leave_notebook(folder: Path, name: str, *sources: str, metadata: dict[str, Any] = KERNEL) -> Path:
    """Writes a notebook with these code cells. JupyterLab does not trust it."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nbformat.v4.new_notebook(cells=cells, metadata=metadata)))
    return path


class Notebook:
    """One notebook in one page."""

    def __init__(self, server: LiveServer, page: Page, path: str, screens: Path) -> None:
        self.page = page
        self.status = page.locator(".jp-agent-Status")
        self.dialog = page.locator(".jp-agent-Answer")
        self.toasts = page.locator(".Toastify__toast")
        self.faults: list[str] = []
        """What nobody caught in the page."""
        self._server = server
        self._path = path
        self._workspace = f"w{secrets.token_hex(4)}"
        self._screens = screens
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))

    async def open(self, *, kernel: bool = True) -> None:
        """Opens the page and waits until its kernel can be used, where there is one."""
        # In a workspace of its own: JupyterLab opens again whatever the last page of a workspace had open.
        lab = f"{self._server.url}/lab/workspaces/{self._workspace}"
        await self.page.goto(f"{lab}/tree/{self._path}?token={self._server.token}")
        if kernel:
            await self.is_ready()

    async def beside(self) -> "Notebook":
        """Opens the same notebook in another tab."""
        other = Notebook(self._server, await self.page.context.new_page(), self._path, self._screens)
        await other.open()
        return other

    def other(self, path: str, page: Page) -> "Notebook":
        """Returns another notebook of this server."""
        return Notebook(self._server, page, path, self._screens)

    async def is_ready(self) -> None:
        bar = self.page.locator(".jp-StatusBar-Widget")
        await expect(bar).to_contain_text("Python 3 (ipykernel) | Idle", timeout=PATIENCE_MS)

    async def is_busy(self) -> None:
        bar = self.page.locator(".jp-StatusBar-Widget")
        await expect(bar).to_contain_text("Python 3 (ipykernel) | Busy", timeout=PATIENCE_MS)

    # --- cells ------------------------------------------------------------------------------------------------

    @property
    def cells(self) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell")

    def cell(self, number: int) -> Locator:
        """Returns a code cell, counted from 0."""
        return self.cells.nth(number)

    def shown(self, number: int = 0) -> ShownRun:
        """Returns the run in the output of a code cell, counted from 0."""
        return ShownRun(self.cell(number).locator(".jp-agent-Run").first)

    async def run(self, number: int) -> None:
        """Executes a code cell as a person does."""
        editor = self.cell(number).locator(".cm-content")
        await editor.scroll_into_view_if_needed()
        await editor.click()
        await self.page.keyboard.press("Shift+Enter")

    async def says(self, number: int, text: str) -> None:
        """Waits until the output of a code cell holds this."""
        await expect(self.cell(number).locator(".jp-OutputArea")).to_contain_text(text, timeout=PATIENCE_MS)

    async def is_executing(self, number: int) -> bool:
        prompt = self.cell(number).locator(".jp-InputArea-prompt")
        return await prompt.inner_text() == "[*]:"

    async def was_executed(self, number: int) -> None:
        prompt = self.cell(number).locator(".jp-InputArea-prompt")
        await expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=PATIENCE_MS)

    async def still_works(self, number: int) -> None:
        """The rest of the notebook does what it should: this cell, which prints `fine`, is executed."""
        await self.run(number)
        await self.says(number, "fine")

    # --- the document -----------------------------------------------------------------------------------------

    async def command(self, name: str, **arguments: Any) -> Any:
        """Executes a command of JupyterLab and waits for it."""
        call = "([name, given]) => window.jupyterapp.commands.execute(name, given).then(() => null)"
        return await self.page.evaluate(call, [name, arguments])

    async def save(self) -> None:
        await self.command("docmanager:save")

    def saved(self, number: int = 0) -> list[dict[str, Any]]:
        """Returns the outputs of a code cell as the file on the disk has them."""
        content = nbformat.read(self._server.root / self._path, as_version=4)
        code = [cell for cell in content.cells if cell.cell_type == "code"]
        return [dict(output) for output in code[number].outputs]

    async def saved_when(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Saves until the file holds a run of which this is true, and returns its bundle."""
        for _ in range(120):
            await self.save()
            for output in self.saved():
                data = output.get("data", {})
                if MIME in data and holds(data):
                    return dict(data)
            await asyncio.sleep(0.5)
        raise AssertionError(f"The saved file never held it: {json.dumps(self.saved())[:3_000]}")

    async def takes_no_kernel(self) -> None:
        """Answers JupyterLab's question for a kernel with: none."""
        dialog = self.page.locator(".jp-Dialog")
        await dialog.locator("select").select_option(label="No Kernel")
        await dialog.get_by_role("button", name="Select").click()
        await expect(dialog).to_have_count(0)

    async def restart_kernel(self) -> None:
        """Restarts the kernel as a person does, and confirms it."""
        await self.page.evaluate("() => { void window.jupyterapp.commands.execute('kernelmenu:restart') }")
        await self.page.locator(".jp-Dialog").locator("button.jp-mod-accept").click()

    async def dismisses_dialogs(self) -> None:
        """From now on JupyterLab's own word that the server is gone is taken note of."""

        async def dismiss(dialog: Locator) -> None:
            await self.page.screenshot(path=self._screens / "dismissed.png")
            await dialog.locator(".jp-Dialog-footer button").last.click()

        dialog = self.page.locator(".jp-Dialog:not(.jp-agent-Answer)")
        await self.page.add_locator_handler(dialog, dismiss)

    # --- the status bar and its dialog --------------------------------------------------------------------------

    async def shows(self, status: str) -> None:
        await expect(self.status).to_have_text(f"Agent: {status}", timeout=PATIENCE_MS)

    def button(self, label: str) -> Locator:
        return self.dialog.get_by_role("button", name=label, exact=True)

    # --- looks ------------------------------------------------------------------------------------------------

    async def theme(self, theme: str) -> None:
        await self.command("apputils:change-theme", theme=f"JupyterLab {theme}")
        await expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", f"JupyterLab {theme}")
        await self.page.wait_for_timeout(300)  # colours fade

    async def photograph(self, name: str, *themes: str) -> None:
        """Keeps the page's looks in both themes, for a person."""
        for theme in themes or ("Dark", "Light"):
            await self.theme(theme)
            await self.page.screenshot(path=self._screens / f"{name}-{theme.lower()}.png")

    async def snapshot(self, name: str) -> None:
        """Keeps the page's looks as it is: the theme cannot be changed while the server is away."""
        await self.page.screenshot(path=self._screens / f"{name}.png")

    async def picture(self, name: str, node: Locator, theme: str) -> None:
        """Keeps how a part of the page looks, for the documentation where pictures for it are wanted."""
        await self.theme(theme)
        usual = self.page.viewport_size
        await self.page.set_viewport_size(ROOM)
        folder = Path(os.environ.get(SCREENSHOTS) or self._screens)
        await node.screenshot(path=folder / f"{name}.png", style=".Toastify { display: none }")
        await self.page.set_viewport_size(usual or ROOM)
