"""A cell of a workflow's script, and how a fault at a place in it is said."""

import msgspec

from ..exceptions import WorkflowInvalid


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a script that is carried out as one.

    `first_line` is the line of `text`'s first line in the file, or in the notebook's cell `number` (from 1; 0 in a
    `.py` file, whose lines say it all).
    """

    text: str
    first_line: int
    number: int = 0

    def place(self, line: int) -> str:
        """Returns where line `line` of the text (from 1) stands, for people."""
        at = f"line {self.first_line + line - 1}"
        return f"cell {self.number}, {at}" if self.number else at


def invalid(
    what: str, cell: Cell, line: int, column: int | None = None, *, construct: str | None = None
) -> WorkflowInvalid:
    """Returns the fault of something at a place in a cell; `line` and `column` from 1, in the cell's text."""
    at = cell.place(line) + (f", column {column}" if column else "")
    details: dict[str, object] = {"cell": cell.number or None, "line": cell.first_line + line - 1, "column": column}
    if construct:
        details["construct"] = construct
    return WorkflowInvalid(f"{at[0].upper()}{at[1:]}: {what}", details=details)
