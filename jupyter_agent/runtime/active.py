"""A run that is being carried out: its journal, model, tools and meter, and whoever it waits for."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import msgspec

from .. import events as ev
from ..exceptions import AlreadyResolved, InputNotFound, JournalDamaged, RunFinished
from ..journal import Journal
from ..models.contract import Model, Models
from ..models.person import PERSON
from ..models.prices import Prices
from ..records import (
    Approval,
    Decision,
    Effect,
    Message,
    Principal,
    RunRequest,
    RunStatus,
    ToolCall,
    TurnRecord,
    new_id,
    utc_now,
)
from ..storage.contract import BlobStore, RowStore
from ..tools import Toolbox
from ..tools.contract import Environment
from ..tools.people import FOREVER_S
from ..transcript import Transcript
from .asked import check_answer
from .budget import Meter
from .leaseholder import Leaseholder
from .policy import Policy
from .settings import RunnerSettings


@dataclass(frozen=True)
class Means:
    """What all runs of a server share."""

    rows: RowStore
    blobs: BlobStore
    journal: Journal
    models: Models
    prices: Prices
    environment: Environment
    settings: RunnerSettings
    leases: Leaseholder
    on_status: Callable[[str, RunStatus], None]
    strays: set[asyncio.Task[None]] = field(default_factory=set)

    async def append(self, run_id: str, event: ev.AnyEvent) -> ev.AnyEvent:
        """Appends to the journal of a run that this process may carry out. Raises LeaseLost, and what a journal
        raises."""
        self.leases.check(run_id)
        return await self.journal.append(run_id, event)


@dataclass
class ActiveRun:
    """One run in this process. `transcript` is the journal's live fold: what is true of the run is read there.

    `turns` are its committed turns; `past` the thread's messages before it. Only the loop changes them.
    """

    run_id: str
    thread_id: str
    request: RunRequest
    means: Means
    model: Model
    toolbox: Toolbox
    policy: Policy
    meter: Meter
    transcript: Transcript
    turns: list[TurnRecord] = field(default_factory=list)
    past: list[Message] = field(default_factory=list)
    input: Message = field(default_factory=lambda: Message(role="user", parts=()))
    thread_grants: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_over: bool = False
    _answered: dict[str, asyncio.Event] = field(default_factory=dict)
    _claimed: set[str] = field(default_factory=set)
    _writing: asyncio.Task[None] | None = None

    async def append(self, event: ev.AnyEvent) -> ev.AnyEvent:
        """Appends to the run's journal. Raises RunFinished for a run that is over: nothing follows its last event;
        LeaseLost for one that another process may carry out."""
        if self.is_over:
            raise RunFinished(f"Run {self.run_id} is over.")
        return await self.means.append(self.run_id, event)

    async def stream(self, kind: ev.AnyKind) -> None:
        await self.append(ev.AgentEvent(event=kind))

    async def keep(self, data: bytes) -> str:
        """Keeps bytes as a blob and returns the key. The event that names it makes it the run's own."""
        return await self.means.blobs.put(data)

    @property
    def started(self) -> ev.RunStarted:
        """The run's first event. Every run has one before it is carried out."""
        if self.transcript.started is None:
            raise JournalDamaged(f"The journal of run {self.run_id} does not begin with run_started.")
        return self.transcript.started

    @property
    def played(self) -> int:
        """How many answers the model is to have given before this run's first turn."""
        return self.started.fork.played if self.started.fork else 0

    @property
    def instructions(self) -> str:
        """What the model is told before everything else: the server's instructions, then the request's own."""
        return "\n\n".join(filter(None, (self.means.settings.instructions, self.request.instructions)))

    @property
    def context_max(self) -> int | None:
        """How many tokens of the model's window the run may fill: all, or `context_max` of the request's settings."""
        asked, whole = self.request.kwargs.get("context_max"), self.model.context_max
        if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0:
            return asked if whole is None else min(asked, whole)
        return whole

    @property
    def is_for_people(self) -> bool:
        """Whether no model carries it out: it asks a person, and their word is its answer."""
        return self.model.name == PERSON

    def patience_s(self, usual_s: float) -> float:
        """Returns how long people are waited for: as usual, or for ever where the run is theirs alone."""
        return FOREVER_S if self.is_for_people else usual_s

    async def show_status(self) -> None:
        """Appends the status that what is pending asks for, if it changed, and lets the meter count only work."""
        status = RunStatus.RUNNING
        if self.transcript.pending_approvals:
            status = RunStatus.WAITING_CONFIRMATION
        elif self.transcript.pending_inputs:
            status = RunStatus.WAITING_INPUT
        if status is RunStatus.RUNNING:
            self.meter.work()
        else:
            self.meter.wait()
        if status is not self.transcript.status and not self.transcript.status.is_terminal:
            await self.append(ev.StatusChange(status=status))
            self.means.on_status(self.run_id, status)

    # --- people ---------------------------------------------------------------------------------------------

    def confirmation_request(
        self, call: ToolCall, *, effects: tuple[Effect, ...], preview: dict[str, Any]
    ) -> ev.ToolConfirmationRequest:
        """Returns the question whether a call may run; it expires by itself, to a rejection."""
        return ev.ToolConfirmationRequest(
            tool_call_id=call.tool_call_id,
            tool=ev.ToolDescription(
                identifier=call.name, api_name=call.name, name=call.name, arguments=shortened(call.arguments)
            ),
            approval_id=new_id("apr"),
            expires_at=utc_now() + timedelta(seconds=self.patience_s(self.means.settings.approval_timeout_s)),
            effects=effects,
            preview=preview,
        )

    async def ask_approval(self, request: ev.ToolConfirmationRequest) -> Approval:
        """Asks, durably, and waits for the decision."""
        await self.append(request)
        return await self.await_approval(request.approval_id)

    async def await_approval(self, approval_id: str) -> Approval:
        """Waits for the decision of what was asked, before a restart perhaps; time runs out to `expired`."""
        approval = self.transcript.approvals[approval_id]
        if approval.decision is None:
            left_s = (approval.expires_at - utc_now()).total_seconds()
            if not await self._wait_for(approval_id, left_s):
                await self.resolve(approval_id, Decision.EXPIRED, actor="clock")
        return self.transcript.approvals[approval_id]

    async def resolve(
        self,
        approval_id: str,
        decision: Decision,
        *,
        actor: str,
        arguments: str | None = None,
        reason: str | None = None,
        remember: Literal["run", "thread"] | None = None,
    ) -> Approval:
        """Records a decision, durably, and wakes who waits for it. Raises AlreadyResolved: the first one stands."""
        approval = self.transcript.approvals[approval_id]
        if approval.decision is not None:
            raise AlreadyResolved(
                f"The approval {approval_id} was decided before: {approval.decision} by {approval.actor}.",
                details={"decision": approval.decision, "actor": approval.actor},
            )
        if decision not in (Decision.APPROVE, Decision.EDIT):
            # Only a yes can be remembered: a no covers this call, and the next one is asked about again.
            remember = None
        event = ev.ApprovalResolved(
            approval_id=approval_id,
            tool_call_id=approval.tool_call_id,
            decision=decision,
            arguments=arguments,
            reason=reason,
            actor=actor,
            remember=remember,
        )
        await self._record(approval_id, event)
        if remember == "thread":
            self.thread_grants.add((approval.tool_name, tuple(approval.effects)))
        return self.transcript.approvals[approval_id]

    async def ask_input(self, request_id: str, prompt: str, schema: dict[str, Any] | None) -> str | None:
        """Asks the person and returns the answer, None when nobody answers in time. Asked again after a restart it
        goes on."""
        if self.request.on_ask == "reject":
            return None
        if request_id not in self.transcript.answers:
            if request_id not in self.transcript.inputs:
                await self.append(ev.InputRequest(request_id=request_id, prompt=prompt, schema=schema))
            asked_at = self.transcript.inputs[request_id].asked_at or utc_now()
            patience_s = self.patience_s(self.means.settings.input_timeout_s)
            left_s = patience_s - (utc_now() - asked_at).total_seconds()
            if not await self._wait_for(request_id, left_s):
                await self._record(request_id, ev.InputReceived(request_id=request_id, actor="clock"))
        return self.transcript.answers[request_id]

    async def answer(self, request_id: str, content: str, *, by: Principal) -> None:
        """Records a person's answer. Raises InputNotFound, AlreadyResolved, and InvalidRequest for one that does not
        fill in the question's form; then nothing has changed."""
        if request_id in self.transcript.answers:
            raise AlreadyResolved(f"The question {request_id} of run {self.run_id} was answered before.")
        if request_id not in self.transcript.inputs:
            raise InputNotFound(f"Run {self.run_id} has no open question {request_id}.")
        check_answer(content, self.transcript.inputs[request_id].schema)
        await self._record(request_id, ev.InputReceived(request_id=request_id, content=content, actor=by.name))

    async def _wait_for(self, key: str, timeout_s: float) -> bool:
        """Waits for a person; tells whether one answered in time."""
        answered = self._answered.setdefault(key, asyncio.Event())
        await self.show_status()
        try:
            async with asyncio.timeout(max(timeout_s, 0.0)):
                await answered.wait()
        except TimeoutError:
            # Somebody may be writing the answer this very moment: then it counts.
            if key not in self._claimed:
                return False
            await answered.wait()
        await self.show_status()
        return True

    async def _record(self, key: str, event: ev.ApprovalResolved | ev.InputReceived) -> None:
        # Claimed before the first await, so that of two decisions at once exactly one is written.
        if key in self._claimed:
            raise AlreadyResolved(f"{key} is being decided by somebody else this very moment.")
        self._claimed.add(key)
        # Shielded: a decision on its way to disk takes effect even when the one who made it goes away meanwhile.
        self._writing = asyncio.create_task(self._write_answer(key, event))
        await asyncio.shield(self._writing)

    async def _write_answer(self, key: str, event: ev.ApprovalResolved | ev.InputReceived) -> None:
        try:
            await self.append(event)
        except Exception:
            self._claimed.discard(key)
            raise
        self._answered.setdefault(key, asyncio.Event()).set()


MAX_FIELD_BYTES = 96 * 1024
"""Texts that are longer on the wire are shortened where they are repeated in an event: the whole stands in the call's
own deltas."""
BEGINNING_CHARS = 12 * 1024
"""What is shown of them. A character takes up to seven bytes, and an event with several such fields fits a line."""


def wire_size(value: Any) -> int:
    """Returns how many bytes a value takes in an event."""
    return len(msgspec.json.encode(value))


def shortened(text: str) -> str:
    """Returns the text, or its beginning with a note of how long the whole is."""
    if wire_size(text) <= MAX_FIELD_BYTES:
        return text
    return json.dumps({"shortened": text[:BEGINNING_CHARS], "characters": len(text)}, ensure_ascii=False)
