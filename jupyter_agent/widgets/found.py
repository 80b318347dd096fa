"""The run that a view is asked for: a `Run`, or the id of one."""

from typing import Any

from ..client import front
from ..client.run import Run
from ..exceptions import InvalidRequest, NotFound, RunNotFound


def found_run(run: Any, view: str) -> Run:
    """Returns the run that a view is to show. Raises InvalidRequest, RunNotFound."""
    if isinstance(run, Run):
        return run
    if not isinstance(run, str) or not run:
        raise InvalidRequest(
            f"A {view} shows a run, and {run!r} is none: give what `ja.run(…)` returned, or a run's id."
        )
    try:
        return front.open(run)
    except NotFound:
        raise RunNotFound(
            f"The gateway of this kernel knows no run {run[:128]!r}. It was deleted, or it belongs to another server: "
            "connect there with `ja.connect(url, token)`. `ja.runs()` lists what is here."
        ) from None
