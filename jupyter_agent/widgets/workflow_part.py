"""A stretch of a workflow that is shown: all of its pass, or what one execution of a cell makes of it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from ..client.rows import Rows
from ..client.workflow import CallRow, Workflow
from ..display.calls import calls_data, calls_table
from ..display.table import Table
from ..exceptions import AgentError, InvalidRequest
from ..records import utc_now

KEPT_ROWS_BYTES: Final = 120 * 1024
KEPT_BYTES: Final = 200 * 1024
"""What a notebook keeps: rows, and with them what opens of them."""
KEPT_CHARS: Final = 2_000
"""Characters that a notebook keeps of one text of an opened call."""
OPENED_CHARS: Final = 200_000
"""Characters that a page is given of it: Jupyter's server drops what is more than some MB."""


class Part:
    """The calls of a workflow that are shown, and what its script told people meanwhile.

    With a `cell` they are those that it makes from now on until `end()`. It is news to a view, too.
    """

    fault: AgentError | None = None

    def __init__(self, workflow: Workflow, cell: str | None = None) -> None:
        self.workflow = workflow
        self.cell = cell
        self._said_from = len(workflow.said) if cell is not None else 0
        self._began = time.monotonic()
        self._end: tuple[Rows[CallRow], list[str], float] | None = None
        self._watchers: list[Callable[[], None]] = []

    # --- what there is ----------------------------------------------------------------------------------------

    @property
    def rows(self) -> Rows[CallRow]:
        if self._end is not None:
            return self._end[0]
        rows = self.workflow.calls_now
        return rows if self.cell is None else Rows.of("calls", [row for row in rows if row.cell == self.cell])

    @property
    def said(self) -> list[str]:
        if self._end is not None:
            return self._end[1]
        # A phase that has calls is seen as such.
        seen = {f"Phase {row.phase}" for row in self.rows}
        return [line for line in self.workflow.said[self._said_from :] if line not in seen]

    @property
    def seconds(self) -> float | None:
        """How long a cell has taken; None for a pass, which is over when nobody knows."""
        if self._end is not None:
            return self._end[2]
        return time.monotonic() - self._began if self.cell is not None else None

    @property
    def is_idle(self) -> bool:
        """Whether no call goes on or waits."""
        return all(row.is_over for row in self.rows)

    @property
    def is_done(self) -> bool:
        return self._end is not None

    def end(self) -> None:
        """Keeps what there is now: the cell may be executed again, and has other calls then."""
        if self._end is None:
            self._end = (self.rows, self.said, time.monotonic() - self._began)
            for changed in tuple(self._watchers):
                changed()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called in the client's loop after changes, once for many; returns what stops that."""
        loop = self.workflow.client.threads_loop
        lock = threading.Lock()
        is_due = False

        def now() -> None:
            nonlocal is_due
            with lock:
                is_due = False
            changed()

        def soon() -> None:
            nonlocal is_due
            with lock:
                is_first, is_due = not is_due, True
            if is_first:
                loop.call_soon_threadsafe(now)

        self._watchers.append(soon)
        stop = self.workflow.watch(soon)

        def end() -> None:
            stop()
            with suppress(ValueError):
                self._watchers.remove(soon)

        return end

    # --- as data ----------------------------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        """Returns what a page is told."""
        return self._told(self.rows)

    def _told(self, calls: Rows[CallRow]) -> dict[str, Any]:
        seconds = None if self.seconds is None else round(self.seconds, 1)
        return calls_data(self.workflow.name, calls, now=utc_now(), said=self.said, seconds=seconds)

    def opened(self, number: int) -> dict[str, Any]:
        """Returns all of a call. Raises InvalidRequest."""
        found = next((row for row in self.rows if row.number == number), None)
        if found is None:
            raise InvalidRequest(f"This workflow's pass has no call number {number} any more.")
        return _all_of(found, OPENED_CHARS)

    def kept(self) -> dict[str, Any]:
        """Returns what a notebook keeps."""
        calls = self.rows
        return kept_of(calls, self._told(calls))

    def table(self) -> Table:
        """Returns what a notebook keeps for everybody else."""
        said = self.said
        return calls_table(self.workflow.name, self.rows, said=said[-1] if said else "")


def kept_of(calls: Sequence[CallRow], told: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a notebook keeps of what a page is told of calls: the first rows, and what opens of them as far as
    there is room."""
    left, rows = KEPT_ROWS_BYTES, []
    for row in told["rows"]:
        left -= len(msgspec.json.encode(row))
        if left < 0:
            break
        rows.append(row)
    left = left + KEPT_BYTES - KEPT_ROWS_BYTES
    opened: dict[str, Any] = {}
    for call in calls[: len(rows)]:
        whole = _all_of(call, KEPT_CHARS)
        left -= len(msgspec.json.encode(whole))
        if left < 0:
            break
        opened[str(call.number)] = whole
    return {**told, "leftOut": len(told["rows"]) - len(rows), "rows": rows, "opened": opened}


def _all_of(call: CallRow, most: int) -> dict[str, Any]:
    changed = call.difference
    texts = {
        "prompt": call.prompt, "answer": call.answer, "error": call.error, "field": changed and changed.field,
        "was": changed and changed.was, "now": changed and changed.now, "key": call.key, "cell": call.cell,
        "label": call.label, "model": call.model, "runId": call.run_id, "why": call.why,
    }  # fmt: skip
    begun = {name: f"{text[:most]}…" if text and len(text) > most else text for name, text in texts.items()}
    said = {**begun, "number": call.number, "status": call.status, "reused": call.reused, "tries": call.tries}
    return {name: value for name, value in said.items() if value is not None}
