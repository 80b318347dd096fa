"""Attachments of what Python holds: tables, arrays, pictures, files and text, known by all of their content.

Libraries are not imported for it: whoever has a DataFrame has loaded them. The digest is BLAKE2b with 256 bits, of
which a slow processor does 10 MB well within 50 ms.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from ..exceptions import InvalidRequest
from ..records import clean
from .attachment import Attachment, AttachmentKind

HEAD_ROWS: Final = 5
SHOWN_CHARS: Final = 8_000
MAX_TEXT_CHARS: Final = 200_000
_NUMBERS: Final = "biufcmM"


def attachments(given: Any, *, name: str = "") -> tuple[Attachment, ...]:
    """Returns the attachments of what a call was given: one thing, a list of things, or a dict of name: thing.

    A `Path` is the file there. Raises InvalidRequest for what cannot be known by its content.
    """
    if isinstance(given, dict):
        return tuple(attachment(value, name=str(key)) for key, value in given.items())
    listed = given if isinstance(given, list | tuple) else [given]
    return tuple(attachment(value, name=name or f"attachment {place}") for place, value in enumerate(listed, 1))


def attachment(value: Any, *, name: str) -> Attachment:
    """Returns one attachment. Raises InvalidRequest."""
    if isinstance(value, Attachment):
        return value
    if isinstance(value, Path):
        return _file(value)
    if isinstance(value, str):
        value = clean(value)
        return _made(name, "text", value[:MAX_TEXT_CHARS], lambda take: take(value.encode()))
    if isinstance(value, bytes | bytearray):
        return _text_of_bytes(bytes(value), name)
    if hasattr(value, "columns") and hasattr(value, "head"):
        return _made(name, "frame", _brief(value), lambda take: _feed_frame(value, take))
    if hasattr(value, "to_frame") and hasattr(value, "head"):
        frame = value.to_frame()
        return _made(name, "frame", _brief(frame), lambda take: _feed_frame(frame, take))
    if hasattr(value, "__array_interface__") and hasattr(value, "dtype"):
        told = f"array of shape {tuple(value.shape)}, {value.dtype}\n{str(value)[:SHOWN_CHARS]}"
        return _made(name, "array", told, lambda take: _feed_array(value, take))
    raise InvalidRequest(
        f"{name} is {type(value).__name__}, which cannot be attached. Attach text, a Path, a DataFrame or an array."
    )


def digest(value: Any) -> str:
    """Returns what stands for the whole content of a value: hex of a 256-bit hash.

    Tables, arrays and files (a `Path` to one) count by what is in them, containers and dataclasses by what they hold.
    Raises InvalidRequest for what cannot be known so.
    """
    made = hashlib.blake2b(digest_size=32)
    _feed(value, made.update)
    return made.hexdigest()


Take = Callable[[Any], object]


def _feed(value: Any, take: Take) -> None:
    kind = type(value)
    take(f"\0{kind.__module__}.{kind.__qualname__}\0".encode())
    if isinstance(value, Path):
        take(str(value).encode())
        if value.is_file():
            take(value.read_bytes())
    elif hasattr(value, "columns") and hasattr(value, "head"):
        _feed_frame(value, take)
    elif hasattr(value, "to_frame") and hasattr(value, "head"):
        _feed_frame(value.to_frame(), take)
    elif hasattr(value, "__array_interface__") and hasattr(value, "dtype"):
        _feed_array(value, take)
    elif isinstance(value, dict):
        for key, item in value.items():
            _feed(key, take)
            _feed(item, take)
    elif isinstance(value, list | tuple):
        take(str(len(value)).encode())
        for item in value:
            _feed(item, take)
    elif isinstance(value, set | frozenset):
        for one in sorted(map(digest, value)):
            take(one.encode())
    else:
        _feed_values([value], take)


def _made(name: str, kind: AttachmentKind, text: str, feed: Callable[[Take], object]) -> Attachment:
    digest = hashlib.blake2b(kind.encode() + b"\0", digest_size=32)
    feed(digest.update)
    return Attachment(name=clean(name), kind=kind, digest=digest.hexdigest(), text=clean(text))


def _file(path: Path) -> Attachment:
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise InvalidRequest(f"{path} cannot be attached: {fault.strerror}.") from fault
    return _text_of_bytes(data, path.name)


def _text_of_bytes(data: bytes, name: str) -> Attachment:
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        raise InvalidRequest(f"{name} is no text in UTF-8, so it cannot be attached yet.") from fault
    return _made(name, "file", text[:MAX_TEXT_CHARS], lambda take: take(data))


# --- tables -----------------------------------------------------------------------------------------------------


def _brief(frame: Any) -> str:
    """What a model is told of a table: its shape, the type of each column, its first rows. Never all of it."""
    types = ", ".join(f"{column} {kind}" for column, kind in zip(frame.columns, frame.dtypes, strict=True))
    told = f"{len(frame):,} rows x {len(frame.columns):,} columns: {types}\n{frame.head(HEAD_ROWS)}"
    return told[:SHOWN_CHARS]


def _feed_frame(frame: Any, take: Take) -> None:
    """Names, types and values of all columns, the index too."""
    columns = list(frame.columns)
    _feed_values(columns, take)
    # By place: two columns may have one name.
    by_place = frame.iloc if hasattr(frame, "iloc") else None
    if (index := getattr(frame, "index", None)) is not None:
        _feed_values([str(type(index).__name__), *map(str, getattr(index, "names", ()))], take)
        if type(index).__name__ == "RangeIndex":
            _feed_values([index.start, index.stop, index.step], take)
        else:
            _feed_column(index, take)
    for place, column in enumerate(columns):
        _feed_column(by_place[:, place] if by_place is not None else frame[column], take)


def _feed_column(column: Any, take: Take) -> None:
    kind = getattr(column, "dtype", None)
    take(f"\0{kind}\0{len(column)}\0".encode())
    if getattr(kind, "kind", "O") in _NUMBERS and type(kind).__module__.startswith("numpy"):
        _feed_array(column.to_numpy(), take)
    elif getattr(kind, "storage", None) == "pyarrow":
        _feed_strings(column.array.__arrow_array__(), take)
    else:
        _feed_values(column.tolist() if hasattr(column, "tolist") else column.to_list(), take)


def _feed_array(array: Any, take: Take) -> None:
    take(f"\0{array.dtype.str}\0{tuple(array.shape)}\0".encode())
    if array.dtype.hasobject:
        _feed_values(array.tolist(), take)
    elif array.flags.c_contiguous and array.dtype.kind not in "mM":
        take(memoryview(array).cast("B") if array.size else b"")
    else:
        take(array.tobytes())


def _feed_strings(strings: Any, take: Take) -> None:
    """Texts that Arrow keeps one behind the other: their lengths, which of them are missing, and all their bytes. How
    they are sliced and chunked does not count."""
    chunks = [strings] if not hasattr(strings, "chunks") else strings.chunks
    for part in ("lengths", "missing", "bytes"):
        take(f"\0{part}\0".encode())
        for chunk in chunks:
            if part == "missing":
                if strings.null_count:
                    take(chunk.is_null().to_numpy(zero_copy_only=False).tobytes())
                continue
            # What a missing text has in its place is nothing.
            filled = chunk.fill_null("") if chunk.null_count else chunk
            if not len(filled):
                continue
            numpy = sys.modules["numpy"]  # whoever has such a table has loaded it
            kind = numpy.int64 if str(filled.type).startswith("large") else numpy.int32
            _, ends, data = filled.buffers()
            places = numpy.frombuffer(ends, kind)[filled.offset : filled.offset + len(filled) + 1]
            if part == "lengths":
                take(memoryview(numpy.diff(places).astype(numpy.int64)).cast("B"))
            else:
                take(memoryview(data)[places[0] : places[-1]] if data is not None else b"")


def _feed_values(values: list[Any], take: Take) -> None:
    """Python objects, each with its type: 1, 1.0, "1" and None are four things."""
    try:
        take(_encoder.encode(values))
    except (TypeError, OverflowError, ValueError) as fault:
        raise InvalidRequest(f"A value of the attachment cannot be known by its content: {fault}.") from fault


def _known(value: Any) -> Any:
    """Returns a plain stand-in of what MessagePack does not know, with its type's name."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if hasattr(value, "head") or getattr(value, "shape", None):
        return [name, digest(value)]
    if hasattr(value, "isoformat"):
        return [name, value.isoformat()]
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return [name, value.item()]
    if name in _WRITTEN or kind.__module__.startswith("pandas."):
        return [name, str(value)]
    raise TypeError(f"there is a {name} in it")


_WRITTEN: Final = frozenset(
    {"fractions.Fraction", "ipaddress.IPv4Address", "ipaddress.IPv6Address", "pathlib.PosixPath"}
)
_encoder = msgspec.msgpack.Encoder(enc_hook=_known, order="sorted")
