"""Who waits for which calls of workflows in this process, and what they are told: where each stands, how it ended."""

from datetime import datetime
from typing import Any, Final

import msgspec

from ..records import RunStatus, StoredCall
from ..script.placed import CallState
from .call_states import run_of, state_of
from .feeds import Feeds

WAITING: Final = (RunStatus.WAITING_CONFIRMATION, RunStatus.WAITING_INPUT)


class Listeners:
    """The passes that wait for calls in flight, by the calls' ids."""

    def __init__(self) -> None:
        self.feeds = Feeds()
        self._waiting: dict[str, set[str]] = {}
        self._waits: dict[str, RunStatus] = {}
        self._silent: dict[str, datetime] = {}

    def add(self, call_id: str, workflow_run_id: str) -> None:
        """A pass waits for a call from now on."""
        self._waiting.setdefault(call_id, set()).add(workflow_run_id)

    def has(self, call_id: str) -> bool:
        """Tells whether anybody waits for a call."""
        return bool(self._waiting.get(call_id))

    def running(self, call: StoredCall) -> CallState:
        """Returns the state of a call in flight, with what it waits for a person with, or since when it is silent."""
        running = state_of(call, "running")
        waits_for: Any = self._waits.get(call.call_id)
        silent_since = None if waits_for is not None else self._silent.get(call.call_id)
        if waits_for is None and silent_since is None:
            return running
        # The row of a first try does not say its run.
        run_id = call.run_id or run_of(call)
        return msgspec.structs.replace(running, waits_for=waits_for, silent_since=silent_since, run_id=run_id)

    def tell(self, call_id: str, state: CallState) -> None:
        """Tells whoever waits for a call where it stands."""
        for waiting in self._waiting.get(call_id, ()):
            self.feeds[waiting].tell(state)

    def tell_waiting(self, call: StoredCall, status: RunStatus) -> None:
        """Tells whoever waits for the call that it begins to wait for a person, or does so no more."""
        waits = status if status in WAITING else None
        if waits is self._waits.get(call.call_id):
            return
        if waits is None:
            del self._waits[call.call_id]
        else:
            self._waits[call.call_id] = waits
        self.tell(call.call_id, self.running(call))

    def tell_silence(self, call: StoredCall, since: datetime | None) -> None:
        """Tells whoever waits for the call that nothing comes of it, or that something does again."""
        if since is None:
            self._silent.pop(call.call_id, None)
        else:
            self._silent[call.call_id] = since
        if call.call_id not in self._waits:
            self.tell(call.call_id, self.running(call))

    def tell_end(self, state: CallState) -> None:
        """Tells whoever waits for a call how it ended: then nobody does any more."""
        call_id = str(state.call_id)
        self.forget(call_id)
        for waiting in self._waiting.pop(call_id, ()):
            self.feeds[waiting].tell(state)

    def forget(self, call_id: str) -> None:
        """Nothing is known any more of what a call waits for: it has ended, or another server tells it."""
        self._waits.pop(call_id, None)
        self.forget_silence(call_id)

    def forget_silence(self, call_id: str) -> None:
        """A run of a call has ended, and with it its silence."""
        self._silent.pop(call_id, None)
