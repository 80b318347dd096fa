"""Turns faults that the gateway names by code back into the exceptions of the tree."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ..exceptions import AgentError


@cache
def _classes() -> Mapping[str, type[AgentError]]:
    return {cls.code: cls for cls in _tree(AgentError)}


def _tree(cls: type[AgentError]) -> Iterator[type[AgentError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def fault(code: str, message: str, details: Mapping[str, Any] | None = None) -> AgentError:
    """Returns the exception of a wire fault. A code that this version does not know becomes a plain AgentError with
    the code in its details."""
    cls = _classes().get(code)
    if cls is None:
        return AgentError(message, details={"code": code, **(details or {})})
    return cls(message, details=details)
