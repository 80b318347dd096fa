"""What `ja.` offers of workflows on the server: which there are, approving one, running one, opening a run again."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from .. import records
from .arguments import plain
from .client import Client
from .rows import Rows
from .session import session
from .shell import kernel_id
from .spending import limits_of
from .workflow_run import WorkflowRun, read_run

LISTED = 100
SHOWN_DIGEST = 12


class WorkflowInfo(Struct, frozen=True, kw_only=True, rename="camel"):
    """A workflow that the server found, or a file that it cannot use.

    `place` is built-in, workspace or config. One that is `shadowed_by` an earlier place is not run by its name. `args`
    is the JSON Schema of its arguments, `digest` what is approved, `error` what is wrong with a file, with its `line`.
    """

    place: str
    file: str
    name: str = ""
    description: str = ""
    approved: bool = False
    shadowed_by: str | None = None
    digest: str | None = None
    phases: tuple[dict[str, Any], ...] = ()
    args: dict[str, Any] | None = None
    error: str | None = None
    line: int | None = None
    text: str | None = field(default=None)

    @property
    def state(self) -> str:
        """Whether its name runs it: ready, not approved, shadowed or broken."""
        if self.error is not None:
            return "broken"
        if self.shadowed_by is not None:
            return "shadowed"
        return "ready" if self.approved else "not approved"

    @property
    def titles(self) -> str:
        """The titles of its phases."""
        return ", ".join(str(phase.get("title", "")) for phase in self.phases)

    @property
    def takes(self) -> str:
        """The names of its arguments, those that it needs with a star."""
        schema = self.args or {}
        needed = schema.get("required", ())
        return ", ".join(f"{name}*" if name in needed else name for name in schema.get("properties", {}))

    @property
    def _where_to_approve(self) -> str:
        """Code in a kernel may not approve what it may have written."""
        if kernel_id() is not None:
            return f"in a terminal: jupyter agent workflow approve {self.name}"
        return f"with ja.approve_workflow({self.name!r}, {self.digest!r})"

    def __repr__(self) -> str:
        if self.error is not None:
            at = f", line {self.line}" if self.line else ""
            return f"{self.file} · {self.place} · broken{at}: {self.error}"
        state = f"shadowed by {self.shadowed_by}" if self.shadowed_by else self.state
        takes = f" · takes {self.takes}" if self.takes else ""
        head = f"{self.name} · {self.place} · {state} · {self.description}{takes}"
        if self.text is None:
            return head
        how = "" if self.approved else f"\nApprove it {self._where_to_approve}."
        return f"{head}\nSHA-256 {self.digest}{how}\n\n{self.text}"


def workflows() -> Rows[WorkflowInfo]:
    """Returns the workflows that the server found, and the files that it cannot use; `.df` has a row each."""
    rows: Rows[WorkflowInfo] = session().client.wait(listed(session().client))
    return rows


async def aworkflows() -> Rows[WorkflowInfo]:
    """Awaits what `workflows` returns."""
    rows: Rows[WorkflowInfo] = await session().client.join(listed(session().client))
    return rows


async def listed(client: Client) -> Rows[WorkflowInfo]:
    """Returns all workflows, then what is broken."""
    said = await client.request("GET", "workflows")
    return Rows.of("workflows", msgspec.convert([*said["items"], *said["broken"]], list[WorkflowInfo]))


async def shown_text(client: Client, name: str) -> WorkflowInfo:
    """Returns a workflow with its text. Raises WorkflowNotFound."""
    return msgspec.convert(await client.request("GET", f"workflows/{quote(name, safe='')}"), WorkflowInfo)


def approve_workflow(name: str, digest: str | None = None) -> WorkflowInfo:
    """Returns a workflow with its text and the SHA-256 of it; given that digest, approves this very text.

    Read what it shows, then call it again with the digest. Code in a kernel may not approve unless the operator lets
    it. Raises WorkflowNotFound, Conflict where the text is another by now, Forbidden.
    """
    client = session().client
    found: WorkflowInfo = client.wait(shown_text(client, name))
    return found if digest is None else client.wait(approved(client, found, digest))


async def aapprove_workflow(name: str, digest: str | None = None) -> WorkflowInfo:
    """Awaits what `approve_workflow` returns."""
    client = session().client
    found: WorkflowInfo = await client.join(shown_text(client, name))
    return found if digest is None else await client.join(approved(client, found, digest))


async def approved(client: Client, found: WorkflowInfo, digest: str) -> WorkflowInfo:
    """Approves the text with this digest and returns the workflow. Raises Conflict, Forbidden."""
    await client.request("POST", f"workflows/{quote(found.name, safe='')}/approve", body={"digest": digest})
    return msgspec.structs.replace(found, approved=True)


def run_workflow(
    name: str,
    /,
    *,
    args: Mapping[str, Any] | None = None,
    model: str | None = None,
    budget: Mapping[str, Any] | int | None = None,
    show: bool = True,
    **more: Any,
) -> WorkflowRun:
    """Runs a workflow on the server and returns its run at once; it shows itself live.

    Arguments are given by name, or in `args` where a name is taken. `model` is that of calls that name none, and
    `budget` what its live calls may take together: tokens, or `{"tokens": …, "cost": …}` with None for no limit; the
    server's own without it. A frame is given as text: `profile=ja.profile(frame)`.

    Raises WorkflowNotFound, WorkflowNotApproved with the digest to approve, InvalidRequest for arguments that it does
    not take, SandboxUnavailable.
    """
    client = session().client
    given = plain({**(args or {}), **more})
    return shown(client.wait(started(client, name, given, model=model, budget=budget)), show=show)


async def arun_workflow(
    name: str,
    /,
    *,
    args: Mapping[str, Any] | None = None,
    model: str | None = None,
    budget: Mapping[str, Any] | int | None = None,
    show: bool = True,
    **more: Any,
) -> WorkflowRun:
    """Awaits what `run_workflow` returns: the run, not its result."""
    client = session().client
    given = plain({**(args or {}), **more})
    return shown(await client.join(started(client, name, given, model=model, budget=budget)), show=show)


async def started(
    client: Client,
    name: str,
    args: Mapping[str, Any],
    *,
    model: str | None = None,
    budget: Mapping[str, Any] | int | None = None,
) -> WorkflowRun:
    """Starts a workflow and returns its run. Raises InvalidRequest for what is no budget."""
    body: dict[str, Any] = {"args": dict(args)}
    body |= {"model": model} if model is not None else {}
    body |= {"budget": limits_of(budget)} if budget is not None else {}
    said = await client.request("POST", f"workflows/{quote(name, safe='')}/runs", body=body)
    return WorkflowRun(client, msgspec.convert(said, records.HeadlessRun))


def workflow_run(workflow_run_id: str, *, show: bool = False) -> WorkflowRun:
    """Returns a run of a workflow that was started before, anywhere, followed from what it told first. Raises
    WorkflowRunNotFound."""
    client = session().client
    return shown(client.wait(_opened(client, workflow_run_id)), show=show)


async def aworkflow_run(workflow_run_id: str, *, show: bool = False) -> WorkflowRun:
    """Awaits what `workflow_run` returns."""
    client = session().client
    return shown(await client.join(_opened(client, workflow_run_id)), show=show)


async def _opened(client: Client, workflow_run_id: str) -> WorkflowRun:
    return WorkflowRun(client, await read_run(client, workflow_run_id))


def workflow_runs(name: str | None = None, *, limit: int = LISTED) -> Rows[records.HeadlessRun]:
    """Returns the newest runs on the server of a workflow, of all without a name, newest first."""
    client = session().client
    rows: Rows[records.HeadlessRun] = client.wait(listed_runs(client, name, limit=limit))
    return rows


async def aworkflow_runs(name: str | None = None, *, limit: int = LISTED) -> Rows[records.HeadlessRun]:
    """Awaits what `workflow_runs` returns."""
    client = session().client
    rows: Rows[records.HeadlessRun] = await client.join(listed_runs(client, name, limit=limit))
    return rows


async def listed_runs(client: Client, name: str | None = None, *, limit: int = LISTED) -> Rows[records.HeadlessRun]:
    """Returns the newest runs, newest first."""
    if name is None:
        said = await client.request("GET", "workflow-runs", query={"limit": limit})
    else:
        said = await client.request("GET", f"workflows/{quote(name, safe='')}/runs")
    return Rows.of("workflow_runs", msgspec.convert(said["items"][:limit], list[records.HeadlessRun]))


def shown(run: WorkflowRun, *, show: bool) -> WorkflowRun:
    """Shows a run where it was started, if that is wanted, and returns it."""
    if show:
        session().show_workflow(run)
    return run
