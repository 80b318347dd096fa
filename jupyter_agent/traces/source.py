"""Where traces are read from: a file or bytes, as JSON values one after the other.

Rules:

- JSON lines are read line by line: memory does not grow with the file. One big JSON document has to fit: it is refused
  above a limit that the caller may raise. (An incremental parser was weighed: those there are refuse NaN, which real
  logs contain, and a dependency for one rare case would be in every kernel.)
- A damaged line is counted and left out; a damaged document is refused.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from ..exceptions import InvalidRequest, NotFound, TooLarge
from ..records import MAX_DEPTH, is_deeper_than

DOCUMENT_BYTES: Final = 256 * 1024 * 1024
HEAD_BYTES: Final = 64 * 1024
LINES_TRIED: Final = 20
BOM: Final = b"\xef\xbb\xbf"

Miss = Callable[[str, str], None]


class TooDeep(ValueError):
    """JSON that is nested deeper than `MAX_DEPTH`: whoever reads it recurses."""

    def __init__(self) -> None:
        super().__init__(f"it is nested deeper than {MAX_DEPTH} levels")


class Record(NamedTuple):
    """One JSON value of a source, and where it stands."""

    place: str
    value: Any


class Source:
    """A file or bytes. Raises NotFound or InvalidRequest for what cannot be read at all."""

    def __init__(self, given: str | Path | bytes | bytearray | memoryview, *, limit: int = DOCUMENT_BYTES) -> None:
        self.limit = limit
        self._bytes: bytes | None = None
        self.path: Path | None = None
        if isinstance(given, bytes | bytearray | memoryview):
            self._bytes = bytes(given)
            self.name, self.size = "the bytes", len(self._bytes)
        elif isinstance(given, str | Path):
            self.path = Path(given).expanduser()
            self.name, self.size = str(self.path), _size(self.path)
        else:
            raise InvalidRequest(f"Traces are read from a path or bytes, not from a {type(given).__name__}.")
        if not self.size:
            raise InvalidRequest(f"{self.name} is empty: there are no traces in it.")
        with self.open() as stream:
            self.head = stream.read(HEAD_BYTES)

    def open(self) -> BinaryIO:
        if self.path is None:
            return BytesIO(self._bytes or b"")
        try:
            return self.path.open("rb")
        except OSError as fault:
            raise InvalidRequest(f"{self.name} cannot be read: {fault.strerror or fault}.") from fault

    @property
    def seed(self) -> str:
        """A digest that is the same for the same file: of its size and its beginning."""
        return hashlib.sha256(str(self.size).encode() + self.head).hexdigest()

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Yields the lines that are not blank, with their numbers; None for one over the limit."""
        with self.open() as stream:
            number = 0
            while line := stream.readline(self.limit + 1):
                number += 1
                if len(line) > self.limit and not line.endswith(b"\n"):
                    while (rest := stream.readline(HEAD_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    yield number, None
                    continue
                line = line.removeprefix(BOM).strip() if number == 1 else line.strip()
                if line:
                    yield number, line


def _size(path: Path) -> int:
    if "\0" in str(path):
        raise InvalidRequest(f"{str(path)!r} is no path.")
    try:
        if path.is_dir():
            raise InvalidRequest(f"{path} is a folder: name one of its files, or read them in a loop.")
        return path.stat().st_size
    except FileNotFoundError:
        raise NotFound(
            f"There is no file {str(path)!r}. Traces are read from a path on this machine or from bytes."
        ) from None
    except OSError as fault:
        raise InvalidRequest(f"{path} cannot be read: {fault.strerror or fault}.") from fault


def records(source: Source, miss: Miss) -> Iterator[Record]:
    """Yields the JSON values of a source: each line of JSON lines, or the one document.

    Raises InvalidRequest for what is no JSON, TooLarge for a document over the limit.
    """
    if is_lines(source):
        return _each_line(source, miss)
    return iter([Record("document", _document(source, miss))])


def is_lines(source: Source) -> bool:
    """Tells whether a source is JSON lines: more than one line, each a whole value. A first line may be damaged."""
    for tried, (number, line) in enumerate(islice(source.lines(), LINES_TRIED)):
        value = None if line is None else _quiet(line)
        if tried == 0 and value is not None:
            return isinstance(value, dict | list) and _has_more(source, number)
        if isinstance(value, dict) and value:
            return not _document_is_whole(source)
    return False


def _has_more(source: Source, after: int) -> bool:
    return any(number > after for number, _ in source.lines())


def _document_is_whole(source: Source) -> bool:
    """Tells whether the whole is one JSON document, of which a line by chance is JSON for itself."""
    if source.size > source.limit:
        return False
    with source.open() as stream:
        return _quiet(stream.read().removeprefix(BOM)) is not None


def _each_line(source: Source, miss: Miss) -> Iterator[Record]:
    for number, line in source.lines():
        place = f"line {number}"
        if line is None:
            miss(f"line over {source.limit:,} bytes", place)
            continue
        try:
            value = decode(line, place, miss)
        except TooDeep:
            miss(f"line nested deeper than {MAX_DEPTH} levels", place)
            continue
        except ValueError:
            miss("line that is no JSON", place)
            continue
        yield Record(place, value)


def _document(source: Source, miss: Miss) -> Any:
    if source.size > source.limit:
        raise TooLarge(
            f"{source.name} is one JSON document of {source.size:,} bytes, more than the {source.limit:,} that are "
            "read at once. JSON lines are read line by line; or allow more with `limit=`."
        )
    with source.open() as stream:
        data = stream.read()
    return whole(data, source.name, miss)


def whole(data: bytes, name: str, miss: Miss) -> Any:
    """Returns the value of a JSON document. Raises InvalidRequest for what is none."""
    try:
        return decode(data.removeprefix(BOM), "document", miss)
    except ValueError as fault:
        raise InvalidRequest(f"{name} is no JSON that can be read: {_reason(fault)}.") from fault


def _reason(fault: ValueError) -> str:
    if isinstance(fault, UnicodeDecodeError):
        return f"byte {fault.start:,} is no text in UTF-8"
    return str(fault).rstrip(".")


def decode(data: bytes, place: str, miss: Miss) -> Any:
    """Returns a JSON value. NaN and infinite numbers, which JSON has not but logs have, become None and are counted.

    Raises TooDeep, and ValueError for what is no JSON.
    """
    value = _decoded(data, place, miss)
    if is_deeper_than(MAX_DEPTH, value):
        raise TooDeep
    return value


def _decoded(data: bytes, place: str, miss: Miss) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass

    def constant(name: str) -> None:
        miss(f"number that is none: {name}", place)

    try:
        return json.loads(data, parse_constant=constant, strict=False)
    except RecursionError as fault:
        raise TooDeep from fault


def _quiet(data: bytes) -> Any:
    """Returns the value of some JSON, None for what is none."""
    try:
        return decode(data, "", lambda *_: None)
    except ValueError:
        return None
