"""What happened: one frozen struct an event. A journal line is a wire frame.

An event is encoded once, when the journal gives it its id, and stored, streamed, replayed, archived and tabulated in
those bytes.

Rules:

- The first six types with their fields and kinds are what third-party clients already speak: never rename them.
- Within them `arguments` and `result` are strings (JSON text); deltas concatenate onto the start's `arguments`.
- A type or kind that this version does not know decodes to `Unknown` and is carried along, never dropped.

In a notebook `ja.events(…)` is the frame of them.
"""

import hashlib
import sys
import zlib
from datetime import datetime
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from .exceptions import InvalidRequest
from .records import (
    Cell,
    Decision,
    Effect,
    Fork,
    InputPart,
    Outcome,
    RunStatus,
    Usage,
    written_always,
)

MAX_LINE_BYTES: Final = 256 * 1024
"""A longer line is never written: larger fields become blob pointers."""


# --- kinds of `agent_event` -----------------------------------------------------------------------------------


class Kind(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="kind"):
    """Base of what streams while a turn is made."""


class TextDelta(Kind, frozen=True, kw_only=True, tag="text_delta"):
    content: str


class ThinkingDelta(Kind, frozen=True, kw_only=True, tag="thinking"):
    content: str


class ToolCallStart(Kind, frozen=True, kw_only=True, omit_defaults=False, tag="tool_call_start"):
    tool_call_id: str
    name: str
    arguments: str = ""


class ToolCallDelta(Kind, frozen=True, kw_only=True, tag="tool_call_delta"):
    tool_call_id: str
    arguments: str


class ToolCallEnd(Kind, frozen=True, kw_only=True, tag="tool_call_end"):
    tool_call_id: str


class ToolResultReady(Kind, frozen=True, kw_only=True, tag="tool_result"):
    """`result` is what the model reads; `blob` holds the whole where it was cut; `mime` maps MIME types to blobs of
    rich results."""

    tool_call_id: str
    result: str
    is_error: bool = False
    truncated: bool = False
    blob: str | None = None
    diff: str | None = None
    mime: dict[str, str] = {}


class ToolProgress(Kind, frozen=True, kw_only=True, tag="tool_progress"):
    tool_call_id: str
    content: str


class MessageComplete(Kind, frozen=True, kw_only=True, tag="message_complete"):
    message_id: str


class StepComplete(Kind, frozen=True, kw_only=True, tag="step_complete"):
    step_index: int


class UsageReported(Kind, frozen=True, kw_only=True, omit_defaults=False, tag="usage"):
    """Usage of the turn so far; `context_max` is None where the model's window is unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    context_used: int = 0
    context_max: int | None = None


AnyKind = (
    TextDelta
    | ThinkingDelta
    | ToolCallStart
    | ToolCallDelta
    | ToolCallEnd
    | ToolResultReady
    | ToolProgress
    | MessageComplete
    | StepComplete
    | UsageReported
)


# --- events ---------------------------------------------------------------------------------------------------


class Event(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """Base of all events. `id`, `run_id` and `at` are given by the journal: an event that was not appended has none."""

    id: str = ""
    run_id: str = ""
    at: datetime | None = None


class AgentEvent(Event, frozen=True, kw_only=True, tag="agent_event"):
    event: AnyKind


class StatusChange(Event, frozen=True, kw_only=True, tag="status_change"):
    status: RunStatus


class ToolDescription(Struct, frozen=True, kw_only=True, rename="camel"):
    """The wire's shape of a tool call in a confirmation request; `arguments` is JSON text."""

    identifier: str
    api_name: str
    name: str
    arguments: str


class ToolConfirmationRequest(Event, frozen=True, kw_only=True, tag="tool_confirmation_request"):
    """A tool call waits for a person. `preview` is the server's canonical picture of what will happen."""

    tool_call_id: str
    tool: ToolDescription
    approval_id: str
    expires_at: datetime
    effects: tuple[Effect, ...] = ()
    preview: dict[str, Any] = {}


class InputRequest(Event, frozen=True, kw_only=True, tag="input_request"):
    request_id: str
    prompt: str
    schema: dict[str, Any] | None = None


class SessionComplete(Event, frozen=True, kw_only=True, tag="session_complete"):
    """The last event of a run, exactly once."""

    status: RunStatus
    usage: Usage
    summary: str | None = None


