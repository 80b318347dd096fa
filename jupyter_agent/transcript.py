"""What a run's events say, folded: status, turns, tool calls, what waits for a person, usage.

The one fold that everybody shares. The client shows it, the gateway sends it as a snapshot, the projection writes it
to rows, recovery resumes from it. Feeding it the same events in the same order always gives the same transcript.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from . import events as ev
from .records import Approval, AskStatus, Decision, InputNeeded, Outcome, RunStatus, Usage


@dataclass
class ToolCallView:
    """One tool call as far as it is known. `arguments` grows while they stream; `result` is None until there is one."""

    tool_call_id: str
    name: str
    turn: int
    arguments: str = ""
    is_ended: bool = False
    progress: str = ""
    result: str | None = None
    is_error: bool = False
    truncated: bool = False
    blob: str | None = None
    diff: str | None = None
    mime: dict[str, str] = field(default_factory=dict)
    approval_id: str | None = None
    approved_arguments: str | None = None
    decision: str | None = None
    last_decision: str | None = None
    """What was decided last, also after it was used up."""
    trace_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    latency_ms: float | None = None
    error: str | None = None
    tokens_used: int | None = None
    cache_tokens: int | None = None
    reasoning_tokens: int | None = None
    earlier: list[ev.ToolTraceStart] = field(default_factory=list)
    """Executions before the last one, of which nobody knows how they ended."""
    trace_started: ev.ToolTraceStart | None = None

    @property
    def outcome_is_unknown(self) -> bool:
        """It was started and nobody knows how it ended: it may have acted."""
        return self.trace_id is not None and self.outcome is None


@dataclass
class TurnView:
    """One turn: `blob` is None until it is committed."""

    turn: int
    message_id: str | None = None
    tool_calls: dict[str, ToolCallView] = field(default_factory=dict)
    usage: Usage | None = None
    model: str | None = None
    blob: str | None = None
    stop_reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cache_life_s: float | None = None
    is_complete: bool = False
    text_pieces: list[str] = field(default_factory=list, repr=False)
    thinking_pieces: list[str] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        return "".join(self.text_pieces)

    @property
    def thinking(self) -> str:
        return "".join(self.thinking_pieces)


PROGRESS = (ev.RunStarted, ev.TurnCommitted, ev.ToolTraceFinish, ev.ApprovalResolved, ev.InputReceived)

PROGRESS_KEPT = 64 * 1024
"""Characters of a tool's live output that a transcript keeps: the last ones. The whole is in the journal."""


