"""Flows as rows: the Keeper of a server. Who carries a run out is told by a lease, as for runs (leases.py)."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import Conflict, FlowRunNotFound, LeaseLost
from ..flow.keeper import Taken
from ..flow.state import FlowRun, StepState
from ..records import Page, Principal, clean
from . import queries
from .contract import FIRST_LEASE_NO
from .database import Database, patient
from .flow_tables import IS_UNFINISHED, flow_run_of, flow_run_values, flow_runs, flow_steps, step_of, step_values
from .leases import FREE
from .tables import LEASE, Row


class SqlFlows(Database):
    """The part of SqlRows that keeps flows."""

    async def create_flow_run(
        self, run: FlowRun, steps: Sequence[StepState], *, owner: str, ttl_s: float
    ) -> tuple[FlowRun, int]:
        """Keeps a run that `owner` carries out and returns its number. Raises Conflict where its id is taken."""

        async def create(db: AsyncConnection) -> tuple[FlowRun, int]:
            its = flow_runs.c.flow_run_id == run.flow_run_id
            if await queries.first(db, sa.select(flow_runs.c.flow_run_id).where(its)) is not None:
                raise Conflict(f"The id {run.flow_run_id!r} is taken: leave it out, or choose another.")
            until = await self.backend.clock(db) + ttl_s
            lease = {"lease_owner": owner, "lease_no": FIRST_LEASE_NO, "lease_expires_at": until}
            await db.execute(sa.insert(flow_runs).values(**flow_run_values(run), **lease))
            its_steps = [
                {"flow_run_id": run.flow_run_id, "position": place, **step_values(step)}
                for place, step in enumerate(steps)
            ]
            await db.execute(sa.insert(flow_steps), its_steps)
            return run, FIRST_LEASE_NO

        return await self._write(create)

    async def save_flow_run(self, run: FlowRun, changed: Sequence[StepState], *, lease_no: int) -> None:
        """Writes the run and those steps, all or nothing. Raises LeaseLost where the run was taken over or is over."""
        values = flow_run_values(run) | (FREE if run.status.is_terminal else {})
        of_step = sa.update(flow_steps).where(
            flow_steps.c.flow_run_id == run.flow_run_id, flow_steps.c.step_id == sa.bindparam("of")
        )

        async def save(db: AsyncConnection) -> None:
            its = (flow_runs.c.flow_run_id == run.flow_run_id, flow_runs.c.lease_no == lease_no, IS_UNFINISHED)
            if not (await db.execute(sa.update(flow_runs).where(*its).values(**values))).rowcount:
                raise LeaseLost(f"Flow run {run.flow_run_id} is over, or carried out by another process now.")
            if changed:
                named = [step_values(step) for step in changed]
                await db.execute(of_step, [one | {"of": one.pop("step_id")} for one in named])

        await self._write(save)

    @patient
    async def get_flow_run(self, flow_run_id: str, *, by: Principal) -> FlowRun:
        """Raises FlowRunNotFound."""
        async with self._reading() as db:
            return flow_run_of(await _run_row(db, flow_run_id, by=by))

    @patient
    async def list_flow_runs(self, *, by: Principal, limit: int = 50, cursor: str | None = None) -> Page[FlowRun]:
        """Lists runs of flows, newest first."""
        kept = [column for column in flow_runs.c if column.name not in LEASE]
        query = sa.select(*kept).where(queries.is_of(flow_runs, by))
        name = flow_runs.c.flow_run_id
        return await self._page("flow_runs", name, [query], flow_run_of, limit=limit, cursor=cursor)

    @patient
    async def list_flow_steps(self, flow_run_id: str, *, by: Principal) -> Sequence[StepState]:
        """Returns the steps of a run, in the order of the flow. Raises FlowRunNotFound."""
        query = sa.select(flow_steps).where(flow_steps.c.flow_run_id == clean(flow_run_id))
        async with self._reading() as db:
            await _run_row(db, flow_run_id, by=by)
            rows = await db.execute(query.order_by(flow_steps.c.position))
            return [step_of(row) for row in rows.mappings()]

    async def drop_flow_runs(self, *, ended_before: datetime) -> int:
        """Deletes runs that ended before then, with their steps; returns how many."""
        its = flow_runs.c.ended_at < ended_before

        async def drop(db: AsyncConnection) -> int:
            ended = sa.select(flow_runs.c.flow_run_id).where(its)
            await db.execute(sa.delete(flow_steps).where(flow_steps.c.flow_run_id.in_(ended)))
            return int((await db.execute(sa.delete(flow_runs).where(its))).rowcount)

        return await self._write(drop)

    async def take_flow_runs(self, names: Iterable[str], *, owner: str, ttl_s: float) -> Sequence[Taken]:
        """Takes the unfinished runs of these flows that nobody carries out, oldest first."""
        known = sorted(map(clean, names))

        async def take(db: AsyncConnection) -> Sequence[Taken]:
            now = await self.backend.clock(db)
            free = sa.or_(flow_runs.c.lease_owner.is_(None), flow_runs.c.lease_expires_at <= now)
            lease = {
                "lease_owner": owner, "lease_no": flow_runs.c.lease_no + 1, "lease_expires_at": now + ttl_s,
            }  # fmt: skip
            taken: list[Taken] = []
            for start in range(0, len(known), queries.CHUNK):
                its = (IS_UNFINISHED, free, flow_runs.c.flow.in_(known[start : start + queries.CHUNK]))
                found = await db.execute(sa.update(flow_runs).where(*its).values(**lease).returning(flow_runs))
                taken += [Taken(flow_run_of(row), row["lease_no"]) for row in found.mappings()]
            return sorted(taken, key=lambda one: (one.run.created_at, one.run.flow_run_id))

        return await self._write(take)

    async def renew_flow_runs(self, flow_run_ids: Iterable[str], *, owner: str, ttl_s: float) -> set[str]:
        """Lets what is still the owner's be so for `ttl_s` from now; returns which those are."""
        wanted = sorted(flow_run_ids)

        async def renew(db: AsyncConnection) -> set[str]:
            until = await self.backend.clock(db) + ttl_s
            kept: set[str] = set()
            for start in range(0, len(wanted), queries.CHUNK):
                named = flow_runs.c.flow_run_id.in_(wanted[start : start + queries.CHUNK])
                query = sa.update(flow_runs).where(flow_runs.c.lease_owner == owner, named)
                found = await db.execute(query.values(lease_expires_at=until).returning(flow_runs.c.flow_run_id))
                kept.update(found.scalars())
            return kept

        return await self._write(renew)

    async def release_flow_runs(self, *, owner: str) -> None:
        """Lets go of all that an owner carries out, so that anybody may take it at once."""
        await self._write(
            lambda db: db.execute(sa.update(flow_runs).where(flow_runs.c.lease_owner == owner).values(**FREE))
        )


async def _run_row(db: AsyncConnection, flow_run_id: str, *, by: Principal) -> Row:
    its = (flow_runs.c.flow_run_id == clean(flow_run_id), queries.is_of(flow_runs, by))
    if (row := await queries.first(db, sa.select(flow_runs).where(*its))) is None:
        raise FlowRunNotFound(f"There is no flow run {clean(flow_run_id)!r}.")
    return row
