"""The messages of one run, as its events tell them."""

from ..records import Message, Part, Text, Thinking, ToolCall, ToolResult
from ..transcript import Transcript, TurnView


def messages_of(seen: Transcript) -> list[Message]:
    """Returns what was asked, then for every turn what the model said and what its tools gave."""
    messages = [Message(role="user", parts=seen.started.input)] if seen.started and seen.started.input else []
    for turn in seen.turns:
        messages.append(Message(role="assistant", parts=_said(turn), message_id=turn.message_id))
        results = tuple(
            ToolResult(tool_call_id=call.tool_call_id, name=call.name, content=call.result, is_error=call.is_error)
            for call in turn.tool_calls.values()
            if call.result is not None
        )
        if results:
            messages.append(Message(role="tool", parts=results))
    return messages


def _said(turn: TurnView) -> tuple[Part, ...]:
    parts: list[Part] = []
    if turn.thinking:
        parts.append(Thinking(text=turn.thinking))
    if turn.text:
        parts.append(Text(text=turn.text))
    parts += [
        ToolCall(tool_call_id=call.tool_call_id, name=call.name, arguments=call.arguments)
        for call in turn.tool_calls.values()
    ]
    return tuple(parts)
