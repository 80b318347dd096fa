"""Workflow scripts that the server carries out, as rows. What ended stays as it ended."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import WorkflowRunNotFound
from ..records import HeadlessRun, Principal, RunStatus, StoredCall, WorkflowEvent, clean, utc_now
from . import queries
from .database import Database, patient
from .workflow_tables import (
    call_claims,
    call_of,
    call_results,
    headless_of,
    headless_runs,
    headless_values,
    workflow_events,
)

_ENDED = [status.value for status in RunStatus if status.is_terminal]


class SqlHeadless(Database):
    """The part of SqlRows that keeps scripts' runs."""

    async def create_headless_run(self, run: HeadlessRun, script: dict[str, Any]) -> None:
        """Keeps a run whose pass was opened, with its script as plain data."""
        values = headless_values(msgspec.structs.asdict(run)) | {"script": script}
        await self._write(lambda db: db.execute(sa.insert(headless_runs).values(**values)))

    async def update_headless_run(self, workflow_run_id: str, **changed: Any) -> bool:
        """Writes what changed of a run; False, and nothing written, where it has ended."""
        values = headless_values(changed) | {"updated_at": utc_now()}
        its = (headless_runs.c.workflow_run_id == workflow_run_id) & headless_runs.c.status.not_in(_ENDED)
        done = await self._write(lambda db: db.execute(sa.update(headless_runs).where(its).values(**values)))
        return bool(done.rowcount)

    async def tell_headless_run(self, workflow_run_id: str, events: Sequence[WorkflowEvent], **changed: Any) -> bool:
        """Writes what a run told, numbered on from what it told before, with what changed of it, all or nothing.

        False where it has ended: what changed is not written then, the events are.
        """
        values = headless_values(changed) | {"updated_at": utc_now()}
        its = headless_runs.c.workflow_run_id == workflow_run_id
        told = workflow_events.c.workflow_run_id == workflow_run_id

        async def tell(db: AsyncConnection) -> bool:
            is_going_on = headless_runs.c.status.not_in(_ENDED)
            done = await db.execute(sa.update(headless_runs).where(its, is_going_on).values(**values))
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
        its = headless_runs.c.status.not_in(_ENDED) & (headless_runs.c.project == project)
        query = sa.select(headless_runs).where(its).order_by(headless_runs.c.created_at)
        async with self._reading() as db:
            return [headless_of(row) for row in (await db.execute(query)).mappings()]
