"""Calls of one pass of a workflow, over REST: claimed and started in batches, waited for by news.

Lives in the client's loop. A gateway that goes away is waited for; what is sent again acts once, by the call's token.
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Final
from urllib.parse import quote

import msgspec

from ..exceptions import AgentError, ConnectionLost, Forbidden, InvalidRequest, NotFound, StorageUnavailable
from ..script import MAX_AT_ONCE
from ..script.ahead import Ahead
from ..script.placed import IN_FLIGHT, AheadResult, CallState, PlacedCall, UsedResult
from ..script.step import PlacedStep
from .behind import Behind
from .client import Client

BATCH_BYTES: Final = 600_000
BATCH_CALLS: Final = 500
WAIT_S: Final = 20.0
ROW: Final = 2
"""So many calls one after the other make a row."""
REPORT_S: Final = 0.1
SHORT_S: Final = 0.05
"""How long the answer to the start of a lone call waits for its end: most of the short ones need no second request."""
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, *[2.0] * 60)
"""Before another try while nothing answers: a server that starts again is waited for two minutes."""
STARTS: Final = 3
"""How often a call is started that is gone, as one is whose server forgot that it failed."""

News = Callable[[str, CallState], None]
"""Told of a call's token and where it stands now."""


class Pass:
    """One pass: from its first call to a kernel's end or `new_pass()`."""

    def __init__(self, client: Client, opening: dict[str, Any], *, on_news: News) -> None:
        """`opening` is the body that begins the pass; it is sent before anything else."""
        self._client = client
        self._opening = opening
        self.workflow_run_id = str(opening["workflowRunId"])
        self.behind: Behind | None = None
        self._opened: asyncio.Task[None] | None = None
        self._path = f"workflow-runs/{quote(self.workflow_run_id, safe='')}"
        self._on_news = on_news
        self._claims = _Batches(lambda calls: self._claim(calls, start=False))
        self._starts = _Batches(lambda calls: self._claim(calls, start=True), unwanted=self._unwanted)
        self._steps = _Batches(self._take_steps)
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._ahead = Ahead()
        self._in_order = asyncio.Lock()
        self._asking = self._claiming = self._in_a_row = 0
        self._reporting: asyncio.Task[None] | None = None
        self._low = asyncio.Event()
        self._flying: dict[str, asyncio.Future[CallState]] = {}
        self._tokens: dict[str, str] = {}
        self._early: dict[str, CallState] = {}
        self._cursor = ""
        self._listening: asyncio.Task[None] | None = None

    async def answer(self, call: PlacedCall) -> tuple[CallState, CallState]:
        """Returns what claiming said of the call, and how it ended: `hit`, `done` or `failed`. Cancelled, it stops the
        call. Raises the gateway's fault."""
        await self.settle()
        # While others are being claimed nobody knows whether what was told ahead is still there.
        if not self._claiming and (known := self._ahead.take(call)) is not None:
            self._tell(call, known)
            self._report_use()
            return known, known
        self._asking += 1
        self._in_a_row = self._in_a_row + 1 if self._asking == 1 else 0
        try:
            return await self._answer(call)
        finally:
            self._asking -= 1

    async def _answer(self, call: PlacedCall) -> tuple[CallState, CallState]:
        claimed = None
        if self._asking > 1 or self._at_once.locked():
            # What the store has needs no room, and many are claimed at once.
            claimed = await self._claims.ask(call)
            self._tell(call, claimed)
            if claimed.status == "hit":
                return claimed, claimed
            if claimed.status == "running":
                ended = await self._wait(call, claimed)
                if ended.status != "gone":
                    return claimed, ended
        # People and other workflows take as long as they like: agents do not queue behind them.
        async with self._at_once if call.kind == "agent" else nullcontext():
            for _ in range(1 if call.side_effects else STARTS):
                started = await self._starts.ask(call)
                self._tell(call, started)
                if claimed is None or started.status == "hit" or started.why == IN_FLIGHT:
                    # Another pass may have answered or begun it since it was missed.
                    claimed = started
                ended = await self._wait(call, started) if started.status == "running" else started
                if ended.status != "gone":
                    return claimed, ended
        lost = CallState(status="failed", message="The server lost track of it. Run the cell again.")
        return claimed or lost, lost

    async def release(self, cell: str) -> None:
        """Lets go of what a cell claimed."""
        await self.settle()
        self.forget_ahead()
        await self._claim([], start=False)
        await self._request("POST", "release", {"cell": cell})

    async def step(self, step: PlacedStep) -> CallState:
        """Asks for a step's stored result, or stores it."""
        await self.settle()
        return await self.put_step(step)

    def put_step(self, step: PlacedStep) -> asyncio.Future[CallState]:
        """Asks for a step's stored result, or stores it, together with what else is asked meanwhile."""
        return self._steps.put(step)

    async def stored_steps(self) -> tuple[set[str], list[CallState]]:
        """Returns the keys of all steps that the workflow has stored, and results that are left for this pass, in the
        order in which it would claim them: perhaps not all."""
        await self.settle()
        said = await self._request("GET", "steps")
        return set(said["keys"]), msgspec.convert(said["left"], list[CallState])

    async def report_used(self, used: list[UsedResult]) -> None:
        """Says which results that were told before they were asked for are used now."""
        self._ahead.used += used
        await self._claim([], start=False)

    async def settle(self) -> None:
        """Returns when the gateway knows of all steps that were made. Raises what it refused one of them for."""
        if self.behind is not None and not self.behind.is_told:
            await self.behind.settle()

    async def budget(self) -> Any:
        """Returns what the pass may spend and has spent."""
        return await self._request("GET", "budget")

    async def set_budget(self, limits: dict[str, Any]) -> None:
        """Gives the pass another budget, from now on."""
        await self._request("PUT", "budget", limits)

    async def open(self) -> None:
        """Begins the pass at the gateway, once. Raises the gateway's fault."""
        if self._opened is None or (self._opened.done() and self._opened.exception() is not None):
            self._opened = asyncio.create_task(self._open())
        await asyncio.shield(self._opened)

    async def _open(self) -> None:
        await self._client.request("POST", "workflow-runs", body=self._opening)

    def _tell(self, call: PlacedCall, state: CallState) -> None:
        self._on_news(str(call.token), state)

    # --- requests -------------------------------------------------------------------------------------------

    async def _request(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Asks until something answers. Raises the gateway's fault, and ConnectionLost after two minutes."""
        await self.open()
        for pause_s in PAUSES_S:
            try:
                return await self._client.request(method, f"{self._path}/{path}", body=body, may_repeat=True, **more)
            except (ConnectionLost, StorageUnavailable):
                await asyncio.sleep(pause_s)
        return await self._client.request(method, f"{self._path}/{path}", body=body, may_repeat=True, **more)

    async def _claim(self, calls: list[PlacedCall], *, start: bool) -> list[CallState]:
        # A call that comes alone, like those before it, is likely one of a row; others are not to wait for it.
        is_alone = len(calls) <= 1 >= self._asking and not self._flying and (not calls or self._in_a_row >= ROW)
        if not is_alone and not self._ahead.used and not self._in_order.locked():
            return await self._send(calls, start=start)
        # What was used of what was told ahead is known to the gateway before anything else is claimed.
        async with self._in_order:
            return await self._send(calls, start=start, is_alone=is_alone)

    async def _send(self, calls: list[PlacedCall], *, start: bool, is_alone: bool = False) -> list[CallState]:
        used, self._ahead.used = self._ahead.used, []
        if not calls and not used:
            return []
        body = {
            "calls": calls, "start": start, "wait": SHORT_S if is_alone and start else 0.0, "used": used,
            "ahead": self._ahead.wanted if is_alone else 0,
        }  # fmt: skip
        self._claiming += bool(calls)
        try:
            said = await self._request("POST", "calls", body)
        except BaseException:
            self._ahead.used = [*used, *self._ahead.used]
            raise
        finally:
            self._claiming -= bool(calls)
        states = msgspec.convert(said["items"], list[CallState])
        if is_alone:
            self._ahead.learn(msgspec.convert(said["ahead"], list[AheadResult]))
        else:
            self._ahead.claimed(states)
        if self._listening is None:
            self._cursor = said["cursor"]
        return states

    def forget_ahead(self) -> None:
        """Has the next calls ask the gateway: results may have been deleted."""
        self._ahead.forget()

    def _report_use(self) -> None:
        """Tells the gateway what was used, soon: together with what else is used meanwhile, or at once for more."""
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.create_task(self._report())
        if self._ahead.is_low:
            self._low.set()

    async def _report(self) -> None:
        while self._ahead.used:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._low.wait()
            self._low.clear()
            with suppress(AgentError):
                # What could not be told now goes with the next request.
                await self._claim([], start=False)
                continue
            return

    async def _take_steps(self, steps: list[PlacedStep]) -> list[CallState]:
        said = await self._request("POST", "steps", {"steps": steps})
        return msgspec.convert(said["items"], list[CallState])

    # --- in flight ------------------------------------------------------------------------------------------

    async def _wait(self, call: PlacedCall, state: CallState) -> CallState:
        call_id = str(state.call_id)
        if (ended := self._early.pop(call_id, None)) is not None:
            return ended
        future = self._flying.get(call_id)
        if future is None:
            future = self._flying[call_id] = asyncio.get_running_loop().create_future()
        self._tokens[call_id] = str(call.token)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._flying.pop(call_id, None)
            self._stop_soon(call_id)
            raise

    def _unwanted(self, state: CallState) -> None:
        """A call was given up while the request that starts it was on its way."""
        if state.status == "running":
            self._stop_soon(str(state.call_id))

    def _stop_soon(self, call_id: str) -> None:
        stopping = asyncio.create_task(self._stop(call_id))
        stopping.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _stop(self, call_id: str) -> None:
        await self._request("POST", "calls/stop", {"callIds": [call_id]})

    async def _listen(self) -> None:
        """Hears the news of calls in flight, for as long as there are any."""
        try:
            while self._flying:
                said = await self._request("GET", "calls/news", query={"cursor": self._cursor, "wait": WAIT_S})
                items = said["items"]
                if said["missed"]:
                    said = await self._request("POST", "calls/look", {"callIds": list(self._flying)})
                    items = said["items"]
                self._cursor = said["cursor"]
                for state in msgspec.convert(items, list[CallState]):
                    self._hear(state)
        except AgentError as fault:
            for future in self._flying.values():
                if not future.done():
                    future.set_exception(fault)
            self._flying.clear()
        finally:
            self._listening = None
            self._early.clear()

    def _hear(self, state: CallState) -> None:
        call_id = str(state.call_id)
        if (token := self._tokens.get(call_id)) is not None:
            self._on_news(token, state)
        if state.status == "running":
            return
        future = self._flying.pop(call_id, None)
        if future is None:
            # The answer to its start is still on its way.
            self._early[call_id] = state
        elif not future.done():
            future.set_result(state)


Asked = PlacedCall | PlacedStep


class _Batches:
    """Gathers what is asked while an answer is awaited: one request for many calls. `unwanted` is told what became of a
    call that was given up when it was asked for already."""

    def __init__(
        self, send: Callable[[list[Any]], Any], *, unwanted: Callable[[CallState], None] = lambda _: None
    ) -> None:
        self._send = send
        self._unwanted = unwanted
        self._waiting: list[tuple[Asked, asyncio.Future[CallState]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, call: Asked) -> CallState:
        return await self.put(call)

    def put(self, call: Asked) -> asyncio.Future[CallState]:
        future: asyncio.Future[CallState] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._task is None:
            self._task = asyncio.create_task(self._flush())
        return future

    async def _flush(self) -> None:
        await asyncio.sleep(0)
        try:
            while self._waiting:
                await self._deliver(self._taken())
        finally:
            self._task = None

    def _taken(self) -> list[tuple[Asked, asyncio.Future[CallState]]]:
        size = count = 0
        for call, future in self._waiting[:BATCH_CALLS]:
            try:
                size += len(msgspec.json.encode(call))
            except (TypeError, ValueError, OverflowError, RecursionError) as fault:
                # It is left out, and the others are none the worse for it.
                _raise_to([(call, future)], _unsendable(call, fault))
            if count and size > BATCH_BYTES:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [(call, future) for call, future in taken if not future.done()]

    async def _deliver(self, taken: list[tuple[Asked, asyncio.Future[CallState]]]) -> None:
        if not taken:
            return
        try:
            states = await self._send([call for call, _ in taken])
        except (InvalidRequest, NotFound, Forbidden) as fault:
            if len(taken) == 1:
                _raise_to(taken, fault)
                return
            # One of them is wrong: the others are none the worse for it.
            for one in taken:
                await self._deliver([one])
        except AgentError as fault:
            _raise_to(taken, fault)
        except BaseException:
            _raise_to(taken, ConnectionLost("The call was given up before the gateway answered."))
            raise
        else:
            for (_, future), state in zip(taken, states, strict=True):
                if future.cancelled():
                    self._unwanted(state)
                elif not future.done():
                    future.set_result(state)


def _unsendable(call: Asked, fault: Exception) -> InvalidRequest:
    name = call.name if isinstance(call, PlacedStep) else call.label or call.prompt
    return InvalidRequest(
        f"The call {name[:60]!r} cannot be sent: {fault}. Everything that a call is told has to be plain data: text "
        "without lone surrogates, numbers, lists and dicts."
    )


def _raise_to(taken: list[tuple[Asked, asyncio.Future[CallState]]], fault: AgentError) -> None:
    for _, future in taken:
        if not future.done():
            future.set_exception(fault)
