"""Where traces are read from: a file or bytes, as JSON values one after the other.

Rules:

- JSON lines are read line by line, long lines and documents a part at a time: memory does not grow with the file.
- A damaged line is counted and left out; a damaged document is refused.
"""

import codecs
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ..exceptions import InvalidRequest, NotFound, TooLarge
from ..records import MAX_DEPTH
from .decoding import Miss, TooDeep, decode, reason
from .long import Opening, Stretch, opened

DOCUMENT_BYTES: Final = 256 * 1024 * 1024
AT_ONCE_BYTES: Final = 16 * 1024 * 1024
"""What is longer is read a part at a time."""
HEAD_BYTES: Final = 64 * 1024
LINES_TRIED: Final = 20
LEVELS: Final = 3
"""So many folders below the one that is named are looked into."""
MOST_FILES: Final = 1_000_000
BOM: Final = codecs.BOM_UTF8
WIDE_BOMS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What Windows' shells write when output is redirected into a file."""
PACKED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


class Record(NamedTuple):
    """One JSON value of a source, and where it stands."""

    place: str
    value: Any


class Line(NamedTuple):
    """A line that is not blank, from where to where it goes; without its bytes where it is long."""

    number: int
    start: int
    stop: int
    data: bytes | None


class Source:
    """A file or bytes. Raises NotFound or InvalidRequest for what cannot be read at all.

    `limit` is how many bytes one value may have that cannot be read in parts, `at_once` how many are decoded at once.
    """

    def __init__(
        self,
        given: str | Path | bytes | bytearray | memoryview,
        *,
        limit: int = DOCUMENT_BYTES,
        at_once: int = AT_ONCE_BYTES,
    ) -> None:
        self.limit = limit
        self.at_once = min(at_once, limit)
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
        self.head = b""
        if self.is_folder:
            return
        if not self.size:
            raise InvalidRequest(f"{self.name} is empty: there are no traces in it.")
        self.head = self._head()
        if self.head.startswith(WIDE_BOMS):
            self._bytes = self._narrowed()
            self.size, self.head = len(self._bytes), self._bytes[:HEAD_BYTES]
        for mark, packing in PACKED.items():
            if self.head.startswith(mark):
                raise InvalidRequest(f"{self.name} is compressed with {packing}: unpack it first.")

    def open(self) -> BinaryIO:
        if self._bytes is not None or self.path is None:
            return BytesIO(self._bytes or b"")
        try:
            return self.path.open("rb")
        except OSError as fault:
            raise InvalidRequest(f"{self.name} cannot be read: {fault.strerror or fault}.") from fault

    @property
    def is_folder(self) -> bool:
        return self.path is not None and self.path.is_dir()

    @property
    def begins_like_json(self) -> bool:
        """Tells whether there is text, in UTF-8, with an object or a list first. NULs may follow: where a machine
        crashed, they fill the end of what was written."""
        start = self.head.removeprefix(BOM).lstrip()[:4]
        return start.startswith((b"{", b"[")) and b"\0" not in start

    @cached_property
    def files(self) -> list[str]:
        """The files in a folder and in those below it, by their names from there. Links are none: they lead elsewhere.

        Raises InvalidRequest for a folder that cannot be read, or has more than a million files.
        """
        top, waiting, found = self.path or Path(), [("", 0)], list[str]()
        while waiting:
            below, level = waiting.pop()
            try:
                with os.scandir(top / below) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False) and level < LEVELS:
                            waiting.append((f"{below}{entry.name}/", level + 1))
                        elif entry.is_file(follow_symlinks=False):
                            found.append(f"{below}{entry.name}")
            except OSError as fault:
                raise InvalidRequest(f"{top / below} cannot be read: {fault.strerror or fault}.") from fault
            if len(found) > MOST_FILES:
                raise InvalidRequest(f"{self.name} is a folder of more than {MOST_FILES:,} files: name one in it.")
        return sorted(found)

    def _head(self) -> bytes:
        with self.open() as stream:
            return stream.read(HEAD_BYTES)

    def _narrowed(self) -> bytes:
        """Returns what is written in UTF-16 as UTF-8."""
        if self.size > self.limit:
            raise TooLarge(
                f"{self.name} is text in UTF-16 of {self.size:,} bytes, more than the {self.limit:,} that are read at "
                "once. Write it as UTF-8; or allow more with `limit=`."
            )
        with self.open() as stream:
            data = stream.read()
        try:
            return data.decode("utf-16").encode("utf-8", errors="surrogatepass")
        except UnicodeDecodeError as fault:
            raise InvalidRequest(f"{self.name} begins like text in UTF-16; byte {fault.start:,} is none.") from fault

    @property
    def seed(self) -> str:
        """A digest that is the same for the same file: of its size and its beginning, or of the names in a
        folder."""
        if self.is_folder:
            return hashlib.sha256("\n".join(self.files).encode(errors="replace")).hexdigest()
        return hashlib.sha256(str(self.size).encode() + self.head).hexdigest()

    def lines(self) -> Iterator[Line]:
        """Yields the lines that are not blank."""
        with self.open() as stream:
            start = number = 0
            while data := stream.readline(self.at_once + 1):
                number += 1
                stop = start + len(data)
                is_long = len(data) > self.at_once and not data.endswith(b"\n")
                while is_long and (rest := stream.readline(HEAD_BYTES)):
                    stop += len(rest)
                    if rest.endswith(b"\n"):
                        break
                if number == 1 and data.startswith(BOM):
                    data, start = data.removeprefix(BOM), start + len(BOM)
                if is_long:
                    yield Line(number, start, stop, None)
                elif data := data.strip():
                    yield Line(number, start, stop, data)
                start = stop

    def value(self, start: int, stop: int, place: str, miss: Miss | None) -> Any:
        """Returns the JSON value between two offsets. With a `miss` all of it is gone through, and what cannot be
        mapped counted. Raises ValueError for what is no JSON."""
        return opened(Stretch.trimmed(self, start, stop), Opening(place, miss, self.limit))


