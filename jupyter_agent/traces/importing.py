"""`ja.import_traces`: the logs of other agents as our facts."""

from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Final

from ..exceptions import InvalidRequest
from .book import Book
from .formats import claude_code, inspect_ai, openai, openhands, otel, swe_agent
from .formats.folder import members
from .imported import ImportedTraces
from .look import is_list
from .source import DOCUMENT_BYTES, Record, Source, records

FORMATS: Final[dict[str, ModuleType]] = {
    module.NAME: module for module in (otel, inspect_ai, swe_agent, openhands, claude_code, openai)
}
"""By name, those first whose records are told from others most surely."""
AUTO: Final = "auto"
RECORDS_LOOKED_AT: Final = 50
KEYS_SHOWN: Final = 8


def import_traces(
    source: str | Path | bytes,
    format: str = AUTO,  # noqa: A002 - the spec's name
    *,
    limit: int = DOCUMENT_BYTES,
) -> ImportedTraces:
    """Reads the log of another agent, from a path or bytes, and returns all that is in it.

    Formats: "openai" (message lists), "otel" (OpenTelemetry GenAI spans as OTLP JSON), "inspect" (`.eval` and JSON
    logs), "swe-agent" (`.traj`, of mini-swe-agent too), "openhands" (event logs), "claude-code" (session files); "auto"
    looks which it is. JSON lines are read line by line, and what is long a part at a time: only a single text, all of
    an object but its lists, or one member of an `.eval` may have no more than `limit` bytes. Counts are exact; what has
    no place among our facts is counted in `unmapped`. Nothing is written and no server is needed.

    Raises NotFound for a path that is not there, TooLarge for a member over the limit, InvalidRequest for what is
    empty, damaged, of none of these formats, or without any run.
    """
    if format != AUTO and format not in FORMATS:
        raise InvalidRequest(f"There is no format {format!r}: give {AUTO!r}, {', '.join(map(repr, FORMATS))}.")
    return read(Source(source, limit=limit), format)


def read(opened: Source, format: str = AUTO) -> ImportedTraces:  # noqa: A002 - the spec's name
    """Reads a source like `import_traces`."""
    reader = FORMATS[format] if format != AUTO else _guess(opened)
    book = Book(format=reader.NAME, seed=opened.seed)
    reader.read(opened, book)
    if not book.runs:
        found = "; ".join(f"{item.kind} ({item.count:,})" for item in islice(book.unmapped(), KEYS_SHOWN)) or "nothing"
        raise InvalidRequest(f"No run was found in {opened.name}, read as {reader.NAME}. What was in it: {found}.")
    return ImportedTraces(book, opened.name)


def _guess(source: Source) -> ModuleType:
    """Returns the format of a source. Raises InvalidRequest for none."""
    if source.is_folder or source.head.startswith(b"PK"):
        return _guess_members(source)
    if not source.begins_like_json and b"\0" in source.head:
        raise InvalidRequest(
            f"{source.name} is neither JSON nor a zip file of Inspect: it begins with {source.head[:8]!r}. "
            f"What is read: {', '.join(FORMATS)}."
        )
    looked_at = list(islice(records(source, None), RECORDS_LOOKED_AT))
    for record in looked_at:
        for reader in FORMATS.values():
            if reader.matches(record.value):
                return reader
    raise InvalidRequest(
        f"{source.name} is of none of the formats that are read ({', '.join(FORMATS)}): {_seen(looked_at)}. Name one "
        "with format= where you know better."
    )


def _guess_members(source: Source) -> ModuleType:
    """Returns the format of a folder or a zip. Raises InvalidRequest for a folder of none."""
    with members(source) as opened:
        if openhands.holds_events(opened.names):
            return openhands
    if source.is_folder:
        raise InvalidRequest(
            f"{source.name} is a folder, and no conversation of OpenHands is kept in it: name one of its files, or "
            "read them in a loop."
        )
    return inspect_ai


def _seen(looked_at: list[Record]) -> str:
    if not looked_at:
        return "no line of it is JSON"
    value = looked_at[0].value
    if isinstance(value, dict):
        return f"it has the fields {', '.join(map(repr, islice(value, KEYS_SHOWN)))}"
    return f"it is a list of {len(value):,}" if is_list(value) else f"it is a {type(value).__name__}"
