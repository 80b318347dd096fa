"""What to say of a run that is being followed: where it stands, and how its news come in."""

from datetime import UTC, datetime

from ..display import words
from ..records import Usage
from ..transcript import ToolCallView, Transcript
from .feed import Feed
from .transport import Link


def elapsed_s(seen: Transcript) -> float:
    """Seconds from the run's first event to its last one, to now while it goes on."""
    if seen.first_at is None:
        return 0.0
    end = seen.last_at if seen.status.is_terminal and seen.last_at else datetime.now(UTC)
    return max(0.0, (end - seen.first_at).total_seconds())


def call_line(call: ToolCallView) -> str:
    """Returns one tool call on one line, with the arguments that were approved."""
    return words.call_line(call, call.approved_arguments or call.arguments)


def status_line(feed: Feed) -> str:
    """Returns where a run stands: status, model, time, turns, calls, tokens, and the connection where it is bad."""
    return " · ".join([*feed.read(_standing), *_link(feed)])


def progress_line(feed: Feed) -> str:
    """Returns how far a run is, for a narrow line: status, time, turns, tokens, and what it is doing."""
    doing = feed.read(_doing)
    return " · ".join([*feed.read(_far), *_link(feed), *([doing] if doing else [])])


def _standing(seen: Transcript) -> list[str]:
    model = seen.started.model if seen.started else ""
    return words.standing(
        seen.status,
        model=model,
        elapsed_s=elapsed_s(seen) if seen.first_at else None,
        turns=len(seen.turns),
        tool_calls=sum(len(turn.tool_calls) for turn in seen.turns),
        usage=_usage(seen),
    )


def _far(seen: Transcript) -> list[str]:
    elapsed = elapsed_s(seen) if seen.first_at else None
    turns = len(seen.turns)
    return words.standing(seen.status, model="", elapsed_s=elapsed, turns=turns, tool_calls=0, usage=_usage(seen))


def _usage(seen: Transcript) -> Usage:
    live = seen.live_usage
    if live is None:
        return seen.usage
    return seen.usage + Usage(input_tokens=live.input_tokens, output_tokens=live.output_tokens, requests=1)


def _link(feed: Feed) -> list[str]:
    is_well = feed.is_done or feed.link in {Link.CONNECTED, Link.IDLE}
    return [] if is_well else [f"connection: {feed.link}"]


def _doing(seen: Transcript) -> str:
    """Returns what was begun last: a tool call that is executed, or what the model does."""
    turn = seen.turns[-1] if seen.turns else None
    if turn is None or turn.is_complete:
        return ""
    executed = [call for call in turn.tool_calls.values() if call.started_at and call.result is None]
    if executed:
        more = f" and {len(executed) - 1} more" if len(executed) > 1 else ""
        return words.call_name(executed[-1], executed[-1].approved_arguments or executed[-1].arguments) + more
    if turn.usage is not None or turn.tool_calls:
        return ""
    return "writing" if turn.text_pieces else "thinking" if turn.thinking_pieces else ""
