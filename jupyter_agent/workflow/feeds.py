"""What became of the calls of a pass, in the order it happened, for whoever waits for them.

Kept in memory only: whoever comes with a cursor of another life of the server is told so, and looks at the rows.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from ..records import new_id
from ..script.placed import CallState

KEPT: Final = 2_000
PASSES: Final = 500


class Feed:
    """The news of one pass."""

    def __init__(self) -> None:
        self.first = 0
        self.items: list[CallState] = []
        self.news = asyncio.Event()

    def tell(self, state: CallState) -> None:
        self.items.append(state)
        if len(self.items) > KEPT:
            self.first += len(self.items) - KEPT
            del self.items[:-KEPT]
        self.news.set()
        self.news = asyncio.Event()


class Feeds:
    """The news of all passes of this life of the server."""

    def __init__(self) -> None:
        self._life = new_id("life")
        self._feeds: OrderedDict[str, Feed] = OrderedDict()

    def __getitem__(self, workflow_run_id: str) -> Feed:
        feed = self._feeds.setdefault(workflow_run_id, Feed())
        self._feeds.move_to_end(workflow_run_id)
        while len(self._feeds) > PASSES:
            self._feeds.popitem(last=False)
        return feed

    def cursor(self, workflow_run_id: str) -> str:
        """Returns the place after the last news."""
        feed = self[workflow_run_id]
        return f"{self._life}:{feed.first + len(feed.items)}"

    async def after(
        self, workflow_run_id: str, cursor: str | None, *, wait_s: float
    ) -> tuple[str, tuple[CallState, ...], bool]:
        """Returns the next cursor, the news after this one, waiting for them so long, and whether some were missed."""
        feed = self[workflow_run_id]
        life, _, number = (cursor or "").partition(":")
        start = int(number) if life == self._life and number.isdecimal() and len(number) < 12 else -1
        if not feed.first <= start <= feed.first + len(feed.items):
            return self.cursor(workflow_run_id), (), True
        if start == feed.first + len(feed.items):
            try:
                async with asyncio.timeout(wait_s):
                    await feed.news.wait()
            except TimeoutError:
                pass
        items = tuple(feed.items[max(0, start - feed.first) :])
        return self.cursor(workflow_run_id), items, False
