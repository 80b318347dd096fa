"""What bytes and names are, judged by themselves and not by what their sender says."""

import re
from typing import Final

BYTES: Final = "application/octet-stream"

is_digest: Final = re.compile(r"[0-9a-f]{64}").fullmatch
"""Matches a SHA-256 as blobs are named by."""

_PICTURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)


def sniff(data: bytes) -> str:
    """Returns the MIME type that the bytes themselves show: that of a picture we show, or plain bytes."""
    return next((mime for looks, mime in _PICTURES if looks.match(data)), BYTES)
