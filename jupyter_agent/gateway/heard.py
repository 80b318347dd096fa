"""One frame of a client as it was heard: the command that it is, or the fault that it has."""

from typing import Final, NamedTuple

import msgspec

from ..exceptions import InvalidRequest
from ..protocol import commands
from .once import MAX_CLIENT_ID_CHARS


class Heard(NamedTuple):
    """A frame after parsing. `client_id` is what could be told of one that is no command; `size` is in bytes."""

    command: commands.AnyCommand | None = None
    fault: InvalidRequest | None = None
    is_json: bool = True
    client_id: str | None = None
    size: int = 0


LAST_WORD: Final = Heard()
"""Stands in the queue behind everything that a client said before it left."""
SILENCE: Final = Heard()
"""Stands in the queue for a client that has said nothing for long enough."""


def parse(frame: str | bytes) -> Heard:
    """Returns what a frame says. Only its JSON is looked at, no state."""
    try:
        command = commands.parse_command(frame)
        if isinstance(command, commands.Auth):
            command = commands.parse_auth(frame)
        return Heard(command)
    except InvalidRequest as fault:
        return _unreadable(frame, fault)


def size_of(frame: str | bytes) -> int:
    return len(frame) if isinstance(frame, bytes) or frame.isascii() else len(frame.encode())


def _unreadable(frame: str | bytes, fault: InvalidRequest) -> Heard:
    """Returns what can still be told of a frame that is no command: whose it is, so that its sender need not wait."""
    try:
        value = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Heard(None, fault, is_json=False)
    client_id = value.get("clientId") if isinstance(value, dict) else None
    is_one = isinstance(client_id, str) and 0 < len(client_id) <= MAX_CLIENT_ID_CHARS
    return Heard(None, fault, client_id=client_id if is_one else None)
