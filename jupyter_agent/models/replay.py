"""The `replay` model answers from a recorded run: `replay:<run id>`, or the hash of an archived run's detail blob.

Each turn is answered with what was recorded for it, at the recorded speed or at another: `settings["speed"]` is a
factor, 2 is twice as fast, 0 is at once.
Where a request is not the one of the recording, the first turn at which that happens says so before its answer, as a
ThinkingPiece: it is a remark on the answer, and must not get into the recorded text.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from ..exceptions import InvalidModelRequest, NotFound, StorageError
from ..records import Image, Message, Text, Thinking, ToolCall, ToolResult, TurnRecord
from .answer import Call, Pace, stream_call, stream_text, stream_thinking
from .contract import Finished, ModelRequest, Piece, ThinkingPiece

SHOWN = 60
"""Characters of two values that differ which the remark shows."""


class ReplayModel:
    """Plays a recorded run. `load` returns its turns by run id or detail hash; it is called once, at the first turn."""

    context_max: int | None = None
    sees_images = True
    tools_first = False

    def __init__(self, run: str, *, load: Callable[[str], Awaitable[Sequence[TurnRecord]]], speed: float = 1.0) -> None:
        self._run = run
        self._load = load
        self._speed = speed
        self._turns: Sequence[TurnRecord] | None = None

    @property
    def name(self) -> str:
        return f"replay:{self._run}"

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the recorded turn. Raises InvalidModelRequest past its end, or where there is no such recording."""
        turns = await self._recorded()
        if request.turn >= len(turns):
            raise InvalidModelRequest(
                f"The recorded run {self._run} has {len(turns)} turns and turn {request.turn} was asked for: "
                "this run went on where the recording ended."
            )
        turn = turns[request.turn]
        if (remark := self._remark(turns, request)) is not None:
            yield ThinkingPiece(remark)
        pace = _pace(turn, _speed(request.settings.get("speed"), self._speed))
        index = 0
        for part in turn.response.parts:
            match part:
                case Thinking(text=text, signature=signature):
                    async for thought in stream_thinking(text, pace, signature=signature):
                        yield thought
                case Text(text=text):
                    async for piece in stream_text(text, pace):
                        yield piece
                case ToolCall():
                    call = Call(name=part.name, arguments=part.arguments, provider_id=part.provider_id)
                    async for called in stream_call(call, pace, index=index):
                        yield called
                    index += 1
        if not turn.complete:
            raise InvalidModelRequest(
                f"The recorded run {self._run} was cut off in turn {request.turn}, and its replay ends there too."
            )
        await asyncio.sleep(0)
        yield Finished(stop_reason=turn.stop_reason, usage=structs.replace(turn.usage, cost=None), model=turn.model)

    async def _recorded(self) -> Sequence[TurnRecord]:
        if self._turns is None:
            try:
                self._turns = played(await self._load(self._run))
            except (NotFound, StorageError) as fault:
                raise InvalidModelRequest(f"The run {self._run} cannot be replayed: {fault.message}") from fault
        return self._turns

    def _remark(self, turns: Sequence[TurnRecord], request: ModelRequest) -> str | None:
        """Returns a sentence on how this request differs from the recording, at the first turn that does."""
        now = first_difference(recorded_messages(turns, request.turn), request.messages)
        if now is None:
            return None
        if (
            request.turn > 0
            and first_difference(recorded_messages(turns, request.turn - 1), _before(request)) is not None
        ):
            return None
        return f"[replay of {self._run}: turn {request.turn} is the first that differs from the recording: {now}]\n"


def played(turns: Sequence[TurnRecord]) -> Sequence[TurnRecord]:
    """Returns the turns as they would have been without lost connections: an answer that was cut off and then asked for
    again counts once, as a whole. Only the last may be a cut one."""
    whole: list[TurnRecord] = []
    asked: tuple[Message, ...] | None = None
    for turn in turns:
        joined = turn if asked is None else structs.replace(turn, request=asked)
        asked = None if turn.complete else joined.request
        if turn.complete or turn is turns[-1]:
            whole.append(joined)
    return whole


def recorded_messages(turns: Sequence[TurnRecord], number: int) -> list[Message]:
    """Returns the messages that the recorded run had sent when it asked for this turn, from its own first one on."""
    messages = [message for turn in turns[:number] for message in (*turn.request, turn.response)]
    return [*messages, *turns[number].request]


def _before(request: ModelRequest) -> list[Message]:
    """Returns the messages of the request for the turn before: all before the last answer."""
    last = max(index for index, message in enumerate(request.messages) if message.role == "assistant")
    return list(request.messages[:last])


def first_difference(recorded: Sequence[Message], asked: Sequence[Message]) -> str | None:
    """Returns what differs first, with both values; None where the requests say the same.

    Ids of calls and messages are new in each run and count for nothing; nor do earlier runs of the thread.
    """
    asked = asked[max(0, len(asked) - len(recorded)) :]
    if len(asked) < len(recorded):
        return f"it has {len(asked)} messages, the recording {len(recorded)}"
    for number, (old, new) in enumerate(zip(recorded, asked, strict=True)):
        old_parts, new_parts = _sayings(old), _sayings(new)
        if old.role != new.role or len(old_parts) != len(new_parts):
            return (
                f"message {number} was one of the {old.role} with {len(old_parts)} parts, "
                f"and is one of the {new.role} with {len(new_parts)}"
            )
        for was, now in zip(old_parts, new_parts, strict=True):
            if was != now:
                return f"message {number} ({new.role}) was {_around(was, now)} and is {_around(now, was)}"
    return None


def _sayings(message: Message) -> list[str]:
    """Returns what a message says, part by part and without ids; thinking is the model's own and does not count."""
    sayings: list[str] = []
    for part in message.parts:
        match part:
            case Text(text=text):
                sayings.append(text)
            case Image(blob=blob):
                sayings.append(f"picture {blob}")
            case ToolCall(name=name, arguments=arguments):
                sayings.append(f"{name}({arguments})")
            case ToolResult(name=name, content=content, is_error=is_error):
                sayings.append(f"{name} {'failed' if is_error else 'gave'} {content}")
    return sayings


def _around(text: str, other: str) -> str:
    """Returns the text from a little before the place where the two part."""
    parted = next(
        (index for index, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
    )
    start = max(0, parted - 15)
    shown = text[start : start + SHOWN]
    return repr(f"{'…' if start else ''}{shown}{'…' if start + SHOWN < len(text) else ''}")


def _speed(asked: Any, own: float) -> float:
    if isinstance(asked, int | float) and not isinstance(asked, bool) and asked >= 0:
        return float(asked)
    return own


def _pace(turn: TurnRecord, speed: float) -> Pace:
    """Returns the pace at which the turn takes as long as it did, divided by the speed."""
    cut = Pace().cut
    pieces = 0
    for part in turn.response.parts:
        match part:
            case Text(text=text) | Thinking(text=text) | ToolCall(arguments=text):
                pieces += 1 + sum(1 for _ in cut(text))
            case _:
                pass
    seconds = max(0.0, (turn.finished_at - turn.started_at).total_seconds())
    return Pace(delay_s=seconds / speed / max(1, pieces) if speed else 0.0)
