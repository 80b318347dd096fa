"""A run's display in its cell: what the notebook keeps of it, renewed at most every two seconds, then its pictures.

JupyterLab with our extension shows the run live from the gateway, and takes what stands here for what was kept.
Elsewhere this is all there is. It is made in the client's loop, so that it goes on while the kernel computes; outputs
go to the cell that started the view whatever else is executed meanwhile.
"""

import asyncio
import base64
import contextvars
import copy
import sys
import uuid
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..client.run import Run
from ..client.shell import current_cell, kernel_shell
from ..client.transport import Link
from ..compact import compact
from ..display import bundle
from ..exceptions import AgentError
from ..records import RunStatus, utc_now

FRAME_S = 2.0
"""Between two updates of one display: each goes through the kernel's output into the notebook."""

QUIET_S = 10.0
"""When there is no news: how long it has taken by now is some."""

MOST_WORK = 0.05
"""The part of the time that may be spent on it: a huge run is renewed less often."""

ASKED_AFTER_S = (0.0, 0.05, 0.15, 0.3)
"""When the gateway is asked where an ended run is archived. It archives a moment after the last event."""

MOST_VIEWS = 8
"""Displays of one run that are kept current at a time."""

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class LiveViews:
    """The displays of runs that go on in this kernel.

    Where a cell is executed again its outputs are gone, so the displays that it made before are ended. Not every front
    end names its cells, so a run has only so many.
    """

    def __init__(self) -> None:
        self._views: list[LiveView] = []

    def show(self, run: Run) -> None:
        """Shows the run live in the cell that is being executed."""
        shell = kernel_shell()
        if shell is None:
            return
        view = LiveView(run, shell)
        going_on = [other for other in self._views if other.is_going_on]
        of_run = [other for other in going_on if other.run is run]
        ended = [other for other in going_on if view.replaces(other) or other in of_run[: 1 - MOST_VIEWS]]
        for other in ended:
            other.close()
        self._views = [*(other for other in going_on if other not in ended), view]
        view.open()

    def show_value(self, run: Run) -> None:
        """Shows a run that is a cell's value: as it is now, or not again where the same cell shows it already."""
        shell = kernel_shell()
        if shell is None:
            sys.stdout.write(f"{run!r}\n")
        elif run.view is None or run.view.execution_count != shell.execution_count:
            self.show(run)


