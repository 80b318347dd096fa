"""Makes text that a person judges show what it holds: nothing in it hides, moves or reverses what stands beside it."""

import json
import unicodedata
from collections import Counter
from typing import Any

_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and signs that most fonts draw as nothing."""


def _hides(character: str) -> bool:
    if character in "\n\t" or " " <= character <= "~":
        return False
    category = unicodedata.category(character)
    is_selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return category in _HIDDEN_CATEGORIES or category == "Zs" or character in _BLANKS or is_selector


def visible(text: str) -> str:
    """Returns the text with every character that cannot be seen written out, as ⟨U+200B⟩. Line breaks and tabs stay."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(f"⟨U+{ord(character):04X}⟩" if _hides(character) else character for character in text)


def hidden(text: str) -> dict[str, int]:
    """Returns how often each character occurs that cannot be seen, by code point and name."""
    counts = Counter(filter(_hides, text))
    return {f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed')}": number for c, number in sorted(counts.items())}


def text_preview(field: str, text: str) -> dict[str, Any]:
    """Returns a text for an approval: under `field` as it can be seen, its size, and what had to be made visible."""
    preview: dict[str, Any] = {field: visible(text), "lines": text.count("\n") + 1, "characters": len(text)}
    found = hidden(text)
    return {**preview, "invisible": found} if found else preview


def quoted_name(name: str) -> str:
    """Returns a file's name as it is, or as a JSON string where it could be misread in a list of names."""
    return name if name.isprintable() and name == name.strip() and visible(name) == name else json.dumps(name)
