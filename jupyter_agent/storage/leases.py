"""Leases: which process carries a run out. A number that only goes up tells a process from the one that took over.

A lease is its owner's until it passes unrenewed; then anybody may take it, and the number goes up by one. Every write
of an active run's row names the number (`queries.update_run`), so that whoever was taken over writes nothing any more.

Times are of the database's own clock: PostgreSQL has one for all who talk to it. A SQLite file is used by one machine
alone, so there it is that machine's time since its start, and a wall clock that jumps moves no lease.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import SYSTEM, Run
from . import queries
from .contract import Holder, Lease
from .database import Database, patient
from .tables import run_of, runs

_RELEASE: Final = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("its_run_id"), runs.c.lease_no == sa.bindparam("its_lease_no"))
    .values(lease_owner=None, lease_expires_at=None)
)


class SqlLeases(Database):
    """The part of SqlRows that leases runs."""

    async def take_lease(self, run_id: str, holder: Holder) -> int | None:
        async def take(db: AsyncConnection) -> int | None:
            now = await self.backend.clock(db)
            free = is_free(holder.owner, now)
            taken = await db.execute(
                sa.update(runs)
                .where(runs.c.run_id == run_id, free)
                .values(lease_owner=holder.owner, lease_no=runs.c.lease_no + 1, lease_expires_at=now + holder.ttl_s)
                .returning(runs.c.lease_no)
            )
            number: int | None = taken.scalar()
            if number is None:
                await queries.run_row(db, run_id, by=SYSTEM)
            return number

        return await self._write(take)

    async def renew_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        wanted = sorted(run_ids)

        async def renew(db: AsyncConnection) -> dict[str, int]:
            until = await self.backend.clock(db) + holder.ttl_s
            renewed: dict[str, int] = {}
            for start in range(0, len(wanted), queries.CHUNK):
                # Also what has passed and nobody took meanwhile: a database that was away for a while costs no run.
                # Only what is named: a lease that its process gave up must pass, or nobody would take the run up.
                its = (runs.c.lease_owner == holder.owner, runs.c.run_id.in_(wanted[start : start + queries.CHUNK]))
                query = sa.update(runs).where(*its).values(lease_expires_at=until)
                found = await db.execute(query.returning(runs.c.run_id, runs.c.lease_no))
                renewed |= {row.run_id: row.lease_no for row in found}
            return renewed

        return await self._write(renew)

    async def release_lease(self, run_id: str, lease_no: int) -> None:
        async def release(db: AsyncConnection) -> None:
            await db.execute(_RELEASE, {"its_run_id": run_id, "its_lease_no": lease_no})

        await self._write(release)

    async def end_leases(self) -> None:
        async def end(db: AsyncConnection) -> None:
            held = runs.c.lease_owner.is_not(None)
            await db.execute(sa.update(runs).where(held).values(lease_owner=None, lease_expires_at=None))

        await self._write(end)

    @patient
    async def lease_of(self, run_id: str) -> Lease | None:
        async with self._reading() as db:
            row = await queries.run_row(db, run_id, by=SYSTEM)
            if row["lease_owner"] is None:
                return None
            left_s = row["lease_expires_at"] - await self.backend.clock(db)
            return Lease(owner=row["lease_owner"], lease_no=row["lease_no"], left_s=left_s)

    @patient
    async def unattended_runs(self) -> Sequence[Run]:
        async with self._reading() as db:
            passed = runs.c.lease_expires_at <= await self.backend.clock(db)
            # What has ended and is leased was not put away wholly.
            for_nobody = sa.select(runs).where(queries.IS_UNFINISHED, runs.c.lease_owner.is_(None))
            for_dead = sa.select(runs).where(runs.c.lease_owner.is_not(None), passed)
            found = [row for query in (for_nobody, for_dead) for row in (await db.execute(query)).mappings()]
        return sorted(map(run_of, found), key=lambda run: (run.created_at, run.run_id))


def is_free(owner: str, now: float) -> sa.ColumnElement[bool]:
    """The condition that `owner` may take a run: nobody has it, it has itself, or whoever has it let it pass."""
    return sa.or_(runs.c.lease_owner.is_(None), runs.c.lease_owner == owner, runs.c.lease_expires_at <= now)
