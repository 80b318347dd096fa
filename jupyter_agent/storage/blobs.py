"""Blobs on disk: bytes under the SHA-256 of themselves, `blobs/<first two hex>/<rest>`, kept once and never changed.

A file holds the bytes as they are, or their zlib stream where that is clearly smaller; what is read is hashed again
either way, so wrong bytes are never served.
"""

import asyncio
import contextlib
import hashlib
import math
import os
import re
import secrets
import threading
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from ..exceptions import BlobDamaged, BlobNotFound, StorageUnavailable
from ..failpoints import failpoint
from .faults import make_folder, storage_fault, sync_folder

_is_key: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_SAMPLE_BYTES: Final = 64 * 1024
_WORTH_IT: Final = 0.9
TEMPORARY: Final = ".tmp"
NOTES: Final = 10_000


class FileBlobs:
    """The BlobStore of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "blobs"
        self.quarantine = folder / "quarantine"
        self._fault: StorageUnavailable | None = None
        self._put_again: dict[str, float] = {}
        self._guard = threading.Lock()
        """Held for as long as it takes to see that bytes are there and to say that they are wanted, or to see that
        nobody wants them and to take them away: what is put is never deleted by somebody who looked before."""

    def path(self, key: str) -> Path:
        """Returns the file of a key. Raises BlobNotFound for what is no key."""
        check_key(key)
        return self.folder / key[:2] / key[2:]

    async def put(self, data: bytes) -> str:
        return await asyncio.to_thread(self._put, data)

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self._get, key)

    async def delete(self, key: str, *, unused_s: float = 0.0, kept_for_s: float = 0.0) -> bool:
        return await asyncio.to_thread(self._delete, key, unused_s, kept_for_s)

    async def size(self, key: str) -> int:
        try:
            return (await asyncio.to_thread(self.path(key).stat)).st_size
        except FileNotFoundError:
            return 0

    async def age_s(self, key: str) -> float:
        try:
            return time.time() - (await asyncio.to_thread(self.path(key).stat)).st_mtime
        except FileNotFoundError:
            return 0.0

    async def keys(self) -> AsyncIterator[str]:
        for folder in await asyncio.to_thread(_listed, self.folder):
            for path in await asyncio.to_thread(_listed, folder):
                if _is_key(folder.name + path.name):
                    yield folder.name + path.name

    def temporaries(self) -> list[Path]:
        """Returns the files that puts left behind when their process died. Blocking."""
        return sorted(self.folder.glob(f"??/*{TEMPORARY}"))

    def set_aside(self, key: str) -> Path:
        return self.set_file_aside(self.path(key))

    def set_file_aside(self, path: Path) -> Path:
        """Moves a file that is no good blob to the quarantine and returns where it is now. Blocking."""
        make_folder(self.quarantine)
        kept = self.quarantine / f"blob-{path.parent.name}{path.name}-{secrets.token_hex(4)}"
        try:
            path.rename(kept)
        except OSError as fault:
            raise storage_fault(fault, path, "setting a blob aside") from fault
        return kept

    def _delete(self, key: str, unused_s: float, kept_for_s: float) -> bool:
        path = self.path(key)
        try:
            with self._guard:
                if time.monotonic() - self._put_again.get(key, -math.inf) < max(unused_s, kept_for_s):
                    return False
                if kept_for_s and path.exists() and time.time() - path.stat().st_mtime < kept_for_s:
                    return False
                for one in (path, *self.quarantine.glob(f"blob-{key}-*")):
                    one.unlink(missing_ok=True)
                self._put_again.pop(key, None)
        except OSError as fault:
            raise storage_fault(fault, path, "deleting the blob") from fault
        return True

    def _put(self, data: bytes) -> str:
        if self._fault:
            raise self._fault
        key = hashlib.sha256(data).hexdigest()
        path = self.path(key)
        with self._guard:
            if is_there := path.exists():
                self._note(key)
                with contextlib.suppress(OSError):
                    os.utime(path)  # for whoever clears up after the next start
        if is_there:
            with contextlib.suppress(BlobNotFound, BlobDamaged):
                self._get(key)
                return key
        is_new = not path.parent.exists()
        make_folder(path.parent)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
        try:
            self._write(temporary, _packed(data))
            failpoint("blobs.before_rename")
            temporary.rename(path)
            self._sync_folders(path.parent, is_new=is_new)
        except OSError as fault:
            raise storage_fault(fault, path, "keeping a blob") from fault
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return key

    def _note(self, key: str) -> None:
        """Remembers that somebody put bytes that are there: before they are referred to, deleting them is wrong."""
        if len(self._put_again) >= NOTES:
            for old in sorted(self._put_again, key=self._put_again.__getitem__)[: NOTES // 2]:
                self._put_again.pop(old, None)
        self._put_again[key] = time.monotonic()

    def _write(self, path: Path, data: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            try:
                failpoint("blobs.before_fsync")
                os.fsync(handle)
            except OSError as fault:
                raise self._refuse_from_now(path, fault) from fault

    def _sync_folders(self, folder: Path, *, is_new: bool) -> None:
        try:
            sync_folder(folder)
            if is_new:
                sync_folder(self.folder)
        except OSError as fault:
            raise self._refuse_from_now(folder, fault) from fault

    def _refuse_from_now(self, path: Path, fault: OSError) -> StorageUnavailable:
        self._fault = StorageUnavailable(
            f"Syncing {path} failed: {fault}. Nothing more is acknowledged by this store. "
            "Check the disk, then start the server again.",
            details={"path": str(path), "errno": fault.errno},
        )
        return self._fault

    def _get(self, key: str) -> bytes:
        path = self.path(key)
        try:
            kept = path.read_bytes()
        except FileNotFoundError as fault:
            raise BlobNotFound(f"There is no blob {key}.") from fault
        except OSError as fault:
            raise storage_fault(fault, path, "reading a blob") from fault
        if hashlib.sha256(kept).hexdigest() == key:
            return kept
        with contextlib.suppress(zlib.error):
            data = zlib.decompress(kept)
            if hashlib.sha256(data).hexdigest() == key:
                return data
        raise BlobDamaged(
            f"The blob {path} no longer holds the bytes of its key: it is not served. "
            "`jupyter agent check --repair` sets it aside.",
            details={"path": str(path), "key": key},
        )


def check_key(key: str) -> str:
    """Returns the key. Raises BlobNotFound for what is none."""
    if not _is_key(key):
        raise BlobNotFound(f"{key!r} is no blob key: 64 lower-case hex digits are.")
    return key


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _packed(data: bytes) -> bytes:
    """Returns the zlib stream of the bytes where it is clearly smaller, judged by their beginning, or the bytes."""
    sample = data[:_SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) > _WORTH_IT * len(sample):
        return data
    packed = zlib.compress(data, 6)
    return packed if len(packed) < _WORTH_IT * len(data) else data
