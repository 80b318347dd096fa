"""A form at a terminal: the fields of a JSON Schema, a line each, as the JSON that answers the question."""

import json
from collections.abc import Callable
from typing import Any, Final

_PLAIN: Final = ("string", "integer", "number", "boolean")
_YES: Final = {"yes": True, "y": True, "no": False, "n": False}


def described(schema: dict[str, Any]) -> list[str]:
    """Returns a line for each field: name, type, what it is for, and whether it may be left out."""
    required = schema.get("required", [])
    return [
        "  ".join(filter(None, (name, _kind(field), _purpose(field), "" if name in required else "(may be empty)")))
        for name, field in _fields(schema).items()
    ]


def filled(schema: dict[str, Any], ask: Callable[[str], str]) -> str | None:
    """Asks for each field and returns the JSON text; None where the first line is left empty. What is no plain value is
    taken as JSON; whether all of it fits is for the gateway to say."""
    values: dict[str, Any] = {}
    for place, (name, field) in enumerate(_fields(schema).items()):
        said = ask(f"{name} ({_kind(field)}){' (empty: later)' if place == 0 else ''}: ").strip()
        if not said and place == 0:
            return None
        if said:
            values[name] = _value(said, field)
    return json.dumps(values, ensure_ascii=False)


def _fields(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: field if isinstance(field, dict) else {} for name, field in schema.get("properties", {}).items()}


def _purpose(field: dict[str, Any]) -> str:
    return str(field.get("description", ""))


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    return str(field["type"]) if field.get("type") in _PLAIN else "JSON"


def _value(said: str, field: dict[str, Any]) -> Any:
    if field.get("type") == "boolean" and said.lower() in _YES:
        return _YES[said.lower()]
    if field.get("type") == "string" or said in field.get("enum", ()):
        return said
    try:
        return json.loads(said)
    except ValueError:
        return said
