"""When the pages of a view are told anew, by the client's own loop and clock."""

import asyncio
import time
from types import SimpleNamespace

from jupyter_agent.widgets import view_talk
from jupyter_agent.widgets.view_talk import ViewTalk


class Feed:
    """Something that goes on until it is `ended`."""

    fault = None

    def __init__(self) -> None:
        self.is_done = False
        self._watchers = []

    def watch(self, changed):
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def end(self) -> None:
        self.is_done = True
        for changed in self._watchers:
            changed()


class Slow:
    """Takes long to say what there is."""

    def told(self):
        time.sleep(0.2)
        return {"rows": []}

    def answer(self, command):
        raise AssertionError(command)


async def test_the_end_is_told_at_once_however_long_the_pause_was_to_be(monkeypatch):
    for pause in ("MOST_PAUSE_S", "TICK_S"):
        monkeypatch.setattr(view_talk, pause, 600.0)
    monkeypatch.setattr(view_talk, "MOST_WORK", 0.2 / 600.0)
    said, feed = [], Feed()
    talk = ViewTalk(
        SimpleNamespace(threads_loop=asyncio.get_running_loop()), lambda *one: said.append(one[0]), Slow(), (feed,)
    )
    talk.open()
    async with asyncio.timeout(60):
        while not said:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        feed.end()
        while not said[-1].get("isFinal"):
            await asyncio.sleep(0.01)
    assert [one["isFinal"] for one in said] == [False, True]
    talk.close()
