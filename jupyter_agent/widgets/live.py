"""The live text view: one display of a run in its cell, updated at most ten times a second, then its pictures.

It is drawn in the client's loop, so that it goes on while the kernel computes; outputs go to the cell that started
the view whatever else is executed meanwhile.
"""

import asyncio
import base64
import contextvars
import sys
import uuid
from typing import Any

from ..client.run import Run
from ..client.shell import kernel_shell
from ..exceptions import AgentError
from . import markup

FRAME_S = 0.1
TICK_S = 1.0
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def show(run: Run) -> None:
    """Shows the run live in the cell that is being executed."""
    if (shell := kernel_shell()) is not None:
        LiveView(run, shell).open()


def show_value(run: Run) -> None:
    """Shows a run that is a cell's value: as it is now, or not again where the same cell shows it already."""
    shell = kernel_shell()
    if shell is None:
        sys.stdout.write(f"{run!r}\n")
    elif run.view is None or run.view.execution_count != shell.execution_count:
        LiveView(run, shell).open()


class LiveView:
    """One display of one run."""

    def __init__(self, run: Run, shell: Any) -> None:
        self.execution_count = shell.execution_count
        self._run = run
        self._feed = run._feed
        self._publisher = shell.display_pub
        self._context = contextvars.copy_context()
        self._display_id = uuid.uuid4().hex
        self._loop = run._client.threads_loop
        self._timer: asyncio.TimerHandle | None = None
        self._shown_pictures: set[str] = set()
        self._drawn_at = 0.0
        self._drawing: asyncio.Task[None] | None = None
        self._is_final = False

    def open(self) -> None:
        """Displays the run and keeps the display current until the run ends."""
        self._run.view = self
        self._publish(update=False)
        self._stop = self._feed.watch(self._changed)
        self._loop.call_soon_threadsafe(self._changed)

    def _changed(self) -> None:
        """Draws soon; in the client's loop."""
        pause = max(0.0, self._drawn_at + FRAME_S - self._loop.time())
        if self._timer is None or self._timer.when() > self._loop.time() + pause:
            self._draw_in(pause)

    def _draw_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._draw)

    def _draw(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drawn_at = self._loop.time()
        is_done = self._feed.is_done
        self._publish(update=True)
        if self._drawing is None or self._drawing.done():
            self._drawing = self._loop.create_task(self._draw_pictures())
        if is_done:
            self._stop()
            self._is_final = True
        else:
            self._draw_in(TICK_S)

    async def finished(self) -> None:
        """Draws the ended run at once, with its pictures, and returns when that is done."""
        if not self._is_final and self._feed.is_done:
            self._draw()
        if self._drawing is not None:
            await self._drawing
        await self._draw_pictures()

    async def _draw_pictures(self) -> None:
        """Displays the pictures of tool results below the view, each once."""
        found = self._feed.read(
            lambda seen: [
                (mime, blob)
                for call in seen.tool_calls.values()
                for mime, blob in call.mime.items()
                if mime in PICTURES
            ]
        )
        for mime, blob in found:
            if blob in self._shown_pictures:
                continue
            self._shown_pictures.add(blob)
            try:
                data = await self._run._client.request("GET", f"blobs/{blob}")
            except AgentError:
                continue  # the view says what the tool gave; a picture that is gone is only missed here
            if isinstance(data, bytes):
                self._send({mime: base64.b64encode(data).decode()}, transient={}, update=False)

    def _publish(self, *, update: bool) -> None:
        bundle = {"text/plain": markup.text(self._feed), "text/html": markup.html(self._feed)}
        self._send(bundle, transient={"display_id": self._display_id}, update=update)

    def _send(self, data: dict[str, str], *, transient: dict[str, str], update: bool) -> None:
        self._context.copy().run(self._publisher.publish, data, {}, transient=transient, update=update)