class ErrorRaised(Event, frozen=True, kw_only=True, tag="error"):
    """The run fails: `status_change` and `session_complete` follow."""

    code: str
    message: str


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    """The first event of a run, written when it is created. Whatever a resume needs stands here."""

    schema_version: int = written_always()
    thread_id: str
    user_id: str
    agent: str
    model: str
    input: tuple[InputPart, ...]
    metadata: dict[str, Any] = {}
    kwargs: dict[str, Any] = {}
    multitask: str = "reject"
    parent_run_id: str | None = None
    follow_up_to_run_id: str | None = None
    workflow: str | None = None
    compare_group_id: str | None = None
    cell: Cell | None = None
    steps: tuple[dict[str, Any], ...] = ()
    fork: Fork | None = None


class ModelRetry(Event, frozen=True, kw_only=True, tag="model_retry"):
    attempt: int
    code: str
    delay_s: float


class Compacted(Event, frozen=True, kw_only=True, tag="compacted"):
    """Older turns were summarised for the model; `before` and `after` are tokens, `usage` is what the summary took."""

    blob: str
    turns: int
    before: int
    after: int
    usage: Usage | None = None


class ArgumentsRepaired(Event, frozen=True, kw_only=True, tag="arguments_repaired"):
    tool_call_id: str
    before: str
    after: str


class ChangeUpdated(Event, frozen=True, kw_only=True, tag="change_updated"):
    change_id: str
    path: str
    status: str
    diff: str | None = None


class SubagentUpdated(Event, frozen=True, kw_only=True, tag="subagent_updated"):
    """News of a child run. The child is `childRunId`, since `runId` names the run whose journal this stands in."""

    child_run_id: str
    status: str
    summary: str | None = None


class TurnCommitted(Event, frozen=True, kw_only=True, tag="turn_committed"):
    """A turn is durable. `blob` is the key of its `TurnRecord`; `cache_life_s` is how long the provider keeps a prompt
    that is not sent again, where that is known."""

    turn: int
    blob: str
    model: str
    usage: Usage
    started_at: datetime
    finished_at: datetime
    stop_reason: str
    cache_life_s: float | None = None


class ApprovalResolved(Event, frozen=True, kw_only=True, tag="approval_resolved"):
    """`arguments` are the ones to execute, JSON text, where the person edited them; `policy` names the rule where
    nobody was asked."""

    approval_id: str
    tool_call_id: str
    decision: Decision
    arguments: str | None = None
    reason: str | None = None
    actor: str | None = None
    policy: str | None = None
    remember: Literal["run", "thread"] | None = None


class InputReceived(Event, frozen=True, kw_only=True, tag="input_received"):
    """`content` is the answer, None when nobody answered in time."""

    request_id: str
    content: str | None = None
    actor: str | None = None


class ToolTraceStart(Event, frozen=True, kw_only=True, tag="tool_trace_start"):
    """Durable before the tool acts. `tool_input` is the JSON text that is executed."""

    trace_id: str
    tool_call_id: str
    tool_name: str
    tool_input: str
    turn: int
    started_at: datetime


class ToolTraceFinish(Event, frozen=True, kw_only=True, tag="tool_trace_finish"):
    trace_id: str
    tool_call_id: str
    outcome: Outcome
    latency_ms: float
    finished_at: datetime
    tokens_used: int | None = None
    cache_tokens: int | None = None
    reasoning_tokens: int | None = None
    error: str | None = None


class PhaseStarted(Event, frozen=True, kw_only=True, tag="phase_started"):
    title: str


class Log(Event, frozen=True, kw_only=True, tag="log"):
    message: str


class CallStarted(Event, frozen=True, kw_only=True, tag="call_started"):
    call_id: str
    label: str | None = None
    phase: str | None = None
    key: str


class CallCompleted(Event, frozen=True, kw_only=True, tag="call_completed"):
    call_id: str
    label: str | None = None
    phase: str | None = None
    key: str
    cached: bool
    reason: str
    child_run_id: str | None = None


class StepUpdated(Event, frozen=True, kw_only=True, tag="step_updated"):
    step_id: str
    status: str
    retry_count: int = 0
    output: str | None = None


class CollisionWarning(Event, frozen=True, kw_only=True, tag="collision_warning"):
    path: str
    environments: tuple[str, ...]
    agents: tuple[str, ...]
    severity: Literal["same_line", "adjacent_line", "different_area"]


