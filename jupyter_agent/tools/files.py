"""The file tools: list_files, read_file and create_file, inside the workspace and nowhere else.

They work in threads, open everything through `paths`, and never look into a sensitive file that was not named.
"""

import difflib
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from ..exceptions import InvalidArguments, OutsideWorkspace, ToolError
from ..records import Effect
from .contract import Environment, ToolContext
from .faults import file_fault
from .function import off_loop, tool
from .lines import open_text, read_lines
from .paths import Walk, names_of, opened
from .patterns import Glob
from .sensitive import is_protected, is_sensitive
from .tree import Entry, Tree
from .visible import quoted_name, visible

MAX_ENTRIES: Final = 500
MAX_READ_CHARS: Final = 30_000
"""Less than the tools' output cap, so that what is left out can be asked for instead of being cut."""
MAX_LINE_BYTES: Final = 4_000
MAX_COUNTED_BYTES: Final = 64 * 1024 * 1024
MAX_CONTENT_BYTES: Final = 1024 * 1024


# --- list_files -----------------------------------------------------------------------------------------------


@tool(effects=(Effect.READ,), idempotent=True, timeout_s=60)
async def list_files(
    context: ToolContext,
    path: Annotated[str, Meta(description="Folder, relative to the workspace's top.")] = ".",
    pattern: Annotated[
        str | None,
        Meta(description="File pattern such as *.csv or data/**/*.py: then all folders below are searched."),
    ] = None,
) -> str:
    """Lists a folder: one name a line, folders with a slash, files with their size in bytes.

    Hidden files are left out unless the pattern begins with a dot.
    """
    workspace = context.environment.workspace
    return await off_loop(lambda stop: _list(workspace, path, pattern, stop))


def _list(workspace: Path, path: str, pattern: str | None, stop: threading.Event) -> str:
    wanted = None if pattern is None else Glob(pattern)
    with opened(workspace, path) as (fd, _):
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise ToolError(f"{quoted_name(path)} is a file, not a folder: read it with read_file.")
        asks_hidden = is_sensitive(path) or (wanted is not None and wanted.asks_hidden)
        tree = Tree(fd, stop, deep=wanted is not None, hidden=asks_hidden)
        found: list[Entry] = []
        count = 0
        for entry in tree:
            if wanted is None or wanted.matches(entry.path):
                count += 1
                if count <= MAX_ENTRIES:
                    found.append(entry)
    prefix = "/".join(names_of(workspace, path))
    lines = [_line(entry, prefix) for entry in found]
    if not lines:
        lines = [f"No file matches {pattern}." if pattern is not None else "The folder is empty."]
    if count > MAX_ENTRIES:
        lines.append(f"[{count - MAX_ENTRIES:,} more are left out: give a narrower path or pattern]")
    return "\n".join([*lines, *tree.notes()])


def _line(entry: Entry, prefix: str) -> str:
    name = quoted_name(f"{prefix}/{entry.path}" if prefix else entry.path)
    match entry.kind:
        case "folder":
            return f"{name}/"
        case "file":
            return f"{name}  {entry.size} bytes"
        case kind:
            return f"{name}  {kind}"


# --- read_file ------------------------------------------------------------------------------------------------


@tool(effects=(Effect.READ,), idempotent=True, timeout_s=60)
async def read_file(
    context: ToolContext,
    path: Annotated[str, Meta(description="File, relative to the workspace's top.")],
    start_line: Annotated[int, Meta(ge=1, description="First line to read, counted from 1.")] = 1,
    max_lines: Annotated[int, Meta(ge=1, le=10_000, description="How many lines to read at most.")] = 500,
) -> str:
    """Reads a text file, or a stretch of its lines. A last line in brackets says what was left out."""
    workspace = context.environment.workspace
    return await off_loop(lambda stop: _read(workspace, path, start_line, max_lines, stop))


def _read(workspace: Path, path: str, start_line: int, max_lines: int, stop: threading.Event) -> str:
    with opened(workspace, path) as (fd, _), open_text(fd, path) as file:
        lines: list[str] = []
        seen, kept_chars = 0, 0
        is_full, is_whole = False, True
        for line in read_lines(file, stop, most_bytes=MAX_LINE_BYTES):
            seen += 1
            if seen >= start_line and not is_full:
                shown = line.text + (f"… [{line.cut:,} more bytes of this line are left out]" if line.cut else "")
                is_full = len(lines) == max_lines or kept_chars + len(shown) > MAX_READ_CHARS
                if not is_full:
                    lines.append(shown)
                    kept_chars += len(shown) + 1
            if is_full and file.tell() > MAX_COUNTED_BYTES:
                is_whole = False
                break
    return "\n".join([*lines, *_read_notes(path, start_line, len(lines), seen, is_whole=is_whole)])


