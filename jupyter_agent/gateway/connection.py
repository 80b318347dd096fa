"""One client on one socket: its state, its streams, and the order in which things happen to it.

The table of `protocol.connection` says what is to be done; this does it. Whatever arrives is parsed and queued at once,
heartbeats and interrupts are not even queued, and one task carries the rest out in order. What a client said before it
left is still carried out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec
from tornado.websocket import WebSocketClosedError

from ..exceptions import AgentError, Forbidden, InvalidRequest, NotFound, RateLimited, Unauthenticated
from ..protocol import commands, control
from ..protocol.connection import (
    AUTH_TIMEOUT_S,
    MAX_MALFORMED,
    QUIET_AFTER_PONG_S,
    QUIET_AT_MOST_S,
    CloseCode,
    Do,
    Input,
    State,
    step,
)
from ..records import Principal
from .auth import Action, Identity
from .faults import UNEXPECTED, failed
from .following import Following
from .heard import LAST_WORD, SILENCE, Heard, parse, size_of
from .outbox import Outbox
from .stream import RunStream

if TYPE_CHECKING:
    from .actions import Actions

log = logging.getLogger(__name__)

QUIET_PING: Final = b"where do you stand?"
MAX_WAITING: Final = 1_000
"""Commands of one client that may wait their turn."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""And how large they may be together."""
MAX_INTERRUPTS: Final = 32
"""Interrupts of one client that are carried out beside everything else; more than these wait their turn."""
REFUSED: Final = "The token is not valid here, or there is no such run."
"""One sentence for a bad token, a run that is not there and one of somebody else: nobody learns which."""


class Socket(Protocol):
    """What a connection needs of its WebSocket."""

    def send(self, frame: bytes) -> asyncio.Future[None]: ...

    def ping_with(self, data: bytes) -> None: ...

    def close_with(self, code: int, reason: str) -> None: ...

    async def verify(self, token: str) -> Identity | None: ...

    async def verify_again(self, identity: Identity) -> Identity | None: ...

    async def admit(self, identity: Identity) -> None:
        """Counts the socket as this principal's. Raises Forbidden, RateLimited."""

    async def authorize(self, identity: Identity, action: Action, noun: str) -> None:
        """Asks the server's authorizer. Raises Forbidden."""


class Place(NamedTuple):
    """Where the URL of the socket points: a run, and perhaps a cursor in it."""

    run_id: str | None
    last_event_id: str | None


