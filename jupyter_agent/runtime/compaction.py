"""Keeps a long thread inside the model's window: a summary takes the place of older messages, for the model only.

Nothing is deleted: the journal keeps every turn, and `compacted` says what the model no longer sees and what stands
there instead.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from .. import events as ev
from ..exceptions import ModelError
from ..models.contract import Finished, ModelRequest, TextPiece
from ..records import Message, Text, TurnRecord, Usage
from ..storage.contract import BlobStore
from .active import ActiveRun
from .history import mended

log = logging.getLogger(__name__)

KEPT_TURNS = 2
CHARS_PER_TOKEN = 4
ASK = (
    "Summarise everything above for yourself, since older messages will be taken away: what the person wants, what "
    "was found "
    "(with names, numbers and paths), what was done, what is open. Write only the summary."
)
OPENING = "What happened before, in your own summary:\n\n"


async def visible_messages(run: ActiveRun) -> list[Message]:
    """Returns the messages before the next request's new ones, as far as the model sees them."""
    return await visible(run.past, run.turns, run.transcript.compacted, blobs=run.means.blobs)


async def visible(
    past: Sequence[Message], turns: Sequence[TurnRecord], compacted: ev.Compacted | None, *, blobs: BlobStore
) -> list[Message]:
    """Returns the messages of a run's past and its turns, as far as the model sees them after what was compacted
    last."""
    if compacted is None:
        return [*past, *_messages(turns)]
    summary = (await blobs.get(compacted.blob)).decode()
    kept = _messages(turns[compacted.turns :])
    # Results whose calls were summarised away would stand alone, which providers refuse.
    while kept and kept[0].role == "tool":
        kept = kept[1:]
    return [Message(role="user", parts=(Text(text=OPENING + summary),)), *kept]


def _messages(turns: Sequence[TurnRecord]) -> list[Message]:
    return [message for turn in turns for message in (*turn.request, turn.response)]


async def compact_if_needed(run: ActiveRun) -> None:
    """Summarises all but the last turns when the window is nearly full. A summary that fails changes nothing."""
    window = run.context_max
    if window is None:
        return
    messages = await visible_messages(run)
    used = tokens_of(messages)
    if used < window * run.means.settings.compact_at:
        return
    first_kept = max(len(run.turns) - KEPT_TURNS, 0)
    if not run.past and first_kept <= (run.transcript.compacted.turns if run.transcript.compacted else 0):
        return
    kept = _messages(run.turns[first_kept:])
    older = messages[: len(messages) - len(kept)]
    try:
        summary, usage = await _summary(run, older)
    except ModelError as fault:
        log.warning("Run %s could not be compacted: %s", run.run_id, fault)
        return
    blob = await run.keep(summary.encode())
    after = tokens_of(kept) + len(summary) // CHARS_PER_TOKEN
    await run.append(ev.Compacted(blob=blob, turns=first_kept, before=used, after=after, usage=usage))


async def _summary(run: ActiveRun, messages: list[Message]) -> tuple[str, Usage]:
    """Returns the summary and what it took: it counts against the budget, and is no turn."""
    question = Message(role="user", parts=(Text(text=ASK),))
    request = ModelRequest(
        messages=mended([*messages, question]), instructions=run.instructions, run_id=run.run_id,
        thread_id=run.thread_id,
    )  # fmt: skip
    pieces: list[str] = []
    used = Usage()
    async with aclosing(run.model.stream(request)) as stream:
        async for piece in stream:
            match piece:
                case TextPiece(content=content):
                    pieces.append(content)
                case Finished(usage=usage):
                    used = usage
                case _:
                    pass
    if used.cost is None:
        cost = await asyncio.to_thread(run.means.prices.cost, run.model.name, used)
        used = msgspec.structs.replace(used, cost=cost)
    run.meter.settle_turn(used)
    return "".join(pieces), used


def tokens_of(messages: list[Message]) -> int:
    """Returns a rough count of tokens: four characters each."""
    return sum(len(str(part)) for message in messages for part in message.parts) // CHARS_PER_TOKEN
