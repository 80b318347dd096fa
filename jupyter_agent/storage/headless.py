"""Workflow scripts that the server carries out, as rows. What ended stays as it ended."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from ..exceptions import WorkflowRunNotFound
from ..records import HeadlessRun, Principal, RunStatus, StoredCall, clean, utc_now
from . import queries
from .database import Database, patient
from .workflow_tables import call_claims, call_of, call_results, headless_of, headless_runs, headless_values

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
    async def list_headless_runs(self, workflow: str, project: str, *, by: Principal, limit: int) -> list[HeadlessRun]:
        """Returns the newest runs of a workflow, newest first, at most `limit`."""
        its = (headless_runs.c.workflow == clean(workflow)) & (headless_runs.c.project == project)
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
