"""The `scripted` model plays a list of turns given as data: for tests, benchmarks and lessons.

`ModelRequest.turn` picks the turn, so that a run that is resumed goes on where it was. In texts, thinking and strings
of arguments `{result}` stands for the text of the last tool result.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from ..exceptions import InvalidModelRequest, ModelError
from ..records import ToolResult, Usage
from .answer import Call, Pace, stream_call, stream_text, stream_thinking
from .contract import Finished, ModelRequest, Piece
from .prompt import estimate_tokens, prompt_bytes
from .script import Script, ScriptedFailure, ScriptedTurn, ScriptedUsage, failures, parse_script

RUNS_KEPT = 1_000


class ScriptedModel:
    """Plays a script. Raises InvalidRequest naming turn and field for one that is not well-formed."""

    name = "scripted"
    tools_first = False

    def __init__(self, script: Any) -> None:
        self.script: Script = parse_script(script)
        self._failed: OrderedDict[tuple[str, int], int] = OrderedDict()

    @property
    def context_max(self) -> int | None:
        return self.script.context_max

    @property
    def sees_images(self) -> bool:
        return self.script.sees_images

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the turn of the script that this request is for."""
        if request.turn >= len(self.script.turns):
            raise InvalidModelRequest(
                f"The script has {len(self.script.turns)} turns and turn {request.turn} was asked for. "
                "End it with a turn without tool calls, or add one."
            )
        turn = _filled(self.script.turns[request.turn], _last_result(request))
        calls = [_call(call.name, call.arguments, call.provider_id) for call in turn.calls]
        pace = self._pace(turn, calls)
        fault = self._fault(turn.fail, request)
        await asyncio.sleep(turn.wait_s)
        if fault is not None and fault[0] == "start":
            raise fault[1]
        async for thought in stream_thinking(turn.thinking, pace, signature=turn.signature):
            yield thought
        if fault is not None and fault[0] == "thinking":
            raise fault[1]
        async for text in stream_text(turn.text, pace):
            yield text
        if fault is not None and fault[0] == "text":
            raise fault[1]
        for index, call in enumerate(calls):
            async for piece in stream_call(call, pace, index=index):
                yield piece
        if fault is not None:
            raise fault[1]
        yield Finished(
            stop_reason=turn.stop_reason or ("tool_calls" if calls else "stop"),
            usage=_usage(turn, calls, request),
            model=self.name,
        )

    def _pace(self, turn: ScriptedTurn, calls: list[Call]) -> Pace:
        chunk = self.script.chunk if turn.chunk is None else turn.chunk
        delay_s = self.script.delay_s if turn.delay_s is None else turn.delay_s
        if turn.duration_s is not None:
            cut = Pace(chunk=chunk).cut
            texts = [turn.thinking, turn.text, *(call.arguments for call in calls)]
            delay_s = turn.duration_s / max(1, len(calls) + sum(1 for text in texts for _ in cut(text)))
        return Pace(chunk=chunk, delay_s=delay_s)

    def _fault(self, fail: ScriptedFailure | None, request: ModelRequest) -> tuple[str, ModelError] | None:
        """Returns where this attempt fails and with what; attempts are counted per run and turn."""
        if fail is None:
            return None
        place = (request.run_id, request.turn)
        count = self._failed.pop(place, 0) + 1
        self._failed[place] = count
        if len(self._failed) > RUNS_KEPT:
            self._failed.popitem(last=False)
        if fail.times is not None and count > fail.times:
            return None
        message = fail.message or f"The script lets turn {request.turn} fail with {fail.code} (attempt {count})."
        return fail.at, failures()[fail.code](message, retry_after_s=fail.retry_after_s)


def _last_result(request: ModelRequest) -> str | None:
    parts = (part for message in reversed(request.messages) for part in reversed(message.parts))
    return next((part.content for part in parts if isinstance(part, ToolResult)), None)


def _filled(turn: ScriptedTurn, result: str | None) -> ScriptedTurn:
    """Returns the turn with `{result}` replaced, if there is a result."""
    if result is None:
        return turn
    calls = tuple(
        call
        if isinstance(call.arguments, str)
        else msgspec.structs.replace(call, arguments=_fill(call.arguments, result))
        for call in turn.calls
    )
    return msgspec.structs.replace(
        turn, thinking=_fill(turn.thinking, result), text=_fill(turn.text, result), calls=calls
    )


def _fill(value: Any, result: str) -> Any:
    match value:
        case str():
            return value.replace("{result}", result)
        case dict():
            return {key: _fill(item, result) for key, item in value.items()}
        case list() | tuple():
            return [_fill(item, result) for item in value]
    return value


def _call(name: str, arguments: dict[str, Any] | str, provider_id: str | None) -> Call:
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return Call(name=name, arguments=text, provider_id=provider_id)


def _usage(turn: ScriptedTurn, calls: list[Call], request: ModelRequest) -> Usage:
    match turn.usage:
        case ScriptedUsage() as usage:
            return usage.record()
        case None:
            return Usage(requests=1, unmeasured_requests=1)
    texts = (turn.thinking, turn.text, *(call.arguments for call in calls))
    return Usage(
        input_tokens=estimate_tokens(prompt_bytes(request)),
        output_tokens=sum(estimate_tokens(text) for text in texts),
        reasoning_tokens=estimate_tokens(turn.thinking),
        requests=1,
    )
