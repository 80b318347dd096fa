"""What may go, as the rows know it: threads that nobody uses, blobs that nobody refers to, uploads that no run took."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import SYSTEM, Principal, Thread
from . import queries
from .cursors import Key
from .database import Database
from .tables import blob_refs, runs, thread_of, threads


class SqlRetention(Database):
    """The part of the RowStore that tells what is old, and what is left over."""

    async def idle_threads(self, *, by: Principal, after: Key | None = None, limit: int = 100) -> Sequence[Thread]:
        is_going_on = sa.exists().where(runs.c.thread_id == threads.c.thread_id, queries.IS_UNFINISHED)
        query = sa.select(threads).where(queries.is_of(threads, by), sa.not_(is_going_on))
        at = threads.c.updated_at
        if after is not None:
            is_next = sa.and_(at == after.created_at, threads.c.thread_id > after.id)
            query = query.where(sa.or_(at > after.created_at, is_next))
        async with self._reading() as db:
            rows = await db.execute(query.order_by(at, threads.c.thread_id).limit(limit))
            return [thread_of(row) for row in rows.mappings()]

    async def run_ids(self, thread_id: str, *, by: Principal) -> Sequence[str]:
        query = sa.select(runs.c.run_id).where(runs.c.thread_id == thread_id, queries.is_of(runs, by))
        async with self._reading() as db:
            return list((await db.execute(query.order_by(runs.c.created_at, runs.c.run_id))).scalars())

    async def blobs_of_thread(self, thread_id: str) -> dict[str, set[str]]:
        of_thread = (
            sa.select(blob_refs.c.key)
            .join(runs, runs.c.run_id == blob_refs.c.run_id)
            .where(runs.c.thread_id == thread_id)
        )
        others = (
            sa.select(blob_refs.c.key, runs.c.thread_id)
            .outerjoin(runs, runs.c.run_id == blob_refs.c.run_id)
            .where(
                blob_refs.c.key.in_(of_thread),
                sa.or_(blob_refs.c.run_id == "", runs.c.thread_id != thread_id),
            )
            .distinct()
        )
        async with self._reading() as db:
            found: dict[str, set[str]] = {key: set() for key in (await db.execute(of_thread)).scalars()}
            for key, other in (await db.execute(others)).all():
                found[key].add(other or "")
        return found

    async def in_use(self, keys: Sequence[str]) -> set[str]:
        async with self._reading() as db:
            return await queries.referred(db, keys, by=SYSTEM)

    async def without_row(self, run_ids: Sequence[str]) -> set[str]:
        async with self._reading() as db:
            return set(run_ids) - await queries.existing(db, run_ids)

    async def drop_uploads(self, *, before: datetime) -> Sequence[str]:
        is_old = sa.or_(blob_refs.c.created_at.is_(None), blob_refs.c.created_at < before)

        async def drop(db: AsyncConnection) -> Sequence[str]:
            dropped = sa.delete(blob_refs).where(blob_refs.c.run_id == "", is_old).returning(blob_refs.c.key)
            return list((await db.execute(dropped)).scalars())

        return await self._write(drop)
