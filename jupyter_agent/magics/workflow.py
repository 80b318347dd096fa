"""`%%workflow`: a cell with the words of a workflow, executed like any other.

The first line is made a line magic of its own, so that the rest stays plain Python: top-level `await`, tracebacks with
the right lines, variables that live on.
"""

import re
from typing import Any, Final

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from ..client.workflow import workflow
from ..exceptions import InvalidRequest
from ..widgets.workflow_cell import WorkflowCell

HELP: Final = """\
%%workflow NAME [-m MODEL] [--budget TOKENS]
    The cell below is a stretch of the workflow NAME: agent, ask, gate, workflow, parallel, pipeline, step, phase, log,
    args and budget are there, and wf, the workflow. Calls that were answered before, in whatever order, are answered
    from the store. The budget is what all live calls of a pass may take together; a call that does not fit is not
    started.

wf                    shows the calls of this pass; in a notebook with a button that stops them
wf.calls.df           the calls of this pass, which were reused and why
wf.explain("label")   the reason in a sentence
wf.new_pass()         let every result be claimed again
wf.plan()             what it would take to run all of it again: hits, live calls, tokens, with an interval
await step(fn, x)     the result of your own function, from the store while its code and x are the same
wf.budget             what the pass may spend and has spent
wf.forget("label")    delete stored results, so that these calls run live
wf.stop()             end the calls that go on
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
        self._view: WorkflowCell | None = None
        shell.events.register("post_run_cell", self._ended)
        transforms = shell.input_transformer_manager.cleanup_transforms
        names = [getattr(transform, "__name__", "") for transform in transforms]
        at = names.index("cell_magic") if "cell_magic" in names else len(names)
        transforms.insert(at, self._opened)

    def _opened(self, lines: list[str]) -> list[str]:
        """Makes the first line of a cell a line magic. Called for cells that are only looked at, too."""
        if not lines or (first := _FIRST.match(lines[0])) is None:
            self._source = ""
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
                if not line.strip() and self._source.strip():
                    # Its calls would be those of whatever workflow gave the notebook its words last.
                    raise InvalidRequest("The cell was not executed: %%workflow needs the name of a workflow.")
                return
            raise _wrong(line)
        found = workflow(asked["name"], **_options(asked["options"], line))
        cell = found.begin(self._source)
        self._shell.user_ns.update(found.words() | {"wf": found})
        self._end()
        self._view = WorkflowCell(found, cell, self._shell.display_pub)

    def _ended(self, _: Any) -> None:
        self._end()

    def _end(self) -> None:
        if self._view is not None:
            self._view.workflow.settle()
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
