"""What a view of a run shows, item by item, as plain facts for a table."""

from typing import NamedTuple

from ..transcript import ToolCallView, Transcript


class Item(NamedTuple):
    """Something that was thought, said or done. `kind` is thinking, text or tool_call; `call` is there for the last."""

    turn: int
    kind: str
    text: str | None = None
    call: ToolCallView | None = None


def items_of(seen: Transcript) -> list[Item]:
    """Returns the items of a run in the order in which they are shown."""
    found: list[Item] = []
    for turn in seen.turns:
        if turn.thinking:
            found.append(Item(turn.turn, "thinking", turn.thinking))
        if turn.text:
            found.append(Item(turn.turn, "text", turn.text))
        found.extend(Item(turn.turn, "tool_call", call=call) for call in turn.tool_calls.values())
    return found
