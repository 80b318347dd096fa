"""A simulated prompt cache: what a provider with one would report for a request.

A prompt is cached in blocks of 128 tokens from its beginning, as providers do: a block counts as read when it and all
before it were sent lately, within the last five minutes where nothing else is said.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from ..records import Usage
from .contract import ModelRequest
from .prompt import BYTES_PER_TOKEN, estimate_tokens, prompt_bytes

BLOCK_TOKENS: Final = 128
LIFE_S: Final = 300.0
BLOCKS_KEPT: Final = 20_000


class PromptCache:
    """Remembers which prompt prefixes were sent lately."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_at: dict[bytes, float] = {}

    def measure(self, request: ModelRequest, *, life_s: float = LIFE_S) -> Usage:
        """Returns the usage of the prompt alone and remembers it. What was sent `life_s` seconds ago is forgotten."""
        return self.measure_bytes(prompt_bytes(request), life_s=life_s)

    def measure_bytes(self, prompt: bytes, *, life_s: float = LIFE_S) -> Usage:
        """Returns the usage of a prompt given as bytes, and remembers it."""
        now = self._clock()
        blocks = list(_prefixes(prompt))
        read = 0
        for block in blocks:
            if now - self._sent_at.get(block, -life_s) >= life_s:
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
