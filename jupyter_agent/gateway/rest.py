"""What all REST handlers share: who asks, what was sent, how it is answered, and what a fault becomes.

Rules: every verb is `@web.authenticated` and `@authorized(action=…, resource=…)`, written out; a GET changes nothing;
what belongs to somebody else is answered like what does not exist.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
from jupyter_server.auth import decorator
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, stream_request_body

from ..exceptions import AgentError, InvalidRequest, NotFound, TooLarge
from ..records import ID_PATTERN, MAX_DEPTH, Page, Principal, clean, is_deeper_than
from .auth import Action, KernelAware
from .checking import checked
from .faults import UNEXPECTED, answer_to, body_of
from .rooms import Rooms

if TYPE_CHECKING:
    from .app import AgentGateway

log = logging.getLogger(__name__)

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

MAX_BODY_BYTES: Final = 1024 * 1024
NOT_OURS: Final = frozenset({"token", "_xsrf", "no_track_activity"})
"""Query parameters that Jupyter itself reads."""

_is_id: Final = re.compile(ID_PATTERN).fullmatch
_is_in_map: Final = re.compile(r"(\w+)(?:\.(.*)|\[(.*)\])", re.DOTALL).fullmatch
"""A parameter that is one key of an object: `metadata.key`, or `metadata[key]` as OpenAPI's deepObject has it."""
_CODES: Final = {400: "invalid_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found",
                 405: "method_not_allowed", 413: "too_large"}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """What the OpenAPI document says of one verb of one route."""

    summary: str
    answer: Any = None
    body: Any = None
    query: Any = None
    status: int = 200
    faults: tuple[int, ...] = ()
    media: str = "application/json"


def operation(summary: str, **more: Any) -> Callable[[Method], Method]:
    """Describes a handler's method for the OpenAPI document."""

    def describe(method: Method) -> Method:
        method.__operation__ = Operation(summary, **more)  # type: ignore[attr-defined]
        return method

    return describe


def authorized(*, action: Action, resource: str) -> Callable[[Method], Method]:
    """Jupyter's decorator of this name, with both arguments: without them it keeps those of the first handler that it
    sees, for all."""
    return cast(Callable[[Method], Method], decorator.authorized(action=action, resource=resource))


