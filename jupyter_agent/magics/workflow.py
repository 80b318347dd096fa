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
%%workflow NAME [-m MODEL] [--budget TOKENS]
    The cell below is a stretch of the workflow NAME: agent, ask, gate, workflow, parallel, pipeline, step, phase, log,
    args and budget are there, and wf, the workflow. Calls that were answered before, in whatever order, are answered
    from the store. The budget is what all live calls of a pass may take together; a call that does not fit is not
    started.

wf.calls.df           the calls of this pass, which were reused and why
wf.explain("label")   the reason in a sentence
wf.new_pass()         let every result be claimed again
wf.plan()             what it would take to run all of it again: hits, live calls, tokens, with an interval
await step(fn, x)     the result of your own function, from the store while its code and x are the same
wf.budget             what the pass may spend and has spent
wf.forget("label")    delete stored results, so that these calls run live
wf.save()             write the cells as a script
wf.export()           write them for the server, where they run by themselves, or say what keeps them from it
"""
_FIRST: Final = re.compile(r"%%workflow(?=\s|$)(?P<rest>.*)", re.DOTALL)
_LINE: Final = re.compile(r"\s*(?P<name>[^\s-]\S*)(?P<options>(?:\s+\S+)*)\s*$")
_OPTION: Final = re.compile(
    r"\s+(?:(?:-m|--model)(?:\s+|=)(?P<model>\S+)|--budget(?:\s+|=)(?P<budget>[\d_,]+))(?=\s|$)"
)


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
        """A cell with the words of a workflow: `%%workflow NAME [-m MODEL] [--budget TOKENS]`."""
        asked = _LINE.match(line)
        if asked is None or line.strip() in ("", "help"):
            if line.strip() in ("", "help"):
                print(HELP)  # noqa: T201 - it is what was asked for
                return
            raise _wrong(line)
        found = workflow(asked["name"], **_options(asked["options"], line))
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


def _options(said: str, line: str) -> dict[str, Any]:
    """Returns the model and the budget that the line names. Raises InvalidRequest for what else stands there."""
    found: dict[str, Any] = {}
    while said.strip():
        option = _OPTION.match(said)
        if option is None:
            raise _wrong(line)
        if option["model"]:
            found["model"] = option["model"]
        else:
            found["budget"] = int(option["budget"].replace(",", "").replace("_", "") or 0)
        said = said[option.end() :]
    return found


def _wrong(line: str) -> InvalidRequest:
    return InvalidRequest(
        f"%%workflow takes a name, a model with -m and tokens with --budget; not {line.strip()!r}. %%workflow help "
        "says more."
    )


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
