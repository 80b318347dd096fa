"""What happened in many runs, as Arrow, straight from the database: what frames are made of."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from ..facts.query import Wanted, query
from .backend import Backend
from .backends import backend_of


class FactReader:
    """Reads the facts of one database, until it is closed. Blocking: call it in a thread."""

    def __init__(self, where: Path | str | Backend) -> None:
        self._backend = backend_of(where)
        self._reader = self._backend.reader()

    def read(self, wanted: Wanted) -> Generator[Any, None, None]:
        """Yields the facts as `pyarrow.RecordBatch`es, at least one: without rows where there are none.

        Raises InvalidRequest for a column that the kind does not have, or a filter that means nothing to it;
        StorageError when the database cannot be read.
        """
        yield from self._reader.read(query(wanted, self._backend.words))

    def close(self) -> None:
        """Lets go of what it reads with."""
        self._reader.close()
