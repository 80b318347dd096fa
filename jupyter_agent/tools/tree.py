"""Walks the files of a folder, in order, never through a link, within bounds that it reports."""

import os
import stat
import threading
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from .paths import FOLDER_FLAGS, special_devices
from .visible import quoted_name

SKIPPED: Final = frozenset({".git", ".hg", ".svn", ".ipynb_checkpoints", "__pycache__", "node_modules"})
"""Folders that no list and no search enters by itself: they can be named."""
MAX_DEPTH: Final = 24
MAX_SCANNED: Final = 100_000


class Entry(NamedTuple):
    """A file or folder. `path` is relative to where the walk began, `size` in bytes; `folder` is a descriptor of the
    folder that it stands in, open until the next entry is taken."""

    path: str
    name: str
    kind: Literal["file", "folder", "link", "special file"]
    size: int
    folder: int


class Tree:
    """The entries below a folder, each folder sorted by name; iterate once, then `notes` says what was left out."""

    def __init__(self, fd: int, stop: threading.Event, *, deep: bool, hidden: bool) -> None:
        self._fd, self._stop, self._deep, self._hidden = fd, stop, deep, hidden
        self._special = special_devices(fd)
        self._scanned = 0
        self._hidden_count = 0
        self._unread: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        yield from self._entries(self._fd, "", 0)

    def notes(self) -> list[str]:
        """Returns a line in brackets for each reason why the list may not be the whole."""
        notes = []
        if self._hidden_count:
            notes.append(f"[{self._hidden_count:,} hidden left out]")
        if self._unread:
            some = ", ".join(map(quoted_name, self._unread[:5]))
            notes.append(f"[{len(self._unread):,} folders not entered, unreadable or too deep: {some}]")
        if self._scanned >= MAX_SCANNED:
            notes.append(f"[only the first {MAX_SCANNED:,} names were looked at: name a folder further down]")
        return notes

    def _entries(self, fd: int, prefix: str, depth: int) -> Iterator[Entry]:
        for name in self._names(fd):
            if self._stop.is_set():
                return
            try:
                facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            entry = Entry(prefix + name, name, _kind(facts.st_mode), facts.st_size, fd)
            yield entry
            if entry.kind == "folder" and self._deep and name not in SKIPPED:
                yield from self._below(entry, depth)

    def _below(self, entry: Entry, depth: int) -> Iterator[Entry]:
        try:
            fd = os.open(entry.name, FOLDER_FLAGS, dir_fd=entry.folder)
        except OSError:
            self._unread.append(entry.path)
            return
        try:
            if depth >= MAX_DEPTH or os.fstat(fd).st_dev in self._special:
                self._unread.append(entry.path)
                return
            yield from self._entries(fd, f"{entry.path}/", depth + 1)
        finally:
            os.close(fd)

    def _names(self, fd: int) -> list[str]:
        names = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if self._scanned >= MAX_SCANNED:
                    break
                self._scanned += 1
                if entry.name.startswith(".") and not self._hidden:
                    self._hidden_count += 1
                else:
                    names.append(entry.name)
        return sorted(names)


def _kind(mode: int) -> Literal["file", "folder", "link", "special file"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "special file"
