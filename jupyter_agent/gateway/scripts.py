"""REST of workflow scripts: what there is, approving it, carrying it out, and ending that."""

import re
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from tornado import web

from ..exceptions import WorkflowNotFound, WorkflowRunNotFound
from ..records import HeadlessRun, RunStatus, WorkflowEvent
from ..workflow.discovery import Broken, Found
from ..workflow.meta import NAME_PATTERN, Phase
from .rest import AgentHandler, authorized, operation
from .workflows import Count, HeadlessRuns, Limits

_is_name: Final = re.compile(NAME_PATTERN).fullmatch
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Workflow(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A workflow that can be read. `args` is the JSON Schema of its arguments; `digest` is what is approved."""

    name: str
    description: str
    place: str
    file: str
    digest: str
    approved: bool
    shadowed_by: str | None = None
    phases: tuple[Phase, ...] = ()
    args: dict[str, Any] | None = None


class WorkflowText(Workflow, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A workflow with the text that would run."""

    text: str


class BrokenWorkflow(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A file that cannot be used, with what is wrong and where."""

    place: str
    file: str
    error: str
    line: int | None = None
    cell: int | None = None


class Workflows(Struct, frozen=True, kw_only=True, rename="camel"):
    """What there is. `notes` are sentences about what was not looked at."""

    items: tuple[Workflow, ...]
    broken: tuple[BrokenWorkflow, ...]
    notes: tuple[str, ...]


class Approve(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The digest of the text that was read."""

    digest: Digest


class Approved(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who approved a text, and when."""

    digest: str
    name: str
    actor: str
    approved_at: datetime


class StartWorkflow(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The arguments of a run, the model of calls that name none, and what it may spend. There is no field for code:
    only what is found and approved runs."""

    args: dict[str, Any] = {}
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    budget: Limits = Limits()


class EventsQuery(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What was told after that number, waiting for it so many seconds while the run goes on."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    wait: Annotated[float, Meta(ge=0, le=30)] = 0.0


class WorkflowEvents(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a run told, in order. `next` is the number to ask after; with `isOver` and no items there is no more."""

    items: tuple[WorkflowEvent, ...]
    next: int
    status: RunStatus
    is_over: bool


def named(given: str) -> str:
    """Returns a name of a path, if a workflow can have it: unlike an id it may have dots. Raises WorkflowNotFound."""
    if not _is_name(given):
        raise WorkflowNotFound(f"There is no workflow {given[:80]!r}.")
    return given


def shown(found: Found, kind: type[Workflow] = Workflow, **more: Any) -> Workflow:
    """Returns a workflow as it is told."""
    script, meta = found.script, found.script.meta
    return kind(
        name=script.name, description=meta.description, place=found.place, file=found.file, digest=script.digest,
        approved=found.approved, shadowed_by=found.shadowed_by, phases=meta.phases, args=meta.args, **more,
    )  # fmt: skip


def shown_broken(broken: Broken) -> BrokenWorkflow:
    """Returns a file that cannot be used as it is told."""
    return BrokenWorkflow(place=broken.place, file=broken.file, error=broken.error, line=broken.line, cell=broken.cell)


class AllWorkflows(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("The workflow scripts that there are, read and never executed", answer=Workflows)
    async def get(self) -> None:
        listing = await (await self.rooms()).headless.listing()
        self.reply(
            Workflows(
                items=tuple(shown(found) for found in listing.workflows),
                broken=tuple(shown_broken(broken) for broken in listing.broken),
                notes=listing.notes,
            )
        )


class OneWorkflow(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("A workflow with its text and the schema of its arguments", answer=WorkflowText, faults=(404,))
    async def get(self, workflow: str) -> None:
        listing = await (await self.rooms()).headless.listing()
        found = listing.get(named(workflow))
        self.reply(shown(found, WorkflowText, text=found.script.text))


class ApproveWorkflow(AgentHandler):
    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:workflow-approvals")
    @operation("Approve the text that a workflow has now, by its digest", body=Approve, answer=Approved,
               faults=(403, 404, 409))  # fmt: skip
    async def post(self, workflow: str) -> None:
        sent = self.sent(Approve)
        headless = (await self.rooms()).headless
        done = await headless.approve(named(workflow), sent.digest, by=self.principal)
        self.reply(Approved(digest=done.digest, name=done.name, actor=done.actor, approved_at=done.approved_at))


class RunsOfWorkflow(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("A workflow's newest runs on the server, newest first", answer=HeadlessRuns, faults=(404,))
    async def get(self, workflow: str) -> None:
        headless = (await self.rooms()).headless
        runs = await headless.list_runs(named(workflow), by=self.principal)
        self.reply(HeadlessRuns(items=tuple(runs)))

    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Run a workflow on the server, in the sandbox", body=StartWorkflow, answer=HeadlessRun, status=201,
               faults=(403, 404, 409))  # fmt: skip
    async def post(self, workflow: str) -> None:
        sent = self.sent(StartWorkflow)
        rooms = await self.rooms()
        name = named(workflow)
        budget = sent.budget.over(rooms.calls.budget)
        run = await rooms.headless.start(name, sent.args, by=self.principal, model=sent.model, budget=budget)
        self.reply(run, 201)


class StatusOfRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("Where a workflow's run on the server stands, what it told, and its result", answer=HeadlessRun,
               faults=(404,))  # fmt: skip
    async def get(self, workflow_run_id: str) -> None:
        headless = (await self.rooms()).headless
        self.reply(await headless.get(self.known(workflow_run_id, WorkflowRunNotFound), by=self.principal))


class EventsOfRun(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:workflows")
    @operation("What a workflow's run on the server told: its phases, its lines, its calls as they change",
               query=EventsQuery, answer=WorkflowEvents, faults=(404,))  # fmt: skip
    async def get(self, workflow_run_id: str) -> None:
        query = self.asked(EventsQuery)
        headless = (await self.rooms()).headless
        run_id = self.known(workflow_run_id, WorkflowRunNotFound)
        # Looked up before its events: whoever hears that it is over has heard all of it.
        run = await headless.get(run_id, by=self.principal)
        is_over = await headless.is_over(run)
        wait_s = 0.0 if is_over else query.wait
        events = tuple(
            await headless.events(run_id, by=self.principal, after=query.after, limit=query.limit, wait_s=wait_s)
        )
        after = events[-1].number if events else query.after
        self.reply(WorkflowEvents(items=events, next=after, status=run.status, is_over=is_over))


class ResumeRun(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("Run what failed or was interrupted once more, as it was: what is stored of it is not run again",
               answer=HeadlessRun, status=201, faults=(403, 404, 409))  # fmt: skip
    async def post(self, workflow_run_id: str) -> None:
        headless = (await self.rooms()).headless
        self.reply(await headless.resume(self.known(workflow_run_id, WorkflowRunNotFound), by=self.principal), 201)


class CancelRun(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("End a workflow's run for good, with its calls; says how many of them were stopped", answer=Count,
               faults=(404, 409))  # fmt: skip
    async def post(self, workflow_run_id: str) -> None:
        headless = (await self.rooms()).headless
        count = await headless.cancel(self.known(workflow_run_id, WorkflowRunNotFound), by=self.principal)
        self.reply(Count(count=count))
