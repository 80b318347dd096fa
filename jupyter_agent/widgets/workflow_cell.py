"""The calls of a `%%workflow` cell in its output.

Rules:

- What stands there is what a notebook keeps, renewed while the cell makes calls: twice a second at first. Our lab
  extension draws it without a kernel, too.
- Where calls take longer a widget is put in its place, which is told more, and by which they can be stopped. Most
  cells are answered from the store and are over before: a widget costs some 400 KB of messages, of which Jupyter takes
  1 MB/s.
- When the cell has ended there is no widget any more, only what is kept.
"""

import contextvars
import threading
import time
from typing import Any, Final

from ..client.shell import current_cell
from ..client.workflow import Workflow
from ..display.calls import calls_bundle
from ..exceptions import AgentError
from .output import Output
from .workflow_part import Part
from .workflow_view import WorkflowView

FIRST_S: Final = 0.05
EVERY_S: Final = 0.5
WIDGET_AFTER_S: Final = 1.0
KEPT_EVERY_S: Final = 10.0
"""Beside a widget what is kept is renewed so often: a kernel may end in the middle."""
MOST_WORK: Final = 0.1
"""The part of the time that may be spent on it: of very many calls it is renewed less often."""


class WorkflowCell:
    """One execution of a cell, shown until `close()`."""

    def __init__(self, workflow: Workflow, cell: str, publisher: Any) -> None:
        self.workflow = workflow
        self._part = Part(workflow, cell)
        self._output = Output(publisher)
        self._context = contextvars.copy_context()
        place = current_cell()
        # Who executes notebooks without showing them names no cells, and has no use for a widget.
        self._may_have_widget = place is not None and place.cell_id is not None
        self._began = time.monotonic()
        self._pause_s = FIRST_S
        self._widget: WorkflowView | None = None
        self._is_shown = self._is_closed = False
        self._timer: threading.Timer | None = None
        self._timing = threading.Lock()
        self._publishing = threading.Lock()
        self._stop_watching = workflow.watch(self._news)

    def close(self) -> None:
        """Shows how it ended."""
        self._stop_watching()
        with self._timing:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
        with self._publishing:
            self._part.end()
            widget, self._widget = self._widget, None
            self._publish(None)
            if widget is not None:
                widget.close()

    def _news(self) -> None:
        """It is called by who makes calls, and must not wait for what is published."""
        with self._timing:
            if self._timer is None and not self._is_closed:
                self._timer = threading.Timer(self._pause_s, self._show)
                self._timer.daemon = True
                self._timer.start()

    def _show(self) -> None:
        with self._publishing:
            if self._is_closed:
                return
            began = time.monotonic()
            if self._widget is None and self._may_have_widget and began - self._began > WIDGET_AFTER_S:
                self._widget = self._made_widget()
            self._publish(self._widget)
            least = KEPT_EVERY_S if self._widget is not None else EVERY_S
            self._pause_s = max(least, (time.monotonic() - began) / MOST_WORK)
        with self._timing:
            self._timer = None
        if not self._part.is_idle:
            self._news()  # times go on

    def _made_widget(self) -> WorkflowView | None:
        """Returns a widget of this cell, None where all calls are over or the widgets were not built."""
        if self._part.is_idle:
            return None
        try:
            return self._context.copy().run(WorkflowView, self._part)
        except AgentError:
            self._may_have_widget = False
            return None

    def _publish(self, widget: WorkflowView | None) -> None:
        if self._part.rows or self._is_shown:
            shown = calls_bundle(self._part.kept(), self._part.table()) if widget is None else widget.bundle()
            self._output.publish(shown, update=self._is_shown)
            self._is_shown = True
