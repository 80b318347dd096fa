"""Writes the cells of a notebook's workflow as a script of the workspace, where they stay in the portable language.

What holds for all calls of the notebook's workflow (`-m MODEL`, settings, instructions) goes into the script's `meta`:
a call has the same key in both places, so what was answered in the notebook is not paid for again.
"""

import ast
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from ..exceptions import Conflict, WorkflowInvalid
from ..tools.faults import file_fault
from ..tools.paths import Walk
from .cell import Cell, invalid
from .discovery import WORKSPACE_FOLDER
from .meta import is_meta, read_meta
from .portable import Problem
from .script_file import Script, parsed, read_scripts

FIRST_LINE: Final = 2
"""Of a notebook's cell: its first one is `%%workflow NAME`."""
_MAGICS: Final = ("%", "!", "?")


class Exported(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A notebook's workflow as a script. `problems` says what leaves the portable language, cell and line of each;
    without any the script was written to `file`, beneath the workspace, and `digest` is what a person approves."""

    name: str
    text: str
    problems: tuple[Problem, ...]
    file: str | None = None
    digest: str | None = None


def script_of(name: str, texts: Sequence[str], said: Mapping[str, Any]) -> Script:
    """Returns the cells as one script whose `meta` says, besides what it said, what holds for all calls.

    The cells keep their lines, so that a problem is found where the notebook has it. Raises WorkflowInvalid.
    """
    cells = [Cell(text=text, first_line=FIRST_LINE, number=number) for number, text in enumerate(texts, 1)]
    for cell in cells:
        _check_magics(cell)
    trees = [parsed(cell) for cell in cells]
    meta = read_meta(cells, trees, name)
    bare = [_without_meta(cell, tree) for cell, tree in zip(cells, trees, strict=True)]
    return Script(name=name, meta=msgspec.structs.replace(meta, **said), cells=tuple(bare))


def _check_magics(cell: Cell) -> None:
    for number, line in enumerate(cell.text.split("\n"), 1):
        if line.startswith(_MAGICS):
            word = line.split()[0][:40]
            raise invalid(f"the sandbox does not run {word}: magics are the notebook's.", cell, number, 1,
                          construct=word)  # fmt: skip


def _without_meta(cell: Cell, tree: ast.Module) -> Cell:
    lines = cell.text.split("\n")
    for node in tree.body:
        if not is_meta(node):
            continue
        own = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        if any(other is not node and (other.lineno in own or other.end_lineno in own) for other in tree.body):
            raise invalid("write meta on lines of its own.", cell, node.lineno, construct="meta")
        for number in own:
            lines[number - 1] = ""
    return msgspec.structs.replace(cell, text="\n".join(lines))


def text_of(script: Script) -> str:
    """Returns the script as a `.py` text that says what it is, cells cut by `# %%`."""
    said = msgspec.to_builtins(script.meta)
    width = 100
    line = f"meta = {said!r}"
    if len(line) > width:
        parts = "".join(f"    {key!r}: {value!r},\n" for key, value in said.items())
        line = f"meta = {{\n{parts}}}"
    cells = [text for cell in script.cells if (text := cell.text.strip("\n").rstrip())]
    return "\n\n# %%\n".join([line, *cells]) + "\n"


def problem_of(fault: WorkflowInvalid) -> Problem:
    """Returns a fault of reading a script as a problem."""
    details = fault.details
    return Problem(
        message=fault.message, line=details.get("line") or 1, column=details.get("column") or 1,
        construct=details.get("construct") or "syntax", cell=details.get("cell"),
    )  # fmt: skip


def write_script(workspace: Path, name: str, text: str, *, replace: bool) -> tuple[str, str]:
    """Writes a script of the workspace and returns its file, relative to it, and its digest. Blocking.

    Raises Conflict where a file with another text is there, unless it is to be replaced.
    """
    path = f"{WORKSPACE_FOLDER}/{name}.py"
    data = text.encode()
    (script,) = read_scripts(data, f"{name}.py")
    with Walk(workspace, path) as walk:
        try:
            folder, file = walk.open_parent()
            _write(folder, file, data, path, replace=replace)
        except OSError as error:
            raise file_fault(error, path) from error
    return path, script.digest


def _write(folder: int, file: str, data: bytes, path: str, *, replace: bool) -> None:
    """Writes a file wholly or not at all, beside a link rather than through it."""
    no_links = getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileNotFoundError):
        fd = os.open(file, os.O_RDONLY | no_links | getattr(os, "O_NONBLOCK", 0), dir_fd=folder)
        with os.fdopen(fd, "rb") as there:
            if there.read(len(data) + 1) == data:
                return
        if not replace:
            raise Conflict(
                f"{path} is there with another text: look at it, and export with replace=True to write over it.",
                details={"file": path},
            )
    draft = f".{file}.{secrets.token_hex(4)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | no_links, 0o644, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as made:
            made.write(data)
            made.flush()
            os.fsync(fd)
        os.replace(draft, file, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise
