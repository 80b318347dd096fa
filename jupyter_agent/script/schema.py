"""What an answer must look like, said shortly: a JSON Schema, or a dict of name: type."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..exceptions import InvalidRequest

_NAMES = {
    **dict.fromkeys(("str", "string", "text"), "string"),
    **dict.fromkeys(("int", "integer"), "integer"),
    **dict.fromkeys(("float", "number"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("list", "array"), "array"),
    **dict.fromkeys(("dict", "object"), "object"),
    "null": "null",
}
_KEYWORDS = frozenset(
    ("$ref", "$defs", "properties", "items", "prefixItems", "enum", "const", "anyOf", "oneOf", "allOf", "not")
)


def schema_of(given: Any) -> dict[str, Any] | None:
    """Returns the JSON Schema of what was given as `schema=`.

    A JSON Schema stays as it is. `{"score": int, "notes": [str]}` is an object with exactly these fields; types are
    Python's (`int`, `list[str]`, `Literal["a", "b"]`, dataclasses), their names as text, a list with the type of its
    items, or a dict again. A pydantic model gives its own. Raises InvalidRequest.
    """
    if given is None:
        return None
    if isinstance(given, Mapping) and _is_json_schema(given):
        return dict(given)
    return _typed(given, "schema")


def _is_json_schema(given: Mapping[str, Any]) -> bool:
    if _KEYWORDS & given.keys() and not any(isinstance(value, type) for value in given.values()):
        return True
    kind = given.get("type")
    names = kind if isinstance(kind, list) else [kind]
    return all(name in ("string", "integer", "number", "boolean", "array", "object", "null") for name in names) and (
        len(given) == 1 or any(word in given for word in _SIBLINGS)
    )


_SIBLINGS = (
    *("description", "title", "default", "examples", "format", "pattern", "minLength", "maxLength", "minimum"),
    *("maximum", "minItems", "maxItems", "uniqueItems", "required", "additionalProperties", "multipleOf"),
)


def _typed(given: Any, where: str) -> dict[str, Any]:
    if isinstance(given, Mapping):
        if any(not isinstance(name, str) for name in given):
            raise InvalidRequest(f"The names in {where} must be text.")
        fields = {name: _nested(value, f"{where}.{name}") for name, value in given.items()}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    if isinstance(given, list):
        if len(given) != 1:
            raise InvalidRequest(f"{where} is a list of {len(given)}: write the one type of its items, like [str].")
        return {"type": "array", "items": _nested(given[0], f"{where}[]")}
    if isinstance(given, str):
        if given not in _NAMES:
            raise InvalidRequest(f"{where} names the type {given!r}. Known are: {', '.join(_NAMES)}.")
        return {"type": _NAMES[given]}
    if hasattr(given, "model_json_schema"):
        return dict(given.model_json_schema())
    try:
        return msgspec.json.schema(given)
    except (TypeError, RuntimeError) as fault:
        raise InvalidRequest(f"{where} is {given!r}, which is no type that JSON knows: {fault}.") from fault


def _nested(given: Any, where: str) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) and _is_json_schema(given) else _typed(given, where)
