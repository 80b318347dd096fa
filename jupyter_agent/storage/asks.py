"""What people were asked, as rows: approvals of tool calls, and questions."""

from collections.abc import Sequence

import sqlalchemy as sa

from ..exceptions import ApprovalNotFound
from ..records import Approval, InputNeeded, Principal, clean
from . import queries
from .database import Database, patient
from .tables import approval_of, approvals, input_of, inputs, runs


class SqlAsks(Database):
    """The part of the RowStore that keeps what people were asked."""

    @patient
    async def list_approvals(self, run_id: str, *, by: Principal) -> Sequence[Approval]:
        query = sa.select(approvals).where(approvals.c.run_id == clean(run_id))
        async with self._reading() as db:
            await queries.run_row(db, run_id, by=by)
            rows = await db.execute(query.order_by(approvals.c.asked_at, approvals.c.approval_id))
            return [approval_of(row) for row in rows.mappings()]

    @patient
    async def list_inputs(self, run_id: str, *, by: Principal) -> Sequence[InputNeeded]:
        query = sa.select(inputs).where(inputs.c.run_id == clean(run_id))
        async with self._reading() as db:
            await queries.run_row(db, run_id, by=by)
            rows = await db.execute(query.order_by(inputs.c.asked_at, inputs.c.request_id))
            return [input_of(row) for row in rows.mappings()]

    @patient
    async def get_approval(self, approval_id: str, *, by: Principal) -> Approval:
        query = sa.select(approvals).join(runs, runs.c.run_id == approvals.c.run_id)
        query = query.where(approvals.c.approval_id == clean(approval_id), queries.is_of(runs, by))
        async with self._reading() as db:
            row = await queries.first(db, query.order_by(approvals.c.run_id))
        if row is None:
            raise ApprovalNotFound(f"There is no approval {clean(approval_id)!r}.")
        return approval_of(row)
