"""REST of frames: facts of many runs as one Arrow stream, as fast as the database gives them."""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from tornado import web
from tornado.iostream import StreamClosedError

from ..exceptions import InvalidRequest, NotFound
from ..facts.journal import KINDS as TOLD
from ..facts.journal import runs_of
from ..facts.kinds import KINDS
from ..facts.query import Scalar, Wanted
from ..journal.facts import read_told
from ..records import Principal, RunStatus, clean
from ..storage.facts import FactReader
from .rest import AgentHandler, authorized, operation
from .rooms import Rooms
from .threads import Id

ARROW: Final = "application/vnd.apache.arrow.stream"


class FactsQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Of which runs: of these ids, of a thread, of a model, in one of these statuses, created since then and before
    `until`, with these values in their metadata (a JSON object); `tool` chooses tool calls by name, `after` events by
    their seq, `columns` what is told of each (all without it). Lists are separated by commas."""

    run_id: tuple[Id, ...] = ()
    thread_id: Id | None = None
    model: Annotated[str, Meta(max_length=256)] | None = None
    tool: Annotated[str, Meta(max_length=256)] | None = None
    status: tuple[RunStatus, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    metadata: Annotated[str, Meta(max_length=4_096)] | None = None
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    columns: tuple[Annotated[str, Meta(max_length=64)], ...] = ()

    def wanted(self, kind: str, by: Principal) -> Wanted:
        """Returns what is asked for. Raises InvalidRequest for metadata that are no object of plain values."""
        try:
            metadata = msgspec.json.decode(self.metadata or "{}", type=dict[str, Scalar])
        except msgspec.DecodeError as fault:
            raise InvalidRequest(
                f"metadata is no JSON object of texts, numbers, true, false and null: {fault}.",
                details={"fields": {"metadata": "no object of plain values"}},
            ) from fault
        return Wanted(
            kind=kind, by=by, run_ids=self.run_id, thread_id=self.thread_id, model=self.model, tool=self.tool,
            statuses=self.status, since=self.since, until=self.until, metadata=clean(metadata), after=self.after,
            columns=self.columns,
        )  # fmt: skip


class Facts(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("All of one's runs, turns, tool_calls, feedback, events or messages as an Arrow stream: one row a fact, "
               "oldest run first", answer=bytes, media=ARROW, query=FactsQuery, faults=(404,))  # fmt: skip
    async def get(self, kind: str) -> None:
        if kind not in KINDS and kind not in TOLD:
            raise NotFound(f"There are no facts of kind {kind[:64]!r}: there are {', '.join([*KINDS, *TOLD])}.")
        wanted = self.asked(FactsQuery).wanted(kind, self.principal)
        rooms = await self.rooms()
        await rooms.projection.settle_all()
        pieces = ArrowPieces()
        async with rooms.long_work, aclosing(_batches(rooms, wanted)) as batches:
            # Whatever is wrong is told before the first byte.
            chunk = pieces.add(await anext(batches))
            self.set_header("Content-Type", ARROW)
            self.set_header("Cache-Control", "no-store")
            try:
                # Who takes nothing would hold the database as it was.
                await self.send_part(chunk, rooms.actions.stalled_after_s)
                async for batch in batches:
                    await self.send_part(pieces.add(batch), rooms.actions.stalled_after_s)
                self.finish(pieces.end())
            except (StreamClosedError, TimeoutError):
                self.hang_up()  # nobody reads any more
            except BaseException:
                # Arrow reads a stream without its end as if it were whole.
                self.hang_up()
                raise


async def _batches(rooms: Rooms, wanted: Wanted) -> AsyncGenerator[Any, None]:
    """Yields what is wanted as `pyarrow.RecordBatch`es, at least one."""
    facts = rooms.storage.facts
    if wanted.kind in TOLD:
        # The ids alone are read at once: the database is not held while journals are read.
        run_ids = await asyncio.to_thread(_run_ids, facts, runs_of(wanted))
        async with aclosing(read_told(rooms.journal, run_ids, wanted)) as told:
            async for batch in told:
                yield batch
        return
    found = facts.read(wanted)
    try:
        while (batch := await asyncio.to_thread(next, found, None)) is not None:
            yield batch
    finally:
        await asyncio.to_thread(found.close)


def _run_ids(facts: FactReader, wanted: Wanted) -> list[str]:
    return [run_id for batch in facts.read(wanted) for run_id in batch.column(0).to_pylist()]


class _Pieces(io.RawIOBase):
    """Where Arrow writes its stream, to be taken away piece by piece."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        piece, self._written = bytes(self._written), bytearray()
        return piece


class ArrowPieces:
    """An Arrow stream, made piece by piece."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._writer: Any = None

    def add(self, batch: Any) -> bytes:
        """Returns the piece that tells a batch; the first one begins the stream."""
        import pyarrow as pa

        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._pieces, batch.schema)
        self._writer.write_batch(batch)
        return self._pieces.take()

    def end(self) -> bytes:
        """Returns what ends the stream."""
        if self._writer is not None:
            self._writer.close()
        return self._pieces.take()
