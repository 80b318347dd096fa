"""Puts values from the notebook into a prompt: `{expression}`, with `{{` and `}}` for braces.

A frame is described, not sent: its columns, types, missing values and first rows.
"""

import ast
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ..exceptions import InvalidRequest
from ..frames import described

VALUE_CAP = 20_000
"""Characters of one inserted value."""


class Inserted(Struct, frozen=True):
    """A value that went into a prompt, as text."""

    expression: str
    text: str


class Prompt(Struct, frozen=True):
    """A prompt with its values in place."""

    text: str
    inserted: tuple[Inserted, ...]


def fill(template: str, evaluate: Callable[[str], Any]) -> Prompt:
    """Returns the prompt with every expression evaluated. Raises InvalidRequest where one fails: nothing was started
    then."""
    parts: list[str] = []
    inserted: list[Inserted] = []
    place = 0
    while place < len(template):
        if template[place : place + 2] in {"{{", "}}"}:
            parts.append(template[place])
            place += 2
        elif template[place] == "{":
            source, end = _expression(template, place)
            value = Inserted(source, _text(source, evaluate))
            inserted.append(value)
            parts.append(value.text)
            place = end
        else:
            parts.append(template[place])
            place += 1
    return Prompt("".join(parts), tuple(inserted))


def _expression(template: str, start: int) -> tuple[str, int]:
    """Returns the expression that begins at a brace, and where the text goes on: at the first closing brace that
    makes it Python."""
    end = start
    while (end := template.find("}", end + 1)) != -1:
        source = template[start + 1 : end].strip()
        if _is_expression(source) or _is_formatted(source):
            return source, end + 1
    line = template[start:].splitlines()[0][:60]
    raise InvalidRequest(
        f"The prompt has a brace that opens no Python expression: {line!r}. Nothing was started. "
        "Write {{ and }} for braces that are meant as such."
    )


def _is_expression(source: str) -> bool:
    try:
        ast.parse(source, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return bool(source)


def _is_formatted(source: str) -> bool:
    """Tells whether this is an expression with a conversion or a format: `{price:.2f}`, `{name!r}`."""
    try:
        parsed = ast.parse(_as_f_string(source), mode="eval").body
    except (SyntaxError, ValueError):
        return False
    if not isinstance(parsed, ast.JoinedStr) or len(parsed.values) != 1:
        return False
    value = parsed.values[0]
    return isinstance(value, ast.FormattedValue) and not isinstance(value.value, ast.Constant)


def _as_f_string(source: str) -> str:
    return f"f'''{{{source}}}'''" if "'''" not in source else f'f"""{{{source}}}"""'


def _text(source: str, evaluate: Callable[[str], Any]) -> str:
    is_plain = _is_expression(source)
    try:
        value = evaluate(source if is_plain else _as_f_string(source))
        text = described(value, source) if is_plain else None
        text = format(value) if text is None else text
    except Exception as raised:
        raise InvalidRequest(
            f"{{{source}}} in the prompt raised {type(raised).__name__}: {raised}. Nothing was started. "
            "Define it first, or write {{ and }} for braces that are meant as such."
        ) from raised
    if len(text) > VALUE_CAP:
        raise InvalidRequest(
            f"{{{source}}} in the prompt gives {len(text):,} characters, more than {VALUE_CAP:,}. Nothing was started. "
            "Insert a part of it, or let the agent read it with a tool."
        )
    return text
