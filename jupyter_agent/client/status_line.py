"""One line at the bottom of a terminal that is written over in place. Where there is no terminal it is never written:
a file or a pipe gets no carriage return."""

import io
import os
import sys
import unicodedata
from typing import Protocol, TextIO


class Writer(Protocol):
    """Somebody who writes to the terminal piece by piece."""

    def line_was_ended(self) -> None:
        """Is told that what it had begun goes on in a new line."""


class StatusLine:
    """The line on stderr. Whatever else goes to the terminal clears it first, and it is shown again below.

    It belongs to whoever took it last: of several runs that are awaited together one is told. Above it all of them
    write: a line that one has begun is ended before another one writes, and not written over.
    """

    def __init__(self) -> None:
        self._holders: list[object] = []
        self._shown: tuple[TextIO, int] | None = None
        self._begun_by: Writer | None = None

    def make_way(self, writer: Writer, stream: TextIO) -> None:
        """Clears the line, and ends what another one had begun.

        Raises OSError, ValueError where the terminal is gone.
        """
        self.clear()
        begun_by = self._begun_by
        if begun_by is not None and begun_by is not writer and stream.isatty():
            self._begun_by = None
            begun_by.line_was_ended()
            stream.write("\n")

    @property
    def is_begun(self) -> bool:
        """Whether somebody's words stand on the line, to be gone on with."""
        return self._begun_by is not None

    def wrote(self, writer: Writer, stream: TextIO, text: str) -> None:
        """Notes whether the terminal's line is begun now."""
        if text and stream.isatty():
            self._begun_by = None if text.endswith("\n") else writer

    def take(self, holder: object) -> None:
        self._holders.append(holder)

    def leave(self, holder: object) -> None:
        """Gives the line up. Raises OSError, ValueError where the terminal is gone."""
        self._holders.remove(holder)
        self.clear()

    @property
    def is_possible(self) -> bool:
        """Whether stderr is a terminal that can go back to the beginning of its line.

        While IPython's prompt is open something else stands in for stderr, and the line below is the user's.
        """
        stream = sys.stderr
        is_dumb = os.name != "nt" and os.environ.get("TERM", "dumb") == "dumb"
        return isinstance(stream, io.TextIOWrapper) and stream.isatty() and not is_dumb

    def show(self, holder: object, text: str) -> None:
        """Writes the line over, cut at the width of the terminal. Raises OSError, ValueError where that is gone."""
        if self._holders[-1] is not holder:
            return
        stream = sys.stderr
        text = _cut(text, os.get_terminal_size(stream.fileno()).columns - 1)
        width = columns(text)
        before = self._shown[1] if self._shown is not None else 0
        stream.write(f"\r{text}{' ' * (before - width)}{chr(8) * (before - width)}")
        stream.flush()
        self._shown = stream, width

    def clear(self) -> None:
        """Takes the line away, if it is there. Raises OSError, ValueError where the terminal is gone."""
        shown, self._shown = self._shown, None
        if shown is not None:
            stream, width = shown
            stream.write(f"\r{' ' * width}\r")
            stream.flush()


def columns(text: str) -> int:
    """Returns how many columns a text takes on a terminal."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, most: int) -> str:
    if columns(text) <= most:
        return text
    taken = 0
    for at, character in enumerate(text):
        taken += _columns(character)
        if taken > most - 1:
            return f"{text[:at]}…"
    return text
