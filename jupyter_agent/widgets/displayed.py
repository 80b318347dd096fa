"""A widget as the value of a cell: when what it shows has ended, its outputs hold the end."""

from typing import Any

from ..client.shell import kernel_shell
from .base import AgentWidget
from .output import Output


class DisplayedWidget(AgentWidget):
    """A widget of something that goes on and ends."""

    def __init__(self, **options: Any) -> None:
        self._outputs: list[Output] = []
        super().__init__(**options)

    # --- what the heirs say -----------------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether nothing that it shows goes on."""
        raise NotImplementedError

    def bundle(self) -> dict[str, Any]:
        """Returns the MIME bundle of now: the widget, and what notebooks keep."""
        raise NotImplementedError

    def _await_end(self) -> None:
        """Has `_publish_end` called at the end, also where it has come by now."""
        raise NotImplementedError

    # --- display ----------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle(), {}

    def _ipython_display_(self) -> None:
        """Displays it, and has its output hold all of it when what it shows has ended."""
        shell = kernel_shell()
        if shell is None:
            print(repr(self))  # noqa: T201 - a terminal shows no widgets
            return
        output = Output(shell.display_pub)
        is_whole = self.is_done  # asked first: what ends while the bundle is made is not in it
        output.publish(self.bundle(), update=False)
        if not is_whole and self.comm is not None:
            self._outputs.append(output)
            self._await_end()

    def _publish_end(self) -> None:
        outputs, self._outputs = self._outputs, []
        if outputs:
            bundle = self.bundle()
            for output in outputs:
                output.publish(bundle, update=True)