AnyEvent = (
    AgentEvent
    | StatusChange
    | ToolConfirmationRequest
    | InputRequest
    | SessionComplete
    | ErrorRaised
    | RunStarted
    | ModelRetry
    | Compacted
    | ArgumentsRepaired
    | ChangeUpdated
    | SubagentUpdated
    | TurnCommitted
    | ApprovalResolved
    | InputReceived
    | ToolTraceStart
    | ToolTraceFinish
    | PhaseStarted
    | Log
    | CallStarted
    | CallCompleted
    | StepUpdated
    | CollisionWarning
)


class Unknown(Struct, frozen=True, kw_only=True):
    """An event of a type, kind or shape that this version does not know. `fields` is the whole object."""

    type: str
    id: str
    run_id: str
    fields: dict[str, Any]


COMMIT_POINTS = (
    RunStarted,
    TurnCommitted,
    ToolConfirmationRequest,
    ApprovalResolved,
    InputRequest,
    InputReceived,
    ToolTraceStart,
    ToolTraceFinish,
    SessionComplete,
)
"""Events that are synced to disk before anybody sees them. Deltas are written, not synced."""


# --- ids ------------------------------------------------------------------------------------------------------


class Cursor(NamedTuple):
    """An event id taken apart. Within a run ids order by `(epoch, seq)`."""

    tag: str
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.tag}-{self.epoch}-{self.seq}"

    @property
    def place(self) -> tuple[int, int]:
        return self.epoch, self.seq


def run_tag(run_id: str) -> str:
    """Returns ten hex digits that tell the events of this run from those of others."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:10]


def parse_cursor(text: str) -> Cursor | None:
    """Returns the cursor, or None for what is no event id."""
    tag, _, rest = text.partition("-")
    epoch, _, seq = rest.partition("-")
    if len(text) <= 64 and tag.isalnum() and _is_number(epoch) and _is_number(seq):
        return Cursor(tag, int(epoch), int(seq))
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


# --- lines ----------------------------------------------------------------------------------------------------

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_CRC_BYTES = len(b',"crc":"00000000"}')


def encode_line(event: AnyEvent) -> bytes:
    """Returns the event's wire frame with its checksum as last field, without a newline.

    The checksum is zlib's CRC-32 of the encoding without its final brace. Raises InvalidRequest for text that is not
    valid Unicode.
    """
    try:
        body = _encoder.encode(event)[:-1]
    except (UnicodeEncodeError, ValueError) as fault:
        raise InvalidRequest(
            f"An event of type {type(event).__name__} holds text that cannot be stored: {fault}."
        ) from fault
    return body + b',"crc":"%08x"}' % zlib.crc32(body)


def is_intact(line: bytes) -> bool:
    """Tells whether the line, without its newline, is one whole frame whose checksum holds."""
    body, seal = line[:-_CRC_BYTES], line[-_CRC_BYTES:]
    return seal == b',"crc":"%08x"}' % zlib.crc32(body)


def line_cursor(line: bytes) -> Cursor | None:
    """Returns the event id of a raw line without decoding the rest: `type` and `id` come first in every frame."""
    head = line[:200].split(b'"', 8)
    if len(head) == 9 and head[5] == b"id":
        return parse_cursor(head[7].decode("ascii", "replace"))
    return None


def decode_line(line: bytes | str) -> AnyEvent | Unknown:
    """Returns the event of a raw line; what this version does not know becomes `Unknown`.

    Raises msgspec.DecodeError for what is no JSON object with a type.
    """
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        fields = msgspec.json.decode(line, type=dict[str, Any])
        if not isinstance(fields.get("type"), str):
            raise
        return Unknown(
            type=fields["type"], id=str(fields.get("id", "")), run_id=str(fields.get("runId", "")), fields=fields
        )


# --- the name -------------------------------------------------------------------------------------------------


class _Events(ModuleType):
    """This module as `ja.events`: in Python's hands that name is the frame of all that happened, `ja.events()`."""

    def __call__(self, **asked: Any) -> Any:
        """Returns all that happened in all runs, a row an event: what `run.events.df` says of one run. See `ja.turns`
        for what can be asked."""
        return import_module(__package__)._events()(**asked)

    @property
    def __signature__(self) -> Signature:
        """What can be asked, for help and completion."""
        return signature(import_module(__package__)._events())


sys.modules[__name__].__class__ = _Events
