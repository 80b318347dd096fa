"""Patterns that models and users write, matched in linear time: regular expressions, and globs of file names."""

from typing import Any, Final

import re2

from ..exceptions import InvalidArguments

MAX_PATTERN_CHARS: Final = 1000


def regex(pattern: str | bytes) -> Any:
    """Returns the compiled pattern. Raises re2.error where linear time does not know it."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def search_pattern(query: str) -> Any:
    """Returns the regular expression of a search, for UTF-8 bytes. Raises InvalidArguments."""
    _check_length("query", query)
    if not query:
        raise InvalidArguments("query is empty: write the text or regular expression to look for.")
    try:
        return regex(query.encode())
    except re2.error as error:
        raise InvalidArguments(
            f"query {query!r} is no regular expression that works here: {_reason(error)}. Look-around and "
            "back-references do not exist in it; write a backslash before ( ) [ ] { } . * + ? | ^ $ literally."
        ) from error


def glob_pattern(pattern: str) -> Any:
    """Returns the compiled glob, to be full-matched.

    `*` and `?` stay within one name, `**` crosses folders, `[ab]` and `{a,b}` are choices.
    """
    _check_length("pattern", pattern)
    try:
        return regex(_translated(pattern))
    except re2.error as error:
        raise InvalidArguments(
            f"pattern {pattern!r} is no file pattern: {_reason(error)}. Write for example *.csv or data/**/*.py."
        ) from error


def _check_length(name: str, pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise InvalidArguments(
            f"{name} has {len(pattern):,} characters, at most {MAX_PATTERN_CHARS:,} are allowed: write a shorter one."
        )


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "it cannot be read"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _translated(pattern: str) -> str:
    out: list[str] = ["(?s)"]
    at, depth = 0, 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out.append("(?:.*/)?")
            at += 3
            continue
        if pattern.startswith("**", at):
            out.append(".*")
            at += 2
            continue
        end = pattern.find("]", at + 2) if character == "[" else -1
        if end > 0:
            out.append(_class(pattern[at + 1 : end]))
            at = end + 1
            continue
        if character == "{" and "}" in pattern[at:]:
            depth += 1
            out.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            out.append(")")
        elif character == "," and depth:
            out.append("|")
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(character) or re2.escape(character))
        at += 1
    return "".join(out) + ")" * depth


def _class(members: str) -> str:
    negated = members.startswith(("!", "^"))
    inner = (members[1:] if negated else members).replace("\\", r"\\").replace("[", r"\[")
    return f"[{'^/' if negated else ''}{inner}]"
