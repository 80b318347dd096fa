"""Looks into JSON that anybody wrote: what is not of the expected kind is as good as absent. Nothing here raises."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeGuard

from ..records import clean
from .long import LongList

LATEST_S = 32_503_680_000
"""The year 3000: a greater number is milliseconds, microseconds or nanoseconds."""


MOST = 10**12
"""More tokens than this no call has used: it is something else, and sums of it would leave 64 bits."""
DIGITS = 20
"""As many has the greatest whole number of 64 bits. To read many more takes long, and Python refuses to."""


def obj(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> Sequence[Any]:
    return value if is_list(value) else []


def is_list(value: Any) -> TypeGuard[list[Any] | LongList]:
    """Tells whether a value is a list of JSON, held in memory or not."""
    return isinstance(value, list | LongList)


def text(value: Any) -> str | None:
    """Returns a text that is not empty; a number as text, for ids are sometimes numbers."""
    if isinstance(value, str):
        return clean(value) or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """Returns a finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int | None:
    """Returns a number of things, None for what is no such number."""
    found = value if isinstance(value, int) and not isinstance(value, bool) else number(value)
    return int(found) if found is not None and 0 <= found <= MOST else None


def integer(value: Any) -> int | None:
    """Returns a whole number of at most 64 bits or so, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > DIGITS:
        return None
    try:
        found = int(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 10**DIGITS else None


def time(value: Any) -> datetime | None:
    """Returns a time: ISO 8601 (UTC where it names no zone), or seconds, milli-, micro- or nanoseconds since 1970."""
    if isinstance(value, str) and not value.isdigit():
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        try:
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError:
            return None
    seconds = number(value)
    if seconds is None or seconds <= 0:
        return None
    for _ in range(3):
        if seconds > LATEST_S:
            seconds /= 1_000
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def written(value: Any) -> str:
    """Returns a value as text: a text as it is, anything else as JSON, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    try:
        return clean(json.dumps(value, ensure_ascii=False, default=list))
    except (ValueError, TypeError, RecursionError):
        return clean(str(type(value).__name__))


def first(*values: Any) -> Any:
    """Returns the first value that is not None."""
    return next((value for value in values if value is not None), None)
