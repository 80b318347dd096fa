"""Reads what a docstring says of a function and of each parameter: Google's, numpy's, Sphinx's and plain style."""

import inspect
import re
from collections.abc import Collection
from typing import NamedTuple

_PARAMETERS = {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"}
_OTHERS = {"returns", "return", "yields", "raises", "examples", "example", "notes", "note", "see also", "references"}
_LINE = re.compile(
    r"^[-*\s]*`{0,2}(?P<name>\*{0,2}[A-Za-z_]\w*)`{0,2}\s*(?:\([^)]*\))?\s*(?::|--|\u2013)\s*(?P<text>.*)$"
)
_SPHINX = re.compile(r"^:param\s+(?:[^:]*\s)?(?P<name>\w+)\s*:\s*(?P<text>.*)$")
_SPHINX_OTHER = re.compile(r"^:(?:type|return|returns|rtype|raises)\b")


class Documentation(NamedTuple):
    """The prose before any section, and one description a parameter."""

    text: str
    parameters: dict[str, str]


def read_docstring(docstring: str | None, names: Collection[str]) -> Documentation:
    """Returns the description and what is said of the parameters named; other names are taken for prose."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    prose: list[str] = []
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    depth = 0  # how far the current parameter's first line is indented: what goes on with it stands deeper
    section = "prose"
    for number, line in enumerate(lines):
        heading = _heading(line, lines[number + 1] if number + 1 < len(lines) else "")
        if heading is not None:
            section, current = heading, None
        elif section == "other" or set(line.strip()) == {"-"}:
            continue
        elif (entry := _entry(line, names, in_section=section == "parameters")) is not None:
            name, text = entry
            current, depth = found.setdefault(name, []), _indent(line)
            current.append(text)
        elif _SPHINX_OTHER.match(line):
            current = None
        elif current is not None and _indent(line) > depth:
            current.append(line.strip())
        else:
            current = None if line.strip() else current
            if section == "prose":
                prose.append(line)
    return Documentation(
        "\n".join(prose).strip(), {name: " ".join(filter(None, texts)) for name, texts in found.items() if any(texts)}
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _heading(line: str, next_line: str) -> str | None:
    """Returns "parameters" or "other" where a section begins: a word with a colon, or underlined."""
    word = line.strip()
    underlined = len(next_line.strip()) > 2 and set(next_line.strip()) == {"-"}
    if not (underlined or (word.endswith(":") and not line.startswith(" "))):
        return None
    name = word.removesuffix(":").lower()
    if name in _PARAMETERS:
        return "parameters"
    return "other" if name in _OTHERS or underlined else None


def _entry(line: str, names: Collection[str], *, in_section: bool) -> tuple[str, str] | None:
    sphinx = _SPHINX.match(line.strip())
    match = sphinx or _LINE.match(line)
    if match is None:
        # numpy writes the name alone, or `name : type`, and the description on the next line.
        return (line.strip(), "") if in_section and line.strip() in names else None
    name, text = match["name"].lstrip("*"), match["text"]
    if name not in names:
        return None
    is_numpy_type = in_section and not sphinx and not line.startswith((" ", "-", "*"))
    return name, "" if is_numpy_type else text.strip()
