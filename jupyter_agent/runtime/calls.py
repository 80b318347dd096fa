"""One tool call's life: found, validated, permitted, recorded, executed, answered.

Rules: the start is durable before the tool acts; what a person approved is what executes; a call that may have run
before a crash is never run again silently; a process that lost the run's lease starts nothing; whatever goes wrong
becomes a result that the model can read.
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from .. import events as ev
from ..exceptions import AgentError, LeaseLost, RunFinished, StorageError, ToolError, ToolRejected, ToolTimedOut
from ..records import Approval, Decision, Effect, Outcome, ToolCall, clean, new_id, utc_now
from ..tools import repair_json, validate
from ..tools.contract import Tool, ToolAnswer
from ..transcript import ToolCallView
from .active import BEGINNING_CHARS, ActiveRun, shortened, wire_size
from .policy import FOR_PEOPLE, POLICIES, Ruling, Verdict, approval_hash, facts_of, strictest

log = logging.getLogger(__name__)

MAX_PREVIEW_BYTES = 64 * 1024
PROGRESS_WINDOW_S = 0.05
MAX_PROGRESS_CHARS = 1024 * 1024


async def perform(run: ActiveRun, calls: Sequence[ToolCall]) -> None:
    """Carries out the calls of one turn that have no result yet, side by side; each ends with its result."""
    waiting = [call for call in calls if run.transcript.tool_calls[call.tool_call_id].result is None]
    try:
        async with asyncio.TaskGroup() as group:
            for call in waiting:
                group.create_task(_carry_out(run, call), name=f"{run.run_id} {call.name}")
    except* AgentError as faults:
        raise first_of(faults) from faults


def first_of(faults: BaseExceptionGroup[AgentError]) -> AgentError:
    """Returns the first fault of a group: the others are its consequences."""
    first = faults.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _carry_out(run: ActiveRun, call: ToolCall) -> None:
    try:
        tool = run.toolbox.get(call.name)
        arguments = await _arguments(run, tool, call)
        arguments = await _permitted(run, tool, call, arguments)
        async with run.one_at_a_time if tool.spec.sequential else nullcontext():
            answer = await _execute(run, tool, call, arguments)
    except (StorageError, RunFinished):
        raise
    except ToolError as fault:
        answer = ToolAnswer(content=fault.message, is_error=True)
    await _give_result(run, call, answer)


async def _arguments(run: ActiveRun, tool: Tool, call: ToolCall) -> dict[str, Any]:
    """Returns the call's arguments, checked; JSON that is nearly right is repaired and the repair recorded."""
    text = run.transcript.tool_calls[call.tool_call_id].approved_arguments or call.arguments or "{}"
    better = repair_json(text)
    if better is not None and better != text:
        await run.append(
            ev.ArgumentsRepaired(tool_call_id=call.tool_call_id, before=shortened(text), after=shortened(better))
        )
        text = better
    return clean(validate(tool.spec, text))


# --- permission -----------------------------------------------------------------------------------------------


