"""What a script's run tells people, until it is written down: its status, its phases, its lines, its calls."""

from typing import Final

from ..records import WorkflowEvent, utc_now
from ..script.placed import CallState, PlacedCall

NAME_CHARS: Final = 200
LINE_CHARS: Final = 1_000


class Telling:
    """The events of a run that are not written down yet, in order."""

    def __init__(self) -> None:
        self._waiting: list[WorkflowEvent] = []

    def say(self, kind: str, text: str) -> None:
        """Tells a status, a phase or a line."""
        self._waiting.append(WorkflowEvent(type=kind, text=text[:LINE_CHARS], at=utc_now()))

    def call(self, call: PlacedCall, state: CallState) -> None:
        """Tells where a call stands. What it took is told when it ran live here: one from the store costs nothing."""
        ran = state.status in ("done", "failed")
        name = call.label or " ".join(call.prompt.split())
        self._waiting.append(
            WorkflowEvent(
                type="call", text=name[:NAME_CHARS], at=utc_now(), call_id=state.call_id, status=state.status,
                phase=call.phase, model=state.model, run_id=state.run_id, message=state.message,
                tokens=state.tokens if ran else None, cost=state.cost if ran else None,
                seconds=state.seconds if ran else None,
            )
        )  # fmt: skip

    def take(self) -> list[WorkflowEvent]:
        """Returns what is not written down yet, and forgets it."""
        taken, self._waiting = self._waiting, []
        return taken

    def put_back(self, events: list[WorkflowEvent]) -> None:
        """Takes back what could not be written."""
        self._waiting[:0] = events
