"""The data folder: where it is by default, and who may use it."""

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final

from ..exceptions import StorageUnavailable
from .faults import make_folder, storage_fault

LOCK_FILE: Final = "server.lock"


def workspace_folder(data_dir: Path, workspace: Path) -> Path:
    """Returns the data folder of a workspace under Jupyter's data directory, one for each workspace."""
    workspace = workspace.expanduser().resolve()
    key = hashlib.sha256(str(workspace).encode()).hexdigest()[:10]
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in workspace.name)[:40]
    return data_dir / "jupyter_agent" / f"{name or 'root'}-{key}"


class FolderLock:
    """Sees to it that a data folder is used by one process. Held until released, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._handle: int | None = None

    def take(self) -> None:
        """Raises StorageUnavailable naming the process that has it, StorageError for a folder that cannot be used."""
        make_folder(self._path.parent)
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise storage_fault(fault, self._path, "locking the data folder") from fault
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise StorageUnavailable(
                f"Another Jupyter server (process {owner}) uses the data folder {self._path.parent}. Use that server, "
                "stop it, or start this one with another folder: --AgentGateway.data_folder=…"
            ) from fault
        self._handle = handle
        # Only for people to read: on a full disk the lock holds without a name in it.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)

    def owner(self) -> int | None:
        """Returns the process that has the folder, None where nobody has it or it did not say who it is."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            said = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            return int(said) if said.isdigit() else None
        finally:
            os.close(handle)
        return None

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