async def _permitted(run: ActiveRun, tool: Tool, call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments that may be executed. Raises ToolRejected.

    A call that was started before a crash and has no outcome needs a person's word to start again, unless it is
    idempotent.
    """
    view = run.transcript.tool_calls[call.tool_call_id]
    if view.outcome_is_unknown:
        await _close_trace(run, view, Outcome.UNKNOWN, "The server stopped while the tool was running.")
    may_have_run = view.trace_id is not None and not tool.spec.idempotent
    ruling = _rule(run, tool, arguments)
    if ruling.verdict is Verdict.DENY:
        await _note_decision(run, view, policy=ruling.rule)
        raise ToolRejected(f"The policy {run.policy.name!r} does not allow this call: {ruling.reason}")
    if ruling.verdict is Verdict.ALLOW and not may_have_run:
        return arguments
    if run.request.on_ask == "reject":
        await _note_decision(run, view, policy="on_ask: reject")
        raise ToolRejected(
            "Nobody can be asked in this run, so the call was rejected. "
            + ("It was started before the server stopped: it may have run." if may_have_run else ruling.reason)
        )
    approval = await _ask(run, tool, call, arguments, may_have_run=may_have_run)
    return _approved_arguments(run, tool, approval, arguments)


def _rule(run: ActiveRun, tool: Tool, arguments: dict[str, Any]) -> Ruling:
    """Returns the stricter of what the run's policy and the server's say; approvals that were remembered count."""
    workspace = str(run.means.environment.workspace)
    facts = facts_of(tool.spec, arguments, workspace=workspace, user_id=run.started.user_id)
    if run.is_for_people:
        return FOR_PEOPLE.decide(facts)
    granted = run.transcript.grants | run.thread_grants
    policies = {policy.name: policy for policy in (POLICIES[run.means.settings.policy], run.policy)}
    return strictest(policy.decide(facts, granted=granted) for policy in policies.values())


async def _ask(
    run: ActiveRun, tool: Tool, call: ToolCall, arguments: dict[str, Any], *, may_have_run: bool
) -> Approval:
    view = run.transcript.tool_calls[call.tool_call_id]
    if view.approval_id is not None:
        # Asked before a restart: the same question goes on, and its answer, if it came, counts once.
        return await run.await_approval(view.approval_id)
    preview: dict[str, Any] = {"tool": tool.spec.name, "arguments": arguments}
    if tool.preview is not None:
        preview |= await asyncio.to_thread(tool.preview, run.means.environment, arguments)
    if may_have_run:
        preview["warning"] = (
            "The server stopped while this call was running: it may have run already. "
            "Approve to run it again, reject to take it as failed."
        )
    preview["hash"] = _hash(run, tool, arguments)
    effects: tuple[Effect, ...] = tool.spec.effects
    return await run.ask_approval(run.confirmation_request(call, effects=effects, preview=await _bounded(run, preview)))


def _approved_arguments(run: ActiveRun, tool: Tool, approval: Approval, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns what was approved. Raises ToolRejected with the person's reason."""
    match approval.decision:
        case Decision.APPROVE:
            asked = approval.preview.get("hash")
            if asked != _hash(run, tool, arguments):
                raise ToolRejected("The call changed after it was approved, so it was not executed. Ask for it again.")
            return arguments
        case Decision.EDIT:
            edited = clean(validate(tool.spec, approval.resolved_arguments or "{}"))
            if (ruling := _rule(run, tool, edited)).verdict is Verdict.DENY:
                raise ToolRejected(f"The policy does not allow the call as it was edited: {ruling.reason}")
            return edited
        case Decision.EXPIRED:
            raise ToolRejected("Nobody decided in time, so the call was rejected. It was not executed.")
        case _:
            reason = f" They said: {approval.reason}" if approval.reason else ""
            raise ToolRejected(f"The person rejected this call. It was not executed.{reason}")


def _hash(run: ActiveRun, tool: Tool, arguments: dict[str, Any]) -> str:
    environment = f"kernel:{run.request.kernel_id or ''}"
    return approval_hash(tool.spec.name, arguments, str(run.means.environment.workspace), environment)


async def _note_decision(run: ActiveRun, view: ToolCallView, *, policy: str) -> None:
    await run.append(
        ev.ApprovalResolved(
            approval_id=new_id("apr"), tool_call_id=view.tool_call_id, decision=Decision.REJECT, policy=policy
        )
    )


async def _bounded(run: ActiveRun, preview: dict[str, Any]) -> dict[str, Any]:
    """Returns the preview, or a pointer to it where it is too long for an event: the whole is what gets approved."""
    if wire_size(preview) <= MAX_PREVIEW_BYTES:
        return preview
    text = json.dumps(preview, ensure_ascii=False)
    blob = await run.keep(text.encode())
    return {"tool": preview["tool"], "hash": preview["hash"], "blob": blob, "shortened": text[:BEGINNING_CHARS]}


# --- execution ------------------------------------------------------------------------------------------------


async def _execute(run: ActiveRun, tool: Tool, call: ToolCall, arguments: dict[str, Any]) -> ToolAnswer:
    """Executes a permitted call between its trace events and returns what it gave, errors included."""
    view = run.transcript.tool_calls[call.tool_call_id]
    text = json.dumps(arguments, ensure_ascii=False)
    await run.append(
        ev.ToolTraceStart(
            trace_id=new_id("trc"),
            tool_call_id=call.tool_call_id,
            tool_name=tool.spec.name,
            tool_input=shortened(text),
            turn=view.turn,
            started_at=utc_now(),
        )
    )
    # The last look before the tool acts: the process may have been stopped while the event went to disk.
    run.means.leases.check(run.run_id)
    context = CallContext(run=run, tool_call_id=call.tool_call_id)
    outcome, error = Outcome.SUCCESS, None
    started = time.perf_counter()
    try:
        async with context.streaming():
            answer = await _call(run, tool, context, arguments)
        if answer.is_error:
            outcome, error = Outcome.ERROR, answer.content[:500]
    except ToolTimedOut as fault:
        outcome, error = Outcome.TIMED_OUT, fault.message
        raise
    except ToolError as fault:
        outcome = Outcome.UNKNOWN if fault.code == "outcome_unknown" else Outcome.ERROR
        error = fault.message
        raise
    except asyncio.CancelledError:
        outcome = Outcome.INTERRUPTED
        raise
    finally:
        if outcome is not Outcome.INTERRUPTED:
            await _close_trace(run, view, outcome, error, latency_ms=(time.perf_counter() - started) * 1000)
    return answer


async def _call(run: ActiveRun, tool: Tool, context: "CallContext", arguments: dict[str, Any]) -> ToolAnswer:
    timeout_s = tool.spec.timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            return await tool.call(context, arguments)
    except TimeoutError as fault:
        raise ToolTimedOut(f"{tool.spec.name} took longer than {timeout_s:g} s and was stopped.") from fault
    except (ToolError, StorageError, RunFinished, LeaseLost):
        raise
    except Exception as fault:
        log.warning("The tool %s failed in run %s.", tool.spec.name, run.run_id, exc_info=True)
        raise ToolError(f"{tool.spec.name} failed with {type(fault).__name__}: {fault}") from fault


async def _close_trace(
    run: ActiveRun, view: ToolCallView, outcome: Outcome, error: str | None, *, latency_ms: float | None = None
) -> None:
    now = utc_now()
    if latency_ms is None:
        latency_ms = (now - view.started_at).total_seconds() * 1000 if view.started_at else 0.0
    await run.append(
        ev.ToolTraceFinish(
            trace_id=view.trace_id or "",
            tool_call_id=view.tool_call_id,
            outcome=outcome,
            latency_ms=round(latency_ms, 3),
            finished_at=now,
            error=None if error is None else clean(error)[:2000],
        )
    )


async def _give_result(run: ActiveRun, call: ToolCall, answer: ToolAnswer) -> None:
    content = clean(answer.content)
    cap = (
        min(run.toolbox.get(call.name).spec.output_cap, MAX_RESULT_CHARS)
        if call.name in run.toolbox
        else MAX_RESULT_CHARS
    )
    blob = None
    if len(content) > cap:
        blob = await run.keep(content.encode())
        content = f"{content[:cap]}\n[Cut here: {len(content):,} characters in all. The whole is blob {blob}.]"
    mime = {**answer.mime, **{image.mime: image.blob for image in answer.images}}
    fitting = {name: key for name, key in mime.items() if _is_mime(name)}
    if len(fitting) > MAX_RICH_RESULTS:
        content += f"\n[Of {len(fitting)} rich results the first {MAX_RICH_RESULTS} are kept.]"
    await run.stream(
        ev.ToolResultReady(
            tool_call_id=call.tool_call_id,
            result=content,
            is_error=answer.is_error,
            truncated=blob is not None,
            blob=blob,
            diff=None if answer.diff is None else shortened(answer.diff),
            mime=dict(list(fitting.items())[:MAX_RICH_RESULTS]),
        )
    )


MAX_RESULT_CHARS = 32 * 1024
"""Fits a line with everything beside it, also where each character takes six bytes on the wire."""
MAX_RICH_RESULTS = 64


def _is_mime(name: str) -> bool:
    return 0 < len(name) <= 100 and name.isascii() and name.isprintable()


async def close_calls(run: ActiveRun, outcome: Outcome, reason: str) -> None:
    """Gives every call that is still open its end, the finish of its trace and a result saying why it has none."""
    for view in run.transcript.open_tool_calls:
        if not view.is_ended:
            await run.stream(ev.ToolCallEnd(tool_call_id=view.tool_call_id))
        if view.outcome_is_unknown:
            await _close_trace(run, view, outcome, reason)
        said = reason if view.trace_id else f"{reason} It was not executed."
        await run.stream(ev.ToolResultReady(tool_call_id=view.tool_call_id, result=said, is_error=True))


@dataclass
class CallContext:
    """What a running tool may use (`tools.contract.ToolContext`)."""

    run: ActiveRun
    tool_call_id: str
    _left: int = MAX_PROGRESS_CHARS
    _questions: int = 0

    def __post_init__(self) -> None:
        self._output: asyncio.Queue[str | None] = asyncio.Queue()

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def thread_id(self) -> str:
        return self.run.thread_id

    @property
    def kernel_id(self) -> str | None:
        return self.run.request.kernel_id

    @property
    def waits(self) -> bool:
        return self.run.request.waits

    @property
    def environment(self) -> Any:
        return self.run.means.environment

    def progress(self, content: str) -> None:
        """Streams output; what is more than a megabyte in one call is left out, and said so."""
        if self._left <= 0 or not content:
            return
        if len(content) >= self._left:
            content = content[: self._left] + "\n[More output follows than is shown here.]\n"
        self._left -= len(content)
        self._output.put_nowait(clean(content))

    async def keep(self, data: bytes) -> str:
        return await self.run.keep(data)

    async def ask(self, prompt: str, schema: dict[str, Any] | None = None) -> str | None:
        """Asks the person. The question's id follows from the call, so a restart goes on with the same question."""
        self._questions += 1
        return await self.run.ask_input(f"{self.tool_call_id}_q{self._questions}", clean(prompt), schema)

    def streaming(self) -> "_Streaming":
        return _Streaming(self)

    async def pump(self) -> None:
        """Appends the output as it comes, what comes close together as one event; ends at None."""
        while (content := await self._output.get()) is not None:
            await asyncio.sleep(PROGRESS_WINDOW_S)
            is_last = False
            while not self._output.empty() and len(content) < MAX_RESULT_CHARS:
                more = self._output.get_nowait()
                if more is None:
                    is_last = True
                    break
                content += more
            for start in range(0, len(content), MAX_RESULT_CHARS):
                piece = content[start : start + MAX_RESULT_CHARS]
                await self.run.stream(ev.ToolProgress(tool_call_id=self.tool_call_id, content=piece))
            if is_last:
                return

    def end(self) -> None:
        self._output.put_nowait(None)


class _Streaming:
    """Pumps a call's output while the tool works, and all of it before the result."""

    def __init__(self, context: CallContext) -> None:
        self._context = context

    async def __aenter__(self) -> None:
        self._pump = asyncio.create_task(self._context.pump())

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._pump.cancel()
            return
        self._context.end()
        await self._pump