class Connection:
    """The server's side of one client. `socket` calls `opened`, `received`, `ponged` and `closed`."""

    def __init__(self, socket: Socket, actions: "Actions", place: Place, *, identity: Identity | None) -> None:
        self._socket = socket
        self._actions = actions
        self._place = place
        self.identity = identity
        self.state = State.GREETED if identity else State.ANONYMOUS
        self.is_admitted = False
        self._outbox = Outbox(socket.send, stalled_after_s=actions.stalled_after_s)
        self._was_refused = False
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._heard_bytes = 0
        self._interrupts = 0
        self._following = Following(self._outbox, own=self._own, broken=self._broken)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._malformed = 0
        self._stop_listening: Callable[[], None] | None = None

    # --- what the socket tells ------------------------------------------------------------------------------

    def opened(self) -> None:
        self._own(self._write(), "writer")
        self._own(self._carry_out_all(), "commands")
        self._timer("auth", AUTH_TIMEOUT_S, lambda: self._happen(Input.AUTH_LATE))

    def received(self, frame: str | bytes) -> None:
        """Takes a frame in, without waiting for anything."""
        if self.state is State.CLOSED:
            return
        most = commands.MAX_AUTH_BYTES if self.state is State.ANONYMOUS else commands.MAX_FRAME_BYTES
        if (size := size_of(frame)) > most:
            self._close(CloseCode.TOO_BIG, f"A frame may have {most} bytes here.")
            return
        heard = parse(frame)
        if self.state is not State.ANONYMOUS:
            if heard.command is None:
                self._happen(Input.MALFORMED, heard)
                return
            self._malformed = 0
        if self.state in (State.HOLDING, State.STREAMING):
            match heard.command:
                case commands.Heartbeat():
                    self.acknowledge_heartbeat()
                    return
                case commands.Interrupt() as command if self._interrupts < MAX_INTERRUPTS:
                    self._interrupts += 1
                    self._actions.own(self._interrupt(command))
                    return
        if self._heard.qsize() >= MAX_WAITING or self._heard_bytes >= MAX_WAITING_BYTES:
            client_id = heard.command.client_id if heard.command else None
            fault = RateLimited(f"{self._heard.qsize()} commands wait already. Wait for their answers.")
            self.tell(failed(fault, client_id=client_id))
            return
        self._heard_bytes += size
        self._heard.put_nowait(heard._replace(size=size))

    def ponged(self, data: bytes) -> None:
        if data == QUIET_PING and self.state is State.HOLDING:
            self._timer("quiet", QUIET_AFTER_PONG_S, lambda: self._heard.put_nowait(SILENCE))

    def closed(self) -> None:
        """The socket is gone. Commands that came before are still carried out."""
        self._happen(Input.GONE)
        for timer in self._timers.values():
            timer.cancel()
        for run_id in self._following.run_ids:
            self._unfollow(run_id)
        if self._stop_listening is not None:
            self._stop_listening()
        for task in self._tasks:
            if task.get_name() != "commands":
                task.cancel()
        self._outbox.give_up()
        self._heard.put_nowait(LAST_WORD)

    # --- saying something -----------------------------------------------------------------------------------

    @property
    def party(self) -> object:
        if self.identity is None:
            return self
        return self.identity.principal.user_id, self.identity.principal.kernel_id

    async def check(self, action: Action, noun: str) -> None:
        """Asks the server's authorizer whether the client may. Raises Forbidden."""
        if self.identity is None:
            raise Unauthenticated("Nobody has said yet who they are.")
        await self._socket.authorize(self.identity, action, noun)

    def acknowledge_heartbeat(self) -> None:
        self.tell(control.HeartbeatAck())

    def tell(self, frame: control.AnyControl) -> None:
        """Sends a control frame, before all events."""
        self._say(msgspec.json.encode(frame))

    def _say(self, frame: bytes) -> None:
        self._outbox.say(frame)
        if self._outbox.is_flooded:
            self._close(CloseCode.STALLED, "Nothing is being read.")

    def _close(self, code: int, reason: str) -> None:
        """Says what must still be said and closes. Nothing that comes later acts."""
        self.state, self._was_refused = State.CLOSED, True
        if code != CloseCode.STALLED:
            # The socket may be gone already: then nobody is left to be told.
            with contextlib.suppress(WebSocketClosedError):
                for frame in self._outbox.take_urgent():
                    self._actions.own(_ignored(self._socket.send(frame)))
        self._socket.close_with(code, reason)

    def leave(self, code: int, reason: str) -> None:
        """Closes for the server's own reasons."""
        self._close(code, reason)

    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except TimeoutError:
            log.info("A client took nothing for %g s and was disconnected.", self._actions.stalled_after_s)
            self._close(CloseCode.STALLED, "Nothing was read for too long; connect again and resume.")

    # --- the table ------------------------------------------------------------------------------------------

    def _happen(self, happened: Input, heard: Heard | None = None) -> list[Do]:
        """Moves on in the table, does what needs no waiting and returns the rest."""
        self.state, deeds = step(self.state, happened)
        left: list[Do] = []
        for deed in deeds:
            match deed:
                case Do.WELCOME:
                    self._welcome()
                case Do.CONFIRM:
                    self.tell(control.AuthSuccess())
                case Do.REFUSE:
                    self._refuse(CloseCode.UNAUTHENTICATED, REFUSED)
                case Do.REFUSE_LATE:
                    self._refuse(CloseCode.AUTH_TIMEOUT, f"No auth frame came within {AUTH_TIMEOUT_S:g} s.")
                case Do.REFUSE_MALFORMED:
                    self._refuse(CloseCode.MALFORMED, "The first frame is no JSON object of type 'auth'.")
                case Do.COMPLAIN:
                    self._complain(heard)
                case _:
                    left.append(deed)
        return left

    def _welcome(self) -> None:
        self._cancel_timer("auth")
        self.tell(control.AuthSuccess())
        self._own(self._reverify(), "reverify")
        if self._place.run_id is not None:
            self._socket.ping_with(QUIET_PING)
            self._timer("quiet", QUIET_AT_MOST_S, lambda: self._heard.put_nowait(SILENCE))

    def _refuse(self, code: int, reason: str) -> None:
        self.tell(control.AuthFailed(reason=reason))
        self._close(code, reason)

    def _complain(self, heard: Heard | None) -> None:
        self._malformed += 1
        fault = heard.fault if heard and heard.fault else InvalidRequest("That frame cannot be read.")
        self.tell(failed(fault, client_id=heard.client_id if heard else None))
        if self._malformed >= MAX_MALFORMED:
            self._close(CloseCode.MALFORMED, f"{MAX_MALFORMED} frames in a row could not be read.")

    # --- carrying out, in order -----------------------------------------------------------------------------

    async def _carry_out_all(self) -> None:
        while (heard := await self._heard.get()) is not LAST_WORD:
            self._heard_bytes -= heard.size
            # Who does not take the answers is not served more of them.
            await self._outbox.room_for_answers()
            try:
                await self._take(heard)
            except Exception:
                log.exception("A frame could not be carried out.")
                self.tell(control.Failed(code=AgentError.code, message=UNEXPECTED))

    async def _take(self, heard: Heard) -> None:
        if self._was_refused:
            return
        if self.state is State.CLOSED:
            await self._take_last(heard)
            return
        happened = Input.QUIET if heard is SILENCE else await self._judge(heard)
        was_open = self.state in (State.HOLDING, State.STREAMING)
        deeds = self._happen(happened, heard)
        if self.state is State.HOLDING and not was_open and self._place.last_event_id is not None:
            deeds += self._happen(Input.CURSOR)
        for deed in deeds:
            match deed:
                case Do.ACT if heard.command is not None:
                    await self._carry_out(heard.command)
                case Do.STREAM:
                    await self._stream_own(heard.command)
                case Do.SEEK:
                    self._seek_own(heard.command)

    async def _take_last(self, heard: Heard) -> None:
        """Carries out what a client said before it left: `interrupt`, then close, is how some cancel."""
        match heard.command:
            case commands.Auth(token=token):
                self._was_refused = not await self._authenticate(token)
            case None | commands.Heartbeat() | commands.Resume() | commands.Follow() | commands.Unfollow():
                return
            case command if await self._admit():
                await self._carry_out(command)

    async def _judge(self, heard: Heard) -> Input:
        """Returns what a frame is to the table, after asking whom it takes to know."""
        if heard.command is None:
            is_first = self.state is State.ANONYMOUS
            return Input.AUTH_BAD if is_first and heard.is_json else Input.MALFORMED
        if isinstance(heard.command, commands.Auth):
            return Input.AUTH_GOOD if await self._authenticate(heard.command.token) else Input.AUTH_BAD
        if self.state is State.GREETED and not await self._admit():
            return Input.AUTH_BAD
        return Input.CURSOR if self._is_cursor(heard.command) else Input.COMMAND

    def _is_cursor(self, command: commands.AnyCommand) -> bool:
        own = self._place.run_id
        if isinstance(command, commands.Resume):
            return own is not None
        return isinstance(command, commands.Follow) and command.run_id == own and self.state is not State.STREAMING

    async def _authenticate(self, token: str) -> bool:
        if not token:
            return self.identity is not None and await self._admit()
        identity = await self._socket.verify(token)
        if identity is None or self._was_refused:
            return False
        if self.identity is not None and self.identity.principal.user_id != identity.principal.user_id:
            return False
        before, self.identity = self.identity, identity
        if self.is_admitted and before is not None:
            return True
        return await self._admit()

    async def _admit(self) -> bool:
        """Lets a recognised client in: it may be here, is not one too many, and its run exists."""
        if self.is_admitted:
            return True
        if self.identity is None:
            return False
        try:
            await self._socket.admit(self.identity)
            if self._place.run_id is not None:
                await self._actions.get_run(self._place.run_id, by=self.identity.principal)
        except NotFound:
            return False
        except RateLimited as fault:
            self._close(CloseCode.STALLED, fault.message[:120])
            return False
        except Forbidden as fault:
            self._refuse(CloseCode.FORBIDDEN, fault.message[:120])
            return False
        self.is_admitted = True
        return True

    async def _interrupt(self, command: commands.Interrupt) -> None:
        try:
            await self._carry_out(command)
        finally:
            self._interrupts -= 1

    async def _carry_out(self, command: commands.AnyCommand) -> None:
        """Carries a command out and answers it."""
        try:
            result = await self._actions.act(command, self)
        except AgentError as fault:
            self.tell(failed(fault, client_id=command.client_id))
        except Exception:
            log.exception("The command %s could not be carried out.", type(command).__name__)
            self.tell(control.Failed(code=AgentError.code, message=UNEXPECTED, client_id=command.client_id))
        else:
            if command.client_id is not None:
                self.tell(control.Ack(client_id=command.client_id, result=result))

    # --- streams --------------------------------------------------------------------------------------------

    @property
    def own_run_id(self) -> str | None:
        """The run that the socket's URL names."""
        return self._place.run_id

    @property
    def principal(self) -> Principal:
        """On whose behalf the client acts. Only for clients that were let in."""
        if self.identity is None:
            raise Unauthenticated("Nobody has said yet who they are.")
        return self.identity.principal

    async def _stream_own(self, command: commands.AnyCommand | None) -> None:
        """Streams the socket's own run from where the client says that it stands."""
        self._cancel_timer("quiet")
        if (run_id := self._place.run_id) is None:
            return
        match command:
            case commands.Follow():
                await self._carry_out(command)
            case commands.Resume(last_event_id=cursor, client_id=client_id):
                await self._carry_out(commands.Follow(run_id=run_id, last_event_id=cursor, client_id=client_id))
            case _:
                await self._carry_out(commands.Follow(run_id=run_id, last_event_id=self._place.last_event_id))

    def _seek_own(self, command: commands.AnyCommand | None) -> None:
        if isinstance(command, commands.Resume) and self._place.run_id is not None:
            self._following.seek(self._place.run_id, command.last_event_id)
            if command.client_id is not None:
                self.tell(control.Ack(client_id=command.client_id))

    def follow(self, stream: RunStream) -> None:
        """Sends a run's frames from now on, in place of an earlier stream of the same run."""
        if self.state is not State.CLOSED:
            self._following.add(stream)

    def follows(self, run_id: str) -> bool:
        return run_id in self._following

    def _broken(self, fault: AgentError, is_fatal: bool) -> None:  # noqa: FBT001 - called back with what happened
        self.tell(failed(fault))
        if is_fatal:
            self._close(CloseCode.STALLED, "The run cannot be read at present.")

    def listen(self) -> None:
        """Sends the news of all of the principal's runs and threads from now on."""
        if self._stop_listening is None and self.identity is not None:
            self._stop_listening = self._actions.changes.listen(self.identity.principal.user_id, self._say)

    def unfollow(self, run_id: str) -> None:
        """Ends a stream, or with "*" the news."""
        if run_id != "*":
            self._unfollow(run_id)
        elif self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None

    def _unfollow(self, run_id: str) -> None:
        self._actions.client_tools.withdraw(run_id, self)
        self._following.drop(run_id)

    # --- tasks and timers -----------------------------------------------------------------------------------

    async def _reverify(self) -> None:
        """Asks again and again whether the credential still holds, and closes when it does not."""
        while self.identity is not None:
            await asyncio.sleep(self._actions.reverify_every_s)
            try:
                identity = await self._socket.verify_again(self.identity)
            except Exception:
                log.exception("A credential could not be verified again; it counts as revoked.")
                identity = None
            if identity is None:
                self._refuse(CloseCode.UNAUTHENTICATED, "The credential of this connection no longer holds.")
                return

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("The %s of a connection failed.", task.get_name(), exc_info=bug)
            self._close(CloseCode.STALLED, UNEXPECTED)

    def _timer(self, name: str, delay_s: float, call: Callable[[], object]) -> None:
        self._cancel_timer(name)
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, call)

    def _cancel_timer(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()


async def _ignored(sent: asyncio.Future[None]) -> None:
    """Waits for a frame that may not arrive any more."""
    await asyncio.wait({sent})
    if not sent.cancelled():
        sent.exception()
