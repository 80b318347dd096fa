"""Keyset cursors: opaque to clients, and refused when they are none of ours."""

import base64
import binascii
from datetime import UTC, datetime
from typing import NamedTuple

from ..exceptions import InvalidRequest


class Key(NamedTuple):
    """Where a page ended: the next one follows it, newest first and by id within an instant."""

    created_at: datetime
    id: str


def encode_cursor(kind: str, key: Key) -> str:
    """Returns the cursor of a list of this kind ("runs", "threads")."""
    text = f"{kind} {key.created_at.astimezone(UTC).isoformat(timespec='microseconds')} {key.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode_cursor(kind: str, cursor: str) -> Key:
    """Returns the key of a cursor. Raises InvalidRequest for one that no list of this kind gave out."""
    try:
        found, at, name = base64.urlsafe_b64decode(cursor.encode("ascii")).decode().split(" ")
        key = Key(datetime.fromisoformat(at), name)
        if encode_cursor(kind, key) == cursor and found == kind:
            return key
    except (ValueError, binascii.Error, OverflowError):
        pass
    raise InvalidRequest(
        f"{cursor[:80]!r} is no cursor of {kind}: take `nextCursor` of the page before, or leave it out.",
        details={"fields": {"cursor": "no cursor of this list"}},
    )
