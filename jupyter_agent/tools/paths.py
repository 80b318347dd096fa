"""Opens files beneath a workspace, and nothing else, whatever a path says and whoever swaps folders meanwhile.

- A path is walked name by name. Each name is opened relative to the folder before it, never following a link by
  itself; a link is read, and its target walked in the same way. What was checked is what is open.
- `..`, absolute paths elsewhere, drive letters, `~`, NUL and the kernel's own file systems are refused.
- A regular file with a second name (a hard link) is refused: the other name may lie outside.
- A link does not launder: a sensitive file is reached by a sensitive path only, since the path is what a policy judges.
"""

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from ..exceptions import OutsideWorkspace, ToolError
from .faults import file_fault
from .sensitive import is_sensitive
from .visible import quoted_name

MAX_LINKS: Final = 32
MAX_DEPTH: Final = 64
"""How many folders a walk holds open at once."""
MAX_PATH_CHARS: Final = 4096
# Not all of them exist everywhere; where they do not, `Walk` refuses to begin.
_NO_LINKS: Final[int] = getattr(os, "O_NOFOLLOW", 0)
FOLDER_FLAGS: Final[int] = os.O_RDONLY | _NO_LINKS | getattr(os, "O_DIRECTORY", 0)
_FILE_FLAGS: Final[int] = os.O_RDONLY | _NO_LINKS | getattr(os, "O_NONBLOCK", 0)
_ELSEWHERE: Final = re.compile(r"[A-Za-z]:|~[^/]*/|~$|[A-Za-z][A-Za-z0-9+.-]*:/|//")
_SPECIAL: Final = ("/proc", "/sys", "/dev")


def names_of(workspace: Path, path: str) -> tuple[str, ...]:
    """Returns the names that lead from the workspace to a path, () for the workspace itself. Opens nothing.

    Raises OutsideWorkspace for everything that is not plainly a path beneath it.
    """
    if len(path) > MAX_PATH_CHARS:
        raise OutsideWorkspace(f"The path has {len(path):,} characters, {MAX_PATH_CHARS:,} are the most: shorten it.")
    fault = _fault_in(path)
    if fault is not None:
        raise OutsideWorkspace(f"The path {path!r} contains {fault}. Write it with / between names.")
    if path.startswith("/") and not path.startswith("//"):
        rest = _beneath(workspace, path)
        if rest is None:
            raise _outside(path)
        path = rest
    elif _ELSEWHERE.match(path):
        raise _outside(path)
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if len(names) > MAX_DEPTH:
        raise OutsideWorkspace(f"The path {path[:80]!r}… is {len(names)} names deep, {MAX_DEPTH} are the most.")
    if ".." in names:
        raise OutsideWorkspace(f"The path {path!r} contains '..'. Write it from the workspace's top, without '..'.")
    return names


def _fault_in(path: str) -> str | None:
    if "\0" in path:
        return "a NUL character"
    if "\\" in path:
        return "a backslash"
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return "characters that no file name can have"
    return None


def _beneath(workspace: Path, path: str) -> str | None:
    """Returns what an absolute path is relative to the workspace, None where it is not in it."""
    absolute = PurePosixPath(path)
    for root in (workspace.absolute(), workspace.resolve()):
        if absolute.is_relative_to(root):
            return str(absolute.relative_to(root))
    return None


def _outside(path: str) -> OutsideWorkspace:
    shown = path if len(path) <= 200 else path[:200] + "…"
    return OutsideWorkspace(
        f"The path {shown!r} leads outside of the workspace. "
        "Use a path relative to the workspace's top, such as data/a.csv."
    )


