"""REST of runs: list, start, get and join, interrupt, delete, their turns, and all of one at once."""

import asyncio
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from tornado import web

from ..compact import CompactRun
from ..display import bundle
from ..exceptions import RunNotFound
from ..records import ForkRequest, Page, Run, RunRequest, RunStatus, RunTotals, ToolTrace, Turn, utc_now
from .rest import AgentHandler, authorized, operation
from .threads import Id, PageQuery


class RunsQuery(PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which runs: of a thread, of a parent, in one of these statuses (separated by commas), of a model, created since
    then."""

    thread_id: Id | None = None
    parent_run_id: Id | None = None
    status: tuple[RunStatus, ...] = ()
    model: Annotated[str, Meta(max_length=256)] | None = None
    since: datetime | None = None


class RunQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`wait` joins: the answer comes when the run is over, or after that many seconds."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class Stopping(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`ifQueued` stops only a run that waits for its turn: for one that has begun the answer is 409."""

    if_queued: bool = False


class Runs(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("One's runs, newest first", answer=Page[Run], query=RunsQuery)
    async def get(self) -> None:
        query = self.asked(RunsQuery)
        rooms = await self.rooms()
        page = await rooms.storage.rows.list_runs(
            by=self.principal,
            thread_id=query.thread_id,
            parent_run_id=query.parent_run_id,
            statuses=query.status,
            model=query.model,
            limit=query.limit,
            cursor=query.cursor,
        )
        page = msgspec.structs.replace(page, items=tuple(map(rooms.actions.fresh, page.items)))
        self.reply(_since(page, query.since))

    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:runs")
    @operation("Start a run; the answer comes before its first model call. The header `Idempotency-Key` makes it safe "
               "to send again", body=RunRequest, answer=Run, status=201,
               faults=(403, 404, 409, 424, 507))  # fmt: skip
    async def post(self) -> None:
        request = self.sent(RunRequest)
        actions = (await self.rooms()).actions
        self.reply(await actions.start(request, by=self.principal, client_id=self.key), 201)


class OneRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("A run; `wait` joins it", answer=Run, query=RunQuery, faults=(404,))
    async def get(self, run_id: str) -> None:
        query = self.asked(RunQuery)
        rooms = await self.rooms()
        run = await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        if query.wait:
            await rooms.actions.join(run, timeout_s=query.wait)
            run = await rooms.actions.get_run(run_id, by=self.principal)
        self.reply(run)

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:runs")
    @operation("Delete a run that is over, with its journal and blobs", status=204, faults=(404, 409))
    async def delete(self, run_id: str) -> None:
        runner = (await self.rooms()).runner
        await runner.delete_run(self.known(run_id, RunNotFound), by=self.principal)
        self.reply(None, 204)


class RunTranscript(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("All of a run as it is now; `follow` goes on after its `lastEventId`. One that was archived has an "
               "entity tag: it does not change any more", answer=CompactRun, faults=(304, 404))  # fmt: skip
    async def get(self, run_id: str) -> None:
        actions = (await self.rooms()).actions
        run = await actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        if run.detail_blob is None:
            self.reply(await actions.telling.tell(run))
            return
        # The detail's key is a hash of everything in it. Asked again each time: the run may be deleted by then.
        self.set_header("ETag", f'"{run.detail_blob[:32]}-{_version()}"')
        if self.check_etag_header():
            self.reply(None, 304)
            return
        self.reply(await actions.telling.tell(run), cache="private, no-cache")


class RunDisplay(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("What a notebook keeps of a run as it is now: a MIME bundle", answer=dict[str, Any], faults=(404,))
    async def get(self, run_id: str) -> None:
        actions = (await self.rooms()).actions
        run = await actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        whole = await actions.telling.tell(run)
        self.reply(await asyncio.to_thread(bundle, whole, now=utc_now()))


class InterruptRun(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:runs")
    @operation("Stop a run at once; 409 for one that ended by itself", body=Stopping, answer=Run, status=202,
               faults=(404, 409))  # fmt: skip
    async def post(self, run_id: str) -> None:
        if_queued = self.sent(Stopping).if_queued
        actions = (await self.rooms()).actions
        deed = partial(actions.interrupt, self.known(run_id, RunNotFound), by=self.principal, if_queued=if_queued)
        self.reply(await actions.once(self.key, self.principal, deed), 202)


class ForkRun(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:runs")
    @operation("Start a run that begins before a turn of this one, on a thread of its own; without a turn it goes on "
               "after the last. Nothing is executed again. The header `Idempotency-Key` makes it safe to send again",
               body=ForkRequest, answer=Run, status=201, faults=(403, 404, 409, 424, 507))  # fmt: skip
    async def post(self, run_id: str) -> None:
        wish = self.sent(ForkRequest)
        actions = (await self.rooms()).actions
        run_id = self.known(run_id, RunNotFound)
        self.reply(await actions.fork(run_id, wish, by=self.principal, client_id=self.key), 201)


class Turns(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("The turns of a run, oldest first", answer=Page[Turn], query=PageQuery, faults=(404,))
    async def get(self, run_id: str) -> None:
        query = self.asked(PageQuery)
        rooms = await self.rooms()
        await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        page = await rooms.storage.rows.list_turns(run_id, by=self.principal, limit=query.limit, cursor=query.cursor)
        self.reply(page)


class RunUsage(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("What a run used, with its subagents and theirs, as far as it is", answer=RunTotals, faults=(404,))
    async def get(self, run_id: str) -> None:
        rooms = await self.rooms()
        run = await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        self.reply(await rooms.storage.rows.run_totals(run.run_id, by=self.principal))


class TracesQuery(PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which page of a run's tool calls; `turn` names one turn."""

    turn: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class Traces(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:runs")
    @operation("The executions of a run's tool calls, in the order asked", answer=Page[ToolTrace], query=TracesQuery,
               faults=(404,))  # fmt: skip
    async def get(self, run_id: str) -> None:
        query = self.asked(TracesQuery)
        rooms = await self.rooms()
        await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        page = await rooms.storage.rows.list_traces(
            run_id, by=self.principal, turn=query.turn, limit=query.limit, cursor=query.cursor
        )
        self.reply(page)


@cache
def _version() -> str:
    """Another version may tell the same run differently."""
    return version("jupyter_agent")


def _since(page: Page[Any], since: datetime | None) -> Page[Any]:
    """The list is newest first: from the first run that is older on, all are."""
    if since is None:
        return page
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    items = tuple(run for run in page.items if run.created_at >= since)
    ended = len(items) < len(page.items)
    return msgspec.structs.replace(page, items=items, next_cursor=None if ended else page.next_cursor)
