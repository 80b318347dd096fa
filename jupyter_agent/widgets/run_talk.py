"""A run told over a widget's comm, for pages that do not reach the gateway by themselves.

A page is told the whole run, then every event after it. It may stop the run; it decides only where this kernel may.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from .. import events as ev
from ..client.feed import Event
from ..client.run import Run
from ..compact import CompactRun, compact, kept
from ..protocol import commands
from ..transcript import Transcript
from .talk import TICK_S, Answering, Send, Talk, understood

BATCH_BYTES = 64 * 1024
MOST_RUN_BYTES = 1024 * 1024
BEHIND_EVENTS = 5_000
"""With more events to tell, the whole run is told anew: that is less."""

Command = commands.Interrupt | Answering


class RunTalk(Talk):
    """Tells the pages of one widget about one run."""

    def __init__(self, run: Run, send: Send, *, may_decide: bool) -> None:
        super().__init__(run._client, send, may_decide=may_decide)
        self._run = run
        self._feed = run._feed
        self._told = 0
        self._last: Event | None = None
        self._is_run_due = False
        self._is_end_told = False
        self._link: tuple[str, str | None] | None = None
        self._stop_watching: Callable[[], None] | None = None

    def _follow(self) -> None:
        self._is_run_due, self._is_end_told, self._link = True, False, None
        if self._stop_watching is None:
            self._stop_watching = self._feed.watch(self._changed)
        super()._follow()

    def _rest(self) -> None:
        if self._stop_watching is not None:
            self._stop_watching()
            self._stop_watching = None
        super()._rest()

    def _tell(self) -> None:
        is_done = self._feed.is_done
        message, is_all = self._feed.read(self._news)
        link = (str(self._feed.link), self._feed.fault.message if self._feed.fault else None)
        if message is not None or link != self._link or self._is_time_for_a_sign:
            self._link = link
            self._say({**(message or {"type": "tick"}), "link": link[0], "fault": link[1]})
        if not is_all:
            self._tell_in(self._pause_s)
        elif is_done:
            self._rest()
        else:
            self._tell_in(TICK_S)

    def _news(self, seen: Transcript) -> tuple[dict[str, Any] | None, bool]:
        """Returns what to say next of the run, if anything, and whether that is all for now."""
        feed = self._feed
        if not feed.is_replayed and not feed.is_settled:
            return None, True
        if feed.is_settled and not seen.is_complete and not self._is_end_told:
            self._is_end_told = self._is_run_due = True  # it lost its last event, so no event says that it is over
        told, total = self._told, len(feed.events)
        is_same_past = told == 0 or (told <= total and feed.events[told - 1] is self._last)
        if self._is_run_due or not is_same_past or total - told > BEHIND_EVENTS:
            self._is_run_due = False
            self._told, self._last = total, feed.events[-1] if feed.events else None
            return {"type": "run", "text": _bounded(compact(seen)), "mayDecide": self._may_decide}, True
        if told == total:
            return None, True
        lines: list[str] = []
        size = 0
        while self._told < total and size < BATCH_BYTES:
            self._last = feed.events[self._told]
            self._told += 1
            lines.append(_line(self._last))
            size += len(lines[-1])
        return {"type": "frames", "text": "\n".join(lines)}, self._told == total

    async def _obey(self, command: dict[str, Any]) -> Any:
        """Raises what the gateway refuses the command for, InvalidRequest, Forbidden."""
        frame = understood({**command, "runId": self._run.id}, Command)
        if isinstance(frame, commands.Interrupt):
            return await self._client.transport.command(frame)
        return await self._decided(frame)


def _line(event: Event) -> str:
    """Returns the event's frame as the gateway sends it: pages take no other for an event."""
    line = msgspec.json.encode(event.fields) if isinstance(event, ev.Unknown) else ev.encode_line(event)
    return line.decode()


def _bounded(run: CompactRun) -> str:
    """Returns the run as JSON text that a comm can carry; what waits stays whole."""
    text = msgspec.json.encode(run)
    if len(text) > MOST_RUN_BYTES:
        cut = kept(run, most=MOST_RUN_BYTES)
        text = msgspec.json.encode(msgspec.structs.replace(cut, approvals=run.approvals, inputs=run.inputs, waiting=()))
    return text.decode()
