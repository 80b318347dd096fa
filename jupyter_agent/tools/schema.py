"""What a tool accepts: from a function's signature to JSON Schema, and from a model's text to checked arguments."""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_type_hints

import msgspec
import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from msgspec import Struct
from referencing import Registry
from referencing.exceptions import Unresolvable

from ..exceptions import InvalidArguments
from ..records import MAX_DEPTH, ToolSpec, clean, is_deeper_than
from .contract import ToolContext
from .docstring import read_docstring
from .patterns import regex
from .repair import parse_json

MAX_PROBLEMS = 8
"""How many wrong fields a message names; the rest is counted."""


class Signature(Struct, frozen=True, kw_only=True):
    """What a function says of itself: JSON Schema for models, and a struct type that turns checked arguments into
    the parameters' own types. `context` is the name of the parameter that takes the ToolContext, if there is one."""

    name: str
    description: str
    parameters: dict[str, Any]
    arguments: type[Struct]
    context: str | None


def signature_of(function: Callable[..., Any]) -> Signature:
    """Returns what name, docstring and annotations of a function say. Raises TypeError where they say too little."""
    name = function.__name__
    hints = _type_hints(function)
    context: str | None = None
    fields: list[tuple[Any, ...]] = []
    parameters = inspect.signature(function).parameters
    told = read_docstring(function.__doc__, parameters)
    for parameter in parameters.values():
        hint = hints.get(parameter.name, Any)
        if hint is ToolContext:
            context = parameter.name
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"{name} cannot be a tool: its parameter {parameter} has no name that a model could use. "
                "Write each parameter by name, with a type."
            )
        fields.append(_field(parameter, hint, told.parameters.get(parameter.name)))
    try:
        arguments = msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)
        schema = _object_schema(arguments)
    except TypeError as error:
        raise TypeError(
            f"{name} cannot be a tool: {error}. Use types that JSON has: str, int, float, bool, list, dict, Literal, "
            "dataclasses."
        ) from error
    return Signature(name=name, description=told.text, parameters=schema, arguments=arguments, context=context)


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"{function.__name__} cannot be a tool: {error}; its annotations must be importable."
        ) from error


def _field(parameter: inspect.Parameter, hint: Any, description: str | None) -> tuple[Any, ...]:
    annotated = hint if description is None else Annotated[hint, msgspec.Meta(description=description)]
    default = parameter.default
    if default is parameter.empty:
        return parameter.name, annotated
    if isinstance(default, list | dict | set) and default:
        return parameter.name, annotated, msgspec.field(default_factory=lambda: type(default)(default))
    return parameter.name, annotated, default


def _object_schema(arguments: type[Struct]) -> dict[str, Any]:
    """Returns the struct's schema with the object itself at the top, as providers want it."""
    schema = msgspec.json.schema(arguments)
    definitions = schema["$defs"]
    top: dict[str, Any] = definitions.pop(schema["$ref"].rpartition("/")[2])
    top.pop("title", None)
    return {**top, "$defs": definitions} if definitions else top


# --- checking -------------------------------------------------------------------------------------------------


def validate(spec: ToolSpec, arguments: str) -> dict[str, Any]:
    """Returns the arguments of a call, cleaned. Raises InvalidArguments naming each wrong field.

    The text must be right JSON: nearly right JSON is the business of `repair_json`, whose repair is recorded.
    """
    try:
        value = parse_json(arguments)
    except ValueError as error:
        raise InvalidArguments(
            f"The arguments of {spec.name} are no valid JSON: {error}. They begin with {_shown(arguments)}. "
            "Send one JSON object."
        ) from error
    if not isinstance(value, dict):
        raise InvalidArguments(f"The arguments of {spec.name} are {_shown(value)}. Send one JSON object.")
    if is_deeper_than(MAX_DEPTH, value):
        raise InvalidArguments(f"The arguments of {spec.name} are nested deeper than {MAX_DEPTH} levels: flatten them.")
    cleaned = clean(value)
    problems = schema_problems(spec.parameters, cleaned)
    if problems:
        more = len(problems) - MAX_PROBLEMS
        listed = "; ".join(problems[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        known = ", ".join(spec.parameters.get("properties", {})) or "none"
        raise InvalidArguments(
            f"The arguments of {spec.name} do not fit: {listed}. Its arguments are: {known}. Correct the call.",
            details={"problems": problems[:MAX_PROBLEMS]},
        )
    return cleaned


def schema_problems(schema: dict[str, Any], value: Any) -> list[str]:
    """Returns a clause for each place where the value does not fit the JSON Schema. Fetches no references."""
    try:
        errors = sorted(_Validator(schema, registry=Registry()).iter_errors(value), key=lambda error: error.json_path)
        return list(dict.fromkeys(clause for error in errors for clause in _clauses(error)))
    except Unresolvable as error:
        return [f"the schema itself refers to {_shown(str(error.ref))}, which is nowhere in it"]
    except RecursionError:
        return ["the schema itself goes round in a circle"]


def check_schema(schema: dict[str, Any]) -> None:
    """Raises ValueError where this is no JSON Schema of an object."""
    check_any_schema(schema)
    if schema.get("type") != "object":
        raise ValueError(f"{_shown(schema)} does not describe an object: its type must be 'object'")


def check_any_schema(schema: dict[str, Any]) -> None:
    """Raises ValueError where this is no JSON Schema."""
    try:
        _Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        raise ValueError(f"{_shown(schema)} is no JSON Schema: {str(error).splitlines()[0]}") from error


def _clauses(error: ValidationError) -> Iterator[str]:
    where = error.json_path.removeprefix("$").removeprefix(".")
    field = where or "the object"
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            yield from (f"{where + '.' if where else ''}{name} is missing" for name in missing)
        case "additionalProperties" if error.validator_value is False:
            known = error.schema.get("properties", {})
            extra = [name for name in error.instance if name not in known]
            yield from (f"there is no argument {_shown(name)}{f' in {where}' if where else ''}" for name in extra)
        case "type":
            yield f"{field} must be {_kind(error.validator_value)}, not {_shown(error.instance)}"
        case "enum":
            options = ", ".join(json.dumps(option, ensure_ascii=False) for option in error.validator_value)
            yield f"{field} must be one of {options}, not {_shown(error.instance)}"
        case "anyOf" | "oneOf":
            kinds = [
                option.get("type", "another shape") for option in error.validator_value if isinstance(option, dict)
            ]
            yield f"{field} must be {' or '.join(map(_kind, kinds))}, not {_shown(error.instance)}"
        case keyword:
            yield f"{field} is {_shown(error.instance)}, which breaks {keyword} {_shown(error.validator_value)}"


def _kind(kind: Any) -> str:
    names = kind if isinstance(kind, list) else [kind]
    return " or ".join(f"{'an' if str(name)[:1] in 'aeiou' else 'a'} {name}" for name in names)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:80] + "…"


# --- patterns of schemas come from clients and servers: they are matched in linear time, never by `re` ------------


def _matches(pattern: str, text: str) -> bool | None:
    try:
        return regex(pattern).search(text) is not None
    except re2.error:
        return None  # a dialect that linear time does not know: whoever registered the schema checks it


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and _matches(pattern, instance) is False:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [n for n in instance if n not in known and not any(_matches(p, n) in (True, None) for p in patterns)]
    if isinstance(allowed, dict):
        for name in extra:
            yield from validator.descend(instance[name], allowed, path=name)
    elif allowed is False and extra:
        yield ValidationError(f"{extra} are not expected")


_Validator: Any = extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": None,
    },
)
