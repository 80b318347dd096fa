"""How runs look in a notebook: the live text view of a run, attached to the client's `Run`."""

from ..client.run import Run
from ..client.session import session


def attach() -> None:
    """Has runs shown live in notebooks, and displayed as what they are now where they are a cell's value."""
    from .live import show, show_value

    session().show_in_notebook = show
    Run._ipython_display_ = show_value  # type: ignore[attr-defined]
