"""New runs, written down: their thread, their row, their first event. Or forgotten again, where that fails."""

import logging
from contextlib import suppress
from typing import Final

import msgspec

from .. import events as ev
from ..exceptions import InvalidRequest, LeaseLost, StorageError, ThreadBusy
from ..journal.rows import first_words
from ..records import SYSTEM, Fork, Multitask, Principal, Run, RunRequest, RunStatus, Text, Thread, new_id, utc_now
from ..storage.clock import machine_clock
from ..storage.contract import LineStore
from .active import Means
from .carried import Carried
from .room import Room

log = logging.getLogger(__name__)

MAX_INLINE_CHARS: Final = 32 * 1024
TITLE_CHARS: Final = 80


class Entries:
    """Enters runs into the store, in an order that a crash can cut anywhere."""

    def __init__(self, means: Means, *, lines: LineStore, carried: Carried, room: Room) -> None:
        self._means = means
        self._lines = lines
        self._carried = carried
        self._room = room

    async def thread_for(self, request: RunRequest, *, by: Principal, title: str | None = None) -> Thread:
        """Returns the thread that the request names, or one that `create` is to make, called after its first words or
        by this title. Raises ThreadNotFound."""
        title = _text_of(request)[:TITLE_CHARS].strip() or title
        if request.thread_id is None:
            now = utc_now()
            return Thread(thread_id=new_id("thr"), user_id=by.user_id, title=title, created_at=now, updated_at=now)
        thread = await self._means.rows.get_thread(request.thread_id, by=by)
        if thread.title is None and title is not None:
            thread = await self._means.rows.update_thread(thread.thread_id, by=by, title=title)
        return thread

    async def create(
        self, request: RunRequest, thread: Thread, *, run_id: str, model: str, by: Principal, fork: Fork | None = None
    ) -> Run:
        """Makes a run durable, with its thread where the request names none, and returns it; a busy thread has it
        `queued`, as its strategy says.

        Raises ThreadBusy, InvalidRequest, StorageError; then there is no such run.
        """
        run = await self._insert(request, thread, run_id=run_id, model=model, by=by, fork=fork)
        try:
            started = await self._first_event(run, request, fork)
            await self._means.journal.create(run.run_id)
            await self._means.journal.append(run.run_id, started)
        except BaseException:
            with suppress(LeaseLost):
                # What another server may have by now is its to put away: it may have begun the run anew.
                self._means.leases.check(run.run_id)
                await self.forget(run)
            raise
        return run

    async def _insert(
        self, request: RunRequest, thread: Thread, *, run_id: str, model: str, by: Principal, fork: Fork | None
    ) -> Run:
        """Inserts the run's row; where the thread is busy it waits for its turn, or as the strategy says. Raises
        ThreadBusy."""
        now = utc_now()
        now = now.replace(microsecond=max(1, now.microsecond))  # as the journal has it
        parts = (Text(text=request.input),) if isinstance(request.input, str) else request.input
        run = Run(
            run_id=run_id,
            thread_id=thread.thread_id,
            user_id=thread.user_id,
            status=RunStatus.PENDING,
            agent=request.agent or "default",
            model=model,
            created_at=now,
            updated_at=now,
            multitask=request.multitask,
            input=tuple([await self._bounded(part) if isinstance(part, Text) else part for part in parts]),
            metadata=request.metadata,
            kwargs=request.kwargs,
            cell=request.cell,
            follow_up_to_run_id=request.follow_up_to_run_id,
            forked_from_run_id=fork.run_id if fork else None,
            forked_from_turn=fork.turn if fork else None,
            past_blob=fork.past if fork else None,
        )
        run = msgspec.structs.replace(run, first_human_message=first_words(run))
        new = thread if request.thread_id is None else None
        while True:
            asked_at = machine_clock()
            try:
                created = await self._means.rows.create_run(run, holder=self._means.leases.holder, thread=new)
                self._means.leases.created(run.run_id, asked_at=asked_at)
                return created
            except ThreadBusy:
                if run.multitask is not Multitask.REJECT:
                    # What is to make room waits first: nobody's run ends for one that could not be written down.
                    run = msgspec.structs.replace(run, queued=True)
                elif not await self._room.make_room(run.thread_id, run.multitask, by=by):
                    raise

    async def _bounded(self, part: Text) -> Text:
        """Returns the text, or its beginning and the blob of the whole where it is too long for an event."""
        if len(part.text) <= MAX_INLINE_CHARS:
            return part
        blob = await self._means.blobs.put(part.text.encode())
        return Text(text=part.text[:MAX_INLINE_CHARS], blob=blob)

    async def _first_event(self, run: Run, request: RunRequest, fork: Fork | None) -> ev.RunStarted:
        named = [part.blob for part in run.input if isinstance(part, Text)]
        for key in filter(None, [*named, *((fork.past, *fork.images) if fork else ())]):
            await self._means.rows.refer(key, run_id=run.run_id, user_id=run.user_id)
        # Everything that going on after a restart needs; the input stands in its own field.
        kept = msgspec.to_builtins(msgspec.structs.replace(request, input="", metadata={}))
        started = ev.RunStarted(
            at=run.created_at,
            thread_id=run.thread_id,
            user_id=run.user_id,
            agent=run.agent,
            model=run.model,
            input=run.input,
            metadata=run.metadata,
            kwargs=kept,
            multitask=run.multitask,
            follow_up_to_run_id=run.follow_up_to_run_id,
            cell=run.cell,
            fork=fork,
        )
        if len(msgspec.json.encode(started)) > ev.MAX_LINE_BYTES - 1024:
            raise InvalidRequest(
                "The run's metadata, kwargs, script and tools are too large together: at most 250 KB fit. "
                "Put long data into files or into the input."
            )
        return started

    async def forget(self, run: Run) -> None:
        """Undoes a start that could not be made durable."""
        try:
            ended = msgspec.structs.replace(run, status=RunStatus.ERROR, ended_at=utc_now())
            await self._means.rows.save_run(ended, lease_no=self._means.leases.number(run.run_id))
            await self._means.journal.close(run.run_id)
            self._lines.delete(run.run_id)
            await self._means.rows.delete_run(run.run_id, by=SYSTEM)
        except (StorageError, LeaseLost, OSError):
            log.exception("Run %s could not be started and not be forgotten; start-up will end it.", run.run_id)
        finally:
            await self._carried.give_back(run.run_id)


def _text_of(request: RunRequest) -> str:
    if isinstance(request.input, str):
        return request.input
    return " ".join(part.text for part in request.input if isinstance(part, Text))
