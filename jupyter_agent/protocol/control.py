"""What the gateway says beside events. These frames have no `id`: they never move a client's cursor."""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from ..records import Approval, InputNeeded, RunStatus, Usage


class Control(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """Base of the control frames."""


class AuthSuccess(Control, frozen=True, kw_only=True, tag="auth_success"):
    pass


class AuthFailed(Control, frozen=True, kw_only=True, omit_defaults=False, tag="auth_failed"):
    reason: str


class HeartbeatAck(Control, frozen=True, kw_only=True, tag="heartbeat_ack"):
    pass


class Gap(Control, frozen=True, kw_only=True, tag="gap"):
    """What was asked for is not all there. `earliest` and `latest` are the ids of the first and last stored event."""

    run_id: str
    requested: str
    earliest: str | None = None
    latest: str | None = None


class OpenToolCall(Struct, frozen=True, kw_only=True, rename="camel"):
    tool_call_id: str
    name: str
    arguments: str
    started_at: datetime | None = None


class Snapshot(Control, frozen=True, kw_only=True, tag="snapshot"):
    """A run at an instant: sent where history is gone, so that a client can show it without its events."""

    run_id: str
    status: RunStatus
    agent: str | None = None
    model: str | None = None
    thread_id: str | None = None
    turn: int = 0
    text: str = ""
    open_tool_calls: tuple[OpenToolCall, ...] = ()
    pending_approvals: tuple[Approval, ...] = ()
    pending_inputs: tuple[InputNeeded, ...] = ()
    usage: Usage = Usage()
    budget_left: dict[str, Any] = {}
    last_event_id: str = ""


class ReplayComplete(Control, frozen=True, kw_only=True, omit_defaults=False, tag="replay_complete"):
    """Everything that is stored has been sent; what follows is live. `last_event_id` is None before the first event."""

    run_id: str
    status: RunStatus
    last_event_id: str | None = None


class Ack(Control, frozen=True, kw_only=True, tag="ack"):
    """The command with this `clientId` was carried out; `result` is what it made (for `start_run`: the run)."""

    client_id: str
    result: Any = None


class Failed(Control, frozen=True, kw_only=True, tag="failed"):
    """The command was refused and changed nothing."""

    code: str
    message: str
    client_id: str | None = None
    details: dict[str, Any] = {}


class ClientToolCall(Control, frozen=True, kw_only=True, omit_defaults=False, tag="client_tool_call"):
    """Asks the client to carry out a tool that lives there. `arguments` is JSON text. It may come again after a
    reconnect: `toolCallId` tells that it is the same call."""

    run_id: str
    tool_call_id: str
    name: str
    arguments: str
    timeout_s: float


class ClientToolCancelled(Control, frozen=True, kw_only=True, tag="client_tool_cancelled"):
    """The call is no longer wanted: the run was interrupted or the tool timed out."""

    run_id: str
    tool_call_id: str


class RunChanged(Control, frozen=True, kw_only=True, tag="run_changed"):
    """To followers of "*": one of their runs was created, changed its status or was deleted."""

    run_id: str
    thread_id: str
    change: Literal["created", "status", "deleted"]
    status: RunStatus
    agent: str | None = None
    model: str | None = None
    follow_up_to_run_id: str | None = None


class ThreadChanged(Control, frozen=True, kw_only=True, tag="thread_changed"):
    thread_id: str
    change: Literal["created", "updated", "deleted"]
    title: str | None = None


AnyControl = (
    AuthSuccess
    | AuthFailed
    | HeartbeatAck
    | Gap
    | Snapshot
    | ReplayComplete
    | Ack
    | Failed
    | ClientToolCall
    | ClientToolCancelled
    | RunChanged
    | ThreadChanged
)