def _read_notes(path: str, start_line: int, shown: int, seen: int, *, is_whole: bool) -> list[str]:
    if is_whole and seen == 0:
        return ["[the file is empty]"]
    if shown == 0:
        raise ToolError(f"{quoted_name(path)} has {seen:,} lines: start_line {start_line:,} is beyond its end.")
    last = start_line + shown - 1
    if is_whole and start_line == 1 and last == seen:
        return []
    total = f"{seen:,}" if is_whole else f"more than {seen:,}"
    going_on = f"; go on with start_line={last + 1}" if last < seen else ""
    return [f"[lines {start_line:,} to {last:,} of {total}{going_on}]"]


# --- create_file ----------------------------------------------------------------------------------------------


def _preview(environment: Environment, arguments: dict[str, Any]) -> dict[str, Any]:
    path, content = str(arguments.get("path", "")), str(arguments.get("content", ""))
    try:
        shown = "/".join(names_of(environment.workspace, path))
    except OutsideWorkspace:
        shown = path
    name = quoted_name(shown)
    lines = content.splitlines(keepends=True)
    diff = "".join(
        difflib.unified_diff([], [line if line.endswith("\n") else f"{line}\n" for line in lines], "/dev/null", name)
    )
    if lines and not content.endswith("\n"):
        diff += "\\ No newline at end of file\n"
    return {"path": name, "bytes": len(content.encode()), "diff": visible(diff)}


@tool(effects=(Effect.WRITE,), sequential=True, timeout_s=60, preview=_preview)
async def create_file(
    context: ToolContext,
    path: Annotated[str, Meta(description="New file, relative to the workspace's top; folders are made as needed.")],
    content: Annotated[str, Meta(description="The whole text of the file, at most 1 MiB.")],
) -> str:
    """Creates a new text file. A file that exists is never overwritten."""
    data = content.encode("utf-8")
    if len(data) > MAX_CONTENT_BYTES:
        raise InvalidArguments(
            f"content has {len(data):,} bytes, at most {MAX_CONTENT_BYTES:,} are allowed: write several files."
        )
    workspace = context.environment.workspace
    return await off_loop(lambda stop: _create(workspace, path, data, stop))


def _create(workspace: Path, path: str, data: bytes, stop: threading.Event) -> str:
    _check_new_path(path, names_of(workspace, path))
    with Walk(workspace, path) as walk:
        try:
            folder, name = walk.open_parent()
            if is_protected(walk.found):
                raise _protected(path)
            _write_new(folder, name, data, stop)
        except OSError as error:
            walk.unmake()
            raise file_fault(error, path) from error
        except BaseException:
            walk.unmake()
            raise
        lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
        return f"Created {quoted_name(walk.found)} with {len(data):,} bytes in {lines:,} line{'s' * (lines != 1)}."


def _check_new_path(path: str, names: tuple[str, ...]) -> None:
    if not names or path.endswith("/"):
        raise InvalidArguments(f"path {path!r} names a folder: end it with the new file's name.")
    if is_protected(path):
        raise _protected(path)
    for name in names:
        if quoted_name(name) != name:
            raise InvalidArguments(
                f"The name {name!r} holds characters that cannot be seen or stands between spaces: choose a plain one."
            )
        if len(name.encode()) > 255:
            raise InvalidArguments(
                f"The name {name[:40]!r}… has {len(name.encode())} bytes, 255 are the most: choose a shorter one."
            )


def _protected(path: str) -> ToolError:
    return ToolError(
        f"{quoted_name(path)} would change what programs on this machine do (configuration, hooks, start-up files): "
        "tools never write there. Tell the person what you would change."
    )


def _write_new(folder: int, name: str, data: bytes, stop: threading.Event) -> None:
    """Writes a file that did not exist, wholly or not at all."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            written = 0
            while written < len(data):
                written += file.write(data[written:]) or 0
            os.fsync(fd)
        if stop.is_set():
            raise ToolError("The call was stopped: the file was not created.")
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
