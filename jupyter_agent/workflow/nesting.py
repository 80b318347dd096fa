"""Workflows that call others, one level deep.

In the sandbox the other script is carried out within the same run: its calls are calls of that run, with its caps, its
spending and its store. A notebook has the other carried out by the server, as a run of its own, which is one call.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..exceptions import (
    AgentError,
    Conflict,
    InvalidRequest,
    RunFailed,
    RunFinished,
    WorkflowFailed,
    WorkflowRunNotFound,
)
from ..records import HeadlessRun, Principal, RunStatus, StoredCall, WorkflowBudget, canonical_json
from ..script import AgentCall, BudgetView
from .call_states import script_run_of
from .carrying import Carrying
from .checking import check_or_refuse
from .discovery import Listing
from .limits import Limits
from .meta import Meta, args_problems
from .sandbox import Sandbox
from .script_file import Script

if TYPE_CHECKING:
    from .headless import Headless
    from .store_host import StoreHost


def check_call(name: str, *, called_by: str, is_called: bool = False) -> None:
    """Raises InvalidRequest where a workflow may not call this one. `is_called` says that it was called itself."""
    if is_called:
        raise InvalidRequest(
            f"The workflow {called_by!r} was called by another one, so it cannot call {name!r}: workflows nest one "
            "level deep. Call it from the outermost one."
        )
    if name == called_by:
        raise InvalidRequest(f"The workflow {name!r} cannot call itself: put what it repeats into a function.")


async def carry_within(
    host: "StoreHost", call: AgentCall, place: int, *, listing: Listing, sandbox: Sandbox, limits: Limits
) -> Any:
    """Carries another workflow out as part of a run and returns its result.

    Raises InvalidRequest, WorkflowNotFound, WorkflowNotApproved, WorkflowInvalid, and WorkflowFailed with its name.
    """
    run = host.run
    check_call(call.prompt, called_by=run.workflow, is_called=run.called_by is not None)
    script = listing.get_to_run(call.prompt)
    check_args(script, call.given)
    await check_or_refuse(sandbox, script)
    inner = NestedHost(host, call, place, script.meta)
    carrying = Carrying(
        sandbox, script, inner, run_id=f"{run.workflow_run_id}.{place}", began_at=run.created_at, limits=limits
    )
    try:
        return await carrying.run()
    except WorkflowFailed as fault:
        raise WorkflowFailed(f"In the workflow {call.prompt!r}: {fault.message}", details=fault.details) from fault


def check_args(script: Script, args: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for arguments that the workflow does not take."""
    if problems := args_problems(script.meta, args):
        listed = "; ".join(problems[:5])
        raise InvalidRequest(f"The workflow {script.name!r} does not take these arguments: {listed}.")


class NestedHost:
    """The words of a workflow that another one called, over the host of that one."""

    def __init__(self, host: "StoreHost", call: AgentCall, place: int, meta: Meta) -> None:
        self._host = host
        self._meta = meta
        self._name = call.prompt
        self._within = f"{place}."
        self.args: Mapping[str, Any] = dict(call.given)

    @property
    def budget(self) -> BudgetView:
        return self._host.budget

    def phase(self, title: str) -> None:
        self._host.log(f"# {self._name}: {title}")

    def log(self, message: str) -> None:
        self._host.log(f"{self._name}: {message}")

    async def agent(self, call: AgentCall) -> Any:
        return await self.agent_at(call, self._host.made)

    async def agent_at(self, call: AgentCall, place: int) -> Any:
        """Returns the answer of the call at a place of this script; it is one of the run's."""
        if call.kind == "workflow":
            check_call(call.prompt, called_by=self._name, is_called=True)
        return await self._host.agent_at(call, place, within=self._within, meta=self._meta)


class RunsOfCalls:
    """Scripts that calls of notebooks call, each carried out as a run with an id of its own that follows from the
    call's: however often the server stops, it is the same run."""

    def __init__(self, headless: "Headless") -> None:
        self._headless = headless
        self._stopped: set[str] = set()

    async def digest_of(self, name: str, *, called_by: str) -> str:
        """Returns the digest of what would run. Raises InvalidRequest, WorkflowNotFound, WorkflowNotApproved."""
        check_call(name, called_by=called_by)
        return (await self._headless.listing()).get_to_run(name).digest

    async def result_of(
        self, call: StoredCall, *, by: Principal, budget: WorkflowBudget, told: Callable[[RunStatus], None]
    ) -> tuple[str, int, float | None]:
        """Returns the result as JSON, and what its live calls took, of the budget at most. Raises what it ended
        with."""
        run = await self._begun(call, budget, by=by)
        if call.call_id in self._stopped:
            # It was stopped while it was being started.
            await self.stop(call, by=by)
        self._stopped.discard(call.call_id)
        async for changed in self._headless.follow(run.workflow_run_id, by=by):
            run = changed
            told(run.status)
        if run.status is not RunStatus.COMPLETED:
            message = run.error_message or "It was stopped."
            code = run.error_code or AgentError.code
            raise RunFailed(f"The workflow {run.workflow!r}: {message}", details={"code": code})
        return canonical_json(run.result), *await self._headless.spent_by(run)

    async def stop(self, call: StoredCall, *, by: Principal) -> None:
        """Ends it with its calls, if it goes on."""
        try:
            await self._headless.cancel(script_run_of(call.call_id), by=by)
        except WorkflowRunNotFound:
            self._stopped.add(call.call_id)
        except RunFinished:
            pass

    async def _begun(self, call: StoredCall, budget: WorkflowBudget, *, by: Principal) -> HeadlessRun:
        with suppress(WorkflowRunNotFound):
            return await self._headless.get(script_run_of(call.call_id), by=by)
        name, args = str(call.said["prompt"]), dict(call.said.get("given", {}))
        digest = await self.digest_of(name, called_by=call.workflow)
        if digest != call.fields.get("workflow"):
            raise Conflict(f"The workflow {name!r} has changed since it was called: call it again.")
        return await self._headless.start(name, args, by=by, budget=budget, called_by=call.call_id)
