"""A request to a model, as its cache sees it."""

from datetime import datetime
from itertools import takewhile

from msgspec import Struct

from ..records import Segment


class Request(Struct, frozen=True, kw_only=True):
    """One turn's request. `segments` are the regions of its prompt in order, none where they were not kept.

    Tokens are what the provider reported; all three are None where it reported nothing. `cache_life_s` is how long it
    keeps a prompt that is not sent again, None where that is not known.
    """

    run_id: str
    turn: int
    model: str
    started_at: datetime
    segments: tuple[Segment, ...] = ()
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_life_s: float | None = None

    @property
    def tokens(self) -> int:
        """All of the prompt's tokens: as reported, else as estimated."""
        if self.input_tokens is not None:
            return self.input_tokens
        return sum(segment.tokens for segment in self.segments)


def common_length(one: tuple[Segment, ...], other: tuple[Segment, ...]) -> int:
    """Returns how many segments the two prompts have in common from their beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].fingerprint == pair[1].fingerprint, pairs))
