"""Reads text files line by line, in bounded memory, whatever stands in them."""

import os
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from ..exceptions import ToolError
from .visible import quoted_name

_SNIFFED_BYTES: Final = 8192
_MAGIC: Final = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "PDF",
    b"PK\x03\x04": "a zip archive or an Office file",
    b"\x1f\x8b": "gzip",
    b"PAR1": "Parquet",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "a numpy array",
    b"SQLite format 3": "an SQLite database",
    b"\x7fELF": "a program",
    b"\xff\xfe": "perhaps UTF-16 text",
    b"\xfe\xff": "perhaps UTF-16 text",
}


class Line(NamedTuple):
    """A line without its end; `cut` is how many bytes of it are left out."""

    raw: bytes
    cut: int = 0

    @property
    def text(self) -> str:
        """The line as text: bad UTF-8 and NUL become U+FFFD."""
        return readable(self.raw)


def readable(raw: bytes) -> str:
    """Returns bytes as text that every store and client accepts."""
    return raw.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def open_text(fd: int, path: str) -> BinaryIO:
    """Opens a second time the file of a descriptor. Raises ToolError for a folder and for what is no text."""
    facts = os.fstat(fd)
    if stat.S_ISDIR(facts.st_mode):
        raise ToolError(f"{quoted_name(path)} is a folder: list it with list_files, or name a file in it.")
    file = os.fdopen(os.dup(fd), "rb")
    try:
        start = file.read(_SNIFFED_BYTES)
        if b"\0" in start:
            kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "it contains NUL bytes")
            raise ToolError(
                f"{quoted_name(path)} is a binary file of {facts.st_size:,} bytes ({kind}), not text: "
                "read it with Python in run_cell."
            )
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def read_lines(file: BinaryIO, stop: threading.Event, *, most_bytes: int) -> Iterator[Line]:
    """Yields the lines, each at most so many bytes long; what is longer is passed over and counted."""
    while (start := file.readline(most_bytes)) and not stop.is_set():
        cut, end = 0, start
        while not (end.endswith(b"\n") or stop.is_set()) and (end := file.readline(65_536)):
            cut += len(end.rstrip(b"\r\n"))
        yield Line(start.rstrip(b"\r\n"), cut)
