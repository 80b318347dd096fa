"""The one table from faults to HTTP statuses and WebSocket close codes."""

from typing import Any, Final, NamedTuple

from .. import exceptions as ex
from ..protocol.connection import CloseCode
from ..protocol.control import Failed
from ..records import clean


class Answer(NamedTuple):
    """What a fault becomes: an HTTP status, and the code with which a socket that must close is closed."""

    status: int
    close: int


TABLE: Final[dict[type[ex.AgentError], Answer]] = {
    ex.UnknownModel: Answer(422, CloseCode.MALFORMED),
    ex.NotFound: Answer(404, CloseCode.UNAUTHENTICATED),
    ex.InvalidRequest: Answer(422, CloseCode.MALFORMED),
    ex.Unauthenticated: Answer(401, CloseCode.UNAUTHENTICATED),
    ex.Forbidden: Answer(403, CloseCode.FORBIDDEN),
    ex.RateLimited: Answer(429, CloseCode.STALLED),
    ex.TooLarge: Answer(413, CloseCode.TOO_BIG),
    ex.Conflict: Answer(409, CloseCode.MALFORMED),
    ex.StorageFull: Answer(507, CloseCode.STALLED),
    ex.BlobDamaged: Answer(500, CloseCode.STALLED),
    ex.JournalDamaged: Answer(500, CloseCode.STALLED),
    ex.StorageError: Answer(503, CloseCode.STALLED),
    ex.BadCredentials: Answer(424, CloseCode.STALLED),
    ex.ModelError: Answer(502, CloseCode.STALLED),
    ex.ToolError: Answer(422, CloseCode.MALFORMED),
    ex.BudgetExceeded: Answer(409, CloseCode.MALFORMED),
    ex.AgentError: Answer(500, CloseCode.STALLED),
}
"""A fault is answered like the nearest of its classes that stands here."""


def answer_to(fault: ex.AgentError) -> Answer:
    """Returns the status and close code of a fault."""
    return next(TABLE[cls] for cls in type(fault).__mro__ if cls in TABLE)


def body_of(fault: ex.AgentError) -> dict[str, Any]:
    """Returns the fault as the body of a REST answer."""
    body: dict[str, Any] = {"code": fault.code, "message": clean(fault.message)}
    if fault.details:
        body["details"] = clean(fault.details)
    return body


def failed(fault: ex.AgentError, *, client_id: str | None = None) -> Failed:
    """Returns the fault as the frame that answers a command."""
    return Failed(code=fault.code, message=clean(fault.message), client_id=client_id, details=clean(fault.details))


UNEXPECTED: Final = "Something unexpected went wrong on the server; its log says more."
"""All that a stranger to the log is told of a bug: never the exception's own text, which may hold anything."""
