"""REST of threads: list, create, get, rename and describe, delete."""

from typing import Annotated, Any

from msgspec import Meta, Struct
from tornado import web

from ..exceptions import ThreadNotFound
from ..records import ID_PATTERN, Page, Thread, new_id, utc_now
from .rest import AgentHandler, authorized, operation

Title = Annotated[str, Meta(min_length=1, max_length=500)]
Id = Annotated[str, Meta(pattern=f"^{ID_PATTERN}$")]
Limit = Annotated[int, Meta(ge=1, le=200)]
Cursor = Annotated[str, Meta(max_length=512)]


class PageQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which page of a list: how many, and after which `nextCursor`."""

    limit: Limit = 50
    cursor: Cursor | None = None


class ThreadsQuery(PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which threads: with these words in their title, whatever their case; `metadata.key=value` (or `metadata[key]`)
    chooses those whose metadata says so, several all of it."""

    search: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    metadata: Annotated[
        dict[Annotated[str, Meta(max_length=200)], Annotated[str, Meta(max_length=1_000)]], Meta(max_length=8)
    ] = {}


class NewThread(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What creates a thread. One's own `threadId` makes it safe to send again."""

    thread_id: Id | None = None
    title: Title | None = None
    metadata: dict[str, Any] = {}


class ThreadPatch(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What changes in a thread. `metadata` is merged; a null removes its key."""

    title: Title | None = None
    metadata: dict[str, Any] | None = None


class Threads(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:threads")
    @operation("One's threads, newest first", answer=Page[Thread], query=ThreadsQuery)
    async def get(self) -> None:
        query = self.asked(ThreadsQuery)
        rows = (await self.rooms()).storage.rows
        page = await rows.list_threads(
            by=self.principal, search=query.search, metadata=query.metadata, limit=query.limit, cursor=query.cursor
        )
        self.reply(page)

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:threads")
    @operation("Create a thread", body=NewThread, answer=Thread, status=201, faults=(409,))
    async def post(self) -> None:
        sent = self.sent(NewThread)
        now = utc_now()
        rooms = await self.rooms()
        thread = await rooms.storage.rows.create_thread(
            Thread(
                thread_id=sent.thread_id or new_id("thr"),
                user_id=self.principal.user_id,
                title=sent.title,
                metadata=sent.metadata,
                created_at=now,
                updated_at=now,
            )
        )
        rooms.changes.thread_changed(thread, "created")
        self.reply(thread, 201)


class OneThread(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:threads")
    @operation("A thread", answer=Thread, faults=(404,))
    async def get(self, thread_id: str) -> None:
        rows = (await self.rooms()).storage.rows
        self.reply(await rows.get_thread(self.known(thread_id, ThreadNotFound), by=self.principal))

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:threads")
    @operation("Rename a thread, or merge into its metadata", body=ThreadPatch, answer=Thread, faults=(404,))
    async def patch(self, thread_id: str) -> None:
        sent = self.sent(ThreadPatch)
        rooms = await self.rooms()
        thread = await rooms.storage.rows.update_thread(
            self.known(thread_id, ThreadNotFound), by=self.principal, title=sent.title, metadata=sent.metadata
        )
        rooms.changes.thread_changed(thread, "updated")
        self.reply(thread)

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:threads")
    @operation("Delete a thread with all its runs", status=204, faults=(404, 409))
    async def delete(self, thread_id: str) -> None:
        rooms = await self.rooms()
        thread = await rooms.storage.rows.get_thread(self.known(thread_id, ThreadNotFound), by=self.principal)
        await rooms.runner.delete_thread(thread.thread_id, by=self.principal)
        rooms.changes.thread_changed(thread, "deleted")
        self.reply(None, 204)
