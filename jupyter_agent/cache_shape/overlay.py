"""Lays what a provider reported over the regions of a prompt, in order: it reads a cached prompt from its beginning."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from ..records import Segment, Usage


class Laid(NamedTuple):
    """A segment's tokens, how many of them were read from the cache, and how many were not."""

    tokens: int
    hit: int | None
    miss: int | None


def lay_over(segments: Sequence[Segment], usage: Usage) -> list[Laid]:
    """Returns what each segment has of the reported tokens.

    Estimates are scaled so that they sum to the reported input tokens exactly; the cache-read tokens are the first of
    them. Without a report the estimates stand, and what was read of them is None.
    """
    if usage.unmeasured_requests:
        return [Laid(segment.tokens, None, None) for segment in segments]
    estimated = sum(segment.tokens for segment in segments)
    sums = accumulate((segment.tokens for segment in segments), initial=0)
    # Rounded where regions meet, not region by region: so nothing is lost or counted twice.
    places = [usage.input_tokens * place // estimated if estimated else 0 for place in sums]
    laid = []
    for start, end in pairwise(places):
        hit = min(max(usage.cache_read_tokens - start, 0), end - start)
        laid.append(Laid(end - start, hit, end - start - hit))
    return laid
