"""The frames of one run for one listener: what is stored, what comes, and what waits for a person.

The socket and SSE say the same, in the same order: `gap` where the cursor was none of the run, the events after it,
`replay_complete`, what is pending at or before the cursor once more, then live events until the last.
"""

from collections.abc import AsyncGenerator, Iterable
from typing import Final

import msgspec

from .. import events as ev
from ..exceptions import RunNotFound
from ..journal import Journal
from ..protocol.commands import Channel
from ..protocol.control import Gap, ReplayComplete, Snapshot
from ..records import Principal, Run, RunStatus
from ..storage.contract import RowStore

_STREAM: Final = b'{"type":"agent_event"'
_ASKED: Final = (b'{"type":"tool_confirmation_request"', b'{"type":"input_request"')
_DECIDED: Final = (b'{"type":"approval_resolved"', b'{"type":"input_received"')
_NOTABLE: Final = (*_ASKED, *_DECIDED, b'{"type":"session_complete"')

CHANNEL_OF: Final[dict[str, Channel]] = {
    "text_delta": "text",
    "thinking": "text",
    "message_complete": "text",
    "step_complete": "text",
    "tool_call_start": "tool_call",
    "tool_call_delta": "tool_call",
    "tool_call_end": "tool_call",
    "tool_progress": "tool_call",
    "arguments_repaired": "tool_call",
    "tool_result": "tool_result",
    "change_updated": "tool_result",
    "run_started": "status",
    "status_change": "status",
    "tool_confirmation_request": "status",
    "approval_resolved": "status",
    "input_request": "status",
    "input_received": "status",
    "subagent_updated": "status",
    "turn_committed": "trace",
    "usage": "trace",
    "tool_trace_start": "trace",
    "tool_trace_finish": "trace",
    "compacted": "trace",
    "error": "error",
    "model_retry": "error",
    "phase_started": "workflow",
    "log": "workflow",
    "call_started": "workflow",
    "call_completed": "workflow",
    "step_updated": "workflow",
    "collision_warning": "workflow",
}
"""The channel of each type, and of each kind of `agent_event`. `session_complete` goes to everybody."""


class _Kind(msgspec.Struct):
    kind: str = ""


class _Head(msgspec.Struct):
    type: str
    event: _Kind = msgspec.field(default_factory=_Kind)


_head: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Head)


