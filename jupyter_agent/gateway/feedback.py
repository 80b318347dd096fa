"""REST of feedback: what people think of runs and of single messages."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from tornado import web

from ..exceptions import FeedbackNotFound, RunNotFound, ThreadNotFound
from ..records import Feedback, FeedbackSummary, Page, new_id, utc_now
from .rest import AgentHandler, authorized, operation
from .threads import Id, PageQuery


class Rating(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What somebody says: +1 or -1, of the whole run or of one message."""

    rating: Literal[1, -1]
    message_id: Id | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


class RunFeedback(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:feedback")
    @operation("One's feedback on a run, newest first", answer=Page[Feedback], query=PageQuery, faults=(404,))
    async def get(self, run_id: str) -> None:
        query = self.asked(PageQuery)
        rooms = await self.rooms()
        run = await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        page = await rooms.storage.rows.list_feedback(
            by=self.principal, run_id=run.run_id, limit=query.limit, cursor=query.cursor
        )
        self.reply(page)

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:feedback")
    @operation("Rate a run, or a message of it. A user's second rating of a whole run replaces the first",
               body=Rating, answer=Feedback, status=201, faults=(404,))  # fmt: skip
    async def post(self, run_id: str) -> None:
        sent = self.sent(Rating)
        now = utc_now()
        given = Feedback(
            feedback_id=new_id("fbk"),
            run_id=self.known(run_id, RunNotFound),
            thread_id="",
            user_id=self.principal.user_id,
            created_at=now,
            updated_at=now,
            **msgspec.structs.asdict(sent),
        )
        self.reply(await (await self.rooms()).storage.rows.save_feedback(given), 201)

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:feedback")
    @operation("Take one's rating of a whole run back", status=204, faults=(404,))
    async def delete(self, run_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        await rows.withdraw_feedback(self.known(run_id, RunNotFound), by=self.principal)
        self.reply(None, 204)


class RunFeedbackSummary(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:feedback")
    @operation("How often a run and its messages were rated, and how", answer=FeedbackSummary, faults=(404,))
    async def get(self, run_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        self.reply(await rows.feedback_summary(self.known(run_id, RunNotFound), by=self.principal))


class ThreadFeedback(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:feedback")
    @operation("One's ratings of the whole runs of a thread, by run id", answer=dict[str, Feedback], faults=(404,))
    async def get(self, thread_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        thread = await rows.get_thread(self.known(thread_id, ThreadNotFound), by=self.principal)
        self.reply(await rows.thread_feedback(thread.thread_id, by=self.principal))


class OneFeedback(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:feedback")
    @operation("A rating", answer=Feedback, faults=(404,))
    async def get(self, feedback_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        self.reply(await rows.get_feedback(self.known(feedback_id, FeedbackNotFound), by=self.principal))

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:feedback")
    @operation("Delete a rating", status=204, faults=(404,))
    async def delete(self, feedback_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        await rows.delete_feedback(self.known(feedback_id, FeedbackNotFound), by=self.principal)
        self.reply(None, 204)
