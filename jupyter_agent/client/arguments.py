"""The arguments of a workflow, which a person gives and a server is sent."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..exceptions import InvalidRequest
from ..records import clean


def plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments as plain data. Raises InvalidRequest naming one that is none."""
    cleaned = clean(dict(args))
    for name, value in cleaned.items():
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as fault:
            how = "give a frame as text, ja.profile(frame)" if hasattr(value, "dtypes") else "give text, numbers, lists"
            raise InvalidRequest(
                f"The argument {name!r} is a {type(value).__name__}, which cannot be sent: {how}."
            ) from fault
    return cleaned
