"""What people decide about runs: to stop them, what they may do, what they asked. Wherever a run is carried out."""

import asyncio
from typing import Final, Literal

from ..exceptions import ApprovalNotFound, Forbidden, InvalidRequest, RunActive, RunFinished
from ..journal import Journal
from ..journal.rows import ask_rows
from ..records import Approval, Decision, Principal, Run, clean
from ..storage.contract import Errand, RowStore
from ..tools import validate
from .active import ActiveRun
from .carried import Carried
from .errands import Errands
from .leaseholder import Leaseholder

INTERRUPT_WAIT_S: Final = 30.0


class People:
    """Carries out what people say, here or at the server that has the run."""

    def __init__(self, carried: Carried, *, rows: RowStore, journal: Journal, leases: Leaseholder) -> None:
        self._carried = carried
        self._rows = rows
        self._journal = journal
        self._errands = Errands(rows, lambda: leases.run_ids, self._do)

    def open(self) -> None:
        """Begins to do what other servers pass on."""
        self._errands.open()

    async def close(self) -> None:
        """Takes nothing more from other servers."""
        await self._errands.close()

    async def interrupt(self, run_id: str, *, by: Principal, if_queued: bool = False) -> Run:
        """Stops a run at once and returns when it is over; with `if_queued` only one that has not begun. Raises
        RunNotFound, RunFinished, RunActive, RunElsewhere."""
        run = await self._rows.get_run(run_id, by=by)
        while (begun := self._carried.starting.get(run_id)) is not None:
            await begun.wait()
            run = await self._rows.get_run(run_id, by=by)
        # Nothing is awaited from here to the deed: what has not begun now does not begin meanwhile.
        stop, task = self._carried.stops.get(run_id), self._carried.tasks.get(run_id)
        if stop is not None and task is not None:
            if if_queued:
                raise RunActive(f"Run {run_id} has begun: it waits for its turn no more. Interrupt it to stop it.")
            stop.request(by.name)
            await asyncio.wait({task}, timeout=INTERRUPT_WAIT_S)
        elif run.status.is_terminal:
            raise RunFinished(f"Run {run_id} is over: it ended as {run.status}.", details={"status": run.status})
        elif self._carried.is_elsewhere(run):
            await self._errands.pass_on(run_id, "interrupt", {"if_queued": if_queued}, by=by)
        else:
            await self._carried.end_unstarted(run)
        return await self._rows.get_run(run_id, by=by)

    async def resolve(
        self,
        run_id: str,
        *,
        decision: Decision,
        by: Principal,
        approval_id: str | None = None,
        tool_call_id: str | None = None,
        arguments: str | None = None,
        reason: str | None = None,
        remember: Literal["run", "thread"] | None = None,
    ) -> Approval:
        """Decides an approval, named by its id or by a tool call that has exactly one pending.

        Raises RunNotFound, RunFinished, ApprovalNotFound, AlreadyResolved, Forbidden, InvalidArguments, RunElsewhere.
        """
        if self._carried.is_elsewhere(await self._rows.get_run(run_id, by=by)):
            named = {"approval_id": approval_id, "tool_call_id": tool_call_id}
            given = {"decision": decision, "arguments": arguments, "reason": reason, "remember": remember}
            await self._errands.pass_on(run_id, "resolve", named | given, by=by)
            decided = (await self._journal.load(run_id)).approvals.values()
            its = [one for one in decided if approval_id == one.approval_id or tool_call_id == one.tool_call_id]
            return its[-1]
        run = await self._active(run_id, by=by)
        if not by.may_approve:
            raise Forbidden(
                "Kernels may not approve tool calls: approve in the browser or in a client that holds the server's "
                "token, "
                "or let the operator set allow_kernel_approvals."
            )
        if approval_id is None:
            pending = [one for one in run.transcript.pending_approvals if one.tool_call_id == tool_call_id]
            if len(pending) != 1:
                raise ApprovalNotFound(f"Run {run_id} has no single pending approval for tool call {tool_call_id}.")
            approval_id = pending[0].approval_id
        asked = run.transcript.approvals.get(approval_id)
        if asked is None or (tool_call_id is not None and asked.tool_call_id != tool_call_id):
            raise ApprovalNotFound(f"Run {run_id} has no approval {approval_id} for tool call {tool_call_id}.")
        if decision is Decision.EDIT and arguments is None:
            raise InvalidRequest("An edit needs the arguments to execute instead.")
        if decision is Decision.EDIT and asked.tool_name in run.toolbox:
            validate(run.toolbox.get(asked.tool_name).spec, arguments or "")
        return await run.resolve(
            approval_id, decision, actor=by.name, arguments=arguments, reason=reason, remember=remember
        )

    async def answer(self, run_id: str, request_id: str, content: str, *, by: Principal) -> None:
        """Answers a question of the run. Raises RunNotFound, RunFinished, InputNotFound, AlreadyResolved,
        RunElsewhere."""
        if self._carried.is_elsewhere(await self._rows.get_run(run_id, by=by)):
            await self._errands.pass_on(run_id, "answer", {"request_id": request_id, "content": content}, by=by)
            return None
        run = await self._active(run_id, by=by)
        return await run.answer(request_id, clean(content), by=by)

    async def _do(self, errand: Errand) -> None:
        """Does what another server asks of a run that is carried out here. Raises AgentError."""
        given = errand.arguments
        match errand.deed:
            case "interrupt":
                await self.interrupt(errand.run_id, by=errand.by, **given)
            case "resolve":
                await self.resolve(errand.run_id, by=errand.by, **given | {"decision": Decision(given["decision"])})
            case "answer":
                await self.answer(errand.run_id, by=errand.by, **given)
            case _:
                raise InvalidRequest(f"This server is older than the one that asks it to {errand.deed!r}: update it.")

    async def approvals(self, run_id: str, *, by: Principal) -> list[Approval]:
        """Returns all approvals of a run, pending and decided, oldest first."""
        await self._rows.get_run(run_id, by=by)
        transcript = self._journal.transcript(run_id) or await self._journal.load(run_id)
        return [one for one in ask_rows(transcript) if isinstance(one, Approval)]

    async def find_approval(self, approval_id: str, *, by: Principal) -> Approval:
        """Returns an approval, of a run that is over too. Raises ApprovalNotFound."""
        for run in tuple(self._carried.active.values()):
            if approval_id in run.transcript.approvals and (by.is_system or run.started.user_id == by.user_id):
                return run.transcript.approvals[approval_id]
        return await self._rows.get_approval(approval_id, by=by)

    async def _active(self, run_id: str, *, by: Principal) -> ActiveRun:
        while (begun := self._carried.starting.get(run_id)) is not None:
            # It is being taken over from another server: what it asked is asked still.
            await begun.wait()
        row = await self._rows.get_run(run_id, by=by)
        if run_id not in self._carried.active or self._carried.active[run_id].is_over:
            raise RunFinished(f"Run {run_id} is not going on: its status is {row.status}.")
        return self._carried.active[run_id]
