"""Results of steps on this machine's disk, until the gateway has them: code goes on when they are here.

Only where the gateway is on the same machine: then they are as safe here as there. A file is one pass's, locked for as
long as its kernel lives. What a kernel left behind that was killed is told by the next one, before it asks what there
is; it is told twice without harm, by the steps' tokens.
"""

import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ..script.step import PlacedStep

if sys.platform != "win32":
    import fcntl

SUFFIX: Final = ".jsonl"
KEPT_S: Final = 7 * 24 * 3600.0
"""What no gateway here knows is given up after a week."""
_HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_to_disk: Final = getattr(os, "fdatasync", os.fsync)


class _Head(Struct, frozen=True, kw_only=True, rename="camel"):
    workflow_run_id: str


def is_here(url: str) -> bool:
    """Tells whether an address is of this machine, which locks files as is needed here."""
    return sys.platform != "win32" and urlsplit(url).hostname in _HERE


def folder_of_steps() -> Path:
    """Returns where this user's kernels keep what they have not told yet."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "jupyter_agent_steps"


class Outbox:
    """What one pass has not told yet. Raises OSError where the disk does not take it."""

    def __init__(self, folder: Path, workflow_run_id: str) -> None:
        _make(folder)
        self.path = folder / f"{workflow_run_id}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._head = msgspec.json.encode(_Head(workflow_run_id=workflow_run_id)) + b"\n"
            self._size = self._write(self._head)
            _sync_folder(folder)
        except BaseException:
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
            raise

    def add(self, step: PlacedStep) -> None:
        """Keeps a step's result: it is on disk when this returns. Nothing is kept where it raises."""
        try:
            written = self._write(msgspec.json.encode(step) + b"\n")
            _to_disk(self._handle)
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size += written

    def clear(self) -> None:
        """Forgets all of it, on disk too: the gateway has it, and may delete it from now on."""
        if self._size > len(self._head):
            os.ftruncate(self._handle, len(self._head))
            self._size = len(self._head)
            _to_disk(self._handle)

    def close(self) -> None:
        """Lets go of the file, and of what was not told with it left there for the next kernel."""
        if self._size == len(self._head):
            self.path.unlink(missing_ok=True)
        os.close(self._handle)

    def _write(self, data: bytes) -> int:
        if os.write(self._handle, data) != len(data):
            raise OSError("only a part of it was written")
        return len(data)


class Left:
    """The file of a kernel that is gone, locked while it is dealt with."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle
        lines = _lines(handle)
        self.workflow_run_id: str | None = None
        self.steps: Sequence[PlacedStep] = ()
        try:
            self.workflow_run_id = msgspec.json.decode(next(lines, b""), type=_Head).workflow_run_id
            self.steps = [msgspec.json.decode(line, type=PlacedStep) for line in lines]
        except msgspec.MsgspecError:
            # It is none of ours: nothing of it is told.
            self.workflow_run_id = None

    @property
    def is_old(self) -> bool:
        return time.time() - os.fstat(self._handle).st_mtime > KEPT_S

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._handle)


def left_behind(folder: Path) -> Iterator[Left]:
    """Yields the files of kernels that are gone, each closed after it was looked at."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = Left(path, handle)
        except OSError:
            # Its kernel lives, or somebody else is looking.
            os.close(handle)
            continue
        try:
            yield left
        finally:
            left.close()


def _lines(handle: int) -> Iterator[bytes]:
    """Yields the whole lines of a file: the last one may be torn."""
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _make(folder: Path) -> None:
    """Makes a folder that is this user's alone. Raises OSError where it is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not this user's own folder")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
