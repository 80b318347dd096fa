"""Mends JSON that is nearly right, as models write it, where there is one way only to read it.

Mended are: a code fence around it, a trailing comma, single quotes, Python's True, False and None, raw line breaks
in strings, and closing brackets that are missing at the very end. Never mended is what may have lost content: a text
that stops within a string, a number or after a comma.
"""

import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<double>"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<single>'[^'\\]*(?:\\.[^'\\]*)*')
      | (?P<mark>[{}\[\]:,])
      | (?P<word>[A-Za-z]+)
      | (?P<number>-?[0-9][0-9.eE+-]*)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_CLOSERS = {"{": "}", "[": "]"}
_RAW = {code: f"\\u{code:04x}" for code in range(0x20)} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_INNER = re.compile(r"""\\.|"|[^\\"]+""", re.DOTALL)


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text. Raises ValueError that says where it goes wrong."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def repair_json(text: str) -> str | None:
    """Returns right JSON: the very same text if it is right already, a mended one if it is nearly right, else None."""
    if _is_json(text):
        return text
    mended = _mend(_without_fence(text))
    return mended if mended is not None and _is_json(mended) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


def _without_fence(text: str) -> str:
    """Returns what stands between the fences, where the whole text is one fenced block."""
    stripped = text.strip().removeprefix("\ufeff")
    if not (stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped):
        return stripped
    first, _, rest = stripped.partition("\n")
    return rest[:-3].strip() if first[3:].strip().lower() in {"", "json", "json5", "python"} else stripped


def _mend(text: str) -> str | None:
    if not text:
        return "{}"  # some providers send nothing at all for a call without arguments
    out: list[str] = []
    open_brackets: list[str] = []
    significant: list[int] = []  # where in `out` the tokens other than space stand
    at = 0
    kind = ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        at, token = match.end(), match.group()
        if match.lastgroup == "space":
            out.append(token)
            continue
        kind = match.lastgroup or ""
        if token in _CLOSERS:
            open_brackets.append(_CLOSERS[token])
        elif token in ("}", "]"):
            if not open_brackets or open_brackets.pop() != token:
                return None
            _drop_trailing_comma(out, significant)
        significant.append(len(out))
        out.append(_mended_token(kind, token))
    if open_brackets:
        if kind not in ("double", "single", "word") and out[significant[-1]] not in ("}", "]"):
            return None
        out.extend(reversed(open_brackets))
    return "".join(out)


def _drop_trailing_comma(out: list[str], significant: list[int]) -> None:
    if len(significant) > 1 and out[significant[-1]] == "," and out[significant[-2]] not in ("{", "[", ",", ":"):
        out[significant.pop()] = ""


def _mended_token(kind: str, token: str) -> str:
    match kind:
        case "word":
            return _WORDS.get(token, token)
        case "double" | "single":
            return '"' + "".join(map(_mended_piece, _INNER.findall(token[1:-1]))) + '"'
        case _:
            return token


def _mended_piece(piece: str) -> str:
    if piece == "\\'":
        return "'"
    if piece == '"':
        return '\\"'
    return piece if piece.startswith("\\") else piece.translate(_RAW)
