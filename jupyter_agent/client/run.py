"""A run in Python's hands: its answer to wait for, its facts to look at, its people's part to play."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from .. import records
from ..display import words
from ..exceptions import (
    AgentError,
    ApprovalNotFound,
    ConnectionLost,
    Forbidden,
    InvalidRequest,
    RunFailed,
    RunFinished,
)
from ..facts.messages import messages_of
from ..protocol import commands
from ..transcript import ToolCallView, Transcript, TurnView
from . import report
from .bench import RUN_CELL, Waiting
from .feed import Event, Feed
from .rows import Rows
from .shell import in_kernel, kernel_is_ending
from .transport import Link

if TYPE_CHECKING:
    from .client import Client
    from .thread import Thread

TICK_S = 1.0
INTERRUPTED_S = 2.0
SHOWN_S = 2.0
RESTART_S = 0.4
RESTART_LOOK_S = 0.02
LOST_AFTER = timedelta(minutes=5)
"""A wait gives up when there has been no connection for so long. The run itself goes on."""


class WaitInterrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C or ■ while a run was awaited; the run was interrupted too."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


class View(Protocol):
    """What shows a run, in a notebook's cell or at a terminal."""

    execution_count: int

    def awaited(self) -> AbstractContextManager[None]:
        """Somebody waits for the run meanwhile, and does nothing else."""

    async def finished(self) -> None:
        """Returns, in the client's loop, when the ended run is shown as it ended."""


