"""What our widgets have in common: the module they are shown by, and that nobody but the kernel sets their state.

Rules:

- The state of a widget ends up in notebooks. It holds an id and what was last seen in a few figures: no address, no
  credential, no words of people or models, nothing that could be decided.
- What a page sets of the state is ignored.
"""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import anywidget
from traitlets import Unicode

from ..exceptions import AgentError
from .talk import Talk

STATIC = Path(__file__).parent / "static"
VIEW_TYPE = "application/vnd.jupyter.widget-view+json"


class NotBuilt(AgentError):
    """The widgets' module is missing: this is a source tree that was not built."""

    code = "not_built"


class Built:
    """One file of the built module, read when the first widget needs it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return _read(self._name)


@cache
def _read(name: str) -> str:
    try:
        return (STATIC / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotBuilt(
            f"{STATIC / name} is not there, so runs cannot be shown as widgets: this is a source tree that was not "
            "built. Build it with `make lab`, or install jupyter_agent from a wheel."
        ) from None


class AgentWidget(anywidget.AnyWidget):
    """A widget of ours. `_kind` tells the module which view it is."""

    _esm: ClassVar[Any] = Built("widget.js")
    _css: ClassVar[Any] = Built("widget.css")
    _kind = Unicode(read_only=True).tag(sync=True)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignores what a page wants our state to be."""

    def talk_over_comm(self, talk: Talk) -> None:
        """Begins the talk with whichever pages show this widget."""
        self.on_msg(lambda _, content, __: talk.hear(content))
        # ipykernel 7 answers in the thread that opened the comm, a busy one maybe. Ours may be heard in any: where the
        # page names a subshell, as JupyterLab does, it is that one.
        self.comm._reply_subshell_for = None
        talk.open()

    def view_bundle(self) -> dict[str, Any]:
        """Returns the MIME bundle that shows this widget; an empty one when it is closed."""
        if self.comm is None:
            return {}
        return {VIEW_TYPE: {"version_major": 2, "version_minor": 0, "model_id": self.model_id}}
