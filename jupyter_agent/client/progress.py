"""A run as calm text, for scripts and terminals: what is new, once, as it comes. Everything goes to stderr, unless the
agent's own words are wanted elsewhere.

While somebody waits at a terminal one line below tells how far it is; where stderr is no terminal a line tells it now
and then. Otherwise nothing is written over: what else the program prints stays as it is.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TextIO

from ..display import words
from ..records import RunStatus
from ..transcript import Transcript, TurnView
from . import report
from .status_line import StatusLine
from .transport import Link

if TYPE_CHECKING:
    from .run import Run

TICK_S = 0.5
QUIET_S = 60.0
"""When nothing came for so long, a line without a terminal says that it goes on."""
CLEARED_S = 0.5
WORKING = (RunStatus.PENDING, RunStatus.RUNNING)
LOST = (Link.WAITING, Link.REFUSED)


class _Said(NamedTuple):
    """Something to print: the agent's words as they are, or a line of ours."""

    text: str
    is_agents: bool


class Progress:
    """Prints what comes of a run, in the client's loop."""

    execution_count = -1
    """It stands in no cell."""

    def __init__(
        self,
        run: "Run",
        *,
        status: StatusLine | None = None,
        text_stream: TextIO | None = None,
        tells_how_to_decide: bool = True,
    ) -> None:
        """`status` is the line that several runs of one terminal share."""
        self._feed = run._feed
        self._loop = run._client.threads_loop
        self._text_stream = text_stream
        self._tells_how_to_decide = tells_how_to_decide
        self._status = status or StatusLine()
        self._printed: dict[int, int] = {}
        self._told: set[str] = set()
        self._first_open = 0
        self._is_line_open = False
        self._is_lost = False
        self._is_over = False
        self._awaited = 0
        self._wrote_at = self._loop.time()
        self._ticking: asyncio.TimerHandle | None = None
        self._stop: Callable[[], None] = self._feed.watch(self._update)
        self._loop.call_soon_threadsafe(self._update)

    # --- for whoever waits ------------------------------------------------------------------------------------

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Has the line below shown meanwhile; nobody else may print. It is gone when this is left."""
        gone = threading.Event()
        with suppress(RuntimeError):  # the client was closed
            self._loop.call_soon_threadsafe(self._begin)
        try:
            yield
        finally:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end, gone)
                gone.wait(CLEARED_S)

    async def finished(self) -> None:
        """Returns, in the client's loop, when everything is printed."""
        self._update()

    # --- in the client's loop ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._awaited += 1
        self._status.take(self)
        if self._ticking is None:
            self._tick()

    def _end(self, gone: threading.Event) -> None:
        self._awaited -= 1
        self._write(lambda: self._status.leave(self))
        gone.set()

    def _tick(self) -> None:
        """Shows how far it is: on the line below, or without a terminal in a line when it was quiet for long."""
        self._ticking = None
        if self._is_over or not self._awaited:
            return
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        is_working = self._feed.read(lambda seen: seen.status) in WORKING
        if not self._status.is_possible:
            if is_working and self._loop.time() - self._wrote_at > QUIET_S:
                self._line(report.progress_line(self._feed))
        elif is_working and not self._status.is_begun:
            self._write(lambda: self._status.show(self, report.progress_line(self._feed)))
        else:
            self._write(self._status.clear)

    def _update(self) -> None:
        """Prints what is new."""
        if self._is_over:
            return
        is_done = self._feed.is_done
        for said in self._feed.read(lambda seen: list(self._news(seen))):
            self._words(said.text) if said.is_agents else self._line(said.text)
        self._say_link()
        if is_done:
            self._is_over = True
            self._line(report.status_line(self._feed))
            if self._feed.fault is not None:
                self._line(self._feed.fault.message)
            self._stop()

    def _news(self, seen: Transcript) -> Iterator[_Said]:
        if seen.started is not None and self._is_news("start"):
            yield _Said(f"▸ run {seen.run_id} · {words.one_line(seen.started.model)}", is_agents=False)
        for turn in seen.turns[self._first_open :]:
            yield from self._of_turn(turn)
            # What is complete and told is not looked at again: a run may have thousands of turns.
            if turn.is_complete and turn.turn == self._first_open:
                self._first_open += 1
        if self._tells_how_to_decide:
            yield from self._waits(seen)

    def _of_turn(self, turn: TurnView) -> Iterator[_Said]:
        printed = self._printed.get(turn.turn, 0)
        if new := "".join(turn.text_pieces[printed:]):
            self._printed[turn.turn] = len(turn.text_pieces)
            yield _Said(words.plain(new), is_agents=True)
        is_all = bool(turn.tool_calls) or turn.usage is not None or turn.is_complete
        if turn.text_pieces and is_all and self._is_news(f"end of {turn.turn}"):
            yield _Said("\n", is_agents=True)
        for call in turn.tool_calls.values():
            if call.result is not None and self._is_news(f"call {turn.turn} {call.tool_call_id}"):
                yield _Said(f"  {report.call_line(call)}", is_agents=False)

    def _waits(self, seen: Transcript) -> Iterator[_Said]:
        for approval in seen.pending_approvals:
            if self._is_news(f"ask {approval.approval_id}"):
                yield _Said(f"? {words.approval_line(approval)}", is_agents=False)
        for asked in seen.pending_inputs:
            if self._is_news(f"ask {asked.request_id}"):
                how = f"Answer it {words.WHERE_TO_APPROVE}, or with run.answer({asked.request_id!r}, …)."
                yield _Said(f"? {words.one_line(asked.prompt, 300)} {how}", is_agents=False)

    def _say_link(self) -> None:
        is_lost = self._feed.link in LOST and not self._feed.is_done
        if is_lost and not self._is_lost:
            self._line("! The connection to the gateway is lost. The run goes on; we try to reach it again.")
        elif self._is_lost and self._feed.link is Link.CONNECTED:
            self._line("! Connected again.")
        self._is_lost = is_lost or (self._is_lost and self._feed.link is not Link.CONNECTED)

    def _is_news(self, key: str) -> bool:
        is_news = key not in self._told
        self._told.add(key)
        return is_news

    # --- printing ---------------------------------------------------------------------------------------------

    def line_was_ended(self) -> None:
        self._is_line_open = False

    def _words(self, text: str) -> None:
        """Prints words of the agent where they are wanted; a line break only where a line is open."""
        if text == "\n" and not self._is_line_open:
            return
        self._print(text, self._text_stream or sys.stderr)
        self._is_line_open = not text.endswith("\n")

    def _line(self, line: str) -> None:
        if self._is_line_open:
            self._words("\n")
        self._print(f"{line}\n", sys.stderr)

    def _print(self, text: str, stream: TextIO) -> None:
        def work() -> None:
            self._status.make_way(self, stream)
            try:
                stream.write(text)
            except UnicodeEncodeError:
                code = stream.encoding or "ascii"
                stream.write(text.encode(code, "replace").decode(code))
            stream.flush()
            self._status.wrote(self, stream, text)

        self._write(work)
        self._wrote_at = self._loop.time()

    def _write(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError):
            # The terminal is gone: the run goes on.
            self._is_over = True
            self._stop()
