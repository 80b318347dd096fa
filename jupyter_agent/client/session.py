"""What this process has: its client, its tools, and how its runs are shown."""

import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from ..exceptions import AgentError
from .client import Client
from .discovery import Gateway
from .run import Run
from .shell import kernel_shell
from .status_line import StatusLine
from .tool import Toolbox

Show = Callable[[Run], None]


class Session:
    """One a process. `show` displays a run where it was started; widgets replace it in a notebook."""

    def __init__(self) -> None:
        self.toolbox = Toolbox()
        self.show_in_notebook: Show | None = None
        self.show_workflow_in_notebook: Callable[[Any], None] | None = None
        self.status_line = StatusLine()
        self.workflows: dict[str, Any] = {}
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client of this process, made when it is first needed."""
        if self._client is None:
            self._client = Client()
            atexit.register(self._close)
        return self._client

    def connect(self, gateway: Gateway) -> Client:
        """Uses this gateway from now on; runs that are open stay with the one before."""
        self._client = Client(gateway)
        self.workflows.clear()
        atexit.register(self._client.close)
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            with suppress(AgentError, TimeoutError):
                self._client.close()

    def show(self, run: Run) -> None:
        """Shows the run live: in the notebook's cell, else as text on stderr."""
        if kernel_shell() is not None and self.show_in_notebook is not None:
            self.show_in_notebook(run)
            return
        from .progress import Progress

        run.view = Progress(run, status=self.status_line)

    def show_workflow(self, run: Any) -> None:
        """Shows the run of a workflow live: in the notebook's cell, else line by line on stderr."""
        if kernel_shell() is not None and self.show_workflow_in_notebook is not None:
            self.show_workflow_in_notebook(run)
            return
        from .workflow_progress import WorkflowProgress

        run.view = WorkflowProgress(run)


@cache
def session() -> Session:
    """Returns the session of this process; a forked child has one of its own."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=session.cache_clear)
    return Session()
