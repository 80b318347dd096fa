"""Makes functions of this process tools of its runs: `@ja.tool`.

The name, docstring and signature say to the model what the tool is; arguments are validated before the function is
called.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from ..exceptions import InvalidArguments, InvalidRequest
from ..records import Effect, ToolSpec, clean

P = ParamSpec("P")
R = TypeVar("R")

NAME_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
RESERVED = frozenset({"run_cell"})
RESULT_CAP = 200_000
"""Characters of one result: the rest is cut, since a frame must stay under 1 MiB."""


_DEFAULT = msgspec.field(default=None)


class ClientTool(Generic[P, R]):
    """A function that runs may call. Calling it yourself is calling the function."""

    def __init__(self, function: Callable[P, R], spec: ToolSpec, arguments: type[msgspec.Struct]) -> None:
        self.spec = spec
        self.function = function
        self._arguments = arguments
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.spec.name}{inspect.signature(self.function)}>"

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def bind(self, arguments: str) -> dict[str, Any]:
        """Returns the keyword arguments of a call. Raises InvalidArguments naming what does not fit."""
        try:
            values = msgspec.json.decode(arguments or "{}", type=self._arguments)
        except (msgspec.DecodeError, UnicodeError) as misfit:
            raise InvalidArguments(f"The arguments of {self.spec.name} do not fit: {misfit}.") from misfit
        given = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
        return {name: getattr(values, name) for name in given}


class Toolbox:
    """The client tools of a process by name. Defining a function again replaces it, as re-running a cell does."""

    def __init__(self) -> None:
        self._tools: dict[str, ClientTool[Any, Any]] = {}

    def add(self, tool: ClientTool[Any, Any]) -> None:
        self._tools[tool.spec.name] = tool

    def pick(
        self, wanted: Iterable[str | Callable[..., Any]] | None
    ) -> tuple[tuple[str, ...] | None, tuple[ClientTool[Any, Any], ...]]:
        """Returns the names of the server's tools to ask for and the client tools that go along.

        None wants the server's default tools and all of this process; a function that is no tool becomes one for
        this run.
        """
        if wanted is None:
            return None, tuple(self._tools.values())
        if isinstance(wanted, str):
            wanted = [name.strip() for name in wanted.split(",") if name.strip()]
        own: dict[str, ClientTool[Any, Any]] = {}
        names: list[str] = []
        for item in wanted:
            made = self._tools.get(item) if isinstance(item, str) else as_tool(item)
            if made is not None:
                own[made.spec.name] = made
            else:
                names.append(str(item))
        return tuple(dict.fromkeys(names)), tuple(own.values())


def as_tool(function: Callable[..., Any]) -> ClientTool[Any, Any]:
    """Returns the function as a tool with the defaults of `@ja.tool`, without registering it."""
    return function if isinstance(function, ClientTool) else describe(function)


def describe(
    function: Callable[P, R],
    *,
    name: str | None = None,
    effects: Iterable[str] = (Effect.READ,),
    idempotent: bool = False,
    timeout_s: float = 120.0,
) -> ClientTool[P, R]:
    """Returns the tool that a function makes. Raises InvalidRequest for one that a model could not call."""
    name = name or function.__name__
    if not re.fullmatch(NAME_PATTERN, name) or name in RESERVED:
        raise InvalidRequest(
            f"{name!r} cannot name a tool: use letters, digits, _ and -, at most 64, and none of "
            f"{', '.join(sorted(RESERVED))}. Give another with `@ja.tool(name=…)`."
        )
    try:
        kinds = tuple(Effect(effect) for effect in ([effects] if isinstance(effects, str) else effects))
    except ValueError as unknown:
        raise InvalidRequest(f"{unknown}: effects are {', '.join(Effect)}.") from unknown
    arguments = _arguments_of(function, name)
    spec = ToolSpec(
        name=name, description=inspect.cleandoc(function.__doc__ or name), parameters=_schema(arguments, function),
        effects=kinds, idempotent=idempotent, timeout_s=timeout_s, client=True,
    )  # fmt: skip
    return ClientTool(function, spec, arguments)


def _arguments_of(function: Callable[..., Any], name: str) -> type[msgspec.Struct]:
    """Returns a struct with a field for each parameter: it validates, converts and gives the schema."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as unknown:
        raise InvalidRequest(f"The annotations of tool {name!r} cannot be resolved: {unknown}.") from unknown
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise InvalidRequest(
                f"Tool {name!r} has the parameter {parameter}: a model gives arguments by name, so write each as "
                "a named parameter."
            )
        kind = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, kind))
        else:
            # Only whether it was given matters: the function has its own default.
            fields.append((parameter.name, kind | None if parameter.default is None else kind, _DEFAULT))
    arguments = msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)
    try:
        msgspec.json.schema(arguments)
    except TypeError as unknown:
        raise InvalidRequest(
            f"Tool {name!r} has a parameter of a type that a model cannot send: {_last_line(unknown)}. Use str, "
            "int, float, bool, list, dict, Literal or None; look live objects up by their name inside of the function."
        ) from unknown
    return arguments


