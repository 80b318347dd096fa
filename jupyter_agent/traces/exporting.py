"""`ja.export`: frames and runs written to files that others read. A file is there whole or not at all."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ..client.run import Run
from ..compact import CompactRun, compact
from ..display.page import document
from ..display.shown import Shown
from ..exceptions import Conflict, InvalidRequest, StorageError
from .imported import ImportedTraces
from .otlp import otlp
from .story import Story, compact_of, stories_of, story_of

SUFFIXES: Final = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "otel", ".html": "html", ".htm": "html",
}  # fmt: skip
FORMATS: Final = ("parquet", "jsonl", "otel", "html")
AUTO: Final = "auto"

Write = Callable[[BinaryIO], None]


def export(
    what: Any,
    path: str | Path,
    *,
    format: str = AUTO,  # noqa: A002 - the spec's name
    overwrite: bool = False,
) -> Path:
    """Writes a run, an import or a frame to a file and returns its path.

    Formats, by the path's ending where none is named: "parquet" and "jsonl" (any frame; of a run its events), "otel"
    (runs and imports as OpenTelemetry GenAI spans: OTLP JSON, one request a line where the path ends with .jsonl),
    "html" (one run as a page of its own, without scripts or addresses). The file appears when it is whole.

    Raises Conflict for a file that is there already, unless `overwrite`; InvalidRequest for what cannot be written like
    that; StorageError where the disk does not take it.
    """
    if "\0" in str(path):
        raise InvalidRequest(f"{str(path)!r} is no path.")
    target = Path(path).expanduser()
    chosen = SUFFIXES.get(target.suffix.lower()) if format == AUTO else format
    if chosen not in FORMATS:
        said = f"There is no format {format!r}" if format != AUTO else f"The ending of {target.name!r} names no format"
        raise InvalidRequest(f"{said}: give format= one of {', '.join(FORMATS)}.")
    write = _writer(what, chosen, in_lines=target.suffix.lower() in {".jsonl", ".ndjson"})
    _save(target, write, overwrite=overwrite)
    return target


def _writer(what: Any, chosen: str, *, in_lines: bool) -> Write:
    """Returns what writes it. Raises InvalidRequest for what cannot be written like that."""
    match chosen:
        case "otel":
            return _spans(_stories(what), in_lines=in_lines)
        case "html":
            page = document(Shown(run := _one_run(what), run))
            return lambda stream: _all(stream, page.encode())
        case _:
            frame = _frame(what)
            return _parquet(frame) if chosen == "parquet" else _lines(frame)


def _frame(what: Any) -> Any:
    if isinstance(what, Run):
        return what.events.df
    if isinstance(what, ImportedTraces):
        raise InvalidRequest("An import has several frames: export one, such as imported.tool_calls.df, or as otel.")
    if hasattr(what, "to_json") and hasattr(what, "columns"):
        return what
    raise InvalidRequest(f"A {type(what).__name__} cannot be exported: give a run, an import or a frame.")


def _stories(what: Any) -> list[Story]:
    if isinstance(what, Run):
        return [story_of(what)]
    if isinstance(what, ImportedTraces):
        return stories_of(what)
    raise InvalidRequest(f"Spans are written of a run or an import, not of a {type(what).__name__}.")


def _one_run(what: Any) -> CompactRun:
    if isinstance(what, Run):
        return what._feed.read(compact)
    if isinstance(what, ImportedTraces) and len(what.runs) == 1:
        return compact_of(stories_of(what)[0])
    found = f"an import of {len(what.runs):,} runs" if isinstance(what, ImportedTraces) else f"a {type(what).__name__}"
    raise InvalidRequest(f"A page is written of one run, not of {found}.")


# --- formats --------------------------------------------------------------------------------------------------


def _parquet(frame: Any) -> Write:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as fault:
        raise InvalidRequest(
            f"This frame cannot be written as Parquet: {fault}. Parsed JSON has no one type: leave parse=True out, or "
            "write JSON lines."
        ) from fault
    return lambda stream: pq.write_table(table, stream)


def _lines(frame: Any) -> Write:
    names = [name for name in frame.index.names if name is not None]
    if names:
        # What sums are by stands in the index.
        frame = frame.reset_index(names, allow_duplicates=True)
    if not frame.columns.is_unique:
        raise InvalidRequest("This frame cannot be written as JSON lines: two of its columns have the same name.")

    def write(stream: BinaryIO) -> None:
        # Times as ISO 8601 with microseconds, lengths as ISO durations; what is missing as null.
        frame.to_json(stream, orient="records", lines=True, date_format="iso", date_unit="us", force_ascii=False)

    return write


def _spans(stories: list[Story], *, in_lines: bool) -> Write:
    def write(stream: BinaryIO) -> None:
        if in_lines:
            for story in stories:
                _all(stream, msgspec.json.encode(otlp(story)) + b"\n")
            return
        _all(stream, b'{"resourceSpans":[')
        for index, story in enumerate(stories):
            _all(stream, b"," * bool(index) + msgspec.json.encode(otlp(story)["resourceSpans"][0]))
        _all(stream, b"]}\n")

    return write


def _all(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


# --- the file -------------------------------------------------------------------------------------------------


def _save(target: Path, write: Write, *, overwrite: bool) -> None:
    """Writes beside the target, then puts it in its place at once."""
    taken = Conflict(f"{target} is there already: give overwrite=True to replace it, or another path.")
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    try:
        if target.is_dir():
            raise InvalidRequest(f"{target} is a folder: name a file in it.")
        if target.exists() and not overwrite:
            raise taken
        with beside.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if overwrite:
            beside.replace(target)
        else:
            _place(beside, target)
    except FileExistsError:
        raise taken from None
    except OSError as fault:
        raise StorageError(f"{target} could not be written: {fault.strerror or fault}.") from fault
    finally:
        with suppress(OSError):  # where its folder is none
            beside.unlink(missing_ok=True)


def _place(beside: Path, target: Path) -> None:
    """Puts a file in a place that is free. Not by replacing: somebody else may have made the file meanwhile."""
    try:
        target.hardlink_to(beside)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links: the place is taken first.
        target.touch(exist_ok=False)
        beside.replace(target)
