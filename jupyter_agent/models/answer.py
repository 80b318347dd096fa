"""A whole answer, and the pace at which an offline model streams it."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator

from msgspec import Struct

from .contract import CallEnded, CallPiece, CallStarted, Piece, TextPiece, ThinkingPiece

_WORD = re.compile(r"\s*\S+\s*|\s+")


class Pace(Struct, frozen=True, kw_only=True):
    """How text streams: `chunk` characters a piece (0: a word), `delay_s` seconds before each piece."""

    chunk: int = 0
    delay_s: float = 0.0

    def cut(self, text: str) -> Iterator[str]:
        """Yields the text in pieces; joined they are the text."""
        if self.chunk:
            yield from (text[start : start + self.chunk] for start in range(0, len(text), self.chunk))
        else:
            yield from _WORD.findall(text)

    def beat(self) -> "Beat":
        """Starts to count when pieces are due."""
        return Beat(self.delay_s)


class Beat:
    """When pieces are due, counted from its start: timers ring late, and what one was late the next are not."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()

    async def tick(self) -> None:
        """Waits until the next piece is due; other tasks run meanwhile even where there is no delay."""
        self._due += self._delay_s
        await asyncio.sleep(self._due - self._loop.time())


class Call(Struct, frozen=True, kw_only=True):
    """A tool call to stream; `arguments` is its text, valid JSON or not."""

    name: str
    arguments: str
    provider_id: str | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What a model says in one turn, in the order in which it streams: thinking, text, tool calls."""

    thinking: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()

    @property
    def stop_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"


async def stream_thinking(
    content: str, pace: Pace, *, signature: str | None = None
) -> AsyncGenerator[ThinkingPiece, None]:
    """Streams reasoning; the signature, where there is one, comes with an empty last piece."""
    beat = pace.beat()
    for piece in pace.cut(content):
        await beat.tick()
        yield ThinkingPiece(piece)
    if signature is not None:
        yield ThinkingPiece("", signature)


async def stream_text(content: str, pace: Pace) -> AsyncGenerator[TextPiece, None]:
    beat = pace.beat()
    for piece in pace.cut(content):
        await beat.tick()
        yield TextPiece(piece)


async def stream_call(call: Call, pace: Pace, *, index: int) -> AsyncGenerator[Piece, None]:
    """Streams one tool call from its name to its end."""
    beat = pace.beat()
    await beat.tick()
    yield CallStarted(index, call.name, provider_id=call.provider_id)
    for piece in pace.cut(call.arguments):
        await beat.tick()
        yield CallPiece(index, piece)
    yield CallEnded(index)
