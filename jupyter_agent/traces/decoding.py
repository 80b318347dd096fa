"""JSON as it is found in logs: whole values, from bytes."""

import codecs
import json
from collections.abc import Callable
from typing import Any

import msgspec

from ..records import MAX_DEPTH, is_deeper_than

Miss = Callable[[str, str], None]
"""Told of what cannot be mapped: its kind, and where it stands."""


class TooDeep(ValueError):
    """JSON that is nested deeper than `MAX_DEPTH`: whoever reads it recurses."""

    def __init__(self) -> None:
        super().__init__(f"it is nested deeper than {MAX_DEPTH} levels")


def decode(data: bytes, place: str, miss: Miss | None, *, levels: int = MAX_DEPTH) -> Any:
    """Returns a JSON value. NaN and infinite numbers, which JSON has not but logs have, become None and are counted.

    Raises TooDeep for more than so many levels, and ValueError for what is no JSON.
    """
    value = _decoded(data, place, miss)
    if is_deeper_than(levels, value):
        raise TooDeep
    return value


def _decoded(data: bytes, place: str, miss: Miss | None) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass

    def constant(name: str) -> None:
        if miss is not None:
            miss(f"number that is none: {name}", place)

    # As text: of bytes alone it would be guessed in which encoding they are.
    said = data.removeprefix(codecs.BOM_UTF8).decode(errors="surrogatepass")
    try:
        return json.loads(said, parse_constant=constant, strict=False)
    except RecursionError as fault:
        raise TooDeep from fault


def reason(fault: ValueError) -> str:
    """Returns why bytes are no JSON that is read, as the end of a sentence."""
    if isinstance(fault, UnicodeDecodeError):
        return f"byte {fault.start:,} is no text in UTF-8"
    return str(fault).rstrip(".")
