"""JSON that is too long to be decoded at once: lists in it are read a part at a time, as often as somebody looks.

Rules:

- Whatever is decoded is decoded like a short document: the same values, counts and faults come of both ways.
- Objects are whole dicts. Members that are long lists are `LongList`s in them; a text or an object longer than the
  source's limit is None, and counted.
- All of it is gone through once when it is opened, so that what is damaged is refused before anything is told of it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO, Final, Protocol, overload

from ..exceptions import InvalidRequest
from ..records import MAX_DEPTH
from .decoding import Miss, TooDeep, decode, reason
from .scan import PIECE, members

BLANKS: Final = b" \t\n\r"
KEY_BYTES: Final = 64 * 1024
MOST_OPENED: Final = 16
"""So many long values within each other are opened: each is looked through once more."""
_KEY: Final = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)


class Stored(Protocol):
    """Bytes that can be read again: a file, or bytes in memory."""

    @property
    def name(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def at_once(self) -> int: ...

    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes in memory, within the limits of what they are from."""

    data: bytes
    name: str
    limit: int
    at_once: int

    def open(self) -> BinaryIO:
        return BytesIO(self.data)


@dataclass(frozen=True, slots=True)
class Stretch:
    """One JSON value as it stands in stored bytes, within so many lists and objects. Blanks are trimmed."""

    stored: Stored
    start: int
    stop: int
    depth: int = 0

    @classmethod
    def trimmed(cls, stored: Stored, start: int, stop: int, depth: int = 0) -> "Stretch":
        with stored.open() as stream:
            while start < stop:
                stream.seek(start)
                piece = stream.read(min(KEY_BYTES, stop - start))
                start += len(piece) - len(piece.lstrip(BLANKS))
                if not piece or piece.strip(BLANKS):
                    break
            while start < stop:
                begun = max(start, stop - KEY_BYTES)
                stream.seek(begun)
                piece = stream.read(stop - begun)
                stop -= len(piece) - len(piece.rstrip(BLANKS))
                if not piece or piece.strip(BLANKS):
                    break
        return cls(stored, start, stop, depth)

    @property
    def size(self) -> int:
        return self.stop - self.start

    def read(self, stop: int | None = None) -> bytes:
        with self.stored.open() as stream:
            stream.seek(self.start)
            return stream.read((self.stop if stop is None else min(stop, self.stop)) - self.start)


@dataclass(slots=True)
class Opening:
    """One time that a value is opened. With a `miss` all of it is gone through, and is checked then. `left` is what
    may still be kept."""

    place: str
    miss: Miss | None
    left: int
    is_checked: bool = False

    def skip(self, limit: int) -> None:
        if self.miss is not None:
            self.miss(f"value over {limit:,} bytes", self.place)


class LongList(Sequence[Any]):
    """A list of JSON that stands in a file. Each look at it reads the file; its length is known by reading it.

    Raises InvalidRequest for what is no JSON: where it was checked, the file was changed since.
    """

    def __init__(self, stretch: Stretch, *, is_checked: bool) -> None:
        self._stretch = stretch
        self._is_checked = is_checked

    def __iter__(self) -> Iterator[Any]:
        stored = self._stretch.stored
        try:
            for items in self.parts(Opening("", None, stored.limit, self._is_checked)):
                yield from items
        except ValueError as fault:
            what = "was changed while it was read" if self._is_checked else "is no JSON that can be read"
            raise InvalidRequest(f"{stored.name} {what}: {reason(fault)}.") from fault

    def parts(self, opening: Opening) -> Iterator[list[Any]]:
        """Yields the items, several at a time. Raises ValueError for what is no JSON."""
        for piece in _pieces(self._stretch):
            if isinstance(piece, Stretch):
                yield [opened(piece, replace(opening, left=piece.stored.limit))]
            else:
                yield _held(b"[" + piece + b"]", self._stretch, opening)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return list(islice(self, at.start, at.stop, at.step))
        for item in islice(self, at, at + 1):
            return item
        raise IndexError(at)


def opened(stretch: Stretch, opening: Opening) -> Any:
    """Returns the value of a stretch: decoded where it is short, else opened. Raises ValueError for what is no JSON."""
    stored = stretch.stored
    first, last = stretch.read(stretch.start + 1), replace(stretch, start=max(stretch.start, stretch.stop - 1)).read()
    if stretch.size <= stored.at_once or first not in {b"[", b"{"} or stretch.depth >= MOST_OPENED:
        if stretch.size > stored.limit:
            opening.skip(stored.limit)
            return None
        opening.left -= stretch.size
        return decode(stretch.read(), opening.place, opening.miss, levels=MAX_DEPTH - stretch.depth)
    if first + last not in {b"[]", b"{}"}:
        raise ValueError("it does not end like it begins: it may have been cut off")
    if first == b"{":
        return _object(stretch, opening)
    found = LongList(stretch, is_checked=opening.is_checked or opening.miss is not None)
    if opening.miss is not None:
        for _ in found.parts(opening):
            pass
    return found


def _object(stretch: Stretch, opening: Opening) -> dict[str, Any]:
    found: dict[str, Any] = {}
    limit = stretch.stored.limit
    for piece in _pieces(stretch):
        if isinstance(piece, Stretch):
            key, value = _member(piece)
            if key is None:
                opening.skip(limit)
            else:
                found[key] = opened(value, opening)
            continue
        kept = _held(b"{" + piece + b"}", stretch, opening)
        opening.left -= len(piece)
        if opening.left < 0:
            opening.skip(limit)
        else:
            found |= kept
    return found


def _held(data: bytes, within: Stretch, opening: Opening) -> Any:
    """Returns some members of a long list or object, with its brackets around them."""
    levels = MAX_DEPTH - within.depth
    if levels <= 0:
        raise TooDeep
    return decode(data, opening.place, opening.miss, levels=levels)


def _member(stretch: Stretch) -> tuple[str | None, Stretch]:
    """Returns the name and the value of a long member of an object; None for a name that is too long itself."""
    head = stretch.read(stretch.start + KEY_BYTES)
    found = _KEY.match(head)
    if found is None:
        if len(head) < KEY_BYTES or head[:1] != b'"':
            raise ValueError(f"byte {stretch.start:,} begins no member of an object")
        return None, stretch
    key = decode(found[1], "", None)
    start = stretch.start + found.end()
    return key, Stretch.trimmed(stretch.stored, start, stretch.stop, stretch.depth)


def _pieces(stretch: Stretch) -> Iterator[bytes | Stretch]:
    """Yields the members of a list or object: short ones that follow each other together, long ones alone."""
    stored, inner = stretch.stored, stretch.depth + 1
    together = min(PIECE, stored.at_once)
    count, has_blank = 0, False
    begun: int | None = None
    end = stretch.start

    with stored.open() as scanned, stored.open() as stream:

        def read(start: int) -> bytes:
            nonlocal begun, has_blank
            stream.seek(start)
            piece = stream.read(end - start)
            has_blank = has_blank or not piece.strip(BLANKS)
            begun = None
            return piece

        for start, stop in members(scanned, stretch.start, stretch.stop):
            count += 1
            if stop - start > stored.at_once:
                if begun is not None:
                    yield read(begun)
                one = Stretch.trimmed(stored, start, stop, inner)
                has_blank = has_blank or not one.size
                if one.size:
                    yield one
                continue
            if begun is not None and stop - begun > together:
                yield read(begun)
            begun, end = start if begun is None else begun, stop
        if begun is not None:
            yield read(begun)
    if has_blank and count > 1:
        raise ValueError("a comma has nothing before or behind it")
