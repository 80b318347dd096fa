"""What determines a call's answer, the key made of it, and how two calls differ.

Two calls with the same key may share a result; calls that could be answered differently have different keys. Label,
phase, budget and limits do not count: they say what people see and how long is waited, not what the answer is.
"""

import hashlib
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..exceptions import InvalidRequest
from ..records import canonical_json

KEY_VERSION: Final = 1
"""Part of every key: what counts has changed when this changes."""

_SHOWN_CHARS: Final = 300
_BEFORE_CHARS: Final = 60


class CallFields(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What determines the answer of a call, as the server resolved it.

    `model` is never None: the default is resolved. `settings` are the model's. `tools` maps the name of each tool to
    the hash of its schema. `agent` and `instructions` define the agent. `attachments` are digests in their order.
    `workflow` is the hash of a nested workflow. `source` is the code of a `step`'s function, `inputs` what it was
    given; its `prompt` is the function's name, and it has no model. What is left at its default is no part of the key,
    so that a field which a later version adds changes none.
    """

    prompt: str
    schema: dict[str, Any] | None = None
    model: str
    settings: dict[str, Any] = {}
    tools: dict[str, str] = {}
    agent: str | None = None
    instructions: str | None = None
    attachments: tuple[str, ...] = ()
    workflow: str | None = None
    source: str | None = None
    inputs: tuple[str, ...] = ()


class Difference(Struct, frozen=True, kw_only=True, rename="camel"):
    """The first field by which a call differs from an earlier one: what it was, and what it is now."""

    field: str
    was: str
    now: str


def digest_of(value: Any) -> str:
    """Returns SHA-256 of the value's canonical JSON, as hex. Raises InvalidRequest for NaN, infinity, and text that is
    not valid Unicode."""
    try:
        return hashlib.sha256(canonical_json(value).encode()).hexdigest()
    except (ValueError, TypeError, RecursionError) as fault:
        raise InvalidRequest(f"A call cannot be known by its content: {fault}.") from fault


def key_of(fields: CallFields) -> str:
    """Returns the key of a call. Raises InvalidRequest."""
    return digest_of([KEY_VERSION, msgspec.to_builtins(fields)])


def difference(now: CallFields, was: CallFields) -> Difference | None:
    """Returns the first field that differs, None where none does. What people change on purpose comes first."""
    for name in CallFields.__struct_fields__:
        before, after = getattr(was, name), getattr(now, name)
        if canonical_json(msgspec.to_builtins(before)) != canonical_json(msgspec.to_builtins(after)):
            old, new = _told(name, before, after)
            return Difference(field=name, was=old, now=new)
    return None


def _told(name: str, before: Any, after: Any) -> tuple[str, str]:
    """Returns both values as text, shortened around the place where they part."""
    if name == "tools":
        return _tools(before, after)
    old, new = (
        value if isinstance(value, str) else canonical_json(msgspec.to_builtins(value)) for value in (before, after)
    )
    if max(len(old), len(new)) <= _SHOWN_CHARS:
        return old, new
    start = max(0, _common(old, new) - _BEFORE_CHARS)
    return _window(old, start), _window(new, start)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(msgspec.to_builtins(value))


def _tools(before: dict[str, str], after: dict[str, str]) -> tuple[str, str]:
    """Names the tools that differ: hashes say nothing to people."""
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    gone, come = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    if not (gone or come):
        return f"{', '.join(changed)} as before", f"{', '.join(changed)} with another description or parameters"
    return ", ".join(gone) or "without them", ", ".join(come) or "without them"


def _common(old: str, new: str) -> int:
    for place, (one, other) in enumerate(zip(old, new, strict=False)):
        if one != other:
            return place
    return min(len(old), len(new))


def _window(text: str, start: int) -> str:
    cut = text[start : start + _SHOWN_CHARS]
    return f"{'…' if start else ''}{cut}{'…' if start + _SHOWN_CHARS < len(text) else ''}"
