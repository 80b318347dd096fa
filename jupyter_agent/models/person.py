"""The `person` stands where a model would: what is asked is put to people, and what they say is the run's answer.

The question is the run's input. What they are to decide or fill in stands in the request's settings: `gate` is a title
and a detail to say yes or no to, `schema` describes the form of an answer. It costs nothing.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import msgspec

from ..records import ToolResult, Usage
from .contract import CallEnded, CallStarted, Finished, ModelRequest, Piece, TextPiece

PERSON: Final = "person"
ASK_TOOL: Final = "ask_user"
GATE_TOOL: Final = "gate"
_FREE: Final = Usage(cost=0.0)


class PersonModel:
    """Asks in its first turn, and repeats what was said in its last."""

    name = PERSON
    context_max: int | None = None
    sees_images = False
    tools_first = False

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the one call that asks, then its result as the answer."""
        if request.turn == 0:
            name, arguments = _asked(request)
            yield CallStarted(index=0, name=name, arguments=msgspec.json.encode(arguments).decode())
            yield CallEnded(index=0)
            yield Finished(stop_reason="tool_calls", usage=_FREE, model=self.name)
            return
        yield TextPiece(_said(request))
        yield Finished(stop_reason="stop", usage=_FREE, model=self.name)


def _asked(request: ModelRequest) -> tuple[str, dict[str, Any]]:
    """Returns the tool that asks, with its arguments."""
    if (gate := request.settings.get("gate")) is not None:
        return GATE_TOOL, dict(gate)
    question = next(message.text for message in request.messages if message.role == "user")
    schema = request.settings.get("schema")
    return ASK_TOOL, {"prompt": question} | ({} if schema is None else {"schema": schema})


def _said(request: ModelRequest) -> str:
    parts = (part for message in reversed(request.messages) for part in reversed(message.parts))
    return next((part.content for part in parts if isinstance(part, ToolResult)), "")
