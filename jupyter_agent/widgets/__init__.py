"""How runs look in a notebook: the display of a run in its cell, attached to the client's `Run`, and widgets of runs.

The widgets' libraries are loaded by the first widget.
"""

from ..client.run import Run
from ..client.session import session


def attach() -> None:
    """Has runs shown live in notebooks, and displayed as what they are now where they are a cell's value."""
    from .live import LiveViews
    from .workflow_run_view import show as show_workflow

    views = LiveViews()
    session().show_in_notebook = views.show
    session().show_workflow_in_notebook = show_workflow

    def show_value(run: Run) -> None:
        views.show_value(run)

    Run._ipython_display_ = show_value  # type: ignore[attr-defined]
