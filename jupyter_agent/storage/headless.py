"""Workflow scripts that the server carries out, as rows. What ended stays as it ended."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import WorkflowRunNotFound
from ..records import HeadlessRun, Principal, RunStatus, StoredCall, WorkflowEvent, clean, utc_now
from . import queries
from .contract import Holder
from .database import Database, patient
from .leases import Leases, check_lease, first_lease, is_free
from .workflow_tables import (
    IS_UNFINISHED,
    call_claims,
    call_of,
    call_results,
    headless_of,
    headless_runs,
    headless_values,
    workflow_events,
)

_IS_GOING_ON = headless_runs.c.status.not_in([status.value for status in RunStatus if status.is_terminal])


class SqlHeadless(Database):
    """The part of SqlRows that keeps scripts' runs."""

    @property
    def headless_leases(self) -> Leases:
        """Who carries the runs out, where several servers may."""
        return Leases(self, headless_runs.c.workflow_run_id, _IS_GOING_ON)

    async def create_headless_run(
        self, run: HeadlessRun, script: dict[str, Any], *, holder: Holder | None = None
    ) -> None:
        """Keeps a run whose pass was opened, with its script as plain data, leased to the holder."""
        values = headless_values(msgspec.structs.asdict(run)) | {"script": script}

        async def create(db: AsyncConnection) -> None:
            await db.execute(sa.insert(headless_runs).values(**values, **await first_lease(self, db, holder)))

        await self._write(create)

    async def update_headless_run(self, workflow_run_id: str, *, lease_no: int | None = None, **changed: Any) -> bool:
        """Writes what changed of a run; False, and nothing written, where it has ended. Raises LeaseLost, and writes
        nothing, where it is leased under another number."""
        values = headless_values(changed) | {"updated_at": utc_now()}

        async def update(db: AsyncConnection) -> bool:
            await check_lease(db, headless_runs.c.workflow_run_id, workflow_run_id, lease_no)
            its = (headless_runs.c.workflow_run_id == workflow_run_id, _IS_GOING_ON)
            return bool((await db.execute(sa.update(headless_runs).where(*its).values(**values))).rowcount)

        return await self._write(update)

    async def tell_headless_run(
        self, workflow_run_id: str, events: Sequence[WorkflowEvent], *, lease_no: int | None = None, **changed: Any
    ) -> bool:
        """Writes what a run told, numbered on from what it told before, with what changed of it, all or nothing.

        False where it has ended: what changed is not written then, the events are. Raises LeaseLost, and writes
        nothing, where it is leased under another number.
        """
        values = headless_values(changed) | {"updated_at": utc_now()}
        its = headless_runs.c.workflow_run_id == workflow_run_id
        told = workflow_events.c.workflow_run_id == workflow_run_id

        async def tell(db: AsyncConnection) -> bool:
            await check_lease(db, headless_runs.c.workflow_run_id, workflow_run_id, lease_no)
            done = await db.execute(sa.update(headless_runs).where(its, _IS_GOING_ON).values(**values))
            if events:
                highest = sa.select(sa.func.coalesce(sa.func.max(workflow_events.c.number), 0)).where(told)
                last = (await db.execute(highest)).scalar_one()
                rows = [
                    {
                        "workflow_run_id": workflow_run_id, "number": number, "type": event.type,
                        "told": clean(msgspec.to_builtins(msgspec.structs.replace(event, number=number))),
                    }
                    for number, event in enumerate(events, last + 1)
                ]  # fmt: skip
                await db.execute(sa.insert(workflow_events), rows)
            return bool(done.rowcount)

        return await self._write(tell)

    @patient
    async def list_workflow_events(
        self, workflow_run_id: str, *, by: Principal, after: int = 0, limit: int = 1_000
    ) -> Sequence[WorkflowEvent]:
        """Returns what a run told after that number, in order. Raises WorkflowRunNotFound."""
        await self.get_headless_run(workflow_run_id, by=by)
        its = (workflow_events.c.workflow_run_id == workflow_run_id, workflow_events.c.number > after)
        query = sa.select(workflow_events.c.told).where(*its).order_by(workflow_events.c.number).limit(limit)
        async with self._reading() as db:
            return [msgspec.convert(told, WorkflowEvent) for told in (await db.execute(query)).scalars()]

    @patient
    async def get_headless_run(self, workflow_run_id: str, *, by: Principal) -> HeadlessRun:
        """Raises WorkflowRunNotFound."""
        its = headless_runs.c.workflow_run_id == clean(workflow_run_id)
        async with self._reading() as db:
            query = sa.select(headless_runs).where(queries.is_of(headless_runs, by), its)
            row = await queries.first(db, query)
        if row is None:
            raise WorkflowRunNotFound(f"There is no run {workflow_run_id!r} of a script.")
        return headless_of(row)

    @patient
    async def headless_script(self, workflow_run_id: str) -> dict[str, Any]:
        """Returns the script of a run that there is."""
        its = headless_runs.c.workflow_run_id == workflow_run_id
        async with self._reading() as db:
            return dict((await db.execute(sa.select(headless_runs.c.script).where(its))).scalar_one())

    @patient
    async def held_calls(self, workflow_run_id: str) -> Sequence[StoredCall]:
        """Returns what a pass has claimed, each with the place that claimed it as its cell, in order."""
        its = call_claims.c.call_id == call_results.c.call_id
        query = sa.select(call_results, call_claims.c.cell.label("place")).join(call_claims, its)
        query = query.where(call_claims.c.workflow_run_id == workflow_run_id)
        async with self._reading() as db:
            rows = (await db.execute(query.order_by(call_claims.c.claimed_at, call_results.c.number))).mappings()
            return [msgspec.structs.replace(call_of(row), cell=row["place"]) for row in rows]

    @patient
    async def list_headless_runs(
        self, workflow: str | None, project: str, *, by: Principal, limit: int
    ) -> list[HeadlessRun]:
        """Returns the newest runs of a workflow, of all without one, newest first, at most `limit`."""
        its = headless_runs.c.project == project
        if workflow is not None:
            its &= headless_runs.c.workflow == clean(workflow)
        newest = (headless_runs.c.created_at.desc(), headless_runs.c.workflow_run_id.desc())
        query = sa.select(headless_runs).where(queries.is_of(headless_runs, by), its).order_by(*newest).limit(limit)
        async with self._reading() as db:
            return [headless_of(row) for row in (await db.execute(query)).mappings()]

    @patient
    async def unfinished_headless_runs(self, project: str) -> Sequence[HeadlessRun]:
        """Returns the runs of a workspace that have not ended, oldest first."""
        its = _IS_GOING_ON & (headless_runs.c.project == project)
        query = sa.select(headless_runs).where(its).order_by(headless_runs.c.created_at)
        async with self._reading() as db:
            return [headless_of(row) for row in (await db.execute(query)).mappings()]

    @patient
    async def unattended_headless_runs(self, project: str) -> Sequence[str]:
        """Returns the ids of the runs of a workspace that have not ended and that nobody carries out, oldest first."""
        its = IS_UNFINISHED & _IS_GOING_ON & (headless_runs.c.project == project)
        async with self._reading() as db:
            free = is_free(headless_runs, await self.backend.clock(db))
            query = sa.select(headless_runs.c.workflow_run_id).where(its, free).order_by(headless_runs.c.created_at)
            return list((await db.execute(query)).scalars())
