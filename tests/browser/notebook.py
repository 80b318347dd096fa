"""A notebook in a real JupyterLab, seen and used through a real browser."""

from pathlib import Path

from playwright.async_api import Locator, Page, expect

from tests.live_server import TOKEN, LiveServer

LAB = ("jupyterlab", "jupyter_lsp", "notebook_shim")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE_MS = 60_000
SETTINGS = {"notification": '{"fetchNews": "false"}'}
"""What JupyterLab would ask a new user."""


def leave_settings(home: Path) -> None:
    """Writes the settings that every page of this server begins with."""
    folder = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True)
    for name, text in SETTINGS.items():
        (folder / f"{name}.jupyterlab-settings").write_text(text)


class Notebook:
    """One notebook in one page."""

    def __init__(self, server: LiveServer, page: Page, path: str, screens: Path) -> None:
        self.page = page
        self.status = page.locator(".jp-agent-Status")
        self.dialog = page.locator(".jp-agent-Answer")
        self.toasts = page.locator(".Toastify__toast")
        self._address = f"{server.url}/lab/tree/{path}?token={TOKEN}"
        self._screens = screens

    async def open(self) -> None:
        """Opens the page and waits until its kernel can be used."""
        await self.page.goto(self._address)
        await self.is_ready()

    async def is_ready(self) -> None:
        bar = self.page.locator(".jp-StatusBar-Widget")
        await expect(bar).to_contain_text("Python 3 (ipykernel) | Idle", timeout=PATIENCE_MS)

    def cell(self, number: int) -> Locator:
        """Returns a code cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    async def run(self, number: int) -> None:
        """Executes a code cell as a person does."""
        editor = self.cell(number).locator(".cm-content")
        await editor.scroll_into_view_if_needed()
        await editor.click()
        await self.page.keyboard.press("Shift+Enter")

    async def shows(self, status: str) -> None:
        await expect(self.status).to_have_text(f"Agent: {status}", timeout=PATIENCE_MS)

    def button(self, label: str) -> Locator:
        return self.dialog.get_by_role("button", name=label)

    async def approve(self) -> None:
        """Reads what would be executed to its end, and approves it."""
        await expect(self.dialog).to_be_visible(timeout=PATIENCE_MS)
        await expect(self.button("Approve")).to_be_disabled()
        await self.dialog.locator(".jp-agent-Answer-picture").hover()
        await self.page.mouse.wheel(0, 10_000)
        await self.button("Approve").click()
        await expect(self.dialog).to_have_count(0, timeout=PATIENCE_MS)

    async def photograph(self, name: str) -> None:
        """Keeps the page's looks in both themes, for a person."""
        for theme in ("Dark", "Light"):
            await self.page.evaluate(
                "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}"
            )
            await expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", f"JupyterLab {theme}")
            await self.page.wait_for_timeout(300)  # colours fade
            await self.page.screenshot(path=self._screens / f"{name}-{theme.lower()}.png")
