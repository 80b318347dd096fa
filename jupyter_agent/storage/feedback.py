"""Feedback as rows: one rating a user and run, any number of messages."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..exceptions import FeedbackNotFound
from ..records import Feedback, FeedbackSummary, Page, Principal, clean
from . import queries
from .database import Database, patient
from .tables import feedback_of, feedbacks


class SqlFeedback(Database):
    """The part of the RowStore that keeps what people think of runs."""

    async def save_feedback(self, feedback: Feedback) -> Feedback:
        async def save(db: AsyncConnection) -> Feedback:
            by = Principal(user_id=feedback.user_id)
            run = await queries.run_row(db, feedback.run_id, by=by)
            row = await queries.put_feedback(db, msgspec.structs.replace(feedback, thread_id=run["thread_id"]))
            return feedback_of(row)

        return await self._write(save)

    @patient
    async def get_feedback(self, feedback_id: str, *, by: Principal) -> Feedback:
        async with self._reading() as db:
            return feedback_of(await queries.feedback_row(db, feedback_id, by=by))

    @patient
    async def list_feedback(
        self,
        *,
        by: Principal,
        run_id: str | None = None,
        thread_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Feedback]:
        query = sa.select(feedbacks).where(queries.is_of(feedbacks, by))
        for column, value in ((feedbacks.c.run_id, run_id), (feedbacks.c.thread_id, thread_id)):
            if value is not None:
                query = query.where(column == clean(value))
        name = feedbacks.c.feedback_id
        return await self._page("feedback", name, [query], feedback_of, limit=limit, cursor=cursor)

    async def delete_feedback(self, feedback_id: str, *, by: Principal) -> None:
        async def delete(db: AsyncConnection) -> None:
            await queries.feedback_row(db, feedback_id, by=by)
            await db.execute(sa.delete(feedbacks).where(feedbacks.c.feedback_id == feedback_id))

        await self._write(delete)

    async def withdraw_feedback(self, run_id: str, *, by: Principal) -> None:
        async def withdraw(db: AsyncConnection) -> None:
            row = await queries.feedback_of_run(db, run_id, user_id=by.user_id)
            if row is None:
                raise FeedbackNotFound(f"There is no feedback of yours on run {clean(run_id)!r}.")
            await db.execute(sa.delete(feedbacks).where(feedbacks.c.feedback_id == row["feedback_id"]))

        await self._write(withdraw)

    @patient
    async def thread_feedback(self, thread_id: str, *, by: Principal) -> dict[str, Feedback]:
        query = sa.select(feedbacks).where(
            feedbacks.c.thread_id == thread_id, feedbacks.c.user_id == by.user_id, feedbacks.c.message_id.is_(None)
        )
        async with self._reading() as db:
            found = [feedback_of(row) for row in (await db.execute(query)).mappings()]
        return {one.run_id: one for one in found}

    @patient
    async def feedback_summary(self, run_id: str, *, by: Principal) -> FeedbackSummary:
        async with self._reading() as db:
            await queries.run_row(db, run_id, by=by)
            counted = sa.select(feedbacks.c.rating, sa.func.count()).where(feedbacks.c.run_id == run_id)
            rows = await db.execute(counted.group_by(feedbacks.c.rating))
            counts = {row[0]: row[1] for row in rows}
        up, down = counts.get(1, 0), counts.get(-1, 0)
        return FeedbackSummary(run_id=run_id, total=up + down, positive=up, negative=down)
