"""REST of a run's events: a JSON page, or the same events as they come, as `text/event-stream`."""

import asyncio
from contextlib import aclosing
from typing import Annotated, Any, Final

from msgspec import Meta
from tornado import web
from tornado.iostream import StreamClosedError

from ..events import line_cursor
from ..exceptions import RunNotFound
from ..protocol.commands import Channel
from ..records import Run
from .rest import AgentHandler, authorized, operation
from .rooms import Rooms
from .threads import Cursor, PageQuery

HEARTBEAT_S: Final = 30.0
EVENT_STREAM: Final = "text/event-stream"


class EventsQuery(PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which events: after `cursor` (the id of an event), at most `limit`. A stream starts after `lastEventId`, or the
    header `Last-Event-ID`, and can be narrowed to `channels`, separated by commas."""

    limit: Annotated[int, Meta(ge=1, le=1_000)] = 200
    last_event_id: Cursor | None = None
    channels: tuple[Channel, ...] | None = None


class Events(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("The events of a run, oldest first: a page of JSON, or a stream for who accepts `text/event-stream`",
               answer=dict[str, Any], query=EventsQuery, faults=(204, 404))  # fmt: skip
    async def get(self, run_id: str) -> None:
        query = self.asked(EventsQuery)
        rooms = await self.rooms()
        run = await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        if EVENT_STREAM in self.request.headers.get("Accept", ""):
            await self._stream(run, query, rooms)
        else:
            await self._page(run, query, rooms)

    async def _page(self, run: Run, query: EventsQuery, rooms: Rooms) -> None:
        after = query.cursor or query.last_event_id
        lines, more = await rooms.journal.page(run.run_id, after=after or None, limit=query.limit)
        last = line_cursor(lines[-1]) if lines and more else None
        tail = b'],"nextCursor":"%s"}' % str(last).encode() if last else b'],"nextCursor":null}'
        self.set_header("Cache-Control", "no-store")
        self.finish(b'{"items":[' + b",".join(lines) + tail)

    # --- the stream -----------------------------------------------------------------------------------------

    async def _stream(self, run: Run, query: EventsQuery, rooms: Rooms) -> None:
        header = self.request.headers.get("Last-Event-ID", "")
        after = header or query.last_event_id or query.cursor or None
        if after is not None and await self._is_the_end(run, after, rooms):
            # This is how a stream tells a browser's EventSource not to come back.
            self.reply(None, 204)
            return
        self.set_header("Content-Type", EVENT_STREAM)
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")
        stream = rooms.actions.stream(run, by=self.principal, after=after, channels=query.channels)
        self._flow = asyncio.create_task(self._send(stream.frames(), rooms.actions.stalled_after_s))
        try:
            await self._flow
        except (StreamClosedError, TimeoutError, asyncio.CancelledError):
            # The listener is gone, or takes nothing: it comes back with the last id that it has.
            self.hang_up()
            return
        self.finish(set_content_type=EVENT_STREAM)

    async def _is_the_end(self, run: Run, after: str, rooms: Rooms) -> bool:
        """Tells whether a cursor is the last event of a run that is over."""
        if not run.status.is_terminal:
            return False
        try:
            places = await rooms.journal.places(run.run_id)
        except RunNotFound:
            return False
        return after == places.id_of(places.last)

    async def _send(self, frames: Any, stalled_after_s: float) -> None:
        """Writes the frames as they come, and a comment where nothing comes for a while."""
        async with aclosing(frames):
            coming: asyncio.Task[list[bytes]] = asyncio.create_task(anext(frames))
            try:
                await self.send_part(b": stream\n\n", stalled_after_s)
                while True:
                    done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_S)
                    if not done:
                        await self.send_part(b": heartbeat\n\n", stalled_after_s)
                        continue
                    batch = coming.result()
                    for start in range(0, len(batch), 256):
                        part = b"".join(map(_event, batch[start : start + 256]))
                        await self.send_part(part, stalled_after_s)
                    coming = asyncio.create_task(anext(frames))
            except StopAsyncIteration:
                return
            finally:
                coming.cancel()
                await asyncio.wait({coming})

    def on_connection_close(self) -> None:
        if (flow := getattr(self, "_flow", None)) is not None:
            flow.cancel()
        super().on_connection_close()


def _event(frame: bytes) -> bytes:
    """One frame as an event of the stream. Frames that are no events have a name and no id: they move no cursor."""
    place = line_cursor(frame)
    if place is not None:
        return b"id: %s\ndata: %s\n\n" % (str(place).encode(), frame)
    name = frame[len(b'{"type":"') :].split(b'"', 1)[0]
    return b"event: %s\ndata: %s\n\n" % (name, frame)
