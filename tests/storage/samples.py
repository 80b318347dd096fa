"""Journals to try things on: their lines as the journal would have written them."""

from datetime import UTC, datetime, timedelta

import msgspec

from jupyter_agent import events as ev
from jupyter_agent.records import RunStatus, Text, Usage

RUN = "run_0123456789"
BEGAN = datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)


def started(**fields) -> ev.RunStarted:
    return ev.RunStarted(
        **{"thread_id": "thr_1", "user_id": "owner", "agent": "default", "model": "echo", "input": (Text(text="hi"),)}
        | fields
    )


def delta(text: str) -> ev.AgentEvent:
    return ev.AgentEvent(event=ev.TextDelta(content=text))


def complete(status=RunStatus.COMPLETED) -> ev.SessionComplete:
    return ev.SessionComplete(status=status, usage=Usage())


def line(event, seq, *, epoch=1, run_id=RUN) -> bytes:
    return ev.encode_line(
        msgspec.structs.replace(
            event, id=f"{ev.run_tag(run_id)}-{epoch}-{seq}", run_id=run_id, at=BEGAN + timedelta(milliseconds=seq)
        )
    )


def lines(texts, *, ends=False, epochs=None) -> list[bytes]:
    """A run that streams these texts. `epochs` says in which epoch each event is."""
    events = [started(), *map(delta, texts)] + ([complete()] if ends else [])
    epochs = epochs or [1] * len(events)
    return [line(event, seq, epoch=epoch) for seq, (event, epoch) in enumerate(zip(events, epochs, strict=True), 1)]


def file_of(some_lines) -> bytes:
    return b"".join(one + b"\n" for one in some_lines)


async def keys_of(blobs) -> list[str]:
    return [key async for key in blobs.keys()]  # noqa: SIM118 - a store is no dict
