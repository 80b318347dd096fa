"""What the model is told: the messages of a thread, rebuilt from turns and later results."""

from collections.abc import Iterable, Sequence

import msgspec

from ..journal import Journal
from ..records import (
    Detail,
    Image,
    InputPart,
    Message,
    Past,
    Run,
    Text,
    ToolCall,
    ToolResult,
    TurnRecord,
)
from ..storage.contract import BlobStore, RowStore
from ..transcript import ToolCallView, Transcript

CUT_NOTE = "Your last message was cut off by a lost connection. Continue where it stopped."

CLOSING_NOTE = "You are being stopped: "
"""How the note begins that comes with a run's closing words."""


async def load_turn(blobs: BlobStore, key: str) -> TurnRecord:
    """Returns the turn kept under the key. Raises BlobNotFound or BlobDamaged."""
    return msgspec.json.decode(await blobs.get(key), type=TurnRecord)


async def load_turns(blobs: BlobStore, transcript: Transcript) -> list[TurnRecord]:
    """Returns the committed turns of a run, in order."""
    return [await load_turn(blobs, turn.blob) for turn in transcript.turns if turn.blob is not None]


async def thread_messages(run: Run, *, rows: RowStore, journal: Journal, blobs: BlobStore) -> list[Message]:
    """Returns the messages before a run, oldest first: those of the thread's earlier runs without what was rolled back,
    and what a forked one began with, rolled back or not."""
    messages: list[Message] = []
    for earlier in await rows.thread_runs(run.thread_id, until=run.created_at):
        if earlier.run_id == run.run_id or not earlier.status.is_terminal:
            continue
        messages += await _past(earlier, blobs)
        if not earlier.rolled_back:
            for key in await _turn_keys(earlier, journal=journal, blobs=blobs):
                turn = await load_turn(blobs, key)
                messages += [*turn.request, turn.response]
    return [*messages, *await _past(run, blobs)]


async def _past(run: Run, blobs: BlobStore) -> Sequence[Message]:
    """Returns what a forked run begins with, nothing for another one."""
    if run.past_blob is None:
        return ()
    return msgspec.json.decode(await blobs.get(run.past_blob), type=Past).messages


async def _turn_keys(run: Run, *, journal: Journal, blobs: BlobStore) -> Sequence[str]:
    if run.detail_blob is not None:
        return msgspec.json.decode(await blobs.get(run.detail_blob), type=Detail).turns
    transcript = await journal.load(run.run_id)
    return [turn.blob for turn in transcript.turns if turn.blob is not None]


async def expand_input(parts: Iterable[InputPart], blobs: BlobStore) -> Message:
    """Returns the person's message with texts that are kept as blobs in full."""
    whole: list[InputPart] = []
    for part in parts:
        if isinstance(part, Text) and part.blob is not None:
            whole.append(Text(text=(await blobs.get(part.blob)).decode()))
        else:
            whole.append(part)
    return Message(role="user", parts=tuple(whole))


def results_of(turn: TurnRecord, transcript: Transcript) -> Message:
    """Returns what the calls of a turn gave, as the model reads it."""
    calls = (transcript.tool_calls[call.tool_call_id] for call in turn.response.tool_calls)
    return Message(role="tool", parts=tuple(result_part(call) for call in calls))


def result_part(call: ToolCallView) -> ToolResult:
    """Returns what the model reads of a finished call."""
    images = tuple(Image(blob=blob, mime=mime) for mime, blob in call.mime.items() if mime.startswith("image/"))
    return ToolResult(
        tool_call_id=call.tool_call_id, name=call.name, content=call.result or "", is_error=call.is_error, images=images
    )


def mended(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Returns the messages with a result for every tool call, and neighbours of one role kept apart only where roles
    differ.

    A run that was interrupted leaves calls without results behind, and providers refuse those.
    """
    whole: list[Message] = []
    waiting: dict[str, ToolCall] = {}
    for message in messages:
        if message.role == "tool":
            for part in message.parts:
                if isinstance(part, ToolResult):
                    waiting.pop(part.tool_call_id, None)
        elif waiting:
            whole.append(_missing_results(waiting.values()))
            waiting = {}
        if message.parts:
            whole.append(message)
        waiting |= {call.tool_call_id: call for call in message.tool_calls}
    if waiting:
        whole.append(_missing_results(waiting.values()))
    return tuple(whole)


def _missing_results(calls: Iterable[ToolCall]) -> Message:
    return Message(
        role="tool",
        parts=tuple(
            ToolResult(
                tool_call_id=call.tool_call_id,
                name=call.name,
                content="There is no result: the run ended before this call finished.",
                is_error=True,
            )
            for call in calls
        ),
    )


def images_of(messages: Iterable[Message]) -> set[str]:
    """Returns the blob keys of all pictures that the messages name."""
    keys: set[str] = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, Image):
                keys.add(part.blob)
            elif isinstance(part, ToolResult):
                keys |= {image.blob for image in part.images}
    return keys