class Run:
    """One execution of an agent, live. `await run` or `run.result()` gives the answer.

    Everything can be read at any time, while it runs too; lists have a `.df`. Methods that talk to the gateway have
    a twin that starts with `a` and is awaited.
    """

    cache: Any
    """What the provider's cache read of the run's prompts, and why not more; attached by the frames."""

    def __init__(self, client: "Client", record: records.Run, feed: Feed) -> None:
        self._client = client
        self._record = record
        self._feed = feed
        self.view: View | None = None
        """What shows the run live where it was started."""

    def __repr__(self) -> str:
        text = words.one_line(self.text, 80)
        return f"<Run {self.id} {report.status_line(self._feed)}{f': {text!r}' if text else ''}>"

    # --- facts ------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self._record.run_id

    @property
    def client(self) -> "Client":
        """The client that it was started or opened by."""
        return self._client

    @property
    def thread(self) -> "Thread":
        """The thread that this run is part of."""
        from .thread import Thread

        return Thread(self._client, self._record.thread_id)

    @property
    def model(self) -> str:
        return self._record.model

    @property
    def status(self) -> records.RunStatus:
        return self._feed.read(lambda seen: seen.status)

    @property
    def is_done(self) -> bool:
        """Whether the run has ended."""
        return self._feed.is_done

    @property
    def connection(self) -> Link:
        """How the connection that brings the news stands."""
        return self._feed.link

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._feed.read(lambda seen: seen.text)

    @property
    def usage(self) -> records.Usage:
        """Tokens and money of the turns that are complete."""
        return self._feed.read(lambda seen: seen.usage)

    @property
    def elapsed(self) -> timedelta:
        return timedelta(seconds=self._feed.read(report.elapsed_s))

    @property
    def turns(self) -> Rows[TurnView]:
        return self._rows("turns", lambda seen: list(seen.turns))

    @property
    def tool_calls(self) -> Rows[ToolCallView]:
        return self._rows("tool_calls", lambda seen: list(seen.tool_calls.values()))

    @property
    def messages(self) -> Rows[records.Message]:
        """The conversation of this run: what was asked, what the model said, what the tools gave."""
        return self._rows("messages", messages_of)

    @property
    def events(self) -> Rows[Event]:
        return Rows.of("events", self._feed.past(), run_id=self.id).followed(self._feed, lambda: self.events)

    @property
    def approvals(self) -> Rows[records.Approval]:
        """The tool calls that wait for a person now."""
        return self._rows("approvals", lambda seen: list(seen.pending_approvals))

    @property
    def inputs(self) -> Rows[records.InputNeeded]:
        """The questions that wait for an answer now."""
        return self._rows("inputs", lambda seen: list(seen.pending_inputs))

    def _rows(self, kind: str, look: Callable[[Transcript], list[Any]]) -> Rows[Any]:
        rows: Rows[Any] = Rows.of(kind, self._feed.read(look), run_id=self.id)
        return rows.followed(self._feed, lambda: self._rows(kind, look))

    # --- waiting ----------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> str:
        """Waits for the end and returns the answer; `timeout` is in seconds.

        While it waits in a kernel's main thread the run's code and tools are carried out here. Ctrl-C or ■
        interrupts the run. Raises RunFailed when the run failed or was interrupted, TimeoutError (the run goes on),
        ConnectionLost (the run goes on).
        """
        if not self._feed.is_done:
            with self._awaited():
                if threading.current_thread() is threading.main_thread():
                    self._wait_here(timeout)
                else:
                    self._wait_elsewhere(timeout)
        self._client.wait(self._shown())
        return self._answer()

    def _wait_here(self, timeout_s: float | None) -> None:
        """Waits in the main thread, and works for the run meanwhile."""
        news = threading.Event()
        patience = _Patience(self._feed, timeout_s)
        stop_watching = self._feed.watch(news.set)
        waiting: Waiting | None = None
        try:
            with self._client.bench.waiting(news.set) as waiting, _Serving(self._client, self._feed):
                while not self._feed.is_done:
                    waiting.work()
                    if waiting.is_interrupted:
                        raise KeyboardInterrupt
                    news.wait(patience.left_s())
                    news.clear()
        except KeyboardInterrupt:
            if waiting is None or waiting.is_interrupted:
                self._interrupted_by_person()
            raise
        finally:
            stop_watching()

    def _wait_elsewhere(self, timeout_s: float | None) -> None:
        patience = _Patience(self._feed, timeout_s)
        while not self._feed.is_done:
            self._feed.wait_until(lambda _: False, patience.left_s())

    def _interrupted_by_person(self) -> NoReturn:
        """Interrupts the run and raises. A second Ctrl-C does not wait for the gateway."""
        raise WaitInterrupted(self._client.wait(self._stopped_by_person())) from None

    async def _stopped_by_person(self) -> str:
        """Interrupts the run and returns what to say of it.

        Jupyter interrupts a kernel before it restarts it, and says so only then: that is no wish to stop the run.
        """
        if in_kernel():
            for _ in range(int(RESTART_S / RESTART_LOOK_S)):
                if kernel_is_ending():
                    return f"the kernel ends. The run {self.id} goes on: ja.open({self.id!r}) finds it again."
                await asyncio.sleep(RESTART_LOOK_S)
        try:
            await self._interrupt()
        except AgentError as fault:
            return f"the run {self.id} could not be told: {fault.message}"
        await self._shown()
        return f"the run {self.id} was interrupted too."

    def __await__(self) -> Generator[Any, None, str]:
        return self.aresult().__await__()

    async def aresult(self, timeout: float | None = None) -> str:  # noqa: ASYNC109 - the twin of result()
        """Awaits the end and returns the answer, like `result()`. Cancelling it leaves the run going, unless a
        person pressed Ctrl-C or ■."""
        if not self._feed.is_done:
            with self._awaited():
                await self._await_here(timeout)
        await self._client.join(self._shown())
        return self._answer()

    async def _await_here(self, timeout_s: float | None) -> None:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        patience = _Patience(self._feed, timeout_s)

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        async def pause() -> None:
            left_s = patience.left_s()
            try:
                await asyncio.wait_for(news.wait(), left_s)
            except TimeoutError:
                return
            finally:
                news.clear()

        stop_watching = self._feed.watch(wake)
        try:
            if threading.current_thread() is not threading.main_thread():
                while not self._feed.is_done:
                    await pause()
                return
            with self._client.bench.waiting(wake) as waiting, _Serving(self._client, self._feed):
                try:
                    while not self._feed.is_done:
                        await waiting.awork()
                        if waiting.is_interrupted:
                            raise KeyboardInterrupt
                        await pause()
                except (asyncio.CancelledError, KeyboardInterrupt):
                    if not waiting.is_interrupted:
                        raise
                    # Raised here and not in a task of its own: that would end the event loop.
                    said = await asyncio.shield(asyncio.ensure_future(self._client.join(self._stopped_by_person())))
                    raise WaitInterrupted(said) from None
        finally:
            stop_watching()

    def _awaited(self) -> AbstractContextManager[None]:
        return nullcontext() if self.view is None else self.view.awaited()

    async def _shown(self) -> None:
        """Lets the view catch up, so that what the cell shows is whole when the cell ends."""
        if self.view is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.view.finished(), SHOWN_S)

    def _answer(self) -> str:
        if self._feed.fault is not None:
            raise self._feed.fault

        def look(seen: Transcript) -> tuple[records.RunStatus, str, str, str]:
            code = seen.error.code if seen.error else str(seen.status)
            return seen.status, seen.text, code, seen.error.message if seen.error else seen.summary or ""

        status, text, code, said = self._feed.read(look)
        if status is records.RunStatus.COMPLETED:
            return text
        if status is records.RunStatus.INTERRUPTED:
            message = f"The run {self.id} was interrupted{f': {said}' if said else '.'}"
        else:
            message = f"The run {self.id} failed ({code}): {said or 'it did not say why.'}"
        raise RunFailed(message, details={"code": code, "runId": self.id})

    # --- people's part ----------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Stops the run, its tools and their child processes, and returns when it has ended (within 2 s). Nothing
        happens when it has ended before."""
        self._client.wait(self._interrupt())

    async def ainterrupt(self) -> None:
        await self._client.join(self._interrupt())

    async def _interrupt(self) -> None:
        with suppress(RunFinished):
            await self._client.transport.command(commands.Interrupt(run_id=self.id))
        ended = asyncio.Event()
        stop_watching = self._feed.watch(lambda: ended.set() if self._feed.is_done else None)
        try:
            if not self._feed.is_done:
                await asyncio.wait_for(ended.wait(), INTERRUPTED_S)
        except TimeoutError:
            return  # it was told; its news are still on their way
        finally:
            stop_watching()

    # --- forks ------------------------------------------------------------------------------------------------

    @property
    def forked_from(self) -> tuple[str, int] | None:
        """The run that this one was forked from, and the turn of it that this one makes anew; None for one that began
        by itself."""
        record = self._record
        if record.forked_from_run_id is None or record.forked_from_turn is None:
            return None
        return record.forked_from_run_id, record.forked_from_turn

    def fork(  # noqa: PLR0913 - all that can be otherwise
        self,
        turn: int | None = None,
        input: str | None = None,  # noqa: A002 - the word on the wire
        *,
        model: str | None = None,
        instructions: str | None = None,
        settings: Mapping[str, Any] | None = None,
        tools: Any = None,
        budget: records.Budget | Mapping[str, Any] | None = None,
        script: Any = None,
        metadata: Mapping[str, Any] | None = None,
        waits: bool = False,
        show: bool = True,
    ) -> "Run":
        """Starts a run that begins where this one stood before a turn, on a thread of its own, and returns it at once.

        `turn` (from 0) is made anew; without it the run goes on after the last one. The model is told all that this
        one's was told by then, with what tools gave: nothing is executed again. `input` takes the place of the first
        words at turn 0, and is said besides at a later turn. What else is not given stays as it was; the options are
        those of `ja.run`. This run stays as it is, and the new one is whole without it.

        Raises InvalidRequest for a turn that there is not, and after an answer without `input`; RunActive for a turn
        that is not over; and what starting a run raises.
        """
        from .front import ForkWish, fork

        return fork(self, ForkWish(
            turn=turn, input=input, model=model, instructions=instructions, settings=settings, tools=tools,
            budget=budget, script=script, metadata=metadata, waits=waits, show=show,
        ))  # fmt: skip

    async def afork(
        self,
        turn: int | None = None,
        input: str | None = None,  # noqa: A002 - the word on the wire
        **options: Any,
    ) -> "Run":
        """Awaits what `fork` returns, with the same options."""
        from .front import ForkWish, afork

        return await afork(self, ForkWish(turn=turn, input=input, **options))

    def rate(
        self, rating: Literal[1, -1], comment: str | None = None, *, message_id: str | None = None
    ) -> records.Feedback:
        """Keeps what you think of the run: +1 or -1. The second time replaces the first; a message of the run is rated
        for itself. `ja.feedback()` has all of it. Raises InvalidRequest for another rating."""
        said: records.Feedback = self._client.wait(
            self._client.rate(self.id, rating, comment=comment, messageId=message_id)
        )
        return said

    async def arate(
        self, rating: Literal[1, -1], comment: str | None = None, *, message_id: str | None = None
    ) -> records.Feedback:
        said: records.Feedback = await self._client.join(
            self._client.rate(self.id, rating, comment=comment, messageId=message_id)
        )
        return said

    def approve(
        self,
        id: str | None = None,  # noqa: A002 - the spec's name
        *,
        arguments: dict[str, Any] | str | None = None,
        remember: Literal["run", "thread"] | None = None,
    ) -> None:
        """Lets a waiting tool call be executed: the only one, or the one with this approval id or tool call id.

        `arguments` replaces what the model asked; `remember` allows later calls of the tool too. Raises Forbidden in
        a kernel that may not approve, ApprovalNotFound, AlreadyResolved.
        """
        self._client.wait(self._decide(id, approved=True, arguments=arguments, remember=remember))

    async def aapprove(
        self,
        id: str | None = None,  # noqa: A002 - the spec's name
        *,
        arguments: dict[str, Any] | str | None = None,
        remember: Literal["run", "thread"] | None = None,
    ) -> None:
        await self._client.join(self._decide(id, approved=True, arguments=arguments, remember=remember))

    def reject(self, id: str | None = None, reason: str | None = None) -> None:  # noqa: A002 - the spec's name
        """Refuses a waiting tool call; the model reads the reason. Raises like `approve`."""
        self._client.wait(self._decide(id, approved=False, reason=reason))

    async def areject(self, id: str | None = None, reason: str | None = None) -> None:  # noqa: A002
        await self._client.join(self._decide(id, approved=False, reason=reason))

    async def _decide(
        self, asked_id: str | None, *, approved: bool, arguments: dict[str, Any] | str | None = None, **more: Any
    ) -> None:
        approval = self._pending(asked_id)
        text = arguments if isinstance(arguments, str | None) else json.dumps(arguments, ensure_ascii=False)
        command = commands.ToolConfirmation(
            run_id=self.id, tool_call_id=approval.tool_call_id, approval_id=approval.approval_id, approved=approved,
            arguments=text, **more,
        )  # fmt: skip
        try:
            await self._client.transport.command(command)
        except Forbidden as fault:
            if not in_kernel():
                raise
            raise Forbidden(
                f"Approvals are not given from a kernel, so {approval.tool_name} still waits. Answer it "
                f"{words.WHERE_TO_APPROVE}.",
                details=fault.details,
            ) from None

    def _pending(self, asked_id: str | None) -> records.Approval:
        waiting = self.approvals
        found = [item for item in waiting if asked_id in {None, item.approval_id, item.tool_call_id}]
        if len(found) == 1:
            return found[0]
        listed = "; ".join(f"{item.approval_id} ({item.tool_name})" for item in waiting) or "none"
        what = f"No approval {asked_id!r} waits" if asked_id else "There is not exactly one approval that waits"
        raise ApprovalNotFound(f"{what} in the run {self.id}. Waiting now: {listed}.")

    def answer(self, id: str, text: str) -> None:  # noqa: A002 - the spec's name
        """Answers a question of the agent; `id` is the `request_id` in `run.inputs`. Raises InputNotFound."""
        self._client.wait(self._give(id, text))

    async def aanswer(self, id: str, text: str) -> None:  # noqa: A002 - the spec's name
        await self._client.join(self._give(id, text))

    async def _give(self, request_id: str, text: str) -> None:
        if not isinstance(text, str):
            raise InvalidRequest(f"The answer to {request_id!r} is a {type(text).__name__}: give text.")
        await self._client.transport.command(
            commands.UserInput(run_id=self.id, request_id=request_id, content=records.clean(text))
        )


class _Serving:
    """Tells the gateway that code for this kernel is executed in the waiting cell, for as long as it waits."""

    def __init__(self, client: "Client", feed: Feed) -> None:
        self._client = client
        self._feed = feed

    def __enter__(self) -> None:
        if in_kernel() and RUN_CELL not in self._feed.tools:
            self._tell((*self._feed.tools, RUN_CELL))

    def __exit__(self, *_: object) -> None:
        if RUN_CELL in self._feed.tools:
            self._tell(tuple(name for name in self._feed.tools if name != RUN_CELL))

    def _tell(self, tools: tuple[str, ...]) -> None:
        self._feed.tools = tools
        if not self._feed.is_done:
            self._client.refollow(self._feed)


class _Patience:
    """How long a wait may still take, and whether there has been a connection lately."""

    def __init__(self, feed: Feed, timeout_s: float | None) -> None:
        self._feed = feed
        self._timeout_s = timeout_s
        self._started = self._connected = time.monotonic()

    def left_s(self) -> float:
        """Returns how long to sleep at most. Raises TimeoutError or ConnectionLost when it has been too long."""
        now = time.monotonic()
        if self._feed.link is Link.CONNECTED:
            self._connected = now
        if now - self._connected > LOST_AFTER.total_seconds():
            raise ConnectionLost(
                f"There has been no connection to the gateway for {words.duration(now - self._connected)}. The run "
                f"{self._feed.run_id} goes on where its server does: `ja.open({self._feed.run_id!r}).result()` waits "
                "for it again."
            )
        if self._timeout_s is None:
            return TICK_S
        left = self._started + self._timeout_s - now
        if left <= 0:
            raise TimeoutError(f"The run {self._feed.run_id} has not ended within {self._timeout_s:g} s. It goes on.")
        return min(left, TICK_S)
