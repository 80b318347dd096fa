"""A simulated prompt cache: what a provider with one would report for a request.

A prompt is the JSON of the instructions, the tools and the messages, in this order, at four bytes a token.
It is cached in blocks of 128 tokens from its beginning, as providers do: a block counts as read when it and all before
it were sent within the last five minutes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from ..records import Usage
from .contract import ModelRequest

BLOCK_TOKENS = 128
BYTES_PER_TOKEN = 4
LIFE_S = 300.0
BLOCKS_KEPT = 20_000


def estimate_tokens(text: str | bytes) -> int:
    """Returns the number of simulated tokens, four bytes each, rounded up."""
    size = len(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    return -(-size // BYTES_PER_TOKEN)


def prompt_bytes(request: ModelRequest) -> bytes:
    """Returns the prompt as bytes, such that the prompt of a later turn starts with that of an earlier one."""
    parts = (request.instructions, request.tools, *((message.role, message.parts) for message in request.messages))
    return b"\n".join(msgspec.json.encode(part) for part in parts) + b"\n"


class PromptCache:
    """Remembers which prompt prefixes were sent lately."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_at: dict[bytes, float] = {}

    def measure(self, request: ModelRequest) -> Usage:
        """Returns the usage of the prompt alone and remembers it."""
        prompt = prompt_bytes(request)
        now = self._clock()
        blocks = list(_prefixes(prompt))
        read = 0
        for block in blocks:
            if now - self._sent_at.get(block, -LIFE_S) >= LIFE_S:
                break
            read += 1
        for block in blocks:
            self._sent_at.pop(block, None)
            self._sent_at[block] = now
        for block in list(islice(self._sent_at, max(0, len(self._sent_at) - BLOCKS_KEPT))):
            del self._sent_at[block]
        return Usage(
            input_tokens=estimate_tokens(prompt),
            cache_read_tokens=read * BLOCK_TOKENS,
            cache_write_tokens=(len(blocks) - read) * BLOCK_TOKENS,
            requests=1,
        )


def _prefixes(prompt: bytes) -> Iterator[bytes]:
    """Yields a hash for every whole block that stands for it and all before it."""
    size = BLOCK_TOKENS * BYTES_PER_TOKEN
    whole = hashlib.sha256()
    for start in range(0, len(prompt) - size + 1, size):
        whole.update(prompt[start : start + size])
        yield whole.digest()[:16]
