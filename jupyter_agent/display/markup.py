"""Elements of HTML that hold nothing but text of others and styles of ours.

Safe by construction: whatever stands in an element came through `tag`, which makes text of everything that did not come
out of `tag` itself. The names of elements and their styles are fixed here, and there are no other attributes but
`open`: no class, link, address or script can come of what a model or a tool said.

Many front ends have formulas set in whatever HTML they show, and a formula may hold links and styles. A formula ends
with the element in which it begins: so what would begin one stands in an element of its own.
"""

from enum import StrEnum
from typing import Final, Literal

Name = Literal[
    "div", "span", "b", "code", "pre", "details", "summary", "table", "caption", "thead", "tbody", "tr", "th", "td"
]

CODE: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
PROSE: Final = CODE | str.maketrans({"$": "<span>$</span>", "\\": "<span>\\</span>"})
"""In code no formula is looked for."""


class Style(StrEnum):
    """How our elements look, in the colours of the page they stand in, light or dark."""

    NONE = ""
    BOX = (
        "font-family: var(--jp-content-font-family, system-ui, sans-serif); "
        "font-size: var(--jp-content-font-size1, 14px); line-height: 1.5; "
        "border: 1px solid rgba(128, 128, 128, 0.4); border-radius: 8px; padding: 8px 16px 10px; max-width: 64em"
    )
    HEAD = "margin-bottom: 4px"
    QUIET = "opacity: 0.7"
    SMALL = "opacity: 0.7; font-size: 0.92em"
    PROSE = "white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0"
    THOUGHT = "white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0; opacity: 0.7"
    ASKED = (
        "white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0 10px; padding-left: 12px; "
        "border-left: 3px solid rgba(128, 128, 128, 0.4)"
    )
    CALL = "margin: 4px 0"
    CODE = (
        "white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0; padding: 6px 10px; border-radius: 4px; "
        "background: rgba(128, 128, 128, 0.12); color: inherit; "
        "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 0.9em"
    )
    MONO = "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 0.92em"
    QUIET_MONO = "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 0.92em; opacity: 0.7"
    WAITS = "border-left: 3px solid #b26a00; padding: 2px 0 2px 12px; margin: 8px 0"
    FAULT = "border-left: 3px solid #c62828; padding: 2px 0 2px 12px; margin: 8px 0; white-space: pre-wrap"
    ADDED = "background: rgba(46, 160, 67, 0.25)"
    REMOVED = "background: rgba(218, 54, 51, 0.25)"
    TABLE = "border-collapse: collapse; margin: 6px 0; font-size: 0.92em; text-align: left"
    CAPTION = "text-align: left; padding: 2px 0 6px; color: inherit"
    HEADING = (
        "text-align: left; vertical-align: bottom; padding: 3px 12px 3px 0; "
        "border-bottom: 1px solid rgba(128, 128, 128, 0.6)"
    )
    CELL = (
        "text-align: left; vertical-align: top; padding: 3px 12px 3px 0; overflow-wrap: anywhere; max-width: 32em; "
        "border-bottom: 1px solid rgba(128, 128, 128, 0.25)"
    )
    NUMBER = (
        "text-align: right; vertical-align: top; padding: 3px 12px 3px 0; white-space: nowrap; "
        "border-bottom: 1px solid rgba(128, 128, 128, 0.25)"
    )
    GOOD = "border-left: 4px solid #2e7d32; padding-left: 5px"
    FAIR = "border-left: 4px solid #b26a00; padding-left: 5px"
    POOR = "border-left: 4px solid #c62828; padding-left: 5px"


class Markup(str):
    """HTML that `tag` made."""

    __slots__ = ()


def tag(name: Name, style: Style, *content: str, is_open: bool = False) -> Markup:
    """Returns an element. Whatever is not `Markup` becomes text."""
    escapes = CODE if name in ("code", "pre") else PROSE
    inner = "".join(part if isinstance(part, Markup) else part.translate(escapes) for part in content)
    styled = f' style="{style}"' if style else ""
    return Markup(f"<{name}{styled}{' open' if is_open else ''}>{inner}</{name}>")
