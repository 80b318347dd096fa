"""Results that a pass is likely to claim next, and claims of what was used of them."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import Principal, StoredCall, clean
from .calls import KEYS_AT_ONCE, Claim, SqlCalls, claim_all, is_in, mark_used, unclaimed
from .database import patient
from .leases import check_lease
from .spending import workflow_run_row
from .workflow_tables import call_claims, call_of, call_results, headless_runs, workflow_run_of


class Use(NamedTuple):
    """A result that was told before it was asked for, and is used now: by which call, for which cell."""

    call_id: str
    token: str | None = None
    cell: str | None = None


class SqlAhead(SqlCalls):
    """The part of SqlRows that looks ahead of a pass."""

    async def use_calls(
        self, workflow_run_id: str, used: Sequence[Use], *, by: Principal, lease_no: int | None = None
    ) -> None:
        """Claims these results for the pass. What it has claimed already, and what is there no more, changes nothing.
        `lease_no` as in `take_calls`. Raises WorkflowRunNotFound, LeaseLost."""

        async def use(db: AsyncConnection) -> None:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            await check_lease(db, headless_runs.c.workflow_run_id, workflow_run_id, lease_no)
            wanted = {one.call_id: one for one in used}
            its = sa.and_(
                call_claims.c.call_id == call_results.c.call_id, call_claims.c.workflow_run_id == workflow_run_id
            )
            free = sa.select(call_results).where(is_in(run), call_results.c.is_done, sa.not_(sa.exists().where(its)))
            names = list(wanted)
            found: list[StoredCall] = []
            for at in range(0, len(names), KEYS_AT_ONCE):
                rows = await db.execute(free.where(call_results.c.call_id.in_(names[at : at + KEYS_AT_ONCE])))
                found += map(call_of, rows.mappings())
            claims = [Claim(call.key, wanted[call.call_id].cell, token=wanted[call.call_id].token) for call in found]
            await claim_all(db, run, list(zip(found, claims, strict=True)))
            await mark_used(db, [call.call_id for call in found])

        await self._write(use)

    @patient
    async def calls_after(self, workflow_run_id: str, call_id: str, *, by: Principal, most: int) -> list[StoredCall]:
        """Returns the results that this pass would claim if it made the calls that followed this one when they first
        ran: at most `most`, in that order. Raises WorkflowRunNotFound."""

        async def read(db: AsyncConnection) -> list[StoredCall]:
            run = workflow_run_of(await workflow_run_row(db, workflow_run_id, by=by))
            here = sa.select(call_results.c.number).where(is_in(run), call_results.c.call_id == clean(call_id))
            number = (await db.execute(here)).scalar()
            if number is None:
                return []
            its = sa.and_(
                call_claims.c.call_id == call_results.c.call_id, call_claims.c.workflow_run_id == workflow_run_id
            )
            next_keys = sa.select(call_results.c.key).where(
                is_in(run), call_results.c.number > number, call_results.c.is_done, sa.not_(sa.exists().where(its))
            )
            found = await db.execute(next_keys.order_by(call_results.c.number, call_results.c.call_id).limit(most))
            keys = list(found.scalars())
            # Of alike results the first one is claimed, wherever it stands.
            left = await unclaimed(db, run, set(keys))
            return [left[key].pop() for key in keys if left[key]]

        return await self._read(read)
