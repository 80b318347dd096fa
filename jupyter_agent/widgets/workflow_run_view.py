"""The calls of a workflow that the server carries out, in the cell that started it, twice a second at most."""

import threading
from typing import Any, Final

from ..client.shell import kernel_shell
from ..client.workflow_run import WorkflowRun
from ..display.calls import calls_bundle, calls_data, calls_table
from ..records import utc_now
from .output import Output
from .workflow_part import kept_of

SHOWN_EVERY_S: Final = 0.5


class WorkflowRunView:
    """Shows the run until it is over, and how it ended."""

    def __init__(self, run: WorkflowRun, publisher: Any) -> None:
        self._run = run
        self._output = Output(publisher)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_shown = self._is_over = False
        with self._lock:
            self._end = run.watch(self._news)
        self._show()

    def _news(self) -> None:
        with self._lock:
            if self._timer is None and not self._is_over:
                self._timer = threading.Timer(SHOWN_EVERY_S, self._show)
                self._timer.daemon = True
                self._timer.start()

    def _show(self) -> None:
        with self._lock:
            self._timer = None
            self._is_over = self._run.is_done
            if self._is_over:
                self._end()
            calls, said = self._run.calls, list(self._run.said)
            last = self._run.summary() if self._is_over else " · ".join(filter(None, [self._run.phase, *said[-1:]]))
            kept = kept_of(calls, calls_data(self._run.name, calls, now=utc_now(), said=[*said, last]))
            shown = calls_bundle(kept, calls_table(self._run.name, calls, said=last))
            self._output.publish(shown, update=self._is_shown)
            self._is_shown = True


def show(run: WorkflowRun) -> None:
    """Shows the run in the cell that is executed."""
    shell = kernel_shell()
    if shell is not None:
        run.view = WorkflowRunView(run, shell.display_pub)
