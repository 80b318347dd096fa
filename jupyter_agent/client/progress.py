"""A run as calm text, for scripts and terminals: what is new, once, as it comes. Everything goes to stderr, unless the
agent's own words are wanted elsewhere."""

import sys
from collections.abc import Callable
from typing import TextIO

from ..transcript import Transcript, TurnView
from . import report
from .feed import Feed


class Progress:
    """Prints what comes of a run. Called in the client's loop, never by the user's threads."""

    def __init__(self, feed: Feed, *, text_stream: TextIO | None = None, tells_how_to_decide: bool = True) -> None:
        self._feed = feed
        self._text_stream = text_stream
        self._tells_how_to_decide = tells_how_to_decide
        self._printed: dict[int, int] = {}
        self._told: set[str] = set()
        self._is_line_open = False
        self._stop: Callable[[], None] = feed.watch(self.update)
        self.update()

    def update(self) -> None:
        """Prints what is new."""
        self._feed.read(self._news)
        if self._feed.is_done:
            self._once("end", report.status_line(self._feed))
            if self._feed.fault is not None:
                self._once("fault", self._feed.fault.message)
            self._stop()

    def _news(self, seen: Transcript) -> None:
        if seen.started is not None:
            self._once("start", f"▸ run {seen.run_id} · {report.plain(seen.started.model)}")
        for turn in seen.turns:
            self._text(turn)
            for call in turn.tool_calls.values():
                if call.is_ended:
                    self._once(f"call {call.tool_call_id}", f"  {report.call_line(call)}" if not call.result else None)
                if call.result is not None:
                    self._once(f"result {call.tool_call_id}", f"  {report.call_line(call)}")
        if self._tells_how_to_decide:
            for approval in seen.pending_approvals:
                self._once(f"ask {approval.approval_id}", f"? {report.approval_line(approval)}")
            for asked in seen.pending_inputs:
                self._once(
                    f"ask {asked.request_id}",
                    f"? {report.one_line(asked.prompt, 300)} (answer: run.answer({asked.request_id!r}, …))",
                )

    def _text(self, turn: TurnView) -> None:
        printed = self._printed.get(turn.turn, 0)
        new = "".join(turn.text_pieces[printed:])
        self._printed[turn.turn] = len(turn.text_pieces)
        if new:
            self._write(report.plain(new), self._text_stream or sys.stderr)
            self._is_line_open = not new.endswith("\n")

    def _once(self, key: str, line: str | None) -> None:
        if key not in self._told:
            self._told.add(key)
            if line is not None:
                if self._is_line_open:
                    self._write("\n", self._text_stream or sys.stderr)
                    self._is_line_open = False
                self._write(f"{line}\n", sys.stderr)

    def _write(self, text: str, stream: TextIO) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            self._stop()  # the terminal is gone: the run goes on
