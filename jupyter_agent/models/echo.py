"""The `echo` model repeats its input as fast as it can be read: for load tests.

`echo:64` cuts it into pieces of 64 characters, so that the number of pieces is known; plain `echo` sends words.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from ..exceptions import InvalidRequest
from ..records import Usage
from .answer import Pace
from .contract import Finished, ModelRequest, Piece, TextPiece
from .prompt import estimate_tokens, prompt_bytes

PIECES_BEFORE_OTHERS = 64


class EchoModel:
    """Repeats the last message of the person. `chunk` is in characters, 0 for words."""

    context_max: int | None = None
    sees_images = True
    tools_first = False

    def __init__(self, chunk: int = 0) -> None:
        if chunk < 0:
            raise InvalidRequest(
                f"The echo model cannot cut its input into pieces of {chunk} characters: give 1 or more."
            )
        self._pace = Pace(chunk=chunk)

    @property
    def name(self) -> str:
        return f"echo:{self._pace.chunk}" if self._pace.chunk else "echo"

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the input back; other tasks get their turn every few pieces."""
        text = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
        for count, piece in enumerate(self._pace.cut(text)):
            if count % PIECES_BEFORE_OTHERS == 0:
                await asyncio.sleep(0)
            yield TextPiece(piece)
        usage = Usage(
            input_tokens=estimate_tokens(prompt_bytes(request)), output_tokens=estimate_tokens(text), requests=1
        )
        yield Finished(stop_reason="stop", usage=usage, model=self.name)
