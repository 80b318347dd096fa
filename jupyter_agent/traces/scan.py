"""Where the members of a long JSON list or object stand. Only quotes, brackets and commas are looked at: what is
between two commas is decoded, and found to be JSON or not, by whoever reads it.

The well-kept incremental parsers were weighed: those that are fast refuse NaN and whole numbers of more than 64 bits,
which real logs hold, and would make other values of a long document than of the same one when it is short.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

PIECE: Final = 1024 * 1024
_QUOTE, _OPENS, _CLOSES, _COMMA, _BACKSLASH = 1, 2, 3, 4, 92
_KINDS: Final = np.zeros(256, np.uint8)
_KINDS[ord('"')] = _QUOTE
_KINDS[[ord("["), ord("{")]] = _OPENS
_KINDS[[ord("]"), ord("}")]] = _CLOSES
_KINDS[ord(",")] = _COMMA
_STEPS: Final = np.array([0, 0, 1, -1, 0], np.int64)


def members(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yields from where to where each member of the list or object between these two offsets goes, with the blanks
    around it. One that is empty has a member of blanks alone. Memory does not grow with it.

    Raises ValueError where it does not end at its end.
    """
    begun = start + 1
    for ends, is_last in _ends(stream, start, stop):
        for end in ends:
            yield begun, end
            begun = end + 1
        if is_last:
            if begun != stop:
                raise ValueError(f"something follows its end at byte {begun - 1:,}")
            return
    raise ValueError("it does not end: it may have been cut off")


def _ends(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[list[int], bool]]:
    """Yields where members end, and whether the last of these is the end of the whole, for each piece of the stream."""
    stream.seek(start)
    at, depth, is_inside, carried = start, 0, 0, b""
    while at < stop:
        read = stream.read(min(PIECE, stop - at))
        if not read:
            return
        piece = carried + read
        base = at - len(carried)
        at += len(read)
        places, kinds = _marks(piece)
        quotes = (np.cumsum(kinds == _QUOTE) + is_inside) & 1
        is_inside = int(quotes[-1]) if len(quotes) else is_inside
        outside = (quotes == 0) & (kinds != _QUOTE)
        places, kinds = places[outside], kinds[outside]
        depths = depth + np.cumsum(_STEPS[kinds])
        depth = int(depths[-1]) if len(depths) else depth
        ends = np.flatnonzero(((kinds == _COMMA) & (depths == 1)) | (depths == 0))
        closed = np.flatnonzero(depths[ends] == 0)
        if len(closed):
            yield (places[ends[: closed[0] + 1]] + base).tolist(), True
            return
        yield (places[ends] + base).tolist(), False
        # A quote that follows a backslash belongs to its text: the last one is looked at again with what follows.
        carried = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""


def _marks(piece: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Returns where quotes, brackets and commas are, and which of them: quotes that are escaped are none."""
    data = np.frombuffer(piece, np.uint8)
    kinds = _KINDS[data]
    places = np.flatnonzero(kinds)
    kinds = kinds[places]
    suspects = np.flatnonzero((kinds == _QUOTE) & (places > 0) & (data[places - 1] == _BACKSLASH))
    if len(suspects):
        others = np.flatnonzero(data != _BACKSLASH)
        at = places[suspects]
        before = np.searchsorted(others, at) - 1
        run = at - 1 - np.where(before >= 0, others[before], -1)
        kinds[suspects[run % 2 == 1]] = 0
    return places, kinds
