"""One WebSocket to the gateway, kept open: greets, follows runs, sends commands, reconnects and resumes by itself.

Lives in one event loop and is used only there. Rules:

- The token goes in the Authorization header, never in a URL.
- A command is sent again after a reconnect until it is acknowledged; its `clientId` makes it act once.
- Every followed run resumes from its own cursor, so that nothing is lost; what comes twice its follower drops.
"""

import asyncio
import itertools
import random
import secrets
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol, get_args

import msgspec
from tornado.httpclient import HTTPClientError, HTTPError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from .. import events as ev
from ..exceptions import AgentError, ConnectionLost, Forbidden, GatewayNotFound, Unauthenticated, fault_named
from ..protocol import commands, control
from .discovery import START_COMMAND, Gateway

MAX_FRAME_BYTES = 16 * 1024 * 1024
COMMAND_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
GIVEN_UP_S = 1.0
"""For a connection that is being made when nobody wants it any more."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of the protocol's clock. The n-th try waits a random part of `first_delay_s` times 2ⁿ, at most
    `longest_delay_s`: full jitter."""

    heartbeat_s: float = 30.0
    ack_s: float = 10.0
    first_delay_s: float = 1.0
    longest_delay_s: float = 30.0
    settled_s: float = 5.0

    def delay(self, attempt: int) -> float:
        most = min(self.longest_delay_s, self.first_delay_s * 2 ** min(attempt, 16))
        return random.uniform(0, most)  # noqa: S311 - jitter, no secret


class Link(StrEnum):
    """How the connection stands, for people to see."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting to reconnect"
    REFUSED = "refused"
    CLOSED = "closed"


class Follower(Protocol):
    """Who wants a run's frames. All methods are called in the transport's loop and return at once."""

    @property
    def last_event_id(self) -> str | None:
        """The cursor to resume from; None before the first event."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of this run's client tools that can be carried out here."""

    def take_event(self, event: ev.AnyEvent | ev.Unknown) -> None: ...

    def take_control(self, frame: control.AnyControl) -> None: ...

    def take_fault(self, fault: AgentError) -> None:
        """The run cannot be followed any more."""

    def take_link(self, link: Link) -> None: ...


class _Head(msgspec.Struct, rename="camel"):
    type: str
    run_id: str = ""
    client_id: str | None = None


_head: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Head)
_control: msgspec.json.Decoder[control.AnyControl] = msgspec.json.Decoder(control.AnyControl)
_encoder = msgspec.json.Encoder()
_CONTROL_TYPES = {cls.__struct_config__.tag for cls in get_args(control.AnyControl)}


class _Dropped(Exception):
    """The connection is gone: connect again."""


