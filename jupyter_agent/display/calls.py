"""The calls of a workflow for people: which were reused, which ran, and why. As data for our view, as HTML, as text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol

from . import words
from .markup import Style
from .table import VIEW_MIME, Cell, Table, table_html, table_text

SCHEMA_VERSION: Final = 1
KIND: Final = "workflow"
"""How our renderer knows that a view shows calls."""

COLUMNS: Final = ("Phase", "Call", "State", "Why", "Model", "Tokens", "Time")
STATES: Final = {"waiting": "waits for a person", "done": "ran live"}
"""What people call a status, where it is not its own word."""
WHERE_TO_ANSWER: Final = (
    'Answer it under "Agent: … waiting" in JupyterLab\'s status bar, in ja.ApprovalsView(), or with '
    "`jupyter agent approve` in a terminal."
)

NAME_CHARS: Final = 120
WHY_CHARS: Final = 200
CHANGE_CHARS: Final = 40
"""Characters of each of two values that stand beside each other."""
ALIKE_CHARS: Final = 8
"""Where so many characters go on alike after a word, it is the word that changed, and what else did comes later."""
LOG_LINES: Final = 200
LOG_CHARS: Final = 500


class Change(Protocol):
    """The first field by which a call differs from an earlier one."""

    @property
    def field(self) -> str: ...
    @property
    def was(self) -> str: ...
    @property
    def now(self) -> str: ...


class CallLine(Protocol):
    """What is shown of a call."""

    @property
    def number(self) -> int: ...
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
    def difference(self) -> Change | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def run_id(self) -> str | None: ...
    @property
    def tries(self) -> int: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def saved_tokens(self) -> int | None: ...
    @property
    def saved_cost(self) -> float | None: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def silent_since(self) -> datetime | None: ...
    @property
    def error(self) -> str | None: ...


# --- in words -------------------------------------------------------------------------------------------------


def summary(workflow: str, calls: Sequence[CallLine]) -> str:
    """Returns the calls in a line: how many, how many of them from the store, what was spent and saved."""
    sums = sums_of(calls)
    parts = [f"Workflow {workflow}: {headline(sums)}"]
    stalled = sum(call.status == "running" and call.silent_since is not None for call in calls)
    said = {"running": f" ({stalled} stalled)" if stalled else ""}
    parts += [
        f"{sums[status]} {status}{said.get(status, '')}" for status in ("running", "queued", "failed") if sums[status]
    ]
    if sums["waiting"]:
        parts.append(f"{sums['waiting']} waiting for a person")
    parts.append(f"{sums['tokens']:,} tokens spent{_money(sums['cost'])}")
    if sums["savedTokens"]:
        parts.append(f"{sums['savedTokens']:,} saved{_money(sums['savedCost'])}")
    return " · ".join(parts)


def headline(sums: Mapping[str, Any]) -> str:
    """Returns how many of the calls came from the store."""
    return f"{sums['reused']:,} of {words.count(sums['calls'], 'call')} from the store"


def _money(dollars: float) -> str:
    return f" (${dollars:.4f})" if dollars else ""


def change(difference: Change) -> str:
    """Returns in which way a field changed, on one line: only what is different, as whole words."""
    return _change(difference.was, difference.now)


@lru_cache(maxsize=4_096)  # a view is told it many times
def _change(before: str, after: str) -> str:
    was, now = (words.one_line(value, 10_000) for value in (before, after))
    start, end = _common(was, now), 0
    while start and (_is_in_word(was, start) or _is_in_word(now, start)):
        start -= 1
    while end < min(len(was), len(now)) - start and was[-1 - end] == now[-1 - end]:
        end += 1
    while end and (_is_in_word(was, len(was) - end) or _is_in_word(now, len(now) - end)):
        end -= 1
    old, new = (words.one_line(value[start : len(value) - end], CHANGE_CHARS) for value in (was, now))
    if not old and not new:
        return "white space"
    if not old or not new:
        return f"{new} added" if new else f"{old} left out"
    first, other = (_word(value, start) for value in (was, now))
    goes_on = was[start + len(first) :][:ALIKE_CHARS] == now[start + len(other) :][:ALIKE_CHARS]
    if first and other and len(first) < len(old) and goes_on:
        return f"{words.one_line(first, CHANGE_CHARS)} → {words.one_line(other, CHANGE_CHARS)} …"
    return f"{old} → {new}"


def _word(text: str, start: int) -> str:
    end = next((at for at in range(start, len(text)) if not _is_word(text[at])), len(text))
    return text[start:end]


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _is_in_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _is_word(text[at - 1]) and _is_word(text[at])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


# --- as data --------------------------------------------------------------------------------------------------


def sums_of(calls: Sequence[CallLine]) -> dict[str, Any]:
    """Returns how many calls there are, in which status, and what they spent and saved, in tokens and US dollars; what
    is unknown of it is left out."""
    numbers = {
        status: sum(1 for call in calls if call.status == status)
        for status in ("queued", "waiting", "running", "done", "failed")
    }
    return {
        "calls": len(calls),
        "reused": sum(1 for call in calls if call.reused and call.status == "done"),
        **numbers,
        "tokens": sum(call.tokens or 0 for call in calls),
        "cost": sum(call.cost or 0.0 for call in calls),
        "savedTokens": sum(call.saved_tokens or 0 for call in calls),
        "savedCost": sum(call.saved_cost or 0.0 for call in calls),
    }


def row_of(call: CallLine, now: datetime) -> dict[str, Any]:
    """Returns a call as a view is told it, without what it does not know; times in seconds."""
    elapsed = call.seconds
    if call.status == "running" and call.started_at is not None:
        elapsed = max(0.0, (now - call.started_at).total_seconds())
    said = {
        "number": call.number, "name": words.one_line(call.name, NAME_CHARS), "phase": call.phase,
        "status": call.status, "reused": call.reused, "why": call.why and words.one_line(call.why, WHY_CHARS),
        "change": call.difference and change(call.difference), "model": call.model, "runId": call.run_id,
        "tries": call.tries if call.tries > 1 else None, "tokens": call.tokens, "cost": call.cost or None,
        "savedTokens": call.saved_tokens or None, "savedCost": call.saved_cost or None, "seconds": elapsed,
        "silent": _silent_s(call, now), "error": call.error and words.one_line(call.error, WHY_CHARS),
    }  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


def _silent_s(call: CallLine, now: datetime) -> float | None:
    """Returns for how many seconds nothing has come of a call that is stalled, None of any other."""
    if call.status != "running" or call.silent_since is None:
        return None
    return max(0.0, (now - call.silent_since).total_seconds())


def calls_data(
    workflow: str, calls: Sequence[CallLine], *, now: datetime, said: Sequence[str] = (), seconds: float | None = None
) -> dict[str, Any]:
    """Returns what a view shows: sums, a row a call, and the last lines that the script told people."""
    log = [line[:LOG_CHARS] for line in said[-LOG_LINES:]]
    return {
        "workflow": workflow, "title": f"{workflow}: {headline(sums_of(calls))}", "sums": sums_of(calls),
        "seconds": seconds, "at": now.isoformat(), "log": log, "earlierLog": len(said) - len(log), "leftOut": 0,
        "rows": [row_of(call, now) for call in calls],
    }  # fmt: skip


# --- for everybody else ---------------------------------------------------------------------------------------


def calls_table(workflow: str, calls: Sequence[CallLine], *, said: str = "") -> Table:
    """Returns the calls as a table; `said` is the last thing that the script told people."""
    # What goes on is looked for first, and a table shows its first rows.
    order = sorted(calls, key=lambda call: call.status == "done")
    if any(call.status == "waiting" for call in calls):
        said = " · ".join(filter(None, (said, WHERE_TO_ANSWER)))
    return Table(
        title=summary(workflow, calls), columns=COLUMNS, rows=[_cells(call) for call in order], total=len(calls),
        remark=said,
    )  # fmt: skip


def calls_bundle(kept: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Returns the MIME bundle of calls: data for our renderer, HTML and plain text."""
    return {
        VIEW_MIME: {"schemaVersion": SCHEMA_VERSION, "kind": KIND, **kept}, "text/html": table_html(table),
        "text/plain": table_text(table),
    }  # fmt: skip


def _cells(call: CallLine) -> list[Cell]:
    state, style = STATES.get(call.status, call.status), Style.NONE
    if call.status == "done" and call.reused:
        state, style = "from the store", Style.GOOD
    elif call.status in ("failed", "waiting"):
        style = Style.POOR if call.status == "failed" else Style.FAIR
    elif call.status == "running" and call.silent_since is not None:
        state, style = f"stalled: nothing since {words.moment(call.silent_since)}", Style.FAIR
    changed = f": {change(call.difference)}" if call.difference else ""
    why = f"{call.why or ''}{changed}{f' · {call.error}' if call.error else ''}"
    tokens = call.saved_tokens if call.reused else call.tokens
    counted = "" if tokens is None else f"{tokens:,} saved" if call.reused else f"{tokens:,}"
    seconds = "" if call.seconds is None or call.reused else words.duration(call.seconds)
    return [
        Cell(call.phase or ""), Cell(call.name), Cell(state, style=style), Cell(why), Cell(call.model or ""),
        Cell(counted, is_number=True), Cell(seconds, is_number=True),
    ]  # fmt: skip
