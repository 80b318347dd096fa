"""Blobs in a table of PostgreSQL: bytes under the SHA-256 of themselves, kept once and never changed.

The server compresses them itself. What is read is hashed again, so wrong bytes are never served.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from ..exceptions import BlobDamaged, BlobNotFound
from .blobs import check_key
from .faults import make_folder, storage_fault
from .pool import Pool

PAGE: Final = 1000

_TOUCH: Final = """
UPDATE blobs SET put_at = clock_timestamp(), put_again_at = clock_timestamp()
WHERE key = :key AND sha256(data) = decode(:key, 'hex')
"""
_PUT: Final = """
INSERT INTO blobs (key, data) VALUES (:key, :data)
ON CONFLICT (key) DO UPDATE SET data = excluded.data, put_at = clock_timestamp(), put_again_at = clock_timestamp()
"""
_DELETE: Final = """
DELETE FROM blobs
WHERE key = :key
  AND (put_again_at IS NULL OR put_again_at <= clock_timestamp() - make_interval(secs => :unused_s))
  AND put_at <= clock_timestamp() - make_interval(secs => :kept_for_s)
"""


class PostgresBlobs:
    """The BlobStore of a database. What it sets aside goes to a folder of this machine."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool = pool
        self.quarantine = folder / "quarantine"

    async def put(self, data: bytes) -> str:
        return await asyncio.to_thread(self._put, data)

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self._get, check_key(key))

    async def delete(self, key: str, *, unused_s: float = 0.0, kept_for_s: float = 0.0) -> bool:
        return await asyncio.to_thread(self._delete, check_key(key), unused_s, kept_for_s)

    async def size(self, key: str) -> int:
        found = await self._one("SELECT pg_column_size(data) FROM blobs WHERE key = :key", key)
        return int(found or 0)

    async def age_s(self, key: str) -> float:
        age = "SELECT extract(epoch FROM clock_timestamp() - put_at) FROM blobs WHERE key = :key"
        return float(await self._one(age, key) or 0.0)

    async def _one(self, statement: str, key: str) -> Any:
        rows = await asyncio.to_thread(self._pool.rows, statement, key=check_key(key))
        return rows[0][0] if rows else None

    async def keys(self) -> AsyncIterator[str]:
        after = ""
        statement = "SELECT key FROM blobs WHERE key > :after ORDER BY key LIMIT :page"
        while rows := await asyncio.to_thread(self._pool.rows, statement, after=after, page=PAGE):
            for row in rows:
                yield row[0]
            after = rows[-1][0]

    def temporaries(self) -> list[Path]:
        """Returns what puts left behind when their process died: here nothing."""
        return []

    def set_file_aside(self, path: Path) -> Path:
        raise BlobNotFound(f"{path} is no file of this store: it has none.")

    def set_aside(self, key: str) -> Path:
        """Moves what stands under a key and is none of its bytes to the quarantine. Blocking."""
        kept = self.quarantine / f"blob-{check_key(key)}-{secrets.token_hex(4)}"
        make_folder(self.quarantine)
        try:
            handle = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(self._kept(key))
                file.flush()
                os.fsync(handle)
        except OSError as fault:
            raise storage_fault(fault, kept, "setting a blob aside") from fault
        self._pool.changed("DELETE FROM blobs WHERE key = :key", key=key)
        return kept

    def _put(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        # Bytes that are there are not sent again.
        if not self._pool.changed(_TOUCH, key=key):
            self._pool.changed(_PUT, key=key, data=data)
        return key

    def _get(self, key: str) -> bytes:
        data = self._kept(key)
        if hashlib.sha256(data).hexdigest() != key:
            raise BlobDamaged(
                f"The blob {key} in {self._pool.server.name} no longer holds the bytes of its key: it is not served. "
                "`jupyter agent check --repair` sets it aside.",
                details={"path": self._pool.server.name, "key": key},
            )
        return data

    def _kept(self, key: str) -> bytes:
        rows = self._pool.rows("SELECT data FROM blobs WHERE key = :key", key=key)
        if not rows:
            raise BlobNotFound(f"There is no blob {key}.")
        return bytes(rows[0][0])

    def _delete(self, key: str, unused_s: float, kept_for_s: float) -> bool:
        is_gone = self._pool.changed(_DELETE, key=key, unused_s=unused_s, kept_for_s=kept_for_s)
        if not is_gone and self._pool.rows("SELECT 1 FROM blobs WHERE key = :key", key=key):
            return False
        for one in self.quarantine.glob(f"blob-{key}-*"):
            one.unlink(missing_ok=True)
        return True
