"""The code of a function as text, and what it is given: by which a step's result is known."""

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

from ..exceptions import InvalidRequest
from ..script.content import digest
from ..script.step import MAX_SOURCE_CHARS

SHOWN_CHARS: Final = 200
_PLAIN: Final = (type(None), bool, int, float, str, bytes)
_texts: WeakKeyDictionary[CodeType, str] = WeakKeyDictionary()


def source_of(fn: Callable[..., Any]) -> str:
    """Returns the code by which a function is known: its text, what it closes over, and the functions of its own module
    that it uses. A lambda is known by its compiled code, what has no code in Python by its name.

    Raises InvalidRequest for what is no function.
    """
    text = "\n".join(_parts(fn, set()))
    if len(text) <= MAX_SOURCE_CHARS:
        return text
    return f"{text[: MAX_SOURCE_CHARS // 2]}\n… sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def inputs_of(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a function is given, defaults too: a text for each parameter. Raises InvalidRequest for what cannot
    be known by its content, and TypeError for what the function does not take."""
    try:
        signature = inspect.signature(fn)
    except ValueError:
        named: dict[str, Any] = {str(place): value for place, value in enumerate(args)} | dict(kwargs)
    else:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
    return tuple(f"{name} = {_told(value, f'The input {name!r}')}" for name, value in named.items())


def _told(value: Any, what: str) -> str:
    """Returns a short value as Python writes it, and the type and digest of what is long or no plain value."""
    if isinstance(value, FunctionType):
        return f"function {hashlib.sha256(source_of(value).encode()).hexdigest()}"
    if _is_plain(value):
        text = repr(value)
        if len(text) <= SHOWN_CHARS:
            return text
        return f"{type(value).__name__} of {len(value):,} {hashlib.sha256(text.encode()).hexdigest()}"
    try:
        return f"{type(value).__name__} {digest(value)}"
    except InvalidRequest as fault:
        raise InvalidRequest(
            f"{what} cannot be known by its content: {fault.message} Give plain values, tables, arrays or files."
        ) from fault


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in (list, tuple):
        return all(map(_is_plain, value))
    if kind is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return kind in _PLAIN


def _parts(fn: Any, seen: set[int]) -> Iterator[str]:
    fn = inspect.unwrap(fn) if callable(fn) else fn
    if inspect.isbuiltin(fn) or inspect.isclass(fn):
        yield f"{fn.__module__}.{fn.__qualname__}"
        return
    if not isinstance(fn, FunctionType):
        raise InvalidRequest(
            f"step() takes a function and what it is given; {fn!r} is none. Write a function around it."
        )
    seen.add(id(fn))
    yield _text_of(fn)
    code = fn.__code__
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
        try:
            held = cell.cell_contents
        except ValueError:
            continue  # it is not set yet
        if not (isinstance(held, FunctionType) and id(held) in seen):
            yield f"# {name} = {_told(held, f'What it closes over as {name!r}')}"
    for name in sorted(_names(code)):
        used = fn.__globals__.get(name)
        if isinstance(used, FunctionType) and used.__module__ == fn.__module__ and id(used) not in seen:
            yield from _parts(used, seen)


def _text_of(fn: FunctionType) -> str:
    code = fn.__code__
    if (text := _texts.get(code)) is None:
        try:
            text = "" if fn.__name__ == "<lambda>" else textwrap.dedent(inspect.getsource(fn))
        except (OSError, TypeError):
            text = ""
        text = _texts[code] = text or f"{fn.__qualname__} compiled {_compiled(code)}"
    return text


def _compiled(code: CodeType) -> str:
    """Returns a digest of compiled code: what it does, not where it stands."""
    constants = [_compiled(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    said = (code.co_code.hex(), constants, code.co_names, code.co_varnames)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for one in code.co_consts:
        if isinstance(one, CodeType):
            names |= _names(one)
    return names
