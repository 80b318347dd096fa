"""Turns what the operating system says into what the house says: one table of errno values."""

import errno
import os
from pathlib import Path
from typing import Final

from ..exceptions import StorageError, StorageFull, StorageUnavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def storage_fault(fault: OSError, path: Path, doing: str) -> StorageError:
    """Returns the exception to raise for an OSError met while `doing` something ("writing the journal") to `path`."""
    said = f"{os.strerror(fault.errno)} (errno {fault.errno})" if fault.errno else str(fault)
    details = {"path": str(path), "errno": fault.errno}
    if fault.errno in _FULL:
        return StorageFull(
            f"The disk is full: {doing} at {path} failed with {said}. "
            "Nothing was half written; make room and try again.",
            details=details,
        )
    if fault.errno in _FORBIDDEN:
        return StorageError(
            f"Not allowed: {doing} at {path} failed with {said}. "
            "Make that place writable for this user, or choose another data folder.",
            details=details,
        )
    return StorageUnavailable(
        f"The disk does not work: {doing} at {path} failed with {said}. Check the disk, then start the server again.",
        details=details,
    )


def sync_folder(folder: Path) -> None:
    """Makes the entries of a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Makes a folder that only its owner can enter, and its parents; one that is there is closed to others if it is
    this user's. Raises StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            folder.chmod(0o700)
    except OSError as fault:
        raise storage_fault(fault, folder, "making the folder") from fault
