"""Reads a run's stored events back into what they say together."""

from collections.abc import Iterable
from typing import NamedTuple

from ..events import decode_line
from ..transcript import Transcript
from .archive import blobs_named
from .places import Places


class Folded(NamedTuple):
    """What a run's events say, where they stand, the blobs that they name, and how many events come after the last
    one that there should be."""

    transcript: Transcript
    places: Places
    blobs: set[str]
    after_end: int


def fold(run_id: str, stored: Iterable[list[bytes]]) -> Folded:
    """Returns what batches of good lines say. Blocking where reading them is."""
    transcript, places, blobs, after_end = Transcript(run_id=run_id), Places(run_id), set[str](), 0
    for lines in stored:
        places.take(lines)
        for line in lines:
            event = decode_line(line)
            after_end += transcript.is_complete
            transcript.apply(event)
            blobs |= blobs_named(event)
    places.is_complete = transcript.is_complete
    return Folded(transcript, places, blobs, after_end)
