"""Zip files of JSON, a member at a time. Members compressed with Zstandard, which Python reads from 3.14 on, go through
Arrow, which is there anyway."""

import struct
import zipfile
import zlib
from types import TracebackType
from typing import Any, BinaryIO, Final

from ...exceptions import InvalidRequest, TooLarge
from ..decoding import Miss
from ..long import Held, Opening, Stretch, opened
from ..source import Source

PLAIN: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ZSTANDARD: Final = 93
"""Inspect writes these. Others are not read: what LZMA says of itself decides how much memory it takes."""
LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
PIECE: Final = 1024 * 1024


class Zipped:
    """An open zip. Raises InvalidRequest for one that is damaged, TooLarge for a member over the source's limit."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream: BinaryIO = source.open()
        try:
            self._zip = zipfile.ZipFile(self._stream)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as fault:
            self._stream.close()
            raise InvalidRequest(
                f"{source.name} begins like a zip file and is none that can be read: {fault}. It may have been cut off "
                "while it was copied or written."
            ) from fault
        # A member that was written again is there twice: the last one counts.
        self.names = list(dict.fromkeys(self._zip.namelist()))

    def __enter__(self) -> "Zipped":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._zip.close()
        self._stream.close()

    def read(self, name: str) -> bytes:
        """Returns a member's bytes. What it says of its size is not believed."""
        info = self._zip.getinfo(name)
        limit = self._source.limit
        try:
            if info.compress_type in PLAIN:
                with self._zip.open(info) as member:
                    return self._bounded(member, name, limit)
            if info.compress_type == ZSTANDARD:
                return self._zstandard(info, limit)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, struct.error) as fault:
            raise InvalidRequest(f"{name} in {self._source.name} is damaged: {fault}.") from fault
        raise InvalidRequest(
            f"{name} in {self._source.name} is compressed in a way that is not known here ({info.compress_type})."
        )

    def value(self, name: str, miss: Miss) -> Any:
        """Returns the JSON value in a member. Raises ValueError for what is no JSON."""
        data = self.read(name)
        held = Held(data, f"{name} in {self._source.name}", len(data), self._source.at_once)
        return opened(Stretch.trimmed(held, 0, len(data)), Opening(name, miss, len(data)))

    def _bounded(self, member: object, name: str, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := member.read(PIECE):  # type: ignore[attr-defined]
            pieces.append(bytes(piece))
            size += len(piece)
            if size > limit:
                raise TooLarge(
                    f"{name} in {self._source.name} holds more than the {limit:,} bytes that are read at once. Allow "
                    "more with `limit=`."
                )
        return b"".join(pieces)

    def _zstandard(self, info: zipfile.ZipInfo, limit: int) -> bytes:
        import pyarrow as pa

        self._stream.seek(info.header_offset)
        signature, name_size, extra_size = LOCAL_HEADER.unpack(self._stream.read(LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise zipfile.BadZipFile("its header is not where the zip says")
        self._stream.seek(info.header_offset + LOCAL_HEADER.size + name_size + extra_size)
        # Nor is it believed how large it is packed: so much memory would be taken before anything is read.
        packed = self._stream.read(min(info.compress_size, self._source.size))
        with pa.input_stream(pa.BufferReader(packed), compression="zstd") as member:
            data = self._bounded(member, info.filename, limit)
        if zlib.crc32(data) != info.CRC:
            raise zipfile.BadZipFile("its checksum is wrong")
        return data
