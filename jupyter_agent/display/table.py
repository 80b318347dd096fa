"""What a view kept of a table, as HTML and plain text: its first rows, and how many there are beside them.

What others said reaches it only as text (see markup).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from . import words
from .markup import Markup, Style, tag

VIEW_MIME: Final = "application/vnd.jupyter-agent.view+json"
"""What our renderer takes for the data of a view."""

MOST_ROWS: Final = 50
MOST_CHARS: Final = 120
"""Characters of one cell."""


@dataclass(frozen=True)
class Cell:
    """One cell. `style` is one of `Style.GOOD`, `FAIR` and `POOR` where its figure is judged: the text says it too."""

    text: str
    is_number: bool = False
    style: Style = Style.NONE


@dataclass(frozen=True)
class Table:
    """Rows to be shown, `total` of which there are, under a title and with a sentence on where the rest is."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: int
    remark: str = ""

    @property
    def shown(self) -> Sequence[Sequence[Cell]]:
        return self.rows[:MOST_ROWS]

    def more(self) -> str:
        """Returns how many rows are not here; empty where all are."""
        missing = self.total - len(self.shown)
        return f"… and {words.count(missing, 'more row')}." if missing > 0 else ""


def table_html(table: Table) -> str:
    """Returns the table as HTML."""
    head = tag("tr", Style.NONE, *(tag("th", Style.HEADING, words.one_line(name)) for name in table.columns))
    body = [tag("tr", Style.NONE, *(_cell(cell) for cell in row)) for row in table.shown]
    caption = tag("caption", Style.CAPTION, tag("b", Style.NONE, words.one_line(table.title)))
    parts = [tag("table", Style.TABLE, caption, tag("thead", Style.NONE, head), tag("tbody", Style.NONE, *body))]
    said = " ".join(filter(None, [table.more(), table.remark]))
    if said:
        parts.append(tag("div", Style.SMALL, words.plain(said)))
    return str(tag("div", Style.BOX, *parts))


def _cell(cell: Cell) -> Markup:
    said = words.one_line(cell.text, MOST_CHARS)
    inner = tag("span", cell.style, said) if cell.style else said
    return tag("td", Style.NUMBER if cell.is_number else Style.CELL, inner)


def table_text(table: Table) -> str:
    """Returns the table as plain text: a line a row, cells apart by bars."""
    lines = [words.one_line(table.title), " | ".join(words.one_line(name) for name in table.columns)]
    lines += [" | ".join(words.one_line(cell.text, MOST_CHARS) for cell in row) for row in table.shown]
    return "\n".join(filter(None, [*lines, table.more(), words.plain(table.remark)]))


def latency_cell(ms: float | None) -> Cell:
    """Returns how long something took, judged: less than one second is good, less than five are fair."""
    if ms is None:
        return Cell("", is_number=True)
    style = Style.GOOD if ms < 1_000 else Style.FAIR if ms < 5_000 else Style.POOR
    word = "" if ms < 1_000 else " · slow" if ms < 5_000 else " · very slow"
    return Cell(f"{words.duration(ms / 1_000)}{word}", is_number=True, style=style)


def hit_cell(rate: float | None) -> Cell:
    """Returns how much of a prompt came from the cache, judged: from 60 % on it is good, from 30 % on fair."""
    if rate is None:
        return Cell("unknown", is_number=True)
    style = Style.GOOD if rate >= 0.6 else Style.FAIR if rate >= 0.3 else Style.POOR
    word = "good" if rate >= 0.6 else "fair" if rate >= 0.3 else "poor"
    return Cell(f"{rate:.0%} · {word}", is_number=True, style=style)
