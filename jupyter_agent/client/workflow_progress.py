"""What a workflow's run tells, line by line on stderr: its phases, its lines, its calls as they end."""

import sys
import threading

from ..display import words
from ..records import WorkflowEvent
from .workflow_run import WorkflowRun


class WorkflowProgress:
    """Writes what is new, until the run is over. What it says itself is on lines of its own, calls below it."""

    def __init__(self, run: WorkflowRun) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._written = 0
        self._is_over = False
        with self._lock:
            self._end = run.watch(self.catch_up)
        self.catch_up()

    def catch_up(self) -> None:
        """Writes what is not written yet."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = self._run.is_done
            events = self._run.events
            new = events[self._written :]
            self._written = len(events)
            lines = [line for event in new if (line := told(event))]
            if self._is_over:
                lines.append(self._run.summary())
                self._end()
            try:
                sys.stderr.write("".join(f"{line}\n" for line in lines))
                sys.stderr.flush()
            except (OSError, ValueError):
                self._end()  # nobody reads any more; the run goes on


def told(event: WorkflowEvent) -> str:
    """Returns an event as a line; empty for what is not worth one."""
    text = words.plain(event.text)
    match event.type:
        case "phase":
            return f"▸ {text}"
        case "log":
            return f"  {text}"
        case "call":
            return _call(event, text)
    return ""


def _call(event: WorkflowEvent, text: str) -> str:
    match event.status:
        case "hit":
            return f"  = {text} · from the store"
        case "done":
            took = [] if event.tokens is None else [f"{event.tokens:,} tokens"]
            took += [] if event.seconds is None else [words.duration(event.seconds)]
            return " · ".join([f"  ✓ {text}", *took])
        case "failed" | "gone":
            return f"  ✗ {text}: {words.plain(event.message or 'it failed')}"
    return ""
