"""The calls of a workflow's pass as HTML and plain text: which were reused, which ran, and why."""

from collections.abc import Sequence
from typing import Protocol

from . import words
from .markup import Style
from .table import Cell, Table, table_html, table_text

COLUMNS = ("Phase", "Call", "State", "Why", "Tokens", "Time")
ASKING = "waiting for a person"
WHERE_TO_ANSWER = (
    'Answer it under "Agent: … waiting" in JupyterLab\'s status bar, in ja.ApprovalsView(), or with '
    "`jupyter agent approve` in a terminal."
)


NUMBERED = {"asking": ASKING, "running": "running", "waiting": "waiting", "failed": "failed"}


class CallLine(Protocol):
    """What is shown of a call."""

    @property
    def name(self) -> str: ...
    @property
    def phase(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def reused(self) -> bool | None: ...
    @property
    def why(self) -> str | None: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def saved_tokens(self) -> int | None: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def error(self) -> str | None: ...


def calls_bundle(workflow: str, calls: Sequence[CallLine], *, said: str = "") -> dict[str, str]:
    """Returns a MIME bundle of the calls; `said` is the last thing that the script told people."""
    # What goes on is looked for first, and a table shows its first rows.
    order = sorted(calls, key=lambda call: call.status == "done")
    if any(call.status == "asking" for call in calls):
        said = " · ".join(filter(None, (said, WHERE_TO_ANSWER)))
    shown = Table(title=summary(workflow, calls), columns=COLUMNS, rows=[_row(call) for call in order],
                  total=len(calls), remark=said)  # fmt: skip
    return {"text/html": table_html(shown), "text/plain": table_text(shown)}


def summary(workflow: str, calls: Sequence[CallLine]) -> str:
    """Returns the pass in a line: how many calls, how many of them from the store, what was spent and saved."""
    reused = sum(1 for call in calls if call.reused and call.status == "done")
    parts = [f"Workflow {workflow}: {words.count(len(calls), 'call')}, {reused} from the store"]
    numbers = {status: sum(1 for call in calls if call.status == status) for status in NUMBERED}
    parts += [f"{number} {NUMBERED[status]}" for status, number in numbers.items() if number]
    parts.append(f"{sum(call.tokens or 0 for call in calls):,} tokens spent")
    if saved := sum(call.saved_tokens or 0 for call in calls):
        parts.append(f"{saved:,} saved")
    return " · ".join(parts)


def _row(call: CallLine) -> list[Cell]:
    state, style = call.status, Style.NONE
    if call.status == "done":
        state, style = ("from the store", Style.GOOD) if call.reused else ("done", Style.NONE)
    elif call.status == "failed":
        style = Style.POOR
    elif call.status == "asking":
        state = ASKING
    why = f"{call.why or ''}{f' · {call.error}' if call.error else ''}"
    tokens = call.saved_tokens if call.reused else call.tokens
    counted = "" if tokens is None else f"{tokens:,} saved" if call.reused else f"{tokens:,}"
    seconds = "" if call.seconds is None or call.reused else words.duration(call.seconds)
    return [
        Cell(call.phase or ""), Cell(call.name), Cell(state, style=style), Cell(why), Cell(counted, is_number=True),
        Cell(seconds, is_number=True),
    ]  # fmt: skip
