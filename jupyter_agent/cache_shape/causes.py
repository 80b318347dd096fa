"""Why a request did not find in the cache what the one before it had sent. On evidence only: what cannot be shown is
`unknown`."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ..records import Segment
from .request import Request, common_length

SLACK_TOKENS: Final = 128
"""Providers count what they read in blocks of up to so many tokens: less than a block is no miss."""


class Cause(StrEnum):
    """What was shown to have broken a prefix."""

    PREFIX_CHANGED = "prefix_changed"
    MODEL_CHANGED = "model_changed"
    TOOLS_REORDERED = "tools_reordered"
    EXPIRED = "expired"
    COMPACTED = "compacted"
    FIRST_REQUEST = "first_request"
    UNKNOWN = "unknown"


class Finding(Struct, frozen=True):
    """What was found of one request. `cause` is None where it missed nothing that had been sent before.

    `region` is where the prompt parts from the one before; `before` and `after` are what stood there and stands there:
    label and fingerprint of the region, names of the model, or the tools in their order. `idle` is how long ago the
    request before was sent, None where there is none.
    """

    cause: Cause | None
    region: str | None = None
    before: str | None = None
    after: str | None = None
    idle: timedelta | None = None


def cause_of(request: Request, previous: Request | None) -> Finding:
    """Returns why the request missed what `previous`, the last one of its thread, had sent.

    `first_request` needs a prompt without answers in it; `expired` needs an unchanged prefix and a known life that is
    over. A provider that reported nothing, or keeps things for a time that is not known, leaves it `unknown`.
    """
    if previous is None:
        return _first(request)
    idle = request.started_at - previous.started_at
    if request.cache_read_tokens is None:
        return Finding(Cause.UNKNOWN, idle=idle)
    if _has_all(request, previous):
        return Finding(None, idle=idle)
    if request.model != previous.model:
        return Finding(Cause.MODEL_CHANGED, before=previous.model, after=request.model, idle=idle)
    if not request.segments or not previous.segments:
        return Finding(Cause.UNKNOWN, idle=idle)
    if common_length(request.segments, previous.segments) < min(len(request.segments), len(previous.segments)):
        return _change(request.segments, previous.segments, idle)
    is_over = request.cache_life_s is not None and idle.total_seconds() >= request.cache_life_s
    return Finding(Cause.EXPIRED if is_over else Cause.UNKNOWN, idle=idle)


def _first(request: Request) -> Finding:
    if request.cache_read_tokens is None:
        return Finding(Cause.UNKNOWN)
    if request.cache_read_tokens + SLACK_TOKENS > request.tokens:
        return Finding(None)
    # An answer in it says that there was a request before, which is no longer kept.
    is_first = bool(request.segments) and all(segment.label != "assistant" for segment in request.segments)
    return Finding(Cause.FIRST_REQUEST if is_first else Cause.UNKNOWN)


def _has_all(request: Request, previous: Request) -> bool:
    """Tells whether as much was read as the request before had sent, or as there is."""
    there_was = min(previous.tokens, request.tokens)
    return (request.cache_read_tokens or 0) + SLACK_TOKENS > there_was


def _change(now: Sequence[Segment], then: Sequence[Segment], idle: timedelta) -> Finding:
    """Returns what the first difference between two prompts says."""
    place = common_length(tuple(now), tuple(then))
    after, before = now[place], then[place]
    if "tool" in (before.region, after.region) and _are_reordered(now, then):
        return Finding(Cause.TOOLS_REORDERED, "tool", _order(then), _order(now), idle)
    cause = Cause.COMPACTED if after.label == "summary" and after.region == "message" else Cause.PREFIX_CHANGED
    return Finding(cause, after.region, _named(before), _named(after), idle)


def parting(now: Sequence[Segment], then: Sequence[Segment]) -> Finding | None:
    """Returns where two prompts part, None where they are the same. One may end where the other goes on."""
    place = common_length(tuple(now), tuple(then))
    if place < min(len(now), len(then)):
        return _change(now, then, timedelta())
    if place < max(len(now), len(then)):
        more = (now if len(now) > place else then)[place]
        is_new = len(now) > place
        return Finding(
            Cause.PREFIX_CHANGED, more.region, None if is_new else _named(more), _named(more) if is_new else None
        )
    return None


def _are_reordered(now: Sequence[Segment], then: Sequence[Segment]) -> bool:
    return Counter(tool.fingerprint for tool in _tools(now)) == Counter(tool.fingerprint for tool in _tools(then))


def _tools(prompt: Sequence[Segment]) -> list[Segment]:
    return [segment for segment in prompt if segment.region == "tool"]


def _order(prompt: Sequence[Segment]) -> str:
    return ", ".join(tool.label for tool in _tools(prompt))


def _named(segment: Segment) -> str:
    return f"{segment.label} {segment.fingerprint}"
