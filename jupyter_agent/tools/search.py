"""The tool search_files: a regular expression over the workspace's text files, in linear time."""

import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from ..exceptions import ToolError
from ..records import Effect
from .contract import ToolContext
from .function import off_loop, tool
from .lines import open_text, read_lines, readable
from .paths import names_of, open_found, opened
from .patterns import Glob, search_pattern
from .sensitive import is_sensitive
from .tree import Tree
from .visible import quoted_name

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_LINE_BYTES: Final = 1024 * 1024
MAX_SHOWN_CHARS: Final = 240
MAX_TOTAL_CHARS: Final = 30_000


@tool(effects=(Effect.READ,), idempotent=True, timeout_s=60)
async def search_files(
    context: ToolContext,
    query: Annotated[str, Meta(min_length=1, description="Regular expression (RE2); (?i) before it ignores case.")],
    path: Annotated[str, Meta(description="Folder or file to search, relative to the workspace's top.")] = ".",
    pattern: Annotated[str | None, Meta(description="Only files that match, such as *.py or src/**/*.py.")] = None,
    max_matches: Annotated[int, Meta(ge=1, le=1000, description="How many lines to show at most.")] = 100,
) -> str:
    """Searches text files line by line and shows each line that matches as path:line: text."""
    compiled = search_pattern(query)
    wanted = None if pattern is None else Glob(pattern)
    search = _Search(compiled, query, max_matches)
    workspace = context.environment.workspace
    return await off_loop(lambda stop: search.run(workspace, path, wanted, stop))


@dataclass
class _Search:
    compiled: Any
    query: str
    max_matches: int
    lines: list[str] = field(default_factory=list)
    chars: int = 0
    searched: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    is_full: bool = False

    def run(self, workspace: Path, path: str, wanted: Glob | None, stop: threading.Event) -> str:
        with opened(workspace, path) as (fd, _):
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                self._search_file(fd, path, stop)
                return self._report([])
            prefix = "/".join(names_of(workspace, path))
            tree = Tree(fd, stop, deep=True, hidden=is_sensitive(path))
            for entry in tree:
                if entry.kind != "file" or (wanted is not None and not wanted.matches(entry.path)):
                    continue
                shown = f"{prefix}/{entry.path}" if prefix else entry.path
                if is_sensitive(entry.path) and not is_sensitive(path):
                    self._leave_out("that may hold secrets (name one to search it)")
                    continue
                self._search_found(entry.folder, entry.name, shown, stop)
                if self.is_full:
                    break
            return self._report(tree.notes())

    def _search_found(self, folder: int, name: str, shown: str, stop: threading.Event) -> None:
        fd = open_found(folder, name)
        if fd is None:
            self._leave_out("that cannot be read")
            return
        try:
            if os.fstat(fd).st_size > MAX_FILE_BYTES:
                self._leave_out(f"larger than {MAX_FILE_BYTES // 1024**2} MiB (name one to search it)")
                return
            self._search_file(fd, shown, stop)
        except ToolError:
            self._leave_out("that are no text")
        finally:
            os.close(fd)

    def _search_file(self, fd: int, shown: str, stop: threading.Event) -> None:
        with open_text(fd, shown) as file:
            self.searched += 1
            for number, line in enumerate(read_lines(file, stop, most_bytes=MAX_LINE_BYTES), 1):
                if line.cut:
                    self._leave_out(f"in part: a line is longer than {MAX_LINE_BYTES // 1024**2} MiB")
                match = self.compiled.search(line.raw)
                if match is None:
                    continue
                if len(self.lines) == self.max_matches or self.chars > MAX_TOTAL_CHARS:
                    self.is_full = True
                    return
                text = f"{quoted_name(shown)}:{number}: {_around(line.raw, match.start())}"
                self.lines.append(text)
                self.chars += len(text)

    def _leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def _report(self, notes: list[str]) -> str:
        return "\n".join([*self.lines, *self._notes(), *notes])

    def _notes(self) -> Iterator[str]:
        if self.is_full:
            yield f"[the first {len(self.lines):,} matches; there are more: narrow the query, path or pattern]"
        elif not self.lines:
            yield f"No line matches {self.query} in {self.searched:,} files."
        for reason, count in self.left_out.items():
            yield f"[not searched: {count:,} files {reason}]"


def _around(raw: bytes, at: int) -> str:
    """Returns the line, or the stretch around a match where the line is long."""
    text = readable(raw)
    if len(text) <= MAX_SHOWN_CHARS:
        return text
    start = max(0, len(readable(raw[:at])) - MAX_SHOWN_CHARS // 4)
    stretch = text[start : start + MAX_SHOWN_CHARS]
    return f"{'…' if start else ''}{stretch}{'…' if start + MAX_SHOWN_CHARS < len(text) else ''}"