class RunStream:
    """One run as one listener gets it. Iterate `frames()` once; `seek` skips forward meanwhile."""

    def __init__(
        self,
        run: Run,
        *,
        journal: Journal,
        rows: RowStore,
        by: Principal,
        after: str | None = None,
        channels: Iterable[Channel] | None = None,
    ) -> None:
        self.run_id = run.run_id
        self.tag = ev.run_tag(run.run_id)
        self._run = run
        self._journal = journal
        self._rows = rows
        self._by = by
        self._after = after
        self._channels = None if channels is None else frozenset(channels)
        self._follower = journal.follow(run.run_id, after=after)
        self._status: RunStatus | None = None
        self._asked: dict[str, ev.ToolConfirmationRequest | ev.InputRequest] = {}
        self._is_live = False
        self._tells_all = False

    async def seek(self, cursor: str) -> list[bytes]:
        """Skips forward: nothing at or before the cursor follows. Returns the frames that answer it: `gap` for a
        cursor that is no event of this run, and what is pending in the part that was skipped."""
        places = await self._journal.places(self.run_id)
        place = places.locate(cursor)
        frames = [] if place is not None and place.is_exact else [self._gap_frame(places.gap(cursor))]
        before = self._follower.last_event_id
        self._follower.seek(cursor)
        if self._follower.last_event_id != before:
            self._after = cursor
            self._tells_all = True
            if self._is_live:
                frames += await self._announcements()
        return frames

    async def frames(self) -> AsyncGenerator[list[bytes], None]:
        """Yields the frames in order, in batches; ends after the run's last event. Raises StorageError."""
        try:
            await self._follower.start()
        except RunNotFound:
            # The row is there and neither journal nor archive: history is gone, the state is known.
            yield await self._without_history()
            return
        if self._follower.gap is not None:
            yield [self._gap_frame(self._follower.gap)]
        async for batch in self._follower:
            decided = self._notice(batch.lines)
            self._tells_all = self._tells_all or decided
            if batch.lines:
                yield batch.lines if self._channels is None else [*filter(self._is_wanted, batch.lines)]
            if batch.caught_up:
                yield [msgspec.json.encode(await self._replay_complete())]
            if (batch.caught_up or (self._is_live and decided)) and (announced := await self._announcements()):
                yield announced
            self._is_live = self._is_live or batch.caught_up

    # --- what is pending ------------------------------------------------------------------------------------

    def _notice(self, lines: list[bytes]) -> bool:
        """Keeps the questions among the lines and forgets the answered ones; tells whether there was an answer."""
        decided = False
        for line in lines:
            if line.startswith(_STREAM) or not line.startswith(_NOTABLE):
                continue
            match ev.decode_line(line):
                case ev.ToolConfirmationRequest() as event:
                    self._asked[event.approval_id] = event
                case ev.InputRequest() as event:
                    self._asked[event.request_id] = event
                case ev.ApprovalResolved() as event:
                    self._asked.pop(event.approval_id, None)
                    decided = True
                case ev.InputReceived() as event:
                    self._asked.pop(event.request_id, None)
                    decided = True
                case ev.SessionComplete() as event:
                    self._status = event.status
                    self._asked.clear()
                case _:
                    pass
        return decided

    async def _announcements(self) -> list[bytes]:
        """The pending questions once more, under the listener's cursor, so that it does not move back.

        After a replay those at or before its first cursor, which the listener did not get again; after a decision all
        that are left, since some listeners keep only one.
        """
        cursor = self._follower.last_event_id
        if self._status is not None or cursor is None:
            return []
        earlier = await self._asked_before() if self._after is not None else {}
        self._after = None
        self._asked = earlier | self._asked
        chosen = self._asked if self._tells_all else earlier
        return [ev.encode_line(msgspec.structs.replace(event, id=cursor)) for event in chosen.values()]

    async def _asked_before(self) -> dict[str, ev.ToolConfirmationRequest | ev.InputRequest]:
        """The questions that stand at or before the listener's first cursor and are still open."""
        transcript = self._journal.transcript(self.run_id) or await self._journal.load(self.run_id)
        open_ones = {one.approval_id for one in transcript.pending_approvals}
        open_ones |= {one.request_id for one in transcript.pending_inputs}
        missing = open_ones - self._asked.keys()
        found: dict[str, ev.ToolConfirmationRequest | ev.InputRequest] = {}
        until = ev.parse_cursor(self._follower.last_event_id or "")
        if not missing or until is None:
            return found
        async for batch in self._journal.follow(self.run_id):
            for line in batch.lines:
                if line.startswith(_ASKED) and (place := ev.line_cursor(line)) and place.place <= until.place:
                    event = ev.decode_line(line)
                    if isinstance(event, ev.ToolConfirmationRequest) and event.approval_id in missing:
                        found[event.approval_id] = event
                    elif isinstance(event, ev.InputRequest) and event.request_id in missing:
                        found[event.request_id] = event
            if batch.caught_up or len(found) == len(missing):
                break
        return found

    # --- frames beside events -------------------------------------------------------------------------------

    def _gap_frame(self, gap: tuple[str, str | None, str | None]) -> bytes:
        requested, earliest, latest = gap
        return msgspec.json.encode(Gap(run_id=self.run_id, requested=requested, earliest=earliest, latest=latest))

    async def _replay_complete(self) -> ReplayComplete:
        status = self._status
        if status is None:
            live = self._journal.transcript(self.run_id)
            status = live.status if live else (await self._rows.get_run(self.run_id, by=self._by)).status
        return ReplayComplete(run_id=self.run_id, status=status, last_event_id=self._follower.last_event_id)

    async def _without_history(self) -> list[bytes]:
        run = self._run
        gap = Gap(run_id=self.run_id, requested=self._after or "")
        snapshot = Snapshot(
            run_id=self.run_id,
            status=run.status,
            agent=run.agent,
            model=run.model,
            thread_id=run.thread_id,
            turn=run.model_call_count,
            text=run.last_ai_message or "",
            usage=run.usage,
        )
        done = ReplayComplete(run_id=self.run_id, status=run.status, last_event_id=None)
        return [msgspec.json.encode(frame) for frame in (gap, snapshot, done)]

    def _is_wanted(self, line: bytes) -> bool:
        if self._channels is None:
            return True
        head = _head.decode(line)
        name = head.event.kind if head.type == "agent_event" else head.type
        return name == "session_complete" or CHANNEL_OF.get(name) in self._channels