@stream_request_body
class AgentHandler(KernelAware, APIHandler):
    """Base of the REST handlers. Bodies are read here, up to `max_body_bytes`."""

    max_body_bytes = MAX_BODY_BYTES

    def initialize(self, gateway: "AgentGateway") -> None:
        self.gateway = gateway
        self.auth = gateway.auth
        self._body = bytearray()
        self._is_too_large = False

    async def prepare(self) -> None:  # type: ignore[override]
        await self.prepare_kernel()
        await super().prepare()
        if not self.current_user and self.request.method != "OPTIONS":
            # Verbs that no handler has are refused to strangers like all others.
            raise HTTPError(403)
        try:
            announced = int(self.request.headers.get("Content-Length") or 0)
        except ValueError:
            announced = 0
        if announced > self.max_body_bytes:
            self._is_too_large = True

    def data_received(self, chunk: bytes) -> None:
        """Takes in a part of the body. What is too much is dropped and answered with 413 when it has all come."""
        if self._is_too_large or len(self._body) + len(chunk) > self.max_body_bytes:
            self._is_too_large = True
            self._body.clear()
        else:
            self._body += chunk

    @decorator.allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """Answers the preflight of a page on another origin, where the operator lets such pages in; else 403."""
        if not self.current_user and not self.allow_origin and not self.allow_origin_pat:
            raise HTTPError(403)
        super().options(*args, **kwargs)

    # --- what was sent --------------------------------------------------------------------------------------

    @property
    def principal(self) -> Principal:
        return self.identity.principal

    async def rooms(self) -> Rooms:
        """The open rooms. Raises StorageError saying why there are none."""
        return await self.gateway.ready()

    @property
    def body(self) -> bytes:
        """The body. Raises TooLarge."""
        if self._is_too_large:
            self.set_header("Connection", "close")
            raise TooLarge(
                f"The body is larger than {self.max_body_bytes} bytes. Send less at once.",
                details={"allowed": self.max_body_bytes},
            )
        return bytes(self._body)

    def sent(self, kind: type[T]) -> T:
        """Returns the JSON body as this type. Raises InvalidRequest naming each wrong field."""
        try:
            value = msgspec.json.decode(self.body or b"{}")
        except (msgspec.DecodeError, UnicodeError) as fault:
            raise InvalidRequest(f"The body is no JSON: {fault}.", details={"fields": {"": "is no JSON"}}) from fault
        except RecursionError:
            raise _too_deep() from None
        if is_deeper_than(MAX_DEPTH, value):
            raise _too_deep()
        return checked(clean(value), kind)

    @property
    def key(self) -> str | None:
        """What makes a request safe to send again: the `clientId` of the command that means the same."""
        return self.request.headers.get("Idempotency-Key")

    def asked(self, kind: type[T]) -> T:
        """Returns the query parameters as this type. Raises InvalidRequest naming each wrong one."""
        types = {one.encode_name: str(one.type) for one in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
        lists = {name for name, type_ in types.items() if "tuple" in type_}
        maps = {name for name, type_ in types.items() if "dict" in type_}
        found: dict[str, Any] = {}
        for name, values in self.request.query_arguments.items():
            texts = [clean(value.decode("utf-8", "replace")) for value in values]
            # A bare number is what browsers append to get past their caches.
            if name in NOT_OURS or (name.isdigit() and not any(texts)):
                continue
            if (parts := _is_in_map(name)) and parts[1] in maps:
                # Tornado reads names byte by byte.
                key = (parts[2] or parts[3] or "").encode("latin-1").decode("utf-8", "replace")
                # Beside a parameter that is the whole object, which is refused, it counts for nothing.
                if isinstance(kept := found.setdefault(parts[1], {}), dict):
                    kept[clean(key)] = texts[-1]
                continue
            found[name] = [one for text in texts for one in text.split(",")] if name in lists else texts[-1]
        return checked(found, kind, strict=False, what="query")

    @staticmethod
    def known(given: str, fault: type[NotFound]) -> str:
        """Returns an id of a path, if it can be one. Raises the fault otherwise: nothing is looked up for it."""
        if not _is_id(given):
            raise fault(f"There is no {fault.code.removesuffix('_not_found') or 'such thing'} {given[:128]!r}.")
        return given

    # --- answering ------------------------------------------------------------------------------------------

    def reply(self, value: Any = None, status: int = 200, *, cache: str = "no-store") -> None:
        """Answers with a record as JSON, or with nothing."""
        self.set_status(status)
        if value is None:
            self.clear_header("Content-Type")
            self.finish()
        else:
            self.set_header("Cache-Control", cache)
            if isinstance(value, Page):
                # A list says that it is empty, and that it is the last.
                value = {"items": value.items, "nextCursor": value.next_cursor}
            self.finish(msgspec.json.encode(value))

    async def send_part(self, data: bytes, stalled_after_s: float) -> None:
        """Sends a part of an answer that comes bit by bit. Raises TimeoutError when it is not taken in time."""
        self.write(data)
        async with asyncio.timeout(stalled_after_s):
            await self.flush()

    def hang_up(self) -> None:
        """Closes the connection in the middle of an answer, so that nobody takes what came for all of it."""
        if not self._finished and self.request.connection is not None:
            self.request.connection.stream.close()  # type: ignore[attr-defined]

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answers a fault as `{code, message, details?}`; a bug says nothing of itself."""
        fault = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        self.set_header("Content-Type", "application/json")
        if isinstance(fault, AgentError):
            self.set_status(answer_to(fault).status)
            if self.get_status() in (429, 503):
                self.set_header("Retry-After", str(fault.details.get("retryAfterS", 5)))
            self.finish(msgspec.json.encode(body_of(fault)))
        elif isinstance(fault, HTTPError):
            code = _CODES.get(status_code, f"http_{status_code}")
            message = fault.log_message or fault.reason or self._reason
            self.finish(msgspec.json.encode({"code": code, "message": clean(str(message))}))
        else:
            self.finish(msgspec.json.encode({"code": AgentError.code, "message": UNEXPECTED}))

    def log_exception(
        self,
        typ: type[BaseException] | None,  # noqa: ARG002 - tornado's signature
        value: BaseException | None,
        tb: TracebackType | None,  # noqa: ARG002
    ) -> None:
        """Logs bugs with their traceback, without secrets; faults that their sender should know in one line."""
        if isinstance(value, AgentError) and answer_to(value).status < 500:
            log.debug("%s %s: %s", self.request.method, self.request.path, value.message)
        elif isinstance(value, AgentError | HTTPError):
            log.warning("%s %s: %s", self.request.method, self.request.path, value)
        else:
            log.error("%s %s failed.", self.request.method, self.request.path, exc_info=value)

    def compute_etag(self) -> None:
        """No entity tags by themselves: states change under the same address."""


def _too_deep() -> InvalidRequest:
    return InvalidRequest(
        f"The body is nested deeper than {MAX_DEPTH} levels: flatten it.", details={"fields": {"": "too deep"}}
    )
