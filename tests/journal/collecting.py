"""A picture that is uploaded, dropped and an hour old again and again, while all that is nobody's is collected."""

import asyncio
import contextlib
import os
import random
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from jupyter_agent.exceptions import BlobNotFound
from jupyter_agent.journal.retention import collect
from jupyter_agent.records import utc_now
from jupyter_agent.storage import Storage
from jupyter_agent.storage.tables import blobs as blob_table

BODY = b"a picture"
GRACE_S = 600.0
PAUSES_S = (0, 0, 0.002, 0.02)


@dataclass
class Raced:
    """What came of it: how often it was referred to, how often collected, and what must not be."""

    attached: int = 0
    gone: int = 0
    lost: int = 0
    wrong: int = 0


async def race(storage: Storage, rounds: int, *, seed: int) -> Raced:
    """Returns what came of so many rounds."""
    rows, blobs, chance, raced = storage.rows, storage.blobs, random.Random(seed), Raced()

    async def attach() -> None:
        for _ in range(rounds):
            key = await blobs.put(BODY)
            await asyncio.sleep(chance.choice(PAUSES_S[:3]))
            await rows.refer(key, run_id=None, user_id="alice")
            raced.attached += 1
            try:
                raced.wrong += await blobs.get(key) != BODY
            except BlobNotFound:
                raced.lost += 1
            await rows.drop_uploads(before=utc_now() + timedelta(days=1))
            await _age(storage, key)
            await asyncio.sleep(chance.choice(PAUSES_S))

    attaching = asyncio.ensure_future(attach())
    while not attaching.done():
        raced.gone += len(await collect(storage, grace_s=GRACE_S))
    await attaching
    return raced


async def _age(storage: Storage, key: str) -> None:
    """Makes a blob older than anything is waited for."""
    if storage.is_shared:
        old = {"put_at": utc_now() - timedelta(hours=1), "put_again_at": None}
        await storage.rows._write(
            lambda db: db.execute(sa.update(blob_table).where(blob_table.c.key == key).values(**old))
        )
        return
    storage.blobs._put_again.pop(key, None)
    with contextlib.suppress(FileNotFoundError):
        os.utime(storage.blobs.path(key), (1, 1))
