"""Tools that live in clients: who offers them for which run, calls on their way, and their results.

A call belongs to the run, not to a socket: it is sent again, under the same `toolCallId`, to the client that offers the
tool after a reconnect, and its first result counts.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..exceptions import NotFound, OutcomeUnknown, ToolTimedOut
from ..protocol.commands import ClientToolProgress, ClientToolResult
from ..protocol.control import ClientToolCall, ClientToolCancelled

FINISHED_KEPT: Final = 1_024


class Client(Protocol):
    """A socket on whose other side tools can be carried out."""

    @property
    def party(self) -> object:
        """Equal for two sockets of the same client: the one it lost, and the one it came back with."""

    def tell(self, frame: ClientToolCall | ClientToolCancelled) -> None:
        """Sends a frame, without waiting."""


@dataclass(eq=False)
class _Call:
    frame: ClientToolCall
    progress: Callable[[str], None]
    result: asyncio.Future[ClientToolResult]
    sent_to: Client | None = None
    was_sent: bool = False


@dataclass
class ClientTools:
    """The offers and calls of all runs."""

    _offers: dict[str, dict[Client, frozenset[str]]] = field(default_factory=dict)
    _calls: dict[tuple[str, str], _Call] = field(default_factory=dict)
    _finished: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, run_id: str, names: tuple[str, ...], client: Client) -> None:
        """Records which tools of the run this client can carry out, and sends it the calls that wait for them."""
        if not names:
            self.withdraw(run_id, client)
            return
        offers = self._offers.setdefault(run_id, {})
        offers.pop(client, None)
        offers[client] = frozenset(names)
        for call in self._calls.values():
            is_free = call.sent_to is None or (call.sent_to is not client and call.sent_to.party == client.party)
            if call.frame.run_id == run_id and call.frame.name in names and is_free:
                self._send(call, client)
        self._news.set()
        self._news = asyncio.Event()

    def withdraw(self, run_id: str, client: Client) -> None:
        """Forgets the client's offers for the run: it is gone, or has stopped following."""
        offers = self._offers.get(run_id, {})
        if offers.pop(client, None) is None:
            return
        if not offers:
            self._offers.pop(run_id, None)
        for call in self._calls.values():
            if call.frame.run_id == run_id and call.sent_to is client:
                call.sent_to = None
                if (other := self._who_offers(run_id, call.frame.name)) is not None:
                    self._send(call, other)

    def is_offered(self, run_id: str, name: str) -> bool:
        return self._who_offers(run_id, name) is not None

    async def offered(self, run_id: str, name: str) -> None:
        """Returns when a client offers the tool."""
        while not self.is_offered(run_id, name):
            await self._news.wait()

    async def call(self, frame: ClientToolCall, *, progress: Callable[[str], None], wait_s: float) -> ClientToolResult:
        """Has a tool carried out and returns its result, waiting for it that long.

        Raises ToolTimedOut, or OutcomeUnknown when the call was sent and the client did not come back. Cancelling
        tells the client.
        """
        key = (frame.run_id, frame.tool_call_id)
        call = _Call(frame, progress, asyncio.get_running_loop().create_future())
        self._calls[key] = call
        if (client := self._who_offers(frame.run_id, frame.name)) is not None:
            self._send(call, client)
        try:
            async with asyncio.timeout(wait_s):
                return await call.result
        except TimeoutError as late:
            if call.was_sent and call.sent_to is None:
                raise OutcomeUnknown(
                    f"The client that carries out {frame.name} took the call and went away; it may have acted."
                ) from late
            waited = "took longer than" if call.was_sent else "found no client that offers it within"
            raise ToolTimedOut(f"The client tool {frame.name} {waited} {wait_s:g} s.") from late
        finally:
            self._calls.pop(key, None)
            self._finished[key] = None
            while len(self._finished) > FINISHED_KEPT:
                self._finished.popitem(last=False)
            if not call.result.done() or call.result.cancelled():
                self._cancel(call)

    def lost(self, run_id: str, reason: str) -> None:
        """Ends the calls of a run whose client will not come back. They raise OutcomeUnknown if they were sent."""
        for call in tuple(self._calls.values()):
            if call.frame.run_id == run_id and call.was_sent and not call.result.done():
                call.result.set_exception(OutcomeUnknown(reason))

    def take_result(self, command: ClientToolResult) -> None:
        """Takes a client's answer; one that comes again changes nothing. Raises NotFound for a call never made."""
        call = self._find(command)
        if call is not None and not call.result.done():
            call.result.set_result(command)

    def take_progress(self, command: ClientToolProgress) -> None:
        """Takes output of a client tool that works. Raises NotFound for a call never made."""
        call = self._find(command)
        if call is not None and not call.result.done():
            call.progress(command.content)

    def _find(self, command: ClientToolResult | ClientToolProgress) -> _Call | None:
        key = (command.run_id, command.tool_call_id)
        if key not in self._calls and key not in self._finished:
            raise NotFound(f"Run {command.run_id} waits for no client tool call {command.tool_call_id}.")
        return self._calls.get(key)

    def _who_offers(self, run_id: str, name: str) -> Client | None:
        """The client that offered the tool last: the one that has just reconnected, not its dying socket."""
        offers = self._offers.get(run_id, {})
        return next((client for client, names in reversed(offers.items()) if name in names), None)

    def _send(self, call: _Call, client: Client) -> None:
        call.sent_to, call.was_sent = client, True
        client.tell(call.frame)

    def _cancel(self, call: _Call) -> None:
        if call.sent_to is not None:
            call.sent_to.tell(ClientToolCancelled(run_id=call.frame.run_id, tool_call_id=call.frame.tool_call_id))
