"""Dumps of runs that wait: with one, a run goes on where it was without doing its way there again.

A dump is an accelerator and never the truth. The sandbox loads whatever it is given, so each is sealed with a key of
the server: what has a wrong seal, belongs to another run or script, or comes from a newer sandbox is ignored, and the
run replayed from what is recorded.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path
from typing import Final

import msgspec

from ..exceptions import InvalidRequest

FOLDER: Final = "workflow-dumps"
KEY_FILE: Final = "workflow.key"
MAX_BYTES: Final = 256 << 20
FORMAT: Final = 1
_SEAL_BYTES: Final = 32
_RUN: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_log = logging.getLogger(__name__)


class Progress(msgspec.Struct, kw_only=True):
    """How far a run is: which text is fed, what was used up, and what it waits for, by the sandbox's call ids."""

    fed: int = 0
    calls: int = 0
    suspensions: int = 0
    worked_s: float = 0.0
    said_chars: int = 0
    pending: dict[int, tuple[str, str]] = msgspec.field(default_factory=dict)


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """A run that waits. `digest` is the script's, `sandbox` the version that wrote `state`."""

    run_id: str
    digest: str
    sandbox: str
    progress: Progress
    state: bytes
    format: int = FORMAT


class Dumps:
    """The dumps of a data folder, one file a run. Blocking: belongs in a thread."""

    def __init__(self, data_folder: Path, *, sandbox: str) -> None:
        self._folder = data_folder / FOLDER
        self._sandbox = sandbox
        self._key = _key(data_folder / KEY_FILE)

    def save(self, run_id: str, digest: str, progress: Progress, state: bytes) -> None:
        """Keeps a run as it waits, in place of what was kept before."""
        dump = Dump(run_id=run_id, digest=digest, sandbox=self._sandbox, progress=progress, state=state)
        data = msgspec.msgpack.encode(dump)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(run_id)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(self._seal(data) + data)
        draft.replace(path)

    def load(self, run_id: str, digest: str) -> Dump | None:
        """Returns what was kept of a run, None where there is nothing that this server may trust and can read."""
        path = self._path(run_id)
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            kept = path.read_bytes()
        except FileNotFoundError:
            return None
        seal, data = kept[:_SEAL_BYTES], kept[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(data)):
            _log.warning("The dump of the run %s has a wrong seal: it is ignored, the run is replayed.", run_id)
            return None
        try:
            dump = msgspec.msgpack.decode(data, type=Dump)
        except msgspec.MsgspecError:
            return None
        if (dump.run_id, dump.digest, dump.format) != (run_id, digest, FORMAT):
            return None
        if _version(dump.sandbox) > _version(self._sandbox):
            _log.info("The dump of the run %s was written by a newer sandbox: the run is replayed.", run_id)
            return None
        return dump

    def forget(self, run_id: str) -> None:
        """Removes what is kept of a run, if anything is."""
        self._path(run_id).unlink(missing_ok=True)

    def _seal(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)

    def _path(self, run_id: str) -> Path:
        if not _RUN.fullmatch(run_id):
            raise InvalidRequest(f"{run_id[:80]!r} is no id of a run.")
        return self._folder / run_id


def _key(path: Path) -> bytes:
    """Returns the server's key, made when it is asked for first; of two processes that make it one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
