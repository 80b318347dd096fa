"""Refuses a text that nests too deep, before Python's parser sees it: that one recurses in C, on whatever stack it has.

Only tokens are looked at. Brackets and indented blocks are counted as they open and close; what takes an operand in
hand (operators, dots, `not`, `lambda`, `else`) is counted since the last comma, line or bracket.
"""

import io
import token
import tokenize
from typing import Final

from ..exceptions import WorkflowInvalid
from .cell import Cell, invalid

MAX_DEPTH: Final = 80
"""Brackets and indented blocks inside each other."""
MAX_CHAIN: Final = 400
"""Parts of one expression, and `elif` in one cell."""
_OPEN: Final = frozenset("([{")
_CLOSE: Final = frozenset(")]}")
_WORDS: Final = frozenset({"not", "lambda", "else", "if", "await", "and", "or", "in", "is", "for", "async"})


def check_depth(cell: Cell) -> None:
    """Raises WorkflowInvalid where the cell's text nests deeper than a script has a reason to.

    Where the text is no Python at all it says nothing: the parser stops at the same place, and says it better.
    """
    parts, branches = [0], 0
    try:
        for kind, text, (line, column), _, _ in tokenize.generate_tokens(io.StringIO(cell.text).readline):
            if kind == token.INDENT or (kind == token.OP and text in _OPEN):
                parts.append(0)
            elif kind == token.DEDENT or (kind == token.OP and text in _CLOSE):
                parts = parts[:-1] or [0]
            elif kind == token.NEWLINE or (kind == token.OP and text == ","):
                parts[-1] = 0
            elif kind == token.OP or (kind == token.NAME and text in _WORDS):
                parts[-1] += 1
            branches += kind == token.NAME and text == "elif"
            if len(parts) > MAX_DEPTH + 1 or max(parts[-1], branches) > MAX_CHAIN or _is_deep_string(kind, text):
                raise _too_deep(cell, line, column)
    except (tokenize.TokenError, SyntaxError):
        return


def _is_deep_string(kind: int, text: str) -> bool:
    """Tells an f-string that holds more than a prompt does: before Python 3.12 it is one token, parsed all the same."""
    if kind != token.STRING:
        return False
    prefix = text[:3].lower().partition("'")[0].partition('"')[0]
    return "f" in prefix and sum(text.count(sign) for sign in _OPEN) > MAX_CHAIN


def _too_deep(cell: Cell, line: int, column: int) -> WorkflowInvalid:
    return invalid(
        "it nests too deep, or is one expression of too many parts: take it apart into several lines.",
        cell,
        line,
        column + 1,
        construct="nesting",
    )
