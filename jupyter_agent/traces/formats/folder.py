"""A folder of files, read like a zip: a member at a time."""

from pathlib import Path
from types import TracebackType
from typing import Protocol

from ...exceptions import InvalidRequest, TooLarge
from ..source import Source
from .zipped import Zipped


class Members(Protocol):
    """Files in a zip or in a folder, by their names."""

    names: list[str]

    def __enter__(self) -> "Members": ...

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...

    def read(self, name: str) -> bytes:
        """Returns the bytes of one. Raises InvalidRequest for what cannot be read, TooLarge for what is too large."""
        ...


class Folder:
    """The files of a folder and of those in it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._path = source.path or Path()
        self.names = source.files

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Holds nothing open."""

    def read(self, name: str) -> bytes:
        limit = self._source.limit
        try:
            with (self._path / name).open("rb") as stream:
                data = stream.read(limit + 1)
        except OSError as fault:
            raise InvalidRequest(f"{name} in {self._source.name} cannot be read: {fault.strerror or fault}.") from fault
        if len(data) > limit:
            raise TooLarge(
                f"{name} in {self._source.name} holds more than the {limit:,} bytes that are read at once. Allow more "
                "with `limit=`."
            )
        return data


def members(source: Source) -> Members:
    """Opens a folder or a zip."""
    return Folder(source) if source.is_folder else Zipped(source)
