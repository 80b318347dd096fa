"""Facts told over a widget's comm: what a view shows as a whole, then whatever its pages ask for.

Facts are worked out in threads of their own, not in the client's loop, in which runs stream.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from ..client.client import Client
from ..exceptions import AgentError
from .talk import FRAME_S, TICK_S, Send, Talk

TELL_S: Final = 0.5
"""Between two times that a view of a run that goes on is told anew."""
MOST_WORK: Final = 0.1
"""The part of the time that may be spent on it: of a long run a view is told less often, its end at once."""
MOST_PAUSE_S: Final = 5.0
"""And not less often than this: the first look may have taken long for once, where libraries are loaded."""


class News(Protocol):
    """What brings news of something that goes on, such as a run's feed."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""

    @property
    def fault(self) -> AgentError | None:
        """Why nothing more can be known; None where that is not so."""

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called in the client's loop after changes; returns what stops that."""


class Told(Protocol):
    """What has something to tell. Both are called in any thread, one at a time."""

    def told(self) -> dict[str, Any]:
        """Returns everything that pages need to know unasked, as plain values, less than 1 MB."""

    def answer(self, command: dict[str, Any]) -> tuple[Any, bool]:
        """Returns what a page asked for, and whether all pages must be told anew. Raises what it is refused for."""


class ViewTalk(Talk):
    """Tells the pages of one widget what it shows. It decides nothing for anybody.

    Where there are feeds it tells anew when they change, until all are done.
    """

    def __init__(self, client: Client, send: Send, shown: Told, feeds: tuple[News, ...]) -> None:
        super().__init__(client, send, may_decide=False)
        self._shown = shown
        self._feeds = feeds
        self._stops: list[Callable[[], None]] = []
        self._last: tuple[bytes, str | None, bool] | None = None
        self._is_looking = False
        self._is_behind = False
        self._turn = asyncio.Lock()

    def _follow(self) -> None:
        self._last = None
        if not self._stops:
            self._stops = [feed.watch(self._changed) for feed in self._feeds]
        super()._follow()

    def _rest(self) -> None:
        for stop in self._stops:
            stop()
        self._stops = []
        super()._rest()

    @property
    def _is_over(self) -> bool:
        return all(feed.is_done for feed in self._feeds)

    def _changed(self) -> None:
        if self._is_over:
            self._pause_s = min(self._pause_s, FRAME_S)
        super()._changed()

    def _tell(self) -> None:
        self._is_behind = self._is_looking
        if not self._is_looking:
            self._is_looking = True
            self._work(self._look())

    async def _look(self) -> None:
        is_final = self._is_over
        fault = next((feed.fault.message for feed in self._feeds if feed.fault), None)
        began = self._now()
        try:
            async with self._turn:
                said = msgspec.json.encode(await asyncio.to_thread(self._shown.told))
        except AgentError as refusal:
            said, fault = b"", refusal.message
        finally:
            self._is_looking = False
        if not self._is_on:
            return
        if (said, fault, is_final) != self._last or self._is_time_for_a_sign:
            self._last = (said, fault, is_final)
            news = {"text": said.decode()} if said else {}
            self._say({"type": "view", **news, "isFinal": is_final, "reason": fault})
        if not self._is_over:
            pause_s = min((self._now() - began) / MOST_WORK, MOST_PAUSE_S)
            self._pause_s = max(self._pause_s, TELL_S, pause_s)
        if self._is_behind:
            self._tell_in(self._pause_s)
        elif is_final:
            self._rest()
        else:
            self._tell_in(TICK_S)

    async def _obey(self, command: dict[str, Any]) -> Any:
        """Raises what the view refuses it for, InvalidRequest."""
        async with self._turn:
            answer, is_news = await asyncio.to_thread(self._shown.answer, command)
        if is_news:
            self._pause_s = 0.0
            self._follow()
        return answer
