"""What of a journal's bytes is good: lines that are whole, of this run, and numbered without holes.

Everything up to the first bad line is good. What follows is a torn tail when it holds nothing that a reader could miss
(a cut line, a block of NUL, lines that were seen before), and damage when an intact new line stands in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from .events import MAX_LINE_BYTES, Cursor, is_intact, line_cursor, run_tag
from .exceptions import JournalDamaged, SchemaTooNew
from .records import SCHEMA_VERSION

INDEX_EVERY: Final = 64 * 1024
_HEAD_BYTES: Final = 128
_MAX_EPOCH: Final = 2**31


class Mark(NamedTuple):
    """A place in a journal: the line that ends at `offset` has this seq and epoch."""

    offset: int = 0
    seq: int = 0
    epoch: int = 0


START: Final = Mark()


class _Version(msgspec.Struct, rename="camel"):
    schema_version: int = SCHEMA_VERSION


class Chain:
    """Takes a journal's lines one after the other and says whether each continues it."""

    def __init__(self, run_id: str, path: Path | str, start: Mark = START) -> None:
        self.path = path
        self.tag = run_tag(run_id).encode()
        self._offset, self._seq, self._epoch = start
        self._expect_epoch(start.epoch)

    @property
    def at(self) -> Mark:
        """Where the good lines end that were taken so far."""
        return Mark(self._offset, self._seq, self._epoch)

    def accept(self, piece: bytes) -> bool:
        """Takes a line with its newline. Raises SchemaTooNew at a first line that says so."""
        line = piece[:-1]
        if piece[-1:] != b"\n" or not is_intact(line):
            return False
        seq = self._seq + 1
        # In one epoch the next id is known: looking for it is quicker than taking the line apart.
        if not self._epoch or line.find(self._expected % seq, 0, _HEAD_BYTES) < 0:
            place = line_cursor(line)
            if place is None or place.tag.encode() != self.tag or place.seq != seq:
                return False
            if not self._epoch < place.epoch < _MAX_EPOCH:
                return False
            if seq == 1:
                refuse_newer(line, self.path)
            self._expect_epoch(place.epoch)
        self._offset += len(piece)
        self._seq = seq
        return True

    def _expect_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._expected = b'"id":"%b-%d-' % (self.tag, epoch) + b'%d"'


def refuse_newer(line: bytes, path: Path | str) -> None:
    """Raises SchemaTooNew for a first line written by a newer major version."""
    try:
        version = msgspec.json.decode(line, type=_Version).schema_version
    except msgspec.DecodeError:
        return
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"The journal {path} has schema version {version}; this jupyter_agent reads up to {SCHEMA_VERSION}. "
            "Update jupyter_agent to read it.",
            details={"path": str(path), "version": version, "supported": SCHEMA_VERSION},
        )


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yields lines with their newline; a piece without one is a cut last line, or a part of what is too long."""
    return iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")


@dataclass
class Survey:
    """What a look at a whole journal found. `good` is where its good lines end, `top_epoch` the highest epoch that
    any bytes of it name, `is_damaged` tells damage from a torn tail."""

    good: Mark
    size: int
    top_epoch: int
    is_damaged: bool
    index: list[Mark]

    @property
    def torn_bytes(self) -> int:
        return self.size - self.good.offset


def survey(file: BinaryIO, run_id: str, path: Path | str) -> Survey:
    """Reads a journal from its start. Raises SchemaTooNew and OSError."""
    chain = Chain(run_id, path)
    index, written = [START], 0
    for piece in pieces(file):
        if not chain.accept(piece):
            rest = _look_beyond(piece, file, chain)
            return Survey(chain.at, rest.size, rest.top_epoch, rest.is_damaged, index)
        written += len(piece)
        if written >= INDEX_EVERY:
            index.append(chain.at)
            written = 0
    return Survey(chain.at, chain.at.offset, chain.at.epoch, is_damaged=False, index=index)


class _Rest(NamedTuple):
    size: int
    top_epoch: int
    is_damaged: bool


def _look_beyond(piece: bytes, file: BinaryIO, chain: Chain) -> _Rest:
    """Reads the rest of a journal from its first bad line."""
    size, top_epoch, is_damaged = chain.at.offset, chain.at.epoch, False
    while piece:
        size += len(piece)
        place = line_cursor(piece)
        if place is not None and place.tag.encode() == chain.tag and place.epoch < _MAX_EPOCH:
            top_epoch = max(top_epoch, place.epoch)
        if piece[-1:] == b"\n" and is_intact(piece[:-1]) and not _was_seen(place, chain):
            is_damaged = True
        piece = file.readline(MAX_LINE_BYTES + 1)
    return _Rest(size, top_epoch, is_damaged)


def _was_seen(place: Cursor | None, chain: Chain) -> bool:
    if place is None or place.tag.encode() != chain.tag:
        return False
    return place.epoch <= chain.at.epoch and place.seq <= chain.at.seq


def good_lines(file: BinaryIO, chain: Chain, *, batch_bytes: int) -> Iterator[list[bytes]]:
    """Yields batches of good lines, without newline, from where file and chain stand, as far as they are written now.

    Ends before a torn tail. Raises JournalDamaged behind the good lines before damage.
    """
    batch: list[bytes] = []
    size = 0
    for piece in pieces(file):
        if not chain.accept(piece):
            if batch:
                yield batch
            # A line without its newline is being written right now, or torn: what a second look would find behind
            # it is not there yet.
            if (piece[-1:] == b"\n" or len(piece) > MAX_LINE_BYTES) and _look_beyond(piece, file, chain).is_damaged:
                raise damaged(chain.path, chain.at)
            return
        batch.append(piece[:-1])
        size += len(piece)
        if size >= batch_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def damaged(path: Path | str, good: Mark) -> JournalDamaged:
    """Returns the exception for a journal whose good lines end at `good` although more stands behind it."""
    return JournalDamaged(
        f"The journal {path} is damaged at byte {good.offset}, where event {good.seq + 1} should stand. The "
        f"{good.seq} events before it are good; `jupyter agent check --repair` sets the damaged file aside.",
        details={"path": str(path), "offset": good.offset, "seq": good.seq + 1},
    )
