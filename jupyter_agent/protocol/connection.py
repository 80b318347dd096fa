"""The life of one connection, without I/O: states, what can happen, and what is to be done, as one table.

    greeting ──auth──▶ holding ──cursor or silence──▶ streaming
        └─ refused, late, malformed ─▶ closed ◀──────────┘

A connection holds events back after `auth_success` until the client says where it stands (`resume`, `follow`, a
cursor in the
URL) or has been silent for a while after answering a ping: then it gets its run from the first event.
"""

from enum import IntEnum, StrEnum
from typing import Final

AUTH_TIMEOUT_S: Final = 10.0
QUIET_AFTER_PONG_S: Final = 0.25
QUIET_AT_MOST_S: Final = 5.0
MAX_MALFORMED: Final = 10


class CloseCode(IntEnum):
    TOO_BIG = 1009
    STALLED = 1013
    MALFORMED = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    AUTH_TIMEOUT = 4408


class State(StrEnum):
    ANONYMOUS = "anonymous"
    """The handshake carried nothing that counts: one auth frame with a good token opens the door."""
    GREETED = "greeted"
    """The handshake is authenticated; the client has said nothing yet."""
    HOLDING = "holding"
    """Authenticated; events are held back until the client says where it stands."""
    STREAMING = "streaming"
    CLOSED = "closed"


class Input(StrEnum):
    AUTH_GOOD = "auth_good"
    AUTH_BAD = "auth_bad"
    AUTH_LATE = "auth_late"
    MALFORMED = "malformed"
    COMMAND = "command"
    """Any command that is neither auth nor a cursor."""
    CURSOR = "cursor"
    """`resume`, or a cursor in the URL."""
    QUIET = "quiet"
    """The client was silent long enough after its pong."""
    GONE = "gone"


class Do(StrEnum):
    """What the gateway does on a transition, in order."""

    WELCOME = "welcome"
    """Send `auth_success`, ping, start the quiet timer."""
    CONFIRM = "confirm"
    """Send `auth_success` again: a token was refreshed."""
    REFUSE = "refuse"
    """Send `auth_failed`, close 4401."""
    REFUSE_LATE = "refuse_late"
    """Send `auth_failed`, close 4408."""
    REFUSE_MALFORMED = "refuse_malformed"
    """Send `auth_failed`, close 4400."""
    COMPLAIN = "complain"
    """Send `failed`; close 4400 after ten in a row."""
    ACT = "act"
    """Hand the command over."""
    STREAM = "stream"
    """Start the stream of the socket's own run at the cursor, or from its first event."""
    SEEK = "seek"
    """Nothing at or before the cursor follows it."""


TRANSITIONS: Final[dict[tuple[State, Input], tuple[State, tuple[Do, ...]]]] = {
    (State.ANONYMOUS, Input.AUTH_GOOD): (State.HOLDING, (Do.WELCOME,)),
    (State.ANONYMOUS, Input.AUTH_BAD): (State.CLOSED, (Do.REFUSE,)),
    (State.ANONYMOUS, Input.AUTH_LATE): (State.CLOSED, (Do.REFUSE_LATE,)),
    (State.ANONYMOUS, Input.MALFORMED): (State.CLOSED, (Do.REFUSE_MALFORMED,)),
    (State.ANONYMOUS, Input.COMMAND): (State.CLOSED, (Do.REFUSE,)),
    (State.ANONYMOUS, Input.CURSOR): (State.CLOSED, (Do.REFUSE,)),
    (State.GREETED, Input.AUTH_GOOD): (State.HOLDING, (Do.WELCOME,)),
    (State.GREETED, Input.AUTH_BAD): (State.CLOSED, (Do.REFUSE,)),
    (State.GREETED, Input.AUTH_LATE): (State.CLOSED, (Do.REFUSE_LATE,)),
    (State.GREETED, Input.MALFORMED): (State.GREETED, (Do.COMPLAIN,)),
    (State.GREETED, Input.COMMAND): (State.HOLDING, (Do.WELCOME, Do.ACT)),
    (State.GREETED, Input.CURSOR): (State.STREAMING, (Do.WELCOME, Do.STREAM)),
    (State.HOLDING, Input.AUTH_GOOD): (State.HOLDING, (Do.CONFIRM,)),
    (State.HOLDING, Input.AUTH_BAD): (State.CLOSED, (Do.REFUSE,)),
    (State.HOLDING, Input.MALFORMED): (State.HOLDING, (Do.COMPLAIN,)),
    (State.HOLDING, Input.COMMAND): (State.HOLDING, (Do.ACT,)),
    (State.HOLDING, Input.CURSOR): (State.STREAMING, (Do.STREAM,)),
    (State.HOLDING, Input.QUIET): (State.STREAMING, (Do.STREAM,)),
    (State.STREAMING, Input.AUTH_GOOD): (State.STREAMING, (Do.CONFIRM,)),
    (State.STREAMING, Input.AUTH_BAD): (State.CLOSED, (Do.REFUSE,)),
    (State.STREAMING, Input.MALFORMED): (State.STREAMING, (Do.COMPLAIN,)),
    (State.STREAMING, Input.COMMAND): (State.STREAMING, (Do.ACT,)),
    (State.STREAMING, Input.CURSOR): (State.STREAMING, (Do.SEEK,)),
}


def step(state: State, happened: Input) -> tuple[State, tuple[Do, ...]]:
    """Returns the next state and what to do. What the table does not name changes nothing; GONE always closes."""
    if happened is Input.GONE:
        return State.CLOSED, ()
    return TRANSITIONS.get((state, happened), (state, ()))
