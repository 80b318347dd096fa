"""How the demo model reads what tools gave back: listings, file texts, printed counts."""

import csv
import io
import json
import re

from msgspec import Struct

from .conversation import Step

EMPTY_MARKS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
     "NULL", "NaN", "None", "n/a", "nan", "null"}
)  # fmt: skip
"""What pandas' `read_csv` takes for a missing value by default."""

_COUNT_LINE = re.compile(r"^(.{1,300}): (\d+) of (\d+) values missing$", re.MULTILINE)
_COLUMN_LINE = re.compile(r"^ {4}(.{1,200}): (\d+)$", re.MULTILINE)
_UNREADABLE_LINE = re.compile(r"^(.{1,300}): could not be read \((.{1,300})\)$", re.MULTILINE)


_LISTED = re.compile(r"(.{1,1000}?) {2}[\d,]+ bytes")
"""A file in a listing. Folders end with a slash, notes stand in brackets."""

_NOTE = re.compile(r"\[(lines [\d,]+ to .{1,200}|the file is empty)\]")
"""What read_file says in its last line where it did not give the whole file."""


class Count(Struct, frozen=True, kw_only=True):
    """Missing values of one file. `columns` names those that miss any, by number."""

    name: str
    missing: int
    values: int
    columns: dict[str, int] = {}

    @property
    def share(self) -> float:
        return self.missing / self.values if self.values else 0.0


def listed(step: Step, ending: str = "") -> list[str]:
    """Returns the files that a listing names; `ending` picks those that end so."""
    names = [_unquoted(match[1]) for line in step.content.splitlines() if (match := _LISTED.fullmatch(line))]
    return [name for name in dict.fromkeys(names) if name.lower().endswith(ending)]


def _unquoted(name: str) -> str:
    """Returns the name that a listing shows as a JSON string because it could be misread."""
    try:
        value = json.loads(name) if name.startswith('"') else name
    except ValueError:
        return name
    return value if isinstance(value, str) else name


def file_text(content: str) -> str:
    """Returns the file's own text out of what read_file gave: without its note on what was left out."""
    lines = content.splitlines()
    return "\n".join(lines[:-1] if lines and _NOTE.fullmatch(lines[-1]) else lines)


def is_cut(content: str) -> bool:
    """Tells whether read_file says that it gave only a part."""
    lines = content.splitlines()
    return bool(lines) and lines[-1].startswith("[lines ")


def printed_counts(output: str) -> list[Count]:
    """Returns the counts that the demo's cell printed; columns stand below their file."""
    counts: list[Count] = []
    heads = list(_COUNT_LINE.finditer(output))
    ends = [*(head.start() for head in heads[1:]), len(output)]
    for head, end in zip(heads, ends, strict=False):
        below = output[head.end() : end]
        columns = {column: int(count) for column, count in _COLUMN_LINE.findall(below)}
        counts.append(Count(name=head[1], missing=int(head[2]), values=int(head[3]), columns=columns))
    return counts


def printed_faults(output: str) -> dict[str, str]:
    """Returns the files that the demo's cell could not read, and why."""
    return dict(_UNREADABLE_LINE.findall(output))


def count_missing(name: str, text: str) -> Count:
    """Returns the count of missing values in CSV text, by the rules of pandas."""
    rows = [row for row in csv.reader(io.StringIO(text, newline=None)) if row]
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    columns = dict.fromkeys(header, 0)
    for row in body:
        for column, value in zip(header, [*row, *[""] * (len(header) - len(row))], strict=False):
            columns[column] += value in EMPTY_MARKS
    missing = {column: count for column, count in columns.items() if count}
    return Count(name=name, missing=sum(missing.values()), values=len(header) * len(body), columns=missing)


def bars(numbers: dict[str, int], *, width: int = 24) -> str:
    """Returns a bar chart as fixed-width text, longest bar `width` characters."""
    most = max(numbers.values(), default=0)
    wide = max((len(name) for name in numbers), default=0)
    lines = (
        f"{name:<{wide}}  " + f"{'█' * round(width * number / (most or 1))} {number}".lstrip()
        for name, number in numbers.items()
    )
    return "```text\n" + "\n".join(lines) + "\n```"


def excerpt(text: str, *, lines: int = 20, characters: int = 1_500) -> str:
    """Returns the beginning of a text as a fenced block, and says so where it is cut."""
    kept = "\n".join(text.splitlines()[:lines])[:characters].rstrip()
    fence = "````" if "```" in kept else "```"
    cut = "" if len(kept) >= len(text.rstrip()) else "\n\n(This is only the beginning.)"
    return f"{fence}text\n{kept}\n{fence}{cut}"
