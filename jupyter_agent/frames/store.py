"""A data folder, read as it lies there: the same frames without a server.

Nothing is ever written. A server may go on in the folder meanwhile: what it has said so far is there.
"""

import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ..chain import Chain, good_lines
from ..events import RunStarted, decode_line
from ..exceptions import BlobDamaged, BlobNotFound, JournalDamaged, NotFound, RunNotFound, SchemaTooNew, StorageError
from ..facts.journal import KINDS as TOLD
from ..facts.journal import Telling
from ..facts.kinds import REVISION
from ..facts.query import Query, Wanted, fetched, query
from ..records import ID_PATTERN, SCHEMA_VERSION, SYSTEM, Detail
from .many import Facts

DATABASE: Final = "jupyter_agent.db"
BATCH_BYTES: Final = 256 * 1024

_is_id: Final = re.compile(ID_PATTERN).fullmatch
_is_key: Final = re.compile(r"[0-9a-f]{64}").fullmatch


class Store(Facts):
    """Everything that happened in the runs of one data folder, whoever's they are. See `Facts`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FolderSource(folder))
        self.folder = folder

    def __repr__(self) -> str:
        return f"<Store {self.folder}>"


def open_store(path: str | Path) -> Store:
    """Returns the frames of a data folder, read without a server and never written.

    `path` is the folder, or the database in it. Raises NotFound where there is none, SchemaTooNew for one of a newer
    jupyter_agent, StorageError for a damaged one.
    """
    if "\0" in str(path):
        raise NotFound(f"{str(path)!r} is no path.")
    folder = Path(path).expanduser().resolve()
    folder = folder.parent if folder.name == DATABASE else folder
    if not (folder / DATABASE).is_file():
        raise NotFound(
            f"There is no {DATABASE} in {folder}: give the data folder of a server. `jupyter agent check` names that "
            "of this working directory."
        )
    store = Store(folder)
    FolderSource(folder).check()
    return store


class FolderSource:
    """The facts of a data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = folder / DATABASE

    # --- what frames ask ----------------------------------------------------------------------------------------

    def table(self, wanted: Wanted) -> Any:
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(wanted))

    def batches(self, wanted: Wanted) -> Iterator[Any]:
        if wanted.kind in TOLD:
            return self._told(wanted, Telling(wanted))
        return self._rows(query(wanted))

    def begun(self, run_id: str) -> RunStarted:
        for lines in self._lines(run_id, None):
            if isinstance(event := decode_line(lines[0]), RunStarted):
                return event
            break
        raise JournalDamaged(f"The journal of {run_id} does not begin with run_started.")

    def blobs(self, keys: Sequence[str]) -> list[bytes]:
        return [self._blob(key) for key in keys]

    def check(self) -> None:
        """Raises SchemaTooNew for a database of a newer version, StorageError for one that is damaged or older."""
        found = self._answer("SELECT version_num FROM alembic_version", ())
        revision = found[0]["version_num"] if found else None
        if len(found) > 1 or not isinstance(revision, str | None):
            raise self._damaged()
        if revision == REVISION:
            return
        details = {"path": str(self._database), "version": revision, "supported": REVISION}
        if revision is not None and revision > REVISION:
            raise SchemaTooNew(
                f"The database {self._database} has schema {revision!r}, made by a newer jupyter_agent; this one knows "
                f"up to {REVISION!r}. Update jupyter_agent to read it.",
                details=details,
            )
        raise StorageError(
            f"The database {self._database} has schema {revision!r}, older than {REVISION!r} and not read as it is. "
            "Start a server on the folder once: that brings it up to date.",
            details=details,
        )

    # --- the database -------------------------------------------------------------------------------------------

    def _rows(self, asked: Query) -> Iterator[Any]:
        import pyarrow as pa
        from adbc_driver_sqlite import dbapi

        try:
            with closing(dbapi.connect(self._address())) as connection, closing(connection.cursor()) as cursor:
                yield from fetched(cursor, asked)
        except dbapi.Error as fault:
            raise self._fault(fault) from fault
        except pa.ArrowInvalid as fault:
            # SQLite keeps whatever somebody writes, of the column's type or not.
            raise self._damaged() from fault

    def _answer(self, text: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
        from adbc_driver_sqlite import dbapi

        try:
            with closing(dbapi.connect(self._address())) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(text, parameters)
                found: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
                return found
        except dbapi.Error as fault:
            raise self._fault(fault) from fault

    def _address(self) -> str:
        """Returns how SQLite is to open the database.

        To read a log of writes it makes files beside it, which a folder that cannot be written does not let it. While
        nobody has the database open there is no log: then nothing changes, and it needs neither log nor locks.
        """
        logs = [log for suffix in ("-wal", "-journal") if (log := Path(f"{self._database}{suffix}")).exists()]
        is_still = not logs or (not os.access(self._folder, os.W_OK) and not any(log.stat().st_size for log in logs))
        return f"{self._database.as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"

    def _fault(self, fault: Exception) -> StorageError:
        said = str(fault)
        details = {"path": str(self._database)}
        if "not a database" in said or "malformed" in said or "no such table" in said:
            return self._damaged()
        if "unable to open" in said or "readonly" in said:
            return StorageError(
                f"{self._database} cannot be opened: its server was killed and left a log of writes that SQLite can "
                "only read where it may write. Copy the whole folder to such a place and open it there.",
                details=details,
            )
        return StorageError(f"{self._database} could not be read: {said} Check the disk.", details=details)

    def _damaged(self) -> StorageError:
        return StorageError(
            f"{self._database} is damaged or is no database of jupyter_agent. `jupyter agent rebuild` makes a new "
            "one from the journals and blobs beside it.",
            details={"path": str(self._database)},
        )

    # --- journals and their archives ----------------------------------------------------------------------------

    def _told(self, wanted: Wanted, telling: Telling) -> Iterator[Any]:
        import pyarrow as pa

        of_runs = replace(wanted, kind="runs", columns=("run_id", "detail_blob"))
        for run in pa.Table.from_batches(self._rows(query(of_runs))).to_pylist():
            telling.begin(run["run_id"])
            try:
                for lines in self._lines(run["run_id"], run["detail_blob"]):
                    telling.take(lines)
                    if telling.is_full:
                        yield telling.taken()
            except RunNotFound:
                continue  # deleted meanwhile
            except OSError as fault:
                raise StorageError(f"The journal of {run['run_id']} cannot be read: {fault}.") from fault
            except (msgspec.DecodeError, RecursionError) as fault:
                # Its checksum holds: it was written like that.
                said = f"The journal of {run['run_id']} holds a line that is no event: {fault}."
                raise JournalDamaged(said) from fault
            telling.end()
        yield telling.taken()

    def _lines(self, run_id: str, detail: str | None) -> Iterator[list[bytes]]:
        """Yields the lines of a run in batches: of its journal, or of the archive where that is put away."""
        path = self._folder / "journals" / f"{run_id}.jsonl"
        if not _is_id(run_id) or (path.exists() and not path.is_file()):
            # Somebody else made the folder: what it names is not opened wherever and whatever it is.
            raise StorageError(f"{path} is no journal: was the folder made by jupyter_agent?")
        try:
            with path.open("rb") as file:
                yield from good_lines(file, Chain(run_id, path), batch_bytes=BATCH_BYTES)
                return
        except FileNotFoundError:
            pass
        if (key := detail or self._detail(run_id)) is None:
            raise RunNotFound(f"There is no run {run_id!r}.")
        data = self._blob(_events_of(self._blob(key), key))
        for start in range(0, len(lines := data.splitlines()), 1_000):
            yield lines[start : start + 1_000]

    def _detail(self, run_id: str) -> str | None:
        """Returns the key of the archive of a run that was put away just now."""
        wanted = Wanted(kind="runs", by=SYSTEM, run_ids=(run_id,), columns=("detail_blob",))
        found: list[str | None] = [one for batch in self._rows(query(wanted)) for one in batch.column(0).to_pylist()]
        return found[0] if found else None

    def _blob(self, key: str) -> bytes:
        """Returns the bytes of a blob. Raises BlobNotFound, BlobDamaged."""
        path = self._folder / "blobs" / key[:2] / key[2:]
        if not _is_key(key) or not path.is_file():
            raise BlobNotFound(f"There is no blob {key} in {self._folder}: was the folder copied as a whole?")
        kept = path.read_bytes()
        if hashlib.sha256(kept).hexdigest() == key:
            return kept
        if hashlib.sha256(data := _unpacked(kept)).hexdigest() == key:
            return data
        raise BlobDamaged(f"The blob {path} no longer holds the bytes of its key.", details={"key": key})


def _unpacked(kept: bytes) -> bytes:
    try:
        return zlib.decompress(kept)
    except zlib.error:
        return b""


def _events_of(data: bytes, key: str) -> str:
    """Returns the key of the journal that a detail blob names. Raises BlobDamaged, SchemaTooNew."""
    try:
        detail = msgspec.json.decode(data, type=Detail)
    except msgspec.DecodeError as fault:
        raise BlobDamaged(f"The blob {key} is no detail of a run: {fault}.", details={"key": key}) from fault
    if detail.schema_version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"The detail blob {key} has schema version {detail.schema_version}; this jupyter_agent reads up to "
            f"{SCHEMA_VERSION}. Update jupyter_agent to read it."
        )
    return detail.events
