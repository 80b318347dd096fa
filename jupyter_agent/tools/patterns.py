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


class Glob:
    """A pattern of file names: `*` and `?` stay within one name, `**` crosses folders, `[ab]` and `{a,b}` are choices.

    Without a slash it matches names at any depth, with one whole paths. Raises InvalidArguments.
    """

    def __init__(self, pattern: str) -> None:
        _check_length("pattern", pattern)
        self.pattern = pattern
        self._whole_path = "/" in pattern
        try:
            self._compiled = regex(_translated(pattern.removeprefix("./")))
        except re2.error as error:
            raise InvalidArguments(
                f"pattern {pattern!r} is no file pattern: {_reason(error)}. Write for example *.csv or data/**/*.py."
            ) from error

    @property
    def asks_hidden(self) -> bool:
        """Whether it names hidden files: one of its parts begins with a dot."""
        return any(part.startswith(".") for part in self.pattern.removeprefix("./").split("/"))

    def matches(self, path: str) -> bool:
        """Tells whether a path, relative to where the search began, is meant."""
        text = path if self._whole_path else path.rpartition("/")[2]
        # Names that are no UTF-8 hold surrogates, which the engine does not take.
        return self._compiled.fullmatch(text.encode("utf-8", "replace").decode()) is not None


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
