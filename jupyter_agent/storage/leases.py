"""Leases: which process carries a run out. A number that only goes up tells a process from the one that took over.

A lease is its owner's until it passes unrenewed; then anybody may take it, and the number goes up by one. Every write
of an active run's row names the number (`queries.update_run`), so that whoever was taken over writes nothing any more.

Times are of the database's own clock: PostgreSQL has one for all who talk to it. A SQLite file is used by one machine
alone, so there it is that machine's time since its start, and a wall clock that jumps moves no lease.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import LeaseLost
from ..records import SYSTEM, Run
from . import queries
from .contract import FIRST_LEASE_NO, Holder, Lease
from .database import Database, patient
from .tables import run_of, runs

FREE = dict.fromkeys(("lease_owner", "lease_expires_at"))
"""What a row says that nobody has."""
_RELEASE: Final = (
    sa.update(runs)
    .where(runs.c.run_id == sa.bindparam("its_run_id"), runs.c.lease_no == sa.bindparam("its_lease_no"))
    .values(**FREE)
)


class Leases:
    """The leases of one table, by the ids of its rows: of runs, of scripts' runs, of calls in flight."""

    def __init__(self, database: Database, name: sa.Column[Any], may: sa.ColumnElement[bool] | None = None) -> None:
        """`may` is what has to hold of a row that is taken."""
        self._database = database
        self._name = name
        self._table = name.table
        self._may = sa.true() if may is None else may

    async def take_lease(self, run_id: str, holder: Holder) -> int | None:
        """Returns the number; None where another has it, and where there is none to take."""
        return (await self.take_leases(holder, [run_id])).get(run_id)

    async def take_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        """Returns the numbers of those that are the holder's now, each higher by one."""
        wanted = sorted(run_ids)
        table = self._table.c

        async def take(db: AsyncConnection) -> dict[str, int]:
            now = await self._database.backend.clock(db)
            lease = {
                "lease_owner": holder.owner, "lease_no": table.lease_no + 1, "lease_expires_at": now + holder.ttl_s,
            }  # fmt: skip
            free = is_free(self._table, now, owner=holder.owner)
            taken: dict[str, int] = {}
            for start in range(0, len(wanted), queries.CHUNK):
                its = (self._name.in_(wanted[start : start + queries.CHUNK]), self._may, free)
                query = sa.update(self._table).where(*its).values(**lease)
                found = await db.execute(query.returning(self._name, table.lease_no))
                taken |= {row[0]: row[1] for row in found}
            return taken

        return await self._database._write(take)

    async def renew_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        wanted = sorted(run_ids)
        table = self._table.c

        async def renew(db: AsyncConnection) -> dict[str, int]:
            until = await self._database.backend.clock(db) + holder.ttl_s
            renewed: dict[str, int] = {}
            for start in range(0, len(wanted), queries.CHUNK):
                # Also what has passed and nobody took meanwhile: a database that was away for a while costs no run.
                # Only what is named: a lease that its process gave up must pass, or nobody would take the run up.
                its = (table.lease_owner == holder.owner, self._name.in_(wanted[start : start + queries.CHUNK]))
                query = sa.update(self._table).where(*its).values(lease_expires_at=until)
                found = await db.execute(query.returning(self._name, table.lease_no))
                renewed |= {row[0]: row[1] for row in found}
            return renewed

        return await self._database._write(renew)

    async def release_lease(self, run_id: str, lease_no: int) -> None:
        its = (self._name == run_id, self._table.c.lease_no == lease_no)
        await self._database._write(lambda db: db.execute(sa.update(self._table).where(*its).values(**FREE)))

    async def release_leases(self, holder: Holder, run_ids: Iterable[str]) -> None:
        wanted = sorted(run_ids)

        async def release(db: AsyncConnection) -> None:
            for start in range(0, len(wanted), queries.CHUNK):
                its = (self._table.c.lease_owner == holder.owner, self._name.in_(wanted[start : start + queries.CHUNK]))
                await db.execute(sa.update(self._table).where(*its).values(**FREE))

        await self._database._write(release)

    async def end_leases(self) -> None:
        held = self._table.c.lease_owner.is_not(None)
        await self._database._write(lambda db: db.execute(sa.update(self._table).where(held).values(**FREE)))

    @patient
    async def lease_of(self, run_id: str) -> Lease | None:
        """Returns who has it, None where nobody does or there is none."""
        table = self._table.c
        query = sa.select(table.lease_owner, table.lease_no, table.lease_expires_at).where(self._name == run_id)
        async with self._database._reading() as db:
            row = await queries.first(db, query)
            if row is None or row["lease_owner"] is None:
                return None
            left_s = row["lease_expires_at"] - await self._database.backend.clock(db)
            return Lease(owner=row["lease_owner"], lease_no=row["lease_no"], left_s=left_s)