@dataclass
class Transcript:
    """The fold. `last_event_id` and `seq` say how far it is; `started` is the run's first event."""

    run_id: str = ""
    status: RunStatus = RunStatus.PENDING
    started: ev.RunStarted | None = None
    turns: list[TurnView] = field(default_factory=list)
    tool_calls: dict[str, ToolCallView] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    inputs: dict[str, InputNeeded] = field(default_factory=dict)
    answers: dict[str, str | None] = field(default_factory=dict)
    answered: dict[str, InputNeeded] = field(default_factory=dict)
    """Questions that wait no more, with what was answered."""
    usage: Usage = field(default_factory=Usage)
    helper_usage: Usage = field(default_factory=Usage)
    """Of model calls that are no turns."""
    live_usage: ev.UsageReported | None = None
    context: ev.UsageReported | None = None
    """What was reported last: how full the model's window was, also after its turn is committed."""
    model_call_count: int = 0
    compacted: ev.Compacted | None = None
    grants: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)
    error: ev.ErrorRaised | None = None
    summary: str | None = None
    is_complete: bool = False
    last_event_id: str = ""
    progress_id: str = ""
    """The last event that brought the run forward: taken up again and again without one, it is stuck."""
    event_count: int = 0
    first_at: datetime | None = None
    started_at: datetime | None = None
    """When the run was first `running`."""
    ended_at: datetime | None = None
    """When its status became one that stays. Its last event may come later, after a crash much later."""
    last_at: datetime | None = None

    def apply(self, event: ev.AnyEvent | ev.Unknown) -> None:
        """Takes the next event in. Events that say nothing to a transcript only move its position."""
        self.last_event_id = event.id
        self.event_count += 1
        if isinstance(event, ev.Unknown):
            return
        self.run_id = self.run_id or event.run_id
        self.first_at = self.first_at or event.at
        self.last_at = event.at
        if isinstance(event, PROGRESS):
            self.progress_id = event.id
        match event:
            case ev.AgentEvent():
                self._stream(event)
            case ev.RunStarted():
                self.started = event
            case ev.StatusChange():
                self.status = event.status
                if event.status is RunStatus.RUNNING:
                    self.started_at = self.started_at or event.at
            case ev.TurnCommitted():
                self._commit(event)
            case ev.ToolConfirmationRequest() | ev.ApprovalResolved():
                self._approval(event)
            case ev.InputRequest():
                self.inputs[event.request_id] = InputNeeded(
                    request_id=event.request_id, run_id=self.run_id, prompt=event.prompt, schema=event.schema,
                    asked_at=event.at,
                )  # fmt: skip
            case ev.InputReceived():
                self._answer(event)
            case ev.ToolTraceStart() | ev.ToolTraceFinish():
                self._trace(event)
            case ev.ArgumentsRepaired():
                self._tool_call(event.tool_call_id).arguments = event.after
            case ev.Compacted():
                self.compacted = event
                self.helper_usage += event.usage or Usage()
            case ev.ErrorRaised():
                self.error = event
            case ev.SessionComplete():
                self.status, self.usage, self.summary = event.status, event.usage, event.summary
                self.is_complete = True
            case _:
                pass
        if self.status.is_terminal:
            self.ended_at = self.ended_at or event.at

    @property
    def text(self) -> str:
        """The text of the last turn that has any: the answer so far, and the answer when the run is complete."""
        return next((turn.text for turn in reversed(self.turns) if turn.text_pieces), "")

    @property
    def pending_approvals(self) -> tuple[Approval, ...]:
        """What waits for a decision: nothing once the run is over, whatever it had asked."""
        if self.status.is_terminal:
            return ()
        return tuple(approval for approval in self.approvals.values() if approval.decision is None)

    @property
    def pending_inputs(self) -> tuple[InputNeeded, ...]:
        """What waits for an answer: nothing once the run is over."""
        return () if self.status.is_terminal else tuple(self.inputs.values())

    @property
    def open_tool_calls(self) -> tuple[ToolCallView, ...]:
        return tuple(call for call in self.tool_calls.values() if call.result is None)

    @property
    def turn(self) -> TurnView:
        """The turn in progress: the last one that is not complete, made when there is none."""
        if not self.turns or self.turns[-1].is_complete:
            self.turns.append(TurnView(turn=len(self.turns), started_at=self.last_at))
        return self.turns[-1]

    def _stream(self, event: ev.AgentEvent) -> None:
        match event.event:
            case ev.TextDelta(content=content):
                self.turn.text_pieces.append(content)
            case ev.ThinkingDelta(content=content):
                self.turn.thinking_pieces.append(content)
            case ev.ToolCallStart(tool_call_id=tool_call_id, name=name, arguments=arguments):
                turn = self.turn
                call = ToolCallView(tool_call_id=tool_call_id, name=name, turn=turn.turn, arguments=arguments)
                turn.tool_calls[tool_call_id] = self.tool_calls[tool_call_id] = call
            case ev.ToolCallDelta(tool_call_id=tool_call_id, arguments=arguments):
                self._tool_call(tool_call_id).arguments += arguments
            case ev.ToolCallEnd(tool_call_id=tool_call_id):
                self._tool_call(tool_call_id).is_ended = True
            case ev.ToolProgress(tool_call_id=tool_call_id, content=content):
                call = self._tool_call(tool_call_id)
                call.progress = (call.progress + content)[-PROGRESS_KEPT:]
            case ev.ToolResultReady() as result:
                call = self._tool_call(result.tool_call_id)
                call.result, call.is_error, call.truncated = result.result, result.is_error, result.truncated
                call.blob, call.diff, call.mime = result.blob, result.diff, dict(result.mime)
            case ev.MessageComplete(message_id=message_id):
                self.turn.message_id = message_id
            case ev.StepComplete(step_index=step_index):
                if step_index < len(self.turns):
                    self.turns[step_index].is_complete = True
            case ev.UsageReported() as usage:
                self.live_usage = self.context = usage

    def _commit(self, event: ev.TurnCommitted) -> None:
        turn = self.turn
        turn.blob, turn.model, turn.usage = event.blob, event.model, event.usage
        turn.stop_reason, turn.started_at, turn.finished_at = event.stop_reason, event.started_at, event.finished_at
        turn.cache_life_s = event.cache_life_s
        self.usage += event.usage
        self.live_usage = None
        self.model_call_count += 1

    def _approval(self, event: ev.ToolConfirmationRequest | ev.ApprovalResolved) -> None:
        call = self._tool_call(event.tool_call_id)
        if isinstance(event, ev.ToolConfirmationRequest):
            call.approval_id, call.decision = event.approval_id, None
            self.approvals[event.approval_id] = Approval(
                approval_id=event.approval_id, run_id=self.run_id, tool_call_id=event.tool_call_id,
                tool_name=event.tool.name, arguments=event.tool.arguments, effects=event.effects,
                preview=event.preview, asked_at=event.at or event.expires_at, expires_at=event.expires_at,
            )  # fmt: skip
            return
        call.decision = call.last_decision = event.decision
        call.approved_arguments = event.arguments or call.approved_arguments
        if event.decision in (Decision.REJECT, Decision.EXPIRED):
            call.outcome = call.outcome or Outcome.REJECTED
        if (asked := self.approvals.get(event.approval_id)) is not None:
            self.approvals[event.approval_id] = msgspec.structs.replace(
                asked,
                decision=event.decision,
                resolved_arguments=event.arguments,
                reason=event.reason,
                actor=event.actor,
                policy=event.policy,
                resolved_at=event.at,
                status=AskStatus.RESOLVED,
            )
            if event.remember and event.decision in (Decision.APPROVE, Decision.EDIT):
                self.grants.add((asked.tool_name, tuple(asked.effects)))
        elif event.policy is not None and event.at is not None:
            # Nobody was asked: the rule decided.
            self.approvals[event.approval_id] = Approval(
                approval_id=event.approval_id, run_id=self.run_id, tool_call_id=event.tool_call_id,
                tool_name=call.name, arguments=call.arguments, effects=(), preview={}, asked_at=event.at,
                expires_at=event.at, decision=event.decision, reason=event.reason, actor=event.actor,
                policy=event.policy, resolved_at=event.at, status=AskStatus.RESOLVED,
            )  # fmt: skip

    def _answer(self, event: ev.InputReceived) -> None:
        self.answers[event.request_id] = event.content
        if (asked := self.inputs.pop(event.request_id, None)) is not None:
            self.answered[event.request_id] = msgspec.structs.replace(
                asked, content=event.content, actor=event.actor, resolved_at=event.at, status=AskStatus.RESOLVED
            )

    def _trace(self, event: ev.ToolTraceStart | ev.ToolTraceFinish) -> None:
        call = self._tool_call(event.tool_call_id)
        if isinstance(event, ev.ToolTraceStart):
            if call.trace_started is not None:
                call.earlier.append(call.trace_started)
            call.trace_started = event
            call.trace_id, call.started_at, call.outcome = event.trace_id, event.started_at, None
            # A start uses the approval up: running the call again needs another one.
            call.approval_id = call.decision = None
            return
        call.outcome, call.latency_ms, call.error = event.outcome, event.latency_ms, event.error
        call.finished_at = event.finished_at
        call.tokens_used, call.cache_tokens = event.tokens_used, event.cache_tokens
        call.reasoning_tokens = event.reasoning_tokens

    def _tool_call(self, tool_call_id: str) -> ToolCallView:
        """Returns the call, made on the spot for a journal that names one it never started."""
        if tool_call_id not in self.tool_calls:
            call = ToolCallView(tool_call_id=tool_call_id, name="", turn=self.turn.turn)
            self.tool_calls[tool_call_id] = self.turn.tool_calls[tool_call_id] = call
        return self.tool_calls[tool_call_id]

    def snapshot(self) -> dict[str, Any]:
        """Returns what a client needs to show the run now, in wire names and without its events."""
        return {
            "status": self.status,
            "agent": self.started.agent if self.started else None,
            "model": self.started.model if self.started else None,
            "threadId": self.started.thread_id if self.started else None,
            "turn": len(self.turns),
            "text": self.text,
            "openToolCalls": [
                {"toolCallId": call.tool_call_id, "name": call.name, "arguments": call.arguments,
                 "startedAt": call.started_at}
                for call in self.open_tool_calls
            ],
            "pendingApprovals": self.pending_approvals,
            "pendingInputs": self.pending_inputs,
            "usage": self.usage,
            "lastEventId": self.last_event_id,
        }  # fmt: skip
