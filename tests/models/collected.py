"""An answer taken from a model whole, and what must hold for the pieces of every answer."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from jupyter_agent.models import (
    CallEnded,
    CallPiece,
    CallStarted,
    Finished,
    Model,
    ModelRequest,
    Piece,
    TextPiece,
    ThinkingPiece,
)
from jupyter_agent.records import Image, Message, Part, Text, Thinking, ToolCall, ToolResult

STOP_REASONS = {"stop", "tool_calls", "length", "content_filter"}


def user(text: str, *images: Image) -> Message:
    return Message(role="user", parts=(Text(text=text), *images))


def request(*messages: Message | str, **fields: Any) -> ModelRequest:
    """Returns a request; texts are what the person says."""
    whole = tuple(user(message) if isinstance(message, str) else message for message in messages)
    return ModelRequest(messages=whole, **fields)


async def collect(model: Model, asked: ModelRequest) -> list[Piece]:
    """Returns the pieces of an answer, checked."""
    async with aclosing(model.stream(asked)) as stream:
        pieces = [piece async for piece in stream]
    check(pieces)
    return pieces


def check(pieces: Sequence[Piece]) -> None:
    """Fails where pieces break the contract of models."""
    assert sum(isinstance(piece, Finished) for piece in pieces) == 1
    assert isinstance(pieces[-1], Finished)
    assert pieces[-1].stop_reason in STOP_REASONS
    usage = pieces[-1].usage
    assert usage.requests == 1
    assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    started: list[int] = []
    ended: list[int] = []
    for piece in pieces:
        match piece:
            case CallStarted(index=index):
                assert index == len(started), "calls are numbered as they start"
                assert piece.name
                started.append(index)
            case CallPiece(index=index):
                assert index in started, "only a call that started goes on"
                assert index not in ended, "nothing comes after a call's end"
            case CallEnded(index=index):
                assert index in started, "only a call that started ends"
                assert index not in ended, "a call ends once"
                ended.append(index)
    assert sorted(ended) == started
    assert (pieces[-1].stop_reason == "tool_calls") <= bool(started)


def answer_of(pieces: Sequence[Piece], provider: str = "t", turn: int = 0) -> Message:
    """Returns the message that the pieces make, as the loop puts it together: signatures close thoughts."""
    prose: list[Part] = []
    calls: dict[int, ToolCall] = {}
    for piece in pieces:
        last = prose[-1] if prose else None
        match piece:
            case ThinkingPiece(content=content, signature=signature):
                if isinstance(last, Thinking) and last.signature is None:
                    prose[-1] = Thinking(text=last.text + content, signature=signature, provider=provider)
                else:
                    prose.append(Thinking(text=content, signature=signature, provider=provider))
            case TextPiece(content=content):
                if isinstance(last, Text):
                    prose[-1] = Text(text=last.text + content)
                else:
                    prose.append(Text(text=content))
            case CallStarted(index=index, name=name, arguments=arguments):
                calls[index] = ToolCall(tool_call_id=f"call_{turn}_{index}", name=name, arguments=arguments)
            case CallPiece(index=index, arguments=arguments):
                call = calls[index]
                calls[index] = ToolCall(
                    tool_call_id=call.tool_call_id, name=call.name, arguments=call.arguments + arguments
                )
    return Message(role="assistant", parts=(*prose, *calls.values()))


def results(answer: Message, content: str = "the result", *, is_error: bool = False) -> Message:
    """Returns a result for every call of an answer."""
    parts = (
        ToolResult(tool_call_id=call.tool_call_id, name=call.name, content=content, is_error=is_error)
        for call in answer.tool_calls
    )
    return Message(role="tool", parts=tuple(parts))


def thinking_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.content for piece in pieces if isinstance(piece, ThinkingPiece))


def finished(pieces: Sequence[Piece]) -> Finished:
    last = pieces[-1]
    assert isinstance(last, Finished)
    return last
