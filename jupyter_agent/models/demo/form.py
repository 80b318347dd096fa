"""What the demo model does when its answer must have a form: it looks with its tools, then fills in what they gave.

Rules find facts (a line that somebody marked as undone, the columns of a table, a place where a word stands). Texts
that only a language model could write say so.
"""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from ..answer import Answer
from .conversation import Conversation, quoted, tool_call
from .files import literal
from .phrases import SELF, joined
from .reading import count_missing, file_text, listed

READ_MOST: Final = 3
ROWS_MOST: Final = 3
DEPTH_MOST: Final = 12
VALUES_MOST: Final = 5_000
TEXTS: Final = (".py", ".md", ".txt", ".csv", ".tsv", ".json", ".toml", ".cfg", ".r", ".sql", ".sh", ".rst", ".yaml")
UNDONE: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|^\s*except\s*:|\beval\(")
_FOUND: Final = re.compile(r"(.{1,300}?):(\d+): (.*)")

Row = dict[str, Any]


def fill_in(talk: Conversation, schema: Mapping[str, Any]) -> Answer:
    """Looks first, then answers in the form that is asked for."""
    looked = _look(talk)
    if looked is not None:
        return looked
    return Answer(
        thinking="The answer must have a form. I fill in what the tools gave, and judge nothing.",
        text=json.dumps(_Facts(talk, dict(schema)).value(dict(schema), "", 0), ensure_ascii=False, indent=1),
    )


def _look(talk: Conversation) -> Answer | None:
    """Returns the next look at the files: those that are named, else a search for what is quoted, else a listing."""
    names = _named(talk)[:READ_MOST]
    words = [word for word in quoted(talk.task) if word not in talk.files() and word.strip("./") and "/" not in word]
    if names and talk.has("read_file") and not talk.tried("read_file"):
        return Answer(
            thinking=f"The task names {joined(names)}: I read before I fill anything in.",
            text=f"I read {joined(names)}.",
            calls=tuple(tool_call("read_file", path=name) for name in names),
        )
    if not names and words and talk.has("search_files") and not talk.tried("search_files"):
        query = "|".join(literal(word) for word in words[:4])
        return Answer(
            thinking=f"I look for {joined(words[:4])} in all files.",
            text=f"I search for {joined(words[:4])}.",
            calls=(tool_call("search_files", query=query, max_matches=20),),
        )
    if not names and not talk.steps and talk.has("list_files"):
        return Answer(
            thinking="No file is named, so I see what there is.",
            text="I see which files there are.",
            calls=(tool_call("list_files", pattern="**/*"),),
        )
    return None


def _named(talk: Conversation) -> list[str]:
    """Returns the files that the task names, or the first ones of a listing that hold text."""
    if named := talk.paths():
        return named
    found = [name for step in talk.done("list_files") for name in listed(step)]
    return [name for name in found if name.lower().endswith(TEXTS)]


class _Facts:
    """What is known when the form is filled in."""

    def __init__(self, talk: Conversation, form: Row) -> None:
        self._talk = talk
        self._form = form
        self._left = VALUES_MOST

    @cached_property
    def _texts(self) -> dict[str, str]:
        """The files that were read, by path."""
        steps = self._talk.done("read_file")
        return {str(step.arguments.get("path", "?")): file_text(step.content) for step in steps}

    @cached_property
    def _places(self) -> list[tuple[str, int, str]]:
        """The places that searches found: path, line, text."""
        lines = [line for step in self._talk.done("search_files") for line in step.content.splitlines()]
        found = [match for line in lines if (match := _FOUND.fullmatch(line))]
        return [(match[1], int(match[2]), match[3].strip()) for match in found]

    @cached_property
    def _undone(self) -> list[tuple[str, int, str]]:
        """The lines of what was read that somebody marked as undone, or that rules know to be doubtful."""
        return [
            (path, number, line.strip())
            for path, text in self._texts.items()
            for number, line in enumerate(text.splitlines(), 1)
            if UNDONE.search(line)
        ]

    # --- filling in ---------------------------------------------------------------------------------------------

    def value(self, schema: Row, name: str, depth: int) -> Any:
        """Returns a value that satisfies a schema, as far as simple rules know how; one without end is cut off."""
        schema = _resolved(schema, self._form)
        self._left -= 1
        if depth > DEPTH_MOST or self._left < 0 or "const" in schema:
            return schema.get("const")
        if schema.get("enum"):
            return schema["enum"][0]
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        match kinds if isinstance(kinds, str) else next((one for one in kinds if one != "null"), "null"):
            case "object":
                fields = schema.get("properties", {})
                return {key: self.value(field, key, depth + 1) for key, field in fields.items()}
            case "array":
                return self._items(schema, name, depth)
            case "boolean":
                return True
            case "integer" | "number":
                return _within(schema, self._number(name))
            case "null":
                return None
        return self._text(name)[: schema.get("maxLength", 2_000)].ljust(schema.get("minLength", 0), ".")

    def _items(self, schema: Row, name: str, depth: int) -> list[Any]:
        kind = _resolved(schema.get("items", {}), self._form)
        most = min(schema.get("maxItems", ROWS_MOST), 100 if name == "columns" else ROWS_MOST)
        least = schema.get("minItems", 0)
        if "properties" not in kind:
            return [self.value(kind, name, depth + 1) for _ in range(least)]
        rows = self._rows(name)[:most]
        rows += [{} for _ in range(least - len(rows))]
        empty = self.value(kind, name, depth + 1)
        return [empty | {key: value for key, value in row.items() if key in kind["properties"]} for row in rows]

    def _rows(self, name: str) -> list[Row]:
        """Returns what is known to go into a list of this name; nothing where that would be made up."""
        match name:
            case "files":
                return [{"path": path, "does": f"It has {len(text.splitlines())} lines."}
                        for path, text in self._texts.items()]  # fmt: skip
            case "findings" | "issues":
                return [
                    {"title": f"Marked as undone or doubtful: {text[:60]}", "file": path, "line": line, "why": text,
                     "fix": "Finish it, or say why it stays."}
                    for path, line, text in self._undone
                ]  # fmt: skip
            case "claims":
                return [
                    {"claim": f"{path} says: {text[:200]}", "source": f"{path}:{line}", "quote": text[:200]}
                    for path, line, text in self._places
                ]
            case "columns":
                return self._columns()
            case "verdicts":
                numbers = sorted({int(number) for number in re.findall(r'"number": ?(\d{1,3})', self._talk.task)})
                return [{"number": number} for number in numbers]
            case "parts" | "questions":
                is_known = bool(self._words) or name == "questions"
                return [{"question": self._topic, "look_for": self._words}] if is_known else []
        return []

    def _columns(self) -> list[Row]:
        found: list[Row] = []
        for path, text in self._texts.items():
            if path.lower().endswith((".csv", ".tsv")) and text:
                missing = count_missing(path, text).columns
                names = [column.strip(' "') for column in text.splitlines()[0].split(",")]
                found += [{"name": one, "missing": f"{missing.get(one, 0)} of the rows read"} for one in names]
        return found

    @cached_property
    def _topic(self) -> str:
        """The task's own question: its first paragraph that ends like one, else its beginning."""
        paragraphs = [" ".join(part.split()) for part in self._talk.task.split("\n\n")]
        asked = next((part for part in paragraphs if part.endswith("?") and len(part) < 500), None)
        return asked or next((part for part in paragraphs[1:2] if part), paragraphs[0])[:200]

    @cached_property
    def _words(self) -> list[str]:
        """The longer words of the question, to search for."""
        words = re.findall(r"[A-Za-z][\w-]{4,40}", self._topic)
        return list(dict.fromkeys(word for word in words if word.lower() not in _COMMON))[:4]

    def _number(self, name: str) -> int:
        return 1 if name in ("line", "step") else len(self._texts)

    def _text(self, name: str) -> str:
        read = joined(self._texts) if self._texts else "nothing"
        match name:
            case "file" | "path" | "source":
                return next(iter(self._texts), "") or next((path for path, _, _ in self._places), "")
            case "rows":
                return ", ".join(f"{len(text.splitlines()) - 1} of {path}" for path, text in self._texts.items()) or "0"
            case "note" | "caveat" | "quote" | "fix" | "range":
                return ""
            case "question":
                return self._topic
        found = f" It found {len(self._places)} places." if self._places else ""
        return f"{SELF} It read {read} and judges nothing.{found}"


_COMMON: Final = frozenset({"about", "after", "before", "there", "these", "those", "where", "which", "while", "would"})


def _resolved(schema: Any, whole: Row) -> Row:
    """Returns a schema with its reference followed and its first alternative taken."""
    for _ in range(DEPTH_MOST):
        if not isinstance(schema, dict):
            return {}
        if isinstance(ref := schema.get("$ref"), str) and ref.startswith("#/"):
            found: Any = whole
            for part in ref[2:].split("/"):
                found = found.get(part, {}) if isinstance(found, dict) else {}
            schema = found
        elif choices := schema.get("anyOf") or schema.get("oneOf"):
            schema = next((one for one in choices if one != {"type": "null"}), {})
        else:
            break
    return schema if isinstance(schema, dict) else {}


def _within(schema: Row, number: int) -> float | int:
    least: float | int = max(number, schema.get("minimum", number))
    value: float | int = min(least, schema.get("maximum", least))
    return value


def from_what_is_given(talk: Conversation) -> Answer:
    """Passes on what a long task says where there are no tools: writing it well takes a language model."""
    lines = [line.strip() for line in talk.task.splitlines() if re.match(r"\s*(\[\d+\]|[-*]|\d+\.)\s+\S", line)]
    given = "\n".join(f"- {line.lstrip('-* ')[:300]}" for line in lines[:20])
    return Answer(
        thinking="I have no tools and much text. I pass on its points and add nothing.",
        text=f"{SELF} I cannot write this, and pass on what I was given:\n\n{given or f'- {talk.task[:300]}'}",
    )
