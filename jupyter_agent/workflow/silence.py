"""Notices when nothing has come of something for long, and when something comes again."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from ..records import utc_now

SILENT_AFTER_S: Final = 300.0


class Silence:
    """Watches over one thing in the running loop, from now on until `end()`.

    `changed` is told since when it has been silent once that is `after_s` ago, and None when it is so no more.
    """

    def __init__(self, changed: Callable[[datetime | None], None], *, after_s: float = SILENT_AFTER_S) -> None:
        self._changed = changed
        self._after_s = after_s
        self._loop = asyncio.get_running_loop()
        self._is_silent = False
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(after_s, self._look)

    def heard(self) -> None:
        """Something came. It costs little: it may be every word of a model."""
        self._heard_at = self._loop.time()
        if self._is_silent:
            self._is_silent = False
            self._timer = self._loop.call_later(self._after_s, self._look)
            self._changed(None)

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        silent_s = self._loop.time() - self._heard_at
        if silent_s < self._after_s:
            self._timer = self._loop.call_later(self._after_s - silent_s, self._look)
            return
        self._is_silent = True
        self._changed(utc_now() - timedelta(seconds=silent_s))
