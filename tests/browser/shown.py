"""A run as a page shows it, and what a person can do with it there."""

import re

from playwright.async_api import Locator, Page, expect

PATIENCE_MS = 60_000


class ShownRun:
    """One view of a run."""

    def __init__(self, node: Locator) -> None:
        self.node = node
        self.word = node.locator(".jp-agent-Run-word").first
        self.stop = node.locator(".jp-agent-Run-stop").first
        self.scroller = node.locator(".jp-agent-Run-scroller").first
        self.notices = node.locator(".jp-agent-Run-notices").first
        self.calls = node.locator(".jp-agent-Call")
        self.card = Card(node.locator(".jp-agent-Run-decisions .jp-agent-Decision").first)

    def first_open_card(self) -> "Card":
        return Card(self.node.locator(".jp-agent-Run-decisions .jp-agent-Decision[data-state='open']:visible").first)

    @property
    def page(self) -> Page:
        return self.node.page

    async def has(self, status: str, *, source: str | None = None) -> None:
        """Waits until the view says this, and that it comes from there."""
        await expect(self.node).to_have_attribute("data-status", status, timeout=PATIENCE_MS)
        if source is not None:
            await expect(self.node).to_have_attribute("data-source", source, timeout=PATIENCE_MS)

    async def says(self, text: str | re.Pattern[str]) -> None:
        await expect(self.node).to_contain_text(text, timeout=PATIENCE_MS)

    async def notes(self, text: str | re.Pattern[str]) -> None:
        await expect(self.notices).to_contain_text(text, timeout=PATIENCE_MS)

    async def text(self) -> str:
        """Returns everything that the model has said, as it is on the page, with single blanks."""
        shown = await self.node.locator(".jp-agent-Run-text").all_inner_texts()
        return " ".join(" ".join(shown).split())

    def call(self, name: str) -> Locator:
        return self.calls.filter(has=self.page.locator(".jp-agent-Call-name", has_text=name)).first

    async def called(self, name: str, state: str) -> None:
        await expect(self.call(name)).to_have_attribute("data-state", state, timeout=PATIENCE_MS)

    async def open_call(self, name: str) -> Locator:
        """Opens a tool call and returns what it shows."""
        call = self.call(name)
        await call.locator(".jp-agent-Call-line").click()
        body = call.locator(".jp-agent-Call-body")
        await expect(body).to_be_visible()
        return body


class Card:
    """A place where a person decides."""

    def __init__(self, node: Locator) -> None:
        self.node = node
        self.picture = node.locator(".jp-agent-Decision-picture")

    def button(self, label: str) -> Locator:
        return self.node.get_by_role("button", name=label, exact=True)

    async def is_open(self) -> None:
        await expect(self.node).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)

    async def read(self) -> None:
        """Reads what would be done, to its end, and waits until it may be approved."""
        await self.is_open()
        await self.node.scroll_into_view_if_needed()
        await self.button("Approve").scroll_into_view_if_needed()
        for _ in range(200):
            await self.picture.hover()
            await self.node.page.mouse.wheel(0, 120)
            if await self.picture.evaluate("node => node.scrollTop + node.clientHeight >= node.scrollHeight - 1"):
                break
        await expect(self.button("Approve")).to_be_enabled(timeout=PATIENCE_MS)

    async def approve(self) -> None:
        await self.read()
        await self.button("Approve").click()

    async def reject(self, reason: str) -> None:
        await self.is_open()
        await self.button("Reject").click()
        await self.node.get_by_label("Reason").fill(reason)
        await self.button("Reject it").click()

    async def edit(self, **fields: str) -> None:
        """Approves the call with these arguments in place of the model's."""
        await self.read()
        await self.button("Edit").click()
        for name, value in fields.items():
            await self.node.get_by_label(name, exact=True).fill(value)
        await self.button("Approve with changes").click()
