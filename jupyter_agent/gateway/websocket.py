"""The doorman of the socket: looks at the handshake, keeps the caps, and hands everything else to the connection."""

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, cast

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol13

from ..exceptions import AgentError, Forbidden, RateLimited, StorageError
from ..protocol.commands import MAX_AUTH_BYTES, MAX_FRAME_BYTES
from .auth import Action, Auth, Identity, KernelAware
from .connection import Connection, Place
from .faults import answer_to, body_of
from .origins import Verdict

if TYPE_CHECKING:
    from .app import AgentGateway

PING_EVERY_S: Final = 30.0


class AgentSocket(WebSocketHandler, KernelAware):
    """`GET {base}/jupyter-agent/ws?chatKey=<run id>[&lastEventId=<id>]`, and only this verb.

    The one method of this extension that a stranger may call: a client may bring its token in the first frame.
    """

    def initialize(self, gateway: "AgentGateway") -> None:
        self.gateway = gateway
        self.auth: Auth = gateway.auth
        self.connection: Connection | None = None
        self.recognised: Identity | None = None
        self._is_pending = False
        self._counted_for: str | None = None

    async def prepare(self) -> None:  # type: ignore[override]
        await self.prepare_kernel()
        await super().prepare(_redirect_to_login=False)

    @allow_unauthenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Upgrades, or refuses before the upgrade: 403 for a foreign origin, 429 and 503 for what will pass."""
        origin, verdict = self.auth.judge_handshake(self)
        if verdict is Verdict.REFUSED:
            self.log.warning("Refused a socket from the origin %r (%s).", self.request.headers.get("Origin"), origin)
            raise HTTPError(403)
        self.recognised = self.auth.identify(self) if verdict is Verdict.AUTHENTICATED else None
        try:
            await self.gateway.ready()
            if self.recognised is None:
                self.gateway.sockets.check_pending(self._address)
            else:
                await self.auth.check(self, self.recognised.user, "read", "runs")
                self.gateway.sockets.check_owned(self.recognised.principal.user_id)
        except AgentError as fault:
            self._refuse(fault)
            return
        await super().get(*args, **kwargs)

    def _refuse(self, fault: AgentError) -> None:
        # A stranger learns no more than that the door is shut.
        body = body_of(fault) if self.recognised else {"code": fault.code, "message": "Try again later."}
        status = answer_to(fault).status
        if self.recognised is None and isinstance(fault, RateLimited | StorageError):
            status = 503
        self.set_status(status)
        self.set_header("Retry-After", str(fault.details.get("retryAfterS", 5)))
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))

    @property
    def _address(self) -> str:
        return str(self.request.remote_ip)

    # --- tornado asks ---------------------------------------------------------------------------------------

    @property
    def ping_interval(self) -> float:
        """Liveness of silent clients, in seconds; the application's own heartbeat is apart from it."""
        return PING_EVERY_S

    @property
    def ping_timeout(self) -> float:
        return PING_EVERY_S

    @property
    def max_message_size(self) -> int:
        """What is buffered at most. Somewhat more than is accepted, so that the connection can refuse politely: beyond
        this tornado drops the socket, and the close code with it."""
        return 4 * MAX_FRAME_BYTES if self.recognised else 16 * MAX_AUTH_BYTES

    def check_origin(self, origin: str | None = None) -> bool:  # noqa: ARG002 - tornado's signature
        """Agrees: `get` has judged the origin together with the credential, whatever version of tornado asks."""
        return True

    # --- tornado tells --------------------------------------------------------------------------------------

    def open(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.set_nodelay(True)
        if self.recognised is None:
            self.gateway.sockets.add_pending(self._address)
            self._is_pending = True
        else:
            self._count(self.recognised)
        place = Place(self._argument("chatKey"), self._argument("lastEventId"))
        self.connection = Connection(self, self.gateway.rooms.actions, place, identity=self.recognised)
        self.gateway.sockets.connections.add(self.connection)
        self.connection.opened()

    def on_message(self, message: str | bytes) -> None:
        if self.connection is not None:
            self.connection.received(message)

    def on_pong(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.ponged(data)

    def on_close(self) -> None:
        if self.connection is None:
            return
        self.gateway.sockets.connections.discard(self.connection)
        self._end_pending()
        if self._counted_for is not None:
            self.gateway.sockets.drop_owned(self._counted_for)
        self.connection.closed()

    def _argument(self, name: str) -> str | None:
        """An argument of the URL; an empty one is none."""
        values = self.request.query_arguments.get(name)
        return values[-1].decode("utf-8", "replace") if values and values[-1] else None

    # --- the connection asks --------------------------------------------------------------------------------

    def send(self, frame: bytes) -> asyncio.Future[None]:
        """Hands a frame, UTF-8 text, to the socket; the future tells when it is on its way."""
        return self.write_message(frame, binary=False)

    def ping_with(self, data: bytes) -> None:
        try:
            self.ping(data)
        except (WebSocketClosedError, StreamClosedError):
            return

    def close_with(self, code: int, reason: str) -> None:
        self.close(code, reason[:120])

    async def verify(self, token: str) -> Identity | None:
        return await self.auth.verify(token, self.request)

    async def verify_again(self, identity: Identity) -> Identity | None:
        return await self.auth.verify_again(identity)

    async def admit(self, identity: Identity) -> None:
        """Raises Forbidden, RateLimited."""
        await self.authorize(identity, "read", "runs")
        if self._counted_for is None and self.ws_connection is not None:
            self.gateway.sockets.check_owned(identity.principal.user_id)
            self._end_pending()
            self._count(identity)
            # From here on this is a client like any other.
            cast(WebSocketProtocol13, self.ws_connection).params.max_message_size = 4 * MAX_FRAME_BYTES

    async def authorize(self, identity: Identity, action: Action, noun: str) -> None:
        """Raises Forbidden."""
        try:
            await self.auth.check(self, identity.user, action, noun)
        except HTTPError as refusal:
            raise Forbidden(f"This server's authorizer does not let you {action} {noun}.") from refusal

    def _count(self, identity: Identity) -> None:
        self._counted_for = identity.principal.user_id
        self.gateway.sockets.add_owned(self._counted_for)

    def _end_pending(self) -> None:
        if self._is_pending:
            self._is_pending = False
            self.gateway.sockets.drop_pending(self._address)
