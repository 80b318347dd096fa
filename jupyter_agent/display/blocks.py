"""Finds the tables and the code in a model's text, which only read well in a fixed width.

The text stays text: nothing of it becomes markup. Only the bars of a table give way to blanks.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

WIDEST = 60
"""A wider cell is left as it is, and so is its table."""

_FENCE = re.compile(r"\s*```[\w+-]{0,20}\s*")
_BAR = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r":?-+:?")


def blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Yields the text piece by piece, each with whether it wants a fixed width. Lines that only fence code fall out."""
    for kind, marked in groupby(_marked(text.splitlines()), key=lambda line: line[0]):
        lines = [line for _, line in marked]
        shown = "\n".join(_aligned(lines) if kind == "table" else lines).strip("\n")
        if shown.strip():
            yield kind != "", shown


def _marked(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields every line with what it is a part of: `table`, `code`, or nothing."""
    is_code = False
    for line in lines:
        if _FENCE.fullmatch(line):
            is_code = not is_code
        elif is_code:
            yield "code", line
        else:
            yield ("table" if line.lstrip().startswith("|") else ""), line


def _aligned(lines: list[str]) -> list[str]:
    """Returns a table's lines with columns instead of bars; as they are where they make no table, or a wide one."""
    rows = [[cell.strip() for cell in _BAR.split(line.strip().strip("|"))] for line in lines]
    if len({len(row) for row in rows}) != 1 or max(len(cell) for row in rows for cell in row) > WIDEST:
        return lines
    rule = next((row for row in rows if all(_RULE.fullmatch(cell) for cell in row)), None)
    words = [row for row in rows if row is not rule]
    columns = range(len(rows[0]))
    widths = [max((len(row[at]) for row in words), default=0) for at in columns]
    is_right = [rule is not None and rule[at].endswith(":") and not rule[at].startswith(":") for at in columns]

    def filled(row: list[str], at: int) -> str:
        if row is rule:
            return "-" * widths[at]
        return row[at].rjust(widths[at]) if is_right[at] else row[at].ljust(widths[at])

    return ["  ".join(filled(row, at) for at in columns).rstrip() for row in rows]
