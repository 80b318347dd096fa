"""What to say of a run to a person: one wording for reprs, terminals and notebooks.

What comes from people, models and tools passes through `plain` or `one_line` on its way to a screen.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from ..compact import CompactRun
from ..records import Approval, Decision, Effect, Outcome, RunStatus, Usage

WORDS = {
    RunStatus.PENDING: "starting",
    RunStatus.RUNNING: "running",
    RunStatus.WAITING_CONFIRMATION: "waiting for approval",
    RunStatus.WAITING_INPUT: "waiting for an answer",
    RunStatus.COMPLETED: "completed",
    RunStatus.ERROR: "failed",
    RunStatus.INTERRUPTED: "interrupted",
}
SYMBOLS = {
    RunStatus.COMPLETED: "✓",
    RunStatus.ERROR: "✗",
    RunStatus.INTERRUPTED: "■",
    RunStatus.WAITING_CONFIRMATION: "?",
    RunStatus.WAITING_INPUT: "?",
}
VERBS = {
    Effect.READ: "read",
    Effect.WRITE: "write",
    Effect.EXEC: "execute code",
    Effect.NETWORK: "use the network",
}
DECISIONS = {
    Decision.APPROVE: "approved",
    Decision.EDIT: "approved with changes",
    Decision.REJECT: "rejected",
    Decision.EXPIRED: "nobody decided in time",
}
WHERE_TO_APPROVE = (
    'in JupyterLab below the run, or under "Agent: … waiting" in the status bar; elsewhere run `jupyter agent approve` '
    "in a terminal"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class CallFacts(Protocol):
    """What a tool call must tell to be put into words."""

    @property
    def name(self) -> str: ...
    @property
    def result(self) -> str | None: ...
    @property
    def is_error(self) -> bool: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def latency_ms(self) -> float | None: ...
    @property
    def outcome(self) -> Outcome | None: ...


def plain(text: str) -> str:
    """Returns text that can do nothing to a terminal: control and direction characters made visible."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def origin(run: CompactRun) -> str:
    """Returns where a forked run comes from, nothing for another one."""
    if run.forked_from_run_id is None:
        return ""
    return f"Forked from {plain(run.forked_from_run_id)} before turn {run.forked_from_turn}"


def one_line(text: str, most: int = 100) -> str:
    """Returns the text on one line, cut at `most` characters."""
    looked_at = text[: most * 20]  # a result of megabytes gives a line of a hundred characters
    line = " ".join(plain(looked_at).split())
    return line if len(line) <= most and len(looked_at) == len(text) else f"{line[: most - 1]}…"


def duration(seconds: float) -> str:
    """Returns a time span as people write it: 4 ms, 1.3 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(at: datetime) -> str:
    """Returns a time to the minute, in UTC: who reads it may be anywhere."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tokens(usage: Usage) -> str:
    """Returns the tokens of a usage, unknown where a provider reported none; empty before the first call."""
    if usage.is_unmeasured:
        return "tokens unknown"
    if not usage.total_tokens:
        return ""
    cost = f", ${usage.cost:.4f}" if usage.cost else ""
    return f"{usage.total_tokens:,} tokens{cost}"


def standing(
    status: RunStatus, *, model: str, elapsed_s: float | None, turns: int, tool_calls: int, usage: Usage
) -> list[str]:
    """Returns where a run stands, part by part: status, model, time, turns, calls, tokens."""
    parts = [
        f"{SYMBOLS.get(status, '▸')} {WORDS[status]}",
        one_line(model),
        "" if elapsed_s is None else duration(elapsed_s),
        count(turns, "turn") if turns else "",
        count(tool_calls, "tool call") if tool_calls else "",
        tokens(usage),
    ]
    return [part for part in parts if part]


# --- tool calls -----------------------------------------------------------------------------------------------


def arguments_line(arguments: str, most: int = 80) -> str:
    """Returns a call's arguments as `name=value, …` on one line, as far as they have come."""
    given = _given(arguments)
    if given is None:
        return one_line(arguments, most)
    return one_line(", ".join(f"{name}={_value(value)}" for name, value in given.items()), most)


def arguments_text(arguments: str) -> str:
    """Returns a call's arguments to be read: a line each, and text of several lines, such as code, as it is."""
    given = _given(arguments)
    if given is None:
        return arguments
    return "\n".join(
        f"{name}:\n{value}" if isinstance(value, str) and "\n" in value else f"{name}: {_plain_value(value)}"
        for name, value in given.items()
    )


def _given(arguments: str) -> dict[str, Any] | None:
    """Returns arguments by name; None while they are not whole, and for what is no object."""
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _plain_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(value: Any) -> str:
    """Returns a value as JSON; of a text of several lines, such as code, without the line breaks and indentation."""
    if isinstance(value, str) and "\n" in value:
        value = " ↵ ".join(line.strip() for line in value.splitlines() if line.strip())
    return json.dumps(value, ensure_ascii=False)


def call_line(call: CallFacts, arguments: str) -> str:
    """Returns one tool call on one line: state, name, arguments, time."""
    return f"{call_symbol(call)} {call_name(call, arguments)}{call_state(call)}"


def call_name(call: CallFacts, arguments: str) -> str:
    return f"{one_line(call.name)}({arguments_line(arguments)})"


def call_symbol(call: CallFacts) -> str:
    if call.result is None:
        return "·"
    return "✗" if call.is_error else "✓"


def call_state(call: CallFacts) -> str:
    """Returns how long a call took and how it ended, where its symbol does not say it."""
    if call.result is None and call.outcome is None:
        return " …" if call.started_at else ""
    time = f" {duration(call.latency_ms / 1000)}" if call.latency_ms is not None else ""
    if call.outcome in {Outcome.REJECTED, Outcome.INTERRUPTED, Outcome.TIMED_OUT, Outcome.UNKNOWN}:
        return f"{time} {call.outcome.replace('_', ' ')}"
    return time


# --- approvals ------------------------------------------------------------------------------------------------


def approval_line(approval: Approval) -> str:
    return f"{wants(approval)} ({approval.approval_id}). Answer it {WHERE_TO_APPROVE}."


GATE = "gate"
"""The tool by which a workflow has a person decide whether it may go on."""


def wants(approval: Approval) -> str:
    """Returns which tool wants to do what kind of thing, or what a workflow has a person decide."""
    if approval.tool_name == GATE:
        return f"a workflow asks: {one_line(str((_given(approval.arguments) or {}).get('title', '')), 200)}"
    what = " and ".join(VERBS[effect] for effect in approval.effects) or "act"
    return f"{one_line(approval.tool_name)} wants to {what}"


def preview_text(approval: Approval) -> str:
    """Returns what exactly will happen, from the server's own picture of the call."""
    picture: dict[str, Any] = {key: value for key, value in approval.preview.items() if key not in {"hash", "tool"}}
    warning = f"{picture.pop('warning')}\n" if "warning" in picture else ""
    if "invisible" in picture:
        warning += f"made visible: {_json(picture.pop('invisible'))}\n"
    if isinstance(code := picture.get("code"), str):
        return warning + code
    if approval.tool_name == GATE:
        given = _given(approval.arguments) or {}
        return "\n".join(filter(None, (str(given.get(name, "")) for name in ("title", "detail"))))
    arguments = picture.pop("arguments", None)
    return warning + (_fields(picture) or _json(arguments if arguments is not None else approval.arguments))


def _fields(picture: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}: {value if isinstance(value, str) else _json(value)}" for key, value in picture.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
