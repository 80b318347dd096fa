"""Turns what came over REST into records, and names every field that is wrong, not only the first."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from ..exceptions import InvalidRequest

T = TypeVar("T")

MAX_NAMED: Final = 50


def checked(value: Any, kind: type[T], *, strict: bool = True, what: str = "request body") -> T:
    """Returns the value as this type. Raises InvalidRequest whose `details["fields"]` has a sentence for each wrong
    field; with `strict` False texts count as the numbers and truths that they spell."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as first:
        fields = dict(list(_faults(value, kind, "", strict=strict).items())[:MAX_NAMED])
        fields = fields or {"": str(first)}
        named = "; ".join(f"{name or 'the whole'}: {fault}" for name, fault in fields.items())
        raise InvalidRequest(f"The {what} is wrong in {named}.", details={"fields": fields}) from first


def _faults(value: Any, kind: Any, path: str, *, strict: bool) -> dict[str, str]:
    """Returns the faults of a value by path: of each field where there are fields, else of the whole."""
    struct = _struct_in(kind)
    if struct is not None and isinstance(value, Mapping):
        return _struct_faults(value, struct, path, strict=strict)
    item = _item_in(kind)
    if item is not None and isinstance(value, list):
        found: dict[str, str] = {}
        for number, one in enumerate(value):
            found |= _faults(one, item, f"{path}[{number}]", strict=strict)
        if found:
            return found
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as fault:
        return {path: str(fault)}
    return {}


def _struct_faults(value: Mapping[str, Any], struct: type, path: str, *, strict: bool) -> dict[str, str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    prefix = f"{path}." if path else ""
    found: dict[str, str] = {}
    for name, field in fields.items():
        if name in value:
            found |= _faults(value[name], field.type, f"{prefix}{name}", strict=strict)
        elif field.required:
            found[f"{prefix}{name}"] = "is missing"
    if struct.__struct_config__.forbid_unknown_fields:  # type: ignore[attr-defined]
        known = ", ".join(fields)
        found |= {f"{prefix}{name}": f"is not known; known are {known}" for name in value if name not in fields}
    return found


def _options(kind: Any) -> list[Any]:
    return [*get_args(kind)] if get_origin(kind) in (Union, UnionType) else [kind]


def _struct_in(kind: Any) -> type | None:
    """The one untagged struct that a value of this type can be."""
    structs = [one for one in _options(kind) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return structs[0] if len(structs) == 1 and structs[0].__struct_config__.tag is None else None


def _item_in(kind: Any) -> Any:
    """The type of the items of a list of structs."""
    for one in _options(kind):
        if get_origin(one) in (tuple, list) and _struct_in(get_args(one)[0]) is not None:
            return get_args(one)[0]
    return None
