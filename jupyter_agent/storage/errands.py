"""Errands: what one process asks of the one that carries a run out, left in a table where that one finds it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import Principal, clean
from . import queries
from .contract import Errand, Reply
from .database import Database
from .tables import errands

FORGOTTEN_AFTER_S: Final = 600.0
"""An errand whose asker is gone as well is swept away by the next one."""


class SqlErrands(Database):
    """The part of SqlRows that passes errands on."""

    async def leave_errand(self, errand: Errand) -> None:
        async def leave(db: AsyncConnection) -> None:
            now = await self.backend.clock(db)
            await db.execute(sa.delete(errands).where(errands.c.asked_at < now - FORGOTTEN_AFTER_S))
            values = errand._asdict() | {"arguments": clean(errand.arguments), "by": msgspec.to_builtins(errand.by)}
            await db.execute(sa.insert(errands).values(**values, asked_at=now, is_taken=False))

        await self._write(leave)

    async def take_errands(self, run_ids: Iterable[str]) -> Sequence[Errand]:
        wanted = frozenset(run_ids)
        named = (errands.c.errand_id, errands.c.run_id)
        query = sa.select(*named).where(sa.not_(errands.c.is_taken)).order_by(errands.c.asked_at)
        # There are hardly ever any, and most are for others: looking for them is a read, and of their names alone.
        async with self._reading() as db:
            found = [errand_id for errand_id, run_id in await db.execute(query) if run_id in wanted]
        taken = [await self._take_errand(errand_id) for errand_id in found]
        return [errand for errand in taken if errand is not None]

    async def _take_errand(self, errand_id: str) -> Errand | None:
        """Takes an errand that nobody took yet; None where somebody did."""
        its = errands.c.errand_id == errand_id

        async def take(db: AsyncConnection) -> Errand | None:
            untaken = sa.update(errands).where(its, sa.not_(errands.c.is_taken)).values(is_taken=True)
            if not (await db.execute(untaken)).rowcount:
                return None
            row = await queries.first(db, sa.select(errands).where(its))
            return None if row is None else _errand_of(row)

        return await self._write(take)

    async def reply_to_errand(self, errand_id: str, reply: Reply) -> None:
        said = reply._asdict() | {"details": clean(dict(reply.details))}
        await self._changes(sa.update(errands).where(errands.c.errand_id == errand_id).values(reply=said))

    async def collect_reply(self, errand_id: str) -> Reply | None:
        its = errands.c.errand_id == errand_id
        async with self._reading() as db:
            row = await queries.first(db, sa.select(errands).where(its, errands.c.reply.is_not(None)))
        if row is None:
            return None
        await self._changes(sa.delete(errands).where(its))
        return Reply(**row["reply"])

    async def withdraw_errand(self, errand_id: str) -> bool:
        its = (errands.c.errand_id == errand_id, sa.not_(errands.c.is_taken))
        return await self._changes(sa.delete(errands).where(*its))

    async def _changes(self, statement: sa.Update | sa.Delete) -> bool:
        """Executes a statement and tells whether it changed a row."""

        async def change(db: AsyncConnection) -> bool:
            return bool((await db.execute(statement)).rowcount)

        return await self._write(change)


def _errand_of(row: Mapping[Any, Any]) -> Errand:
    kept = {name: row[name] for name in ("errand_id", "run_id", "deed", "arguments")}
    return Errand(**kept, by=msgspec.convert(row["by"], Principal))
