"""`%%workflow`: a cell with the words of a workflow, executed like any other.

The first line is made a line magic of its own, so that the rest stays plain Python: top-level `await`, tracebacks with
the right lines, variables that live on.
"""

import re
import threading
from typing import Any, Final

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from ..client.workflow import Workflow, workflow
from ..display.calls import calls_bundle
from ..exceptions import InvalidRequest
from ..widgets.output import Output

SHOWN_EVERY_S: Final = 0.5
HELP: Final = """\
%%workflow NAME [-m MODEL]
    The cell below is a stretch of the workflow NAME: agent, ask, gate, workflow, parallel, pipeline, phase, log, args
    and budget are there, and wf, the workflow. Calls that were answered before, in whatever order, are answered from
    the store.

wf.calls.df           the calls of this pass, which were reused and why
wf.explain("label")   the reason in a sentence
wf.new_pass()         let every result be claimed again
wf.forget("label")    delete stored results, so that these calls run live
wf.save()             write the cells as a script
"""
_FIRST: Final = re.compile(r"%%workflow(?=\s|$)(?P<rest>.*)", re.DOTALL)
_LINE: Final = re.compile(r"\s*(?P<name>[^\s-]\S*)(?:\s+(?:-m|--model)(?:\s+|=)(?P<model>\S+))?\s*$")


@magics_class
class WorkflowMagics(Magics):
    """`%%workflow NAME`."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._shell = shell
        self._source = ""
        self._view: _View | None = None
        shell.events.register("post_run_cell", self._ended)
        transforms = shell.input_transformer_manager.cleanup_transforms
        names = [getattr(transform, "__name__", "") for transform in transforms]
        at = names.index("cell_magic") if "cell_magic" in names else len(names)
        transforms.insert(at, self._opened)

    def _opened(self, lines: list[str]) -> list[str]:
        """Makes the first line of a cell a line magic. Called for cells that are only looked at, too."""
        if not lines or (first := _FIRST.match(lines[0])) is None:
            return lines
        self._source = "".join(lines[1:])
        return [f"%workflow{first['rest'].rstrip()}\n", *lines[1:]]

    @no_var_expand
    @line_magic
    def workflow(self, line: str) -> None:
        """A cell with the words of a workflow: `%%workflow NAME [-m MODEL]`."""
        asked = _LINE.match(line)
        if asked is None or line.strip() in ("", "help"):
            if line.strip() in ("", "help"):
                print(HELP)  # noqa: T201 - it is what was asked for
                return
            raise InvalidRequest(f"%%workflow takes a name, and a model with -m; not {line.strip()!r}.")
        found = workflow(asked["name"], model=asked["model"])
        found.begin(self._source)
        self._shell.user_ns.update(found.words() | {"wf": found})
        self._end()
        self._view = _View(found, Output(self._shell.display_pub))

    def _ended(self, _: Any) -> None:
        self._end()

    def _end(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None


class _View:
    """The calls of a workflow in the cell that makes them, twice a second at most."""

    def __init__(self, shown: Workflow, output: Output) -> None:
        self._workflow = shown
        self._output = output
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_shown = False
        self._end = shown.watch(self._news)

    def _news(self) -> None:
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(SHOWN_EVERY_S if self._is_shown else 0.05, self._show)
                self._timer.daemon = True
                self._timer.start()

    def _show(self) -> None:
        with self._lock:
            self._timer = None
            rows = self._workflow.calls
            if rows or self._is_shown:
                said = self._workflow.said[-1] if self._workflow.said else ""
                self._output.publish(calls_bundle(self._workflow.name, rows, said=said), update=self._is_shown)
                self._is_shown = True

    def close(self) -> None:
        """Shows how it ended."""
        self._end()
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._show()