class Walk:
    """A walk beneath a workspace; a context manager that closes whatever it opened. Blocking: belongs in a thread."""

    def __init__(self, workspace: Path, path: str) -> None:
        self.path = path
        self.wanted = names_of(workspace, path)
        self.names: list[str] = []
        self._workspace = workspace
        self.made: list[tuple[int, str]] = []
        self._links = 0
        self._at = ""
        self._fds: list[int] = []
        self._special: frozenset[int] = frozenset()

    def __enter__(self) -> "Walk":
        if os.open not in os.supports_dir_fd:
            raise ToolError(
                "File tools need an operating system that opens files relative to folders, such as Linux or macOS."
            )
        try:
            self._fds.append(os.open(self._workspace, FOLDER_FLAGS & ~_NO_LINKS))
        except OSError as error:
            raise ToolError(
                f"The workspace cannot be opened ({error.strerror}): check the server's root folder."
            ) from error
        self._special = special_devices(self._fds[0])
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.pop())

    @property
    def found(self) -> str:
        """The path that was really walked, links resolved, relative to the workspace; "." for the workspace."""
        return "/".join(self.names) or "."

    def open(self) -> int:
        """Returns a descriptor, which this walk owns, of the file or folder that the path leads to.

        Raises OutsideWorkspace, or ToolError for what is missing, unreadable, or neither file nor folder.
        """
        try:
            self._follow(deque(self.wanted))
        except OSError as error:
            raise file_fault(error, self.path, missing=self._at, names=self._neighbours(error)) from error
        self._check_link_target()
        return self._fds[-1]

    def open_parent(self) -> tuple[int, str]:
        """Returns a descriptor of the folder for a new file, making folders that are missing, and the file's name."""
        *parents, name = self.wanted
        try:
            self._follow(deque(parents), make=True)
        except OSError as error:
            raise file_fault(error, self.path) from error
        self.names.append(name)
        self._check_link_target()
        return self._fds[-1], name

    def unmake(self) -> None:
        """Removes the folders that were made for a file that could not be written, as far as they are empty."""
        while self.made:
            fd, name = self.made.pop()
            with suppress(OSError):
                os.rmdir(name, dir_fd=fd)

    def _follow(self, todo: deque[str], *, make: bool = False) -> None:
        while todo:
            name = todo.popleft()
            if name in ("", "."):
                continue
            self._at = name
            if name == "..":
                self._leave()
                continue
            try:
                fd = self._open_name(name, is_last=not todo and not make, make=make)
            except OSError as error:
                target = self._link_target(name) if error.errno in _MAY_BE_A_LINK else None
                if target is None:
                    raise
                todo.extendleft(reversed(target))
                continue
            self._fds.append(fd)
            self.names.append(name)
            self._check_kind(fd)
            if len(self._fds) > MAX_DEPTH + 1:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _open_name(self, name: str, *, is_last: bool, make: bool) -> int:
        flags = _FILE_FLAGS if is_last else FOLDER_FLAGS
        try:
            return os.open(name, flags, dir_fd=self._fds[-1])
        except FileNotFoundError:
            if not make:
                raise
        with suppress(FileExistsError):  # somebody else was quicker: opening tells what it is
            os.mkdir(name, dir_fd=self._fds[-1])
            self.made.append((self._fds[-1], name))
        return os.open(name, flags, dir_fd=self._fds[-1])

    def _leave(self) -> None:
        if len(self._fds) == 1:
            raise _outside(self.path)
        left = self._fds.pop()
        os.close(left)
        self.names.pop()
        self.made = [(fd, name) for fd, name in self.made if fd != left]

    def _link_target(self, name: str) -> list[str] | None:
        """Returns the names of a link's target, None where it is no link. An absolute one starts again at the top."""
        try:
            target = os.readlink(name, dir_fd=self._fds[-1])
        except OSError:
            return None
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith("/"):
            rest = _beneath(self._workspace, target)
            if rest is None:
                raise _outside(self.path)
            target = rest
            while len(self._fds) > 1:
                self._leave()
        return target.split("/")

    def _check_kind(self, fd: int) -> None:
        facts = os.fstat(fd)
        if facts.st_dev in self._special:
            raise _outside(self.path)
        if stat.S_ISDIR(facts.st_mode):
            return
        if not stat.S_ISREG(facts.st_mode):
            raise ToolError(f"{quoted_name(self.path)} is neither a file nor a folder: it cannot be read.")
        if facts.st_nlink > 1:
            raise OutsideWorkspace(
                f"{quoted_name(self.path)} has a second name (it is a hard link), which may lie outside of the "
                "workspace: it is not opened. A copy of it can be."
            )

    def _check_link_target(self) -> None:
        if self._links and is_sensitive(self.found) and not is_sensitive("/".join(self.wanted)):
            raise OutsideWorkspace(
                f"{quoted_name(self.path)} is a link to {quoted_name(self.found)}, a file that may hold secrets: "
                "name it by its own path."
            )

    def _neighbours(self, error: OSError) -> list[str]:
        """Returns the names beside one that is missing, for a message that names the closest."""
        if error.errno != errno.ENOENT:
            return []
        with os.scandir(self._fds[-1]) as entries:
            return [
                entry.name for entry, _ in zip(entries, range(10_000), strict=False) if not is_sensitive(entry.name)
            ]


_MAY_BE_A_LINK = {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}
"""What opening a link answers when links are not followed; it differs between kernels and with O_DIRECTORY."""


def special_devices(root_fd: int) -> frozenset[int]:
    """Returns the devices of the kernel's own file systems, where a file's content is a secret or an act."""
    devices = set()
    for path in _SPECIAL:
        try:
            devices.add(Path(path).stat().st_dev)
        except OSError:
            continue
    # Where they are plain folders they share the device of everything else.
    return frozenset(devices - {Path("/").stat().st_dev, os.fstat(root_fd).st_dev})


@contextmanager
def opened(workspace: Path, path: str) -> Iterator[tuple[int, str]]:
    """Opens a file or folder beneath the workspace; gives its descriptor and its real path, links resolved.

    An OSError of what is done with it becomes a ToolError in a sentence.
    """
    with Walk(workspace, path) as walk:
        fd = walk.open()
        try:
            yield fd, walk.found
        except OSError as error:
            raise file_fault(error, path) from error


def open_found(folder: int, name: str) -> int | None:
    """Returns a descriptor of a plain file in a folder that is open, None for everything that a path may not reach."""
    try:
        fd = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except OSError:
        return None
    facts = os.fstat(fd)
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_dev not in special_devices(folder):
        return fd
    os.close(fd)
    return None
