"""How runs and workflows look in a notebook: their display in a cell, attached to the client's classes, and widgets.

The widgets' libraries are loaded by the first widget.
"""

import sys

from ..client.run import Run
from ..client.session import session
from ..client.shell import in_kernel
from ..client.workflow import Workflow


def attach() -> None:
    """Has runs shown live in notebooks, and runs and workflows displayed where they are a cell's value."""
    from .live import LiveViews
    from .workflow_run_view import show as show_workflow

    views = LiveViews()
    session().show_in_notebook = views.show
    session().show_workflow_in_notebook = show_workflow

    def show_value(run: Run) -> None:
        views.show_value(run)

    Run._ipython_display_ = show_value  # type: ignore[attr-defined]
    Workflow._ipython_display_ = _show_workflow  # type: ignore[attr-defined]


def _show_workflow(workflow: Workflow) -> None:
    """Shows a workflow that is a cell's value."""
    if not in_kernel():
        sys.stdout.write(f"{workflow!r}\n")
        return
    from .workflow_view import WorkflowView

    WorkflowView(workflow)._ipython_display_()
