"""What to say of a run to a person: one wording for reprs, terminals and notebooks."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from ..records import Approval, Effect, Outcome, RunStatus, Usage
from ..transcript import ToolCallView, Transcript
from .feed import Feed
from .transport import Link

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
WHERE_TO_APPROVE = 'click "Agent: … waiting" in JupyterLab\'s status bar, or run `jupyter agent approve` in a terminal'
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Returns text that can do nothing to a terminal: control and direction characters made visible."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str, most: int = 100) -> str:
    """Returns the text on one line, cut at `most` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


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


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def elapsed_s(seen: Transcript) -> float:
    """Seconds from the run's first event to its last one, to now while it goes on."""
    if seen.first_at is None:
        return 0.0
    end = seen.last_at if seen.status.is_terminal and seen.last_at else datetime.now(UTC)
    return max(0.0, (end - seen.first_at).total_seconds())


def arguments_line(call: ToolCallView, most: int = 80) -> str:
    """Returns a call's arguments as `name=value, …` on one line, as far as they have come."""
    text = call.approved_arguments or call.arguments
    try:
        given = json.loads(text)
    except ValueError:
        return one_line(text, most)
    if not isinstance(given, dict):
        return one_line(text, most)
    return one_line(", ".join(f"{name}={_value(value)}" for name, value in given.items()), most)


def _value(value: Any) -> str:
    """Returns a value as JSON; of a text of several lines, such as code, without the line breaks and indentation."""
    if isinstance(value, str) and "\n" in value:
        value = " ↵ ".join(line.strip() for line in value.splitlines() if line.strip())
    return json.dumps(value, ensure_ascii=False)


def call_line(call: ToolCallView) -> str:
    """Returns one tool call on one line: state, name, arguments, time."""
    return f"{call_symbol(call)} {call_name(call)}{call_state(call)}"


def call_name(call: ToolCallView) -> str:
    return f"{one_line(call.name)}({arguments_line(call)})"


def call_symbol(call: ToolCallView) -> str:
    if call.result is None:
        return "·"
    return "✗" if call.is_error else "✓"


def call_state(call: ToolCallView) -> str:
    if call.result is None:
        return " …" if call.started_at else ""
    time = f" {duration(call.latency_ms / 1000)}" if call.latency_ms is not None else ""
    if call.outcome in {Outcome.REJECTED, Outcome.INTERRUPTED, Outcome.TIMED_OUT, Outcome.UNKNOWN}:
        return f"{time} {call.outcome.replace('_', ' ')}"
    return time


def approval_line(approval: Approval) -> str:
    return f"{wants(approval)} ({approval.approval_id}): {WHERE_TO_APPROVE}"


def wants(approval: Approval) -> str:
    """Returns which tool wants to do what kind of thing."""
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
    arguments = picture.pop("arguments", None)
    lines = [f"{key}: {value if isinstance(value, str) else _json(value)}" for key, value in picture.items()]
    return warning + ("\n".join(lines) or _json(arguments if arguments is not None else approval.arguments))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def tokens(usage: Usage) -> str:
    """Returns the tokens of a usage, unknown where a provider reported none; empty before the first call."""
    if usage.unmeasured_requests and not usage.total_tokens:
        return "tokens unknown"
    if not usage.total_tokens:
        return ""
    cost = f", ${usage.cost:.4f}" if usage.cost else ""
    return f"{usage.total_tokens:,} tokens{cost}"


def status_line(feed: Feed) -> str:
    """Returns where a run stands: status, model, time, turns, calls, tokens, and the connection where it is bad."""

    def look(seen: Transcript) -> str:
        model = seen.started.model if seen.started else ""
        usage = seen.usage
        if seen.live_usage is not None:
            usage += Usage(
                input_tokens=seen.live_usage.input_tokens, output_tokens=seen.live_usage.output_tokens, requests=1
            )
        parts = [
            f"{SYMBOLS.get(seen.status, '▸')} {WORDS[seen.status]}",
            one_line(model),
            duration(elapsed_s(seen)) if seen.first_at else "",
            count(len(seen.turns), "turn") if seen.turns else "",
            count(len(seen.tool_calls), "tool call") if seen.tool_calls else "",
            tokens(usage),
        ]
        if not feed.is_done and feed.link not in {Link.CONNECTED, Link.IDLE}:
            parts.append(f"connection: {feed.link}")
        return " · ".join(part for part in parts if part)

    return feed.read(look)