class Transport:
    """A lasting connection. `locate` finds the gateway and is asked again before every try, since a server that
    comes back may have another port and token."""

    def __init__(self, locate: Callable[[], Awaitable[Gateway]], *, timing: Timing | None = None) -> None:
        self.link = Link.IDLE
        self.fault: AgentError | None = None
        self._locate = locate
        self._timing = timing or Timing()
        self._followers: dict[str, Follower] = {}
        self._follow_ids: dict[str, str] = {}
        self._unacknowledged: dict[str, tuple[bytes, asyncio.Future[Any]]] = {}
        self._socket: WebSocketClientConnection | None = None
        self._acknowledged = asyncio.Event()
        self._is_needed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last_found: Gateway | None = None
        self._was_connected = False

    # --- what others ask of it --------------------------------------------------------------------------------

    def follow(self, run_id: str, follower: Follower) -> None:
        """Follows a run (or "*") from the follower's cursor on; called again it tells the gateway the follower's new
        tools."""
        self._followers[run_id] = follower
        self._wake()
        if self._socket is not None and self.link is Link.CONNECTED:
            self._send_follow(run_id, follower)
        else:
            follower.take_link(self.link)

    def unfollow(self, run_id: str) -> None:
        """Stops following; the run itself goes on."""
        if self._followers.pop(run_id, None) is not None and self._socket is not None:
            self._send(_encoder.encode(commands.Unfollow(run_id=run_id)))

    async def command(self, frame: commands.AnyCommand, *, timeout_s: float = COMMAND_TIMEOUT_S) -> Any:
        """Sends a command until it is acknowledged and returns the acknowledgement's result.

        Raises the gateway's fault when it is refused, ConnectionLost when there is no answer in time: the command
        may have acted.
        """
        client_id = f"c_{secrets.token_hex(10)}"
        text = _encoder.encode(msgspec.structs.replace(frame, client_id=client_id))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unacknowledged[client_id] = (text, answer)
        self._wake()
        if self.link is Link.CONNECTED:
            self._send(text)
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            raise self._no_answer(timeout_s) from None
        finally:
            self._unacknowledged.pop(client_id, None)

    async def close(self) -> None:
        """Closes the socket and stops reconnecting."""
        self._set_link(Link.CLOSED)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=2.0)
        self._fail_all(ConnectionLost("The connection to the gateway was closed. The run itself goes on."))

    def _no_answer(self, timeout_s: float) -> AgentError:
        if self.fault is not None:
            return self.fault
        where = self._last_found.url if self._last_found else "the gateway"
        return ConnectionLost(
            f"{where} did not answer within {timeout_s:g} s ({self.link}). Check that the Jupyter server is running "
            "and try again."
        )

    # --- staying connected ------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._is_needed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._stay_connected(), name="jupyter_agent transport")
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A fault of our own must not leave anybody waiting for ever."""
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._refuse(AgentError(f"The connection to the gateway failed: {type(bug).__name__}: {bug}."))

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            await self._need()
            started = asyncio.get_running_loop().time()
            try:
                await self._connection()
            except (Unauthenticated, Forbidden, GatewayNotFound) as refusal:
                # What was there before is away for a while when its server restarts.
                if not (isinstance(refusal, GatewayNotFound) and self._was_connected):
                    self._refuse(refusal)
                    return
            except _Dropped:
                pass
            if asyncio.get_running_loop().time() - started > self._timing.settled_s:
                attempt = 0
            self._set_link(Link.WAITING)
            await asyncio.sleep(self._timing.delay(attempt))
            attempt += 1

    async def _need(self) -> None:
        """Returns when there is something to follow or to send."""
        if not self._followers and not self._unacknowledged:
            self._is_needed.clear()
            self._set_link(Link.IDLE)
            await self._is_needed.wait()

    async def _connection(self) -> None:
        """Lives one connection from handshake to loss. Raises _Dropped, or a refusal that trying again cannot mend."""
        self._set_link(Link.CONNECTING)
        gateway = await self._locate()
        self._last_found = gateway
        socket = await self._open(gateway)
        heart: asyncio.Task[None] | None = None
        try:
            self._acknowledged.set()
            socket.write_message(_encoder.encode(commands.Auth(token="")))
            await self._greeting(socket)
            self._socket, self._was_connected = socket, True
            self._set_link(Link.CONNECTED)
            for run_id, follower in list(self._followers.items()):
                self._send_follow(run_id, follower)
            for text, _ in list(self._unacknowledged.values()):
                self._send(text)
            heart = asyncio.create_task(self._beat(socket), name="jupyter_agent heartbeat")
            while True:
                self._take(await self._read(socket))
        except WebSocketClosedError as gone:
            raise _Dropped from gone
        finally:
            self._socket = None
            self._follow_ids.clear()
            if heart is not None:
                heart.cancel()
            _hang_up(socket)

    async def _open(self, gateway: Gateway) -> WebSocketClientConnection:
        headers = {"Authorization": f"token {gateway.token}"} if gateway.token else {}
        request = HTTPRequest(gateway.socket_url, headers=headers, connect_timeout=CONNECT_TIMEOUT_S)
        opening = asyncio.ensure_future(websocket_connect(request, max_message_size=MAX_FRAME_BYTES))
        try:
            return await asyncio.wait_for(asyncio.shield(opening), CONNECT_TIMEOUT_S + 5)
        except asyncio.CancelledError:
            # Our loop may end with us, and a connection that is given up half made would leave its socket open.
            await asyncio.wait([opening], timeout=GIVEN_UP_S)
            _give_up(opening)
            raise
        except (HTTPClientError, HTTPError) as answer:
            raise refusal(answer.code, gateway) or _Dropped() from answer
        except (OSError, WebSocketError, TimeoutError) as gone:
            _give_up(opening)
            if self._was_connected:
                raise _Dropped from gone
            raise GatewayNotFound(
                f"Nothing answers at {gateway.url} (from {gateway.source}): {str(gone) or 'no answer in time'}. "
                f"Start the Jupyter server with `{START_COMMAND}`, or name another by `ja.connect(url, token)`."
            ) from gone

    async def _greeting(self, socket: WebSocketClientConnection) -> None:
        """Waits for `auth_success`."""
        try:
            text = await asyncio.wait_for(self._read(socket), CONNECT_TIMEOUT_S)
        except TimeoutError as silent:
            raise _Dropped from silent
        self._take(text)

    async def _read(self, socket: WebSocketClientConnection) -> str | bytes:
        text = await socket.read_message()
        if text is None:
            if socket.close_code == 4403:
                raise Forbidden(f"The gateway closed the connection: {socket.close_reason or 'forbidden'}.")
            raise _Dropped
        return text

    async def _beat(self, socket: WebSocketClientConnection) -> None:
        """Asks for a sign of life in every interval; a gateway that gives none is left."""
        try:
            for _ in itertools.count():
                await asyncio.sleep(self._timing.heartbeat_s)
                self._acknowledged.clear()
                await socket.write_message(_encoder.encode(commands.Heartbeat()))
                await asyncio.wait_for(self._acknowledged.wait(), self._timing.ack_s)
        except TimeoutError:
            socket.close(4000, "no heartbeat_ack")
        except WebSocketClosedError:
            return

    # --- frames -----------------------------------------------------------------------------------------------

    def _send(self, text: bytes) -> None:
        """Hands a frame to the socket; when that fails the reader notices and everything is sent again."""
        if self._socket is None:
            return
        try:
            self._socket.write_message(text).add_done_callback(lambda sent: sent.exception())
        except WebSocketClosedError:
            return

    def _send_follow(self, run_id: str, follower: Follower) -> None:
        client_id = f"f_{secrets.token_hex(8)}"
        self._follow_ids[client_id] = run_id
        frame = commands.Follow(
            client_id=client_id, run_id=run_id, last_event_id=follower.last_event_id, tools=follower.tools
        )
        self._send(_encoder.encode(frame))

    def _take(self, text: str | bytes) -> None:
        """Gives one frame to whom it concerns. A frame that cannot be read is a broken connection."""
        try:
            head = _head.decode(text)
            if head.type not in _CONTROL_TYPES:
                if (follower := self._followers.get(head.run_id)) is not None:
                    follower.take_event(ev.decode_line(text))
                return
            frame = _control.decode(text)
        except msgspec.DecodeError as fault_:
            raise _Dropped from fault_
        match frame:
            case control.HeartbeatAck():
                self._acknowledged.set()
            case control.AuthSuccess():
                return
            case control.AuthFailed(reason=reason):
                raise Unauthenticated(
                    f"The gateway refused our token: {reason}. Restart the kernel or the script to get a new one, "
                    "or give one by `ja.connect(url, token)`."
                )
            case control.Ack(client_id=client_id, result=result):
                self._follow_ids.pop(client_id, None)
                if (sent := self._unacknowledged.pop(client_id, None)) is not None and not sent[1].done():
                    sent[1].set_result(result)
            case control.Failed():
                self._failed(frame)
            case control.RunChanged() | control.ThreadChanged():
                if (follower := self._followers.get("*")) is not None:
                    follower.take_control(frame)
            case _:
                if (follower := self._followers.get(frame.run_id)) is not None:
                    follower.take_control(frame)

    def _failed(self, frame: control.Failed) -> None:
        refused = fault_named(frame.code, frame.message, frame.details)
        client_id = frame.client_id or ""
        if (sent := self._unacknowledged.pop(client_id, None)) is not None and not sent[1].done():
            sent[1].set_exception(refused)
        elif (run_id := self._follow_ids.pop(client_id, None)) is not None:
            follower = self._followers.pop(run_id, None)
            if follower is not None:
                follower.take_fault(refused)

    def _refuse(self, refusal_: AgentError) -> None:
        self.fault = refusal_
        self._set_link(Link.REFUSED)
        self._fail_all(refusal_)

    def _fail_all(self, reason: AgentError) -> None:
        for _, answer in list(self._unacknowledged.values()):
            if not answer.done():
                answer.set_exception(reason)
        self._unacknowledged.clear()
        followers, self._followers = self._followers, {}
        for follower in followers.values():
            follower.take_fault(reason)

    def _set_link(self, link: Link) -> None:
        if link is not self.link:
            self.link = link
            if link is Link.CONNECTING:
                self.fault = None
            for follower in list(self._followers.values()):
                follower.take_link(link)


def _give_up(opening: asyncio.Future[WebSocketClientConnection]) -> None:
    """Hangs up as soon as a connection is made that nobody waits for any more."""
    if not opening.done():
        opening.add_done_callback(_give_up)
    elif not opening.cancelled() and opening.exception() is None:
        _hang_up(opening.result())


def _hang_up(socket: WebSocketClientConnection) -> None:
    """Says goodbye and closes at once: nobody may be there to answer, and our loop may end before."""
    stream = socket.protocol.stream if socket.protocol is not None else None
    socket.close()
    if stream is not None:
        stream.close()


def refusal(status: int, gateway: Gateway) -> AgentError | None:
    """Returns what an HTTP status of a handshake means where trying again cannot help; None where it can."""
    if status == 404:
        return GatewayNotFound(
            f"The Jupyter server at {gateway.url} does not have jupyter_agent: install it in the server's "
            "environment and restart the server."
        )
    if status in {301, 302, 303, 307, 308, 401, 403}:
        return Unauthenticated(
            f"The Jupyter server at {gateway.url} refused the token from {gateway.source} (HTTP {status}). "
            "Give the right one by `ja.connect(url, token)`, or restart the kernel."
        )
    return None
