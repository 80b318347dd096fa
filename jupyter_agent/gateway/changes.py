"""Tells whoever wants to know that a run or thread of theirs was created, changed or deleted."""

from collections import defaultdict
from collections.abc import Callable
from typing import Literal

import msgspec

from ..protocol.control import RunChanged, ThreadChanged
from ..records import Run, Thread

Listener = Callable[[bytes], None]
Watcher = Callable[[Run], None]


class Changes:
    """The news of all runs and threads. Listeners get the frames of one principal, encoded once."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._watchers: list[Watcher] = []

    def listen(self, user_id: str, listener: Listener) -> Callable[[], None]:
        """Gives the listener the frames of this user's news; returns what ends that."""
        self._listeners[user_id].append(listener)

        def stop() -> None:
            if listener in self._listeners[user_id]:
                self._listeners[user_id].remove(listener)

        return stop

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls the watcher with every run that changed; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def run_changed(self, run: Run, change: Literal["created", "status", "deleted"]) -> None:
        frame = RunChanged(
            run_id=run.run_id,
            thread_id=run.thread_id,
            change=change,
            status=run.status,
            agent=run.agent,
            model=run.model,
            follow_up_to_run_id=run.follow_up_to_run_id,
        )
        self._tell(run.user_id, frame)
        for watcher in tuple(self._watchers):
            watcher(run)

    def thread_changed(self, thread: Thread, change: Literal["created", "updated", "deleted"]) -> None:
        self._tell(thread.user_id, ThreadChanged(thread_id=thread.thread_id, change=change, title=thread.title))

    def _tell(self, user_id: str, frame: RunChanged | ThreadChanged) -> None:
        if listeners := self._listeners.get(user_id):
            data = msgspec.json.encode(frame)
            for listener in tuple(listeners):
                listener(data)
