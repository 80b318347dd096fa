"""What an import says, in numbers."""

import json
from typing import Any

import jupyter_agent as ja


def lines(*values: Any) -> bytes:
    """JSON lines of these values."""
    return b"\n".join(json.dumps(value).encode() for value in values) + b"\n"


def imported(value: Any) -> Any:
    """The import of a JSON document, or of bytes as they are."""
    return ja.import_traces(value if isinstance(value, bytes) else json.dumps(value).encode())


def counts(found: Any) -> dict[str, Any]:
    usage = found.usage
    return {
        "runs": len(found.runs),
        "turns": len(found.turns),
        "messages": len(found.messages),
        "calls": len(found.tool_calls),
        "errors": found.errors,
        "in": usage.input_tokens,
        "out": usage.output_tokens,
        "read": usage.cache_read_tokens,
        "write": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
        "cost": None if usage.cost is None else round(usage.cost, 9),
    }


def unmapped(found: Any) -> dict[str, int]:
    frame = found.unmapped.df
    return dict(zip(frame["kind"], frame["count"], strict=True))
