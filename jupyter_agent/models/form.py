"""How a model is told in which form its last message has to be, and how an offline one reads that again."""

import json
from collections.abc import Mapping
from typing import Any, Final

from ..records import canonical_json

_BEGIN: Final = (
    "Your last message must be JSON alone, with nothing before or after it, that satisfies this JSON Schema:\n"
)


def form_of(schema: Mapping[str, Any]) -> str:
    """Returns what a model is told of the form of its answer."""
    return _BEGIN + canonical_json(schema)


def schema_in(instructions: str) -> dict[str, Any] | None:
    """Returns the JSON Schema that instructions end with, None where they ask for no form."""
    _, asked, schema = instructions.rpartition(_BEGIN)
    if not asked:
        return None
    try:
        found = json.loads(schema)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