def _size(path: Path) -> int:
    if "\0" in str(path):
        raise InvalidRequest(f"{str(path)!r} is no path.")
    try:
        if path.is_dir():
            return 0
        return path.stat().st_size
    except FileNotFoundError:
        raise NotFound(
            f"There is no file {str(path)!r}. Traces are read from a path on this machine or from bytes."
        ) from None
    except OSError as fault:
        raise InvalidRequest(f"{path} cannot be read: {fault.strerror or fault}.") from fault


def records(source: Source, miss: Miss | None) -> Iterator[Record]:
    """Yields the JSON values of a source: each line of JSON lines, or the one document.

    Without a `miss` it is only looked at: long values are not gone through. Raises InvalidRequest for what is no JSON.
    """
    if is_lines(source):
        return _each_line(source, miss)
    return iter([Record("document", _document(source, miss))])


def is_lines(source: Source) -> bool:
    """Tells whether a source is JSON lines: more than one line, each a whole value. A first line may be damaged."""
    for tried, line in enumerate(islice(source.lines(), LINES_TRIED)):
        if tried == 0 and line.data is None and not _has_more(source, line.number):
            return False
        value = _looked_at(source, line)
        if tried == 0 and value is not None:
            return isinstance(value, dict | Sequence) and not isinstance(value, str) and _has_more(source, line.number)
        if isinstance(value, dict) and value:
            return not _document_is_whole(source)
    return False


def _has_more(source: Source, after: int) -> bool:
    return any(line.number > after for line in source.lines())


def _looked_at(source: Source, line: Line) -> Any:
    """Returns the value of a line, None for one that is no JSON."""
    try:
        if line.data is not None:
            return decode(line.data, "", None)
        return source.value(line.start, line.stop, "", _unheard)
    except ValueError:
        return None


def _document_is_whole(source: Source) -> bool:
    """Tells whether the whole is one JSON document, of which a line by chance is JSON for itself."""
    try:
        return source.value(_after_bom(source), source.size, "", _unheard) is not None
    except ValueError:
        return False


def _unheard(_kind: str, _place: str) -> None:
    """Is told of what cannot be mapped where somebody only tries."""


def _after_bom(source: Source) -> int:
    return len(BOM) if source.head.startswith(BOM) else 0


def _each_line(source: Source, miss: Miss | None) -> Iterator[Record]:
    told = miss or _unheard
    for line in source.lines():
        place = f"line {line.number}"
        try:
            if line.data is not None:
                value = decode(line.data, place, miss)
            else:
                value = source.value(line.start, line.stop, place, miss)
        except TooDeep:
            told(f"line nested deeper than {MAX_DEPTH} levels", place)
            continue
        except ValueError:
            told("line that is no JSON", place)
            continue
        yield Record(place, value)


def _document(source: Source, miss: Miss | None) -> Any:
    try:
        return source.value(_after_bom(source), source.size, "document", miss)
    except ValueError as fault:
        raise _no_json(source.name, fault) from fault


def whole(data: bytes, name: str, miss: Miss) -> Any:
    """Returns the value of a JSON document. Raises InvalidRequest for what is none."""
    try:
        return decode(data.removeprefix(BOM), "document", miss)
    except ValueError as fault:
        raise _no_json(name, fault) from fault


def _no_json(name: str, fault: ValueError) -> InvalidRequest:
    return InvalidRequest(f"{name} is no JSON that can be read: {reason(fault)}.")