def _last_line(fault: Exception) -> str:
    return str(fault).strip().splitlines()[-1].rstrip(".")


def _schema(arguments: type[msgspec.Struct], function: Callable[..., Any]) -> dict[str, Any]:
    schema = msgspec.json.schema(arguments)
    definitions: dict[str, Any] = schema["$defs"]
    root: dict[str, Any] = definitions.pop(schema["$ref"].rsplit("/", 1)[-1])
    root.pop("title", None)
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name, text in _parameter_texts(function.__doc__ or "").items():
        if name in root["properties"]:
            root["properties"][name] = {**root["properties"][name], "description": text}
    for name, value in defaults.items():
        if value is not inspect.Parameter.empty and _is_json(value):
            root["properties"][name] = {**root["properties"][name], "default": value}
    return {**root, "$defs": definitions} if definitions else root


def _parameter_texts(docstring: str) -> Mapping[str, str]:
    """Returns what an `Args:` section says of each parameter: lines `name: text` or `name (type): text`."""
    section = re.search(
        r"^(?:Args|Arguments|Parameters):\s*\n((?:[ \t]+.*\n?|\s*\n)+)", inspect.cleandoc(docstring), re.MULTILINE
    )
    found = re.findall(r"^\s+(\w+)(?:\s*\([^)]*\))?:\s*(.+)$", section[1], re.MULTILINE) if section else []
    return dict(found)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def result_text(value: Any) -> str:
    """Returns what the model reads of a result: text as it is, JSON where it can be, else its repr; cut at a cap."""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, msgspec.MsgspecError):
            text = repr(value)
    text = clean(text)
    if len(text) > RESULT_CAP:
        return f"{text[:RESULT_CAP]}\n… cut: {len(text):,} characters, of which these are the first {RESULT_CAP:,}."
    return text


@overload
def tool(function: Callable[P, R], /) -> ClientTool[P, R]: ...


@overload
def tool(
    *, name: str | None = None, effects: Iterable[str] = ..., idempotent: bool = False, timeout_s: float = 120.0
) -> Callable[[Callable[P, R]], ClientTool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effects: Iterable[str] = (Effect.READ,),
    idempotent: bool = False,
    timeout_s: float = 120.0,
) -> Any:
    """Makes a function of this process a tool of the runs that it starts from now on.

    `effects` says what a call can do ("read", "write", "exec", "network"): what does more than read asks first.
    `idempotent` allows it to run again after a crash; `timeout_s` bounds one call, in seconds. Raises
    InvalidRequest for a function that a model could not call.

        @ja.tool
        def rows_where(column: str, value: str) -> int:
            "Counts the rows of df whose column has this value."
            return int((df[column] == value).sum())
    """
    from .session import session

    def register(function: Callable[..., Any]) -> ClientTool[..., Any]:
        made = describe(function, name=name, effects=effects, idempotent=idempotent, timeout_s=timeout_s)
        session().toolbox.add(made)
        return made

    return register if function is None else register(function)
