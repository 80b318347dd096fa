"""A workflow's script as text: decoded, cut into cells, with its `meta`. Nothing of it is ever executed here.

- `.py`: cells begin at `# %%`. `.ipynb`: its `%%workflow NAME` cells; a notebook with several names holds several
  workflows.
- The only reader of Python is `ast.parse`, behind caps of size and depth. Encodings other than UTF-8 are refused, since
  looking one up by name imports code.
- The digest is the SHA-256 of the text that will run, so that outputs saved in a notebook change nothing about it.
"""

import ast
import hashlib
import threading
from pathlib import PurePath
from typing import Final

import msgspec

from ..exceptions import WorkflowInvalid
from .cell import Cell, invalid
from .depth import check_depth
from .meta import Meta, read_meta

MAX_BYTES: Final = 256 * 1024
"""The most that a script's text may have; a notebook may have more, since pictures are kept in it."""
MAX_NOTEBOOK_BYTES: Final = 16 * 1024 * 1024
MAX_CELLS: Final = 500
SUFFIXES: Final = (".py", ".ipynb")
MAGIC: Final = "%%workflow"
PARSED_AGAIN: Final = 5
_PARSING: Final = threading.Lock()
_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as it would run: its name, what it says of itself, its cells."""

    name: str
    meta: Meta
    cells: tuple[Cell, ...]

    @property
    def text(self) -> str:
        """The script as one `.py` text, cells cut by `# %%`."""
        return "\n# %%\n".join(cell.text for cell in self.cells)

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal: what is approved, and what a run is pinned to."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_scripts(data: bytes, file_name: str) -> list[Script]:
    """Returns the workflows of a file: one of a `.py`, one for each name of a notebook (none where no cell is one).

    Raises WorkflowInvalid with the place of what is wrong.
    """
    if PurePath(file_name).suffix == ".ipynb":
        return [_script(name, cells) for name, cells in _notebook(data).items()]
    if len(data) > MAX_BYTES:
        raise _too_large(len(data), MAX_BYTES)
    return [_script(None, _cut(_decoded(data)))]


def _script(name: str | None, cells: list[Cell]) -> Script:
    if len(cells) > MAX_CELLS:
        raise WorkflowInvalid(f"It has {len(cells):,} cells, {MAX_CELLS} are the most: join some of them.")
    size = sum(len(cell.text.encode()) for cell in cells)
    if size > MAX_BYTES:
        raise _too_large(size, MAX_BYTES)
    trees = [parsed(cell) for cell in cells]
    meta = read_meta(cells, trees, name)
    return Script(name=meta.name, meta=meta, cells=tuple(cells))


def parsed(cell: Cell) -> ast.Module:
    """Returns a cell's syntax tree. Raises WorkflowInvalid with the place where it is no Python."""
    check_depth(cell)
    try:
        return _tree(cell.text)
    except SyntaxError as error:
        raise invalid(f"{error.msg} (Python's own parser says so)", cell, error.lineno or 1, error.offset) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise invalid(f"Python's parser gives up on it: {str(error) or type(error).__name__}", cell, 1) from error


def _tree(text: str) -> ast.Module:
    """Returns what Python's parser makes of a text.

    CPython 3.11 counts the depth of trees for all threads together and takes one thread's for another's: one text at a
    time here, and once more where others parse beside us.
    """
    for _ in range(PARSED_AGAIN):
        try:
            with _PARSING:
                return ast.parse(text)
        except SystemError:
            continue
    with _PARSING:
        return ast.parse(text)


def _decoded(data: bytes) -> str:
    if data.startswith(_OTHER_BOMS):
        raise WorkflowInvalid("It is written in UTF-16: save it as UTF-8.")
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WorkflowInvalid(
            f"Line {line}: it is not written in UTF-8 (byte {data[error.start]:#04x}): save it as UTF-8.",
            details={"line": line},
        ) from error
    return _clean(text)


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise WorkflowInvalid(f"Line {line}: there is a NUL character in it.", details={"line": line})
    return text


def _cut(text: str) -> list[Cell]:
    """Returns the cells of a `.py` text. A marker stands at the beginning of a line; one inside of a string that runs
    over several lines cuts it as well, as it does in every editor that knows such cells."""
    cells: list[Cell] = []
    lines: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("# %%"):
            cells.append(Cell(text="\n".join(lines), first_line=first))
            lines, first = [], number + 1
        else:
            lines.append(line)
    cells.append(Cell(text="\n".join(lines), first_line=first))
    return [cell for cell in cells if cell.text.strip()] or cells[:1]


class _NotebookCell(msgspec.Struct):
    cell_type: str = ""
    source: str | list[str] = ""


class _Notebook(msgspec.Struct):
    nbformat: int
    cells: list[_NotebookCell] = msgspec.field(default_factory=list)


def _notebook(data: bytes) -> dict[str, list[Cell]]:
    if len(data) > MAX_NOTEBOOK_BYTES:
        raise _too_large(len(data), MAX_NOTEBOOK_BYTES)
    try:
        notebook = msgspec.json.decode(data.removeprefix(_BOM), type=_Notebook)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WorkflowInvalid(f"It is no notebook that can be read: {error}.") from error
    if notebook.nbformat != 4:
        raise WorkflowInvalid(f"It is a notebook of format {notebook.nbformat}: save it in format 4.")
    found: dict[str, list[Cell]] = {}
    for number, cell in enumerate(notebook.cells, start=1):
        source = cell.source if isinstance(cell.source, str) else "".join(cell.source)
        source = _clean(source)
        head, _, text = source.partition("\n")
        words = head.split()
        if cell.cell_type != "code" or not words or words[0] != MAGIC:
            continue
        name = next((word for word in words[1:] if not word.startswith("-")), None)
        if name is None:
            raise invalid(f"{MAGIC} needs the workflow's name.", Cell(text=head, first_line=1, number=number), 1)
        found.setdefault(name, []).append(Cell(text=text, first_line=2, number=number))
    return found


def _too_large(size: int, most: int) -> WorkflowInvalid:
    return WorkflowInvalid(
        f"It has {size:,} bytes, {most:,} are the most: keep data in files of its own.", details={"bytes": size}
    )
