"""The archive of ended runs: a run's journal as one blob, and a detail blob that lists everything else.

The journal's blob holds the very bytes of the file, so a run reads the same live and archived.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from .. import events as ev
from ..exceptions import BlobDamaged, JournalDamaged, SchemaTooNew
from ..records import SCHEMA_VERSION, Detail, Run
from ..storage.contract import BlobStore
from ..transcript import Transcript
from .places import Places

CACHED_BYTES: Final = 64 * 1024 * 1024
BATCH_BYTES: Final = 256 * 1024
TERMINAL_HEAD: Final = b'{"type":"session_complete"'
"""How the last line of a complete run begins."""


def blobs_named(event: ev.AnyEvent | ev.Unknown) -> set[str]:
    """Returns the keys of the blobs that an event names."""
    match event:
        case ev.RunStarted():
            keys = {part.blob for part in event.input}
            if event.fork is not None:
                keys |= {event.fork.past, *event.fork.images}
        case ev.TurnCommitted() | ev.Compacted():
            keys = {event.blob}
        case ev.AgentEvent(event=ev.ToolResultReady() as result):
            keys = {result.blob, *result.mime.values()}
        case ev.ToolConfirmationRequest(preview={"blob": str(key)}):
            keys = {key}
        case _:
            keys = set()
    return {key for key in keys if key}


def detail_of(transcript: Transcript, row: Run | None, *, events: str, last_event_id: str) -> Detail:
    """Returns the detail of an ended run. The same run always gives the same detail.

    The row stands in for a beginning that was lost. Raises JournalDamaged where there is neither.
    """
    begun = transcript.started or row
    if begun is None or transcript.first_at is None or transcript.last_at is None:
        raise JournalDamaged(
            f"The journal of run {transcript.run_id!r} does not begin with run_started, and there is no row of it: it "
            "stays where it is."
        )
    return Detail(
        run_id=transcript.run_id,
        thread_id=begun.thread_id,
        user_id=begun.user_id,
        agent=begun.agent,
        model=begun.model,
        input=begun.input,
        turns=tuple(turn.blob for turn in transcript.turns if turn.blob),
        events=events,
        event_count=transcript.event_count,
        last_event_id=last_event_id,
        status=transcript.status,
        usage=transcript.usage,
        started_at=transcript.started_at or transcript.first_at,
        ended_at=transcript.last_at,
        metadata=begun.metadata,
    )


def is_detail(data: bytes) -> bool:
    """Tells whether the bytes of a blob look like a detail."""
    return data.startswith(b'{"schemaVersion":') and b'"eventCount":' in data


def decode_detail(data: bytes, key: str) -> Detail:
    """Returns the detail of a blob. Raises BlobDamaged for what is none, SchemaTooNew."""
    try:
        version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("schemaVersion", msgspec.Raw(b"0"))
        if int(bytes(version)) > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"The detail blob {key} has schema version {bytes(version).decode()}; this jupyter_agent reads up to "
                f"{SCHEMA_VERSION}. Update jupyter_agent to read it."
            )
        return msgspec.json.decode(data, type=Detail)
    except (msgspec.DecodeError, ValueError) as fault:
        raise BlobDamaged(f"The blob {key} is no detail of a run: {fault}.", details={"key": key}) from fault


class Archives:
    """Reads archived journals. A bounded number of bytes is kept for all followers together, and nothing for each."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def detail(self, key: str) -> Detail:
        return decode_detail(await self._blobs.get(key), key)

    async def events(self, key: str) -> bytes:
        """Returns the bytes of an archived journal."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        data = await self._blobs.get(key)
        self._kept[key] = data
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > CACHED_BYTES:
            self._kept.popitem(last=False)
        return data

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._kept.pop(key, None)


def batches(data: bytes, start: int = 0) -> Iterator[list[bytes]]:
    """Yields the lines of a journal's bytes from an offset on, about `BATCH_BYTES` at a time."""
    while start < len(data):
        end = data.find(b"\n", min(start + BATCH_BYTES, len(data) - 1)) + 1
        yield data[start : end - 1].split(b"\n")
        start = end


def offset_after(data: bytes, seq: int) -> int:
    """Returns the offset behind the line of this seq."""
    offset = 0
    for _ in range(seq):
        offset = data.find(b"\n", offset) + 1
    return offset


def places_of(run_id: str, stored: Iterable[list[bytes]]) -> Places:
    """Returns where things stand in a run, from batches of its good lines. Blocking where reading them is."""
    places = Places(run_id)
    for lines in stored:
        places.take(lines)
        places.is_complete = lines[-1].startswith(TERMINAL_HEAD)
    return places
