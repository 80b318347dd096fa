"""A run as it comes in: its events folded into a transcript, exactly once and in order, for any thread to read.

The transport's loop writes, everybody else reads under the lock. Nothing here talks to the network.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import asdict

from .. import events as ev
from ..exceptions import AgentError
from ..protocol import control
from ..records import RunStatus
from ..transcript import ToolCallView, Transcript, TurnView
from .transport import Link

T = TypeVar("T")
Event = ev.AnyEvent | ev.Unknown

LAST_EVENT_S = 5.0
"""How long the last event of a run may be behind its status."""


class Feed:
    """Follows one run. `tools` are the client tools that can be carried out here, told with every `follow`."""

    def __init__(
        self,
        run_id: str,
        *,
        tools: tuple[str, ...] = (),
        on_call: Callable[[control.ClientToolCall | control.ClientToolCancelled], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.run_id = run_id
        self.tools = tools
        self.transcript = Transcript(run_id=run_id)
        self.events: list[Event] = []
        self.link = Link.IDLE
        self.fault: AgentError | None = None
        self.is_replayed = False
        self.is_settled = False
        self._on_call = on_call
        self._on_end = on_end
        self._changed = threading.Condition(threading.RLock())
        self._watchers: dict[object, Callable[[], None]] = {}

    # --- for readers, in any thread ---------------------------------------------------------------------------

    def read(self, look: Callable[[Transcript], T]) -> T:
        """Returns what `look` sees of the transcript while nothing changes it."""
        with self._changed:
            return look(self.transcript)

    def past(self) -> list[Event]:
        """Returns the events so far."""
        with self._changed:
            return list(self.events)

    @property
    def is_done(self) -> bool:
        """The run has ended, or nothing more can be known of it."""
        return self.is_settled or self.fault is not None

    def wait_until(self, ready: Callable[[Transcript], bool], timeout_s: float | None = None) -> bool:
        """Blocks until `ready` holds, the run is done or the time is over; tells whether `ready` holds."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_done or ready(self.transcript), timeout_s)
            return ready(self.transcript)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called in the transport's loop after every change; returns what stops that."""
        key = object()
        with self._changed:
            self._watchers[key] = changed

        def stop() -> None:
            with self._changed:
                self._watchers.pop(key, None)

        return stop

    # --- for the transport, in its loop -----------------------------------------------------------------------

    @property
    def last_event_id(self) -> str | None:
        return self.transcript.last_event_id or None

    def take_event(self, event: Event) -> None:
        with self._changed:
            if not self._is_next(event):
                return
            self.events.append(event)
            self.transcript.apply(event)
            is_end = self.transcript.is_complete and not self.is_settled
            self.is_settled = self.transcript.is_complete
        self._tell()
        if is_end and self._on_end is not None:
            self._on_end()

    def _is_next(self, event: Event) -> bool:
        """Tells whether the event is news. What came before is dropped; what a crash took back is forgotten.

        A higher epoch at a place that we have already means that the server lost unsynced events and wrote others
        there.
        """
        came, last = ev.parse_cursor(event.id), ev.parse_cursor(self.transcript.last_event_id)
        if came is None:
            return False
        if last is None or came.seq > last.seq:
            return True
        if came.epoch <= last.epoch:
            return False
        self.events = [kept for kept in self.events if (place := ev.parse_cursor(kept.id)) and place.seq < came.seq]
        self.transcript = Transcript(run_id=self.run_id)
        for kept in self.events:
            self.transcript.apply(kept)
        return True

    def take_control(self, frame: control.AnyControl) -> None:
        match frame:
            case control.ClientToolCall() | control.ClientToolCancelled():
                if self._on_call is not None:
                    self._on_call(frame)
            case control.Snapshot():
                with self._changed:
                    self.events, self.transcript = [], _seen_in(frame)
                self._tell()
            case control.ReplayComplete():
                self._replayed(frame)
            case _:
                pass

    def _replayed(self, frame: control.ReplayComplete) -> None:
        """Everything stored has come. A run that has ended sends its last event at once; one that has lost it (a
        damaged journal) is over without."""
        with self._changed:
            self.is_replayed = True
        if frame.status.is_terminal and not self.is_settled:
            asyncio.get_running_loop().call_later(LAST_EVENT_S, self._settle, frame.status)
        self._tell()

    def _settle(self, status: RunStatus) -> None:
        with self._changed:
            if self.is_settled:
                return
            self.transcript.status, self.is_settled = status, True
        self._tell()
        if self._on_end is not None:
            self._on_end()

    def take_fault(self, fault: AgentError) -> None:
        with self._changed:
            if not self.is_settled:
                self.fault = fault
        self._tell()

    def take_link(self, link: Link) -> None:
        with self._changed:
            self.link = link
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            watchers = list(self._watchers.values())
        for changed in watchers:
            changed()


def _seen_in(frame: control.Snapshot) -> Transcript:
    """Returns the transcript of a run whose earlier events are gone."""
    seen = Transcript(run_id=frame.run_id, status=RunStatus(frame.status), usage=frame.usage)
    seen.last_event_id = frame.last_event_id
    seen.turns = [TurnView(turn=turn, is_complete=turn < frame.turn - 1) for turn in range(frame.turn)]
    if frame.text:
        seen.turn.text_pieces.append(frame.text)
    for call in frame.open_tool_calls:
        view = ToolCallView(turn=max(frame.turn - 1, 0), **asdict(call))
        seen.tool_calls[call.tool_call_id] = view
        if seen.turns:
            seen.turns[-1].tool_calls[call.tool_call_id] = view
    seen.approvals = {approval.approval_id: approval for approval in frame.pending_approvals}
    seen.inputs = {asked.request_id: asked for asked in frame.pending_inputs}
    return seen