class LiveView:
    """One display of one run."""

    def __init__(self, run: Run, shell: Any) -> None:
        cell = current_cell()
        self.cell_id = cell.cell_id if cell else None
        self.execution_count = shell.execution_count
        self.run = run
        self._feed = run._feed
        self._publisher = _publisher_of(shell)
        self._context = contextvars.copy_context()
        self._transient = {"display_id": uuid.uuid4().hex}
        self._loop = run._client.threads_loop
        self._timer: asyncio.TimerHandle | None = None
        self._shown_pictures: set[str] = set()
        self._drawn_at = 0.0
        self._pause_s = FRAME_S
        self._drawing: asyncio.Task[None] | None = None
        self._is_final = False
        self._is_closed = False
        self._detail: str | None = None

    def open(self) -> None:
        """Displays the run and keeps the display current until the run ends."""
        self.run.view = self
        self._publish(update=False)
        self._stop = self._feed.watch(self._changed)
        self._loop.call_soon_threadsafe(self._changed)

    @property
    def is_going_on(self) -> bool:
        return not self._is_final and not self._is_closed

    def replaces(self, other: "LiveView") -> bool:
        """Tells whether the other one was in the outputs that were cleared for this one."""
        is_same_cell = self.cell_id is not None and self.cell_id == other.cell_id
        return is_same_cell and self.execution_count != other.execution_count

    def close(self) -> None:
        """Leaves the display as it is. The run goes on."""
        self._is_closed = True
        self._loop.call_soon_threadsafe(self._end)

    def awaited(self) -> AbstractContextManager[None]:
        """A cell's display is the same whether the cell waits or not."""
        return nullcontext()

    # --- in the client's loop ---------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Has the news drawn when it is time, the end at once."""
        now = self._loop.time()
        self._draw_at(now if self._feed.is_done else max(now, self._drawn_at + self._pause_s))

    def _draw_at(self, at: float) -> None:
        if self._timer is None or self._timer.when() > at:
            self._cancel()
            self._timer = self._loop.call_at(at, self._draw)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._cancel()
        self._stop()

    def _draw(self) -> None:
        self._cancel()
        if self._is_final or self._is_closed:
            return
        self._is_final = self._feed.is_done
        self._publish(update=True)
        if self._is_final:
            self._stop()
        elif self._feed.read(lambda seen: seen.status) is RunStatus.RUNNING:
            self._draw_at(self._drawn_at + max(QUIET_S, self._pause_s))
        before = self._drawing
        self._drawing = self._loop.create_task(self._draw_rest(before))

    async def _draw_rest(self, before: asyncio.Task[None] | None) -> None:
        """Draws what must be asked for: pictures, and of an ended run where its archive is."""
        if before is not None:
            await before
        await self._draw_pictures()
        if self._is_final and self._feed.fault is None:
            self._detail = await self._archive()
            if self._detail is not None:
                self._publish(update=True)

    async def _archive(self) -> str | None:
        """Returns the key of the run's archive, None where the gateway does not know one soon enough."""
        for pause_s in ASKED_AFTER_S:
            await asyncio.sleep(pause_s)
            try:
                record = await self.run._client.record(self.run.id)
            except AgentError:
                return None
            if record.detail_blob is not None:
                return record.detail_blob
        return None

    async def finished(self) -> None:
        """Draws the ended run at once, with its pictures, and returns when that is done."""
        if self._feed.is_done:
            self._draw()
        if self._drawing is not None:
            await self._drawing

    async def _draw_pictures(self) -> None:
        """Displays the pictures of tool results below the view, each once."""
        found = self._feed.read(
            lambda seen: [
                (mime, blob)
                for turn in seen.turns
                for call in turn.tool_calls.values()
                for mime, blob in call.mime.items()
                if mime in PICTURES
            ]
        )
        for mime, blob in found:
            if blob in self._shown_pictures:
                continue
            self._shown_pictures.add(blob)
            try:
                data = await self.run._client.request("GET", f"blobs/{blob}")
            except AgentError:
                continue  # the view says what the tool gave; a picture that is gone is only missed here
            if isinstance(data, bytes):
                self._send({mime: base64.b64encode(data).decode()}, transient={}, update=False)

    def _publish(self, *, update: bool) -> None:
        began = self._drawn_at = self._loop.time()
        run = self._feed.read(lambda seen: compact(seen, detail=self._detail))
        self._send(bundle(run, now=utc_now(), remark=self._remark()), transient=self._transient, update=update)
        self._pause_s = max(FRAME_S, (self._loop.time() - began) / MOST_WORK)

    def _remark(self) -> str:
        """Returns what is to be said of how the news come in, where they do not."""
        if self._feed.fault is not None:
            return self._feed.fault.message
        is_lost = not self._feed.is_done and self._feed.link in {Link.WAITING, Link.REFUSED, Link.CLOSED}
        return f"No connection to the gateway ({self._feed.link}). The run goes on." if is_lost else ""

    def _send(self, data: dict[str, Any], *, transient: dict[str, str], update: bool) -> None:
        if not self._is_closed:
            self._context.copy().run(self._publisher.publish, data, {}, transient=transient, update=update)


def _publisher_of(shell: Any) -> Any:
    """Returns what publishes to the cell that is being executed now, also when another one is executed later.

    ipykernel 7 keeps the cell in the context. Before, its publisher kept the latest one, which a copy does not hear of.
    """
    publisher = shell.display_pub
    keeps_latest = hasattr(publisher, "parent_header") and not hasattr(publisher, "_parent_header")
    return copy.copy(publisher) if keeps_latest else publisher