class SqlLeases(Database):
    """The part of SqlRows that leases runs."""

    @property
    def _leases(self) -> Leases:
        return Leases(self, runs.c.run_id)

    async def take_lease(self, run_id: str, holder: Holder) -> int | None:
        if (number := (await self.take_leases(holder, [run_id])).get(run_id)) is None:
            await self._read(lambda db: queries.run_row(db, run_id, by=SYSTEM))
        return number

    async def take_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        return await self._leases.take_leases(holder, run_ids)

    async def renew_leases(self, holder: Holder, run_ids: Iterable[str]) -> dict[str, int]:
        return await self._leases.renew_leases(holder, run_ids)

    async def release_lease(self, run_id: str, lease_no: int) -> None:
        its = {"its_run_id": run_id, "its_lease_no": lease_no}
        await self._write(lambda db: db.execute(_RELEASE, its))

    async def release_leases(self, holder: Holder, run_ids: Iterable[str]) -> None:
        await self._leases.release_leases(holder, run_ids)

    async def end_leases(self) -> None:
        await self._leases.end_leases()

    @patient
    async def lease_of(self, run_id: str) -> Lease | None:
        await self._read(lambda db: queries.run_row(db, run_id, by=SYSTEM))
        return await self._leases.lease_of(run_id)

    @patient
    async def unattended_runs(self) -> Sequence[Run]:
        async with self._reading() as db:
            passed = runs.c.lease_expires_at <= await self.backend.clock(db)
            # What has ended and is leased was not put away wholly.
            for_nobody = sa.select(runs).where(queries.IS_UNFINISHED, runs.c.lease_owner.is_(None))
            for_dead = sa.select(runs).where(runs.c.lease_owner.is_not(None), passed)
            found = [row for query in (for_nobody, for_dead) for row in (await db.execute(query)).mappings()]
        return sorted(map(run_of, found), key=lambda run: (run.created_at, run.run_id))


def is_free(table: sa.FromClause, now: float, *, owner: str = "") -> sa.ColumnElement[bool]:
    """The condition that `owner` may take a row: nobody has it, it has itself, or whoever has it let it pass."""
    lease = table.c
    return sa.or_(lease.lease_owner.is_(None), lease.lease_owner == owner, lease.lease_expires_at <= now)


async def first_lease(database: Database, db: AsyncConnection, holder: Holder | None) -> dict[str, Any]:
    """Returns the columns of a row that is created with a holder; none without one, for who is alone with its store."""
    if holder is None:
        return {}
    until = await database.backend.clock(db) + holder.ttl_s
    return {"lease_owner": holder.owner, "lease_no": FIRST_LEASE_NO, "lease_expires_at": until}


async def check_lease(db: AsyncConnection, name: sa.Column[Any], run_id: str, lease_no: int | None) -> None:
    """Raises LeaseLost where another has taken this row since it was leased under this number; None checks nothing."""
    if lease_no is None:
        return
    number = (await db.execute(sa.select(name.table.c.lease_no).where(name == run_id))).scalar()
    if number is not None and number != lease_no:
        raise LeaseLost(f"{run_id} is carried out by another server now.", details={"runId": run_id})
