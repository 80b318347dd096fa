"""The nouns: what threads, runs, turns, messages and budgets are made of.

All records are frozen and camelCase on the wire (`rename="camel"`), so that the same struct is a row, a REST body and
a blob. Times are UTC datetimes, durations are in seconds unless the name says milliseconds.
"""

import json
import math
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import asdict

T = TypeVar("T")

SCHEMA_VERSION = 1
"""Major version of journals and blobs. A reader refuses a higher one by name."""


def written_always() -> int:
    """Returns the default of `schema_version`. Being made by a factory it is never left out: a later version could
    not tell a missing number from its own."""
    return field(default_factory=lambda: SCHEMA_VERSION)


class Record(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of the records: immutable, camelCase in JSON, defaults left out."""


class RunStatus(StrEnum):
    """Where a run stands. The last three are terminal and never overwritten."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING_CONFIRMATION = "waiting_confirmation"
    WAITING_INPUT = "waiting_input"
    COMPLETED = "completed"
    ERROR = "error"
    INTERRUPTED = "interrupted"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.INTERRUPTED})
ACTIVE = frozenset(RunStatus) - TERMINAL


class ThreadStatus(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"
    ERROR = "error"


class Multitask(StrEnum):
    """What happens to a new run on a thread that has an active one."""

    REJECT = "reject"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"
    ENQUEUE = "enqueue"


class Effect(StrEnum):
    """What a tool call can do to the world."""

    READ = "read"
    WRITE = "write"
    EXEC = "exec"
    NETWORK = "network"


class Decision(StrEnum):
    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    EXPIRED = "expired"


class AskStatus(StrEnum):
    """Where a question to a person stands. It lapses when its run ends before anybody answered."""

    PENDING = "pending"
    RESOLVED = "resolved"
    LAPSED = "lapsed"


class Outcome(StrEnum):
    """How the execution of a tool call ended."""

    SUCCESS = "success"
    ERROR = "error"
    REJECTED = "rejected"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"


# --- messages -------------------------------------------------------------------------------------------------


class Text(Record, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """Text. Where it is too long for an event, `blob` holds the whole and `text` only its beginning."""

    text: str
    blob: str | None = None


class Image(Record, frozen=True, kw_only=True, tag_field="type", tag="image"):
    """A picture kept as a blob; `mime` is what its bytes were sniffed to be."""

    blob: str
    mime: str


class Thinking(Record, frozen=True, kw_only=True, tag_field="type", tag="thinking"):
    """Reasoning text; `signature` and `provider` let the provider that made it recognise it again."""

    text: str
    signature: str | None = None
    provider: str | None = None


class ToolCall(Record, frozen=True, kw_only=True, tag_field="type", tag="tool_call"):
    """A call as the model asked for it. `arguments` is the model's own text, valid JSON or not.

    `tool_call_id` is unique within its run; `provider_id` is the provider's own id where that repeats.
    """

    tool_call_id: str
    name: str
    arguments: str
    provider_id: str | None = None


class ToolResult(Record, frozen=True, kw_only=True, tag_field="type", tag="tool_result"):
    tool_call_id: str
    name: str
    content: str
    is_error: bool = False
    images: tuple[Image, ...] = ()


InputPart = Text | Image
Part = Text | Image | Thinking | ToolCall | ToolResult


class Message(Record, frozen=True, kw_only=True):
    """One message of a thread. Assistant messages hold text, thinking and tool calls; tool messages hold results."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]
    message_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


# --- usage and budgets ----------------------------------------------------------------------------------------


class Usage(Record, frozen=True, kw_only=True):
    """Tokens and money of one or more model calls.

    `input_tokens` counts all of the prompt, cached or not; `cache_read_tokens` and `cache_write_tokens` are parts of
    it, `reasoning_tokens` is a part of `output_tokens`. `unmeasured_requests` counts calls whose provider reported
    nothing: their tokens are unknown, not zero. `cost` is US dollars, None where a price is unknown.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    unmeasured_requests: int = 0
    cost: float | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def is_unmeasured(self) -> bool:
        """Whether no provider reported anything: the tokens are unknown then, not zero."""
        return self.unmeasured_requests > 0 and not self.total_tokens

    def __add__(self, other: "Usage") -> "Usage":
        if not other.requests and not other.total_tokens:
            return self
        if not self.requests and not self.total_tokens:
            return other
        sums = {name: value + getattr(other, name) for name, value in asdict(self).items() if name != "cost"}
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(**sums, cost=cost)


class Budget(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one run and its children, or what is left of them. None means no limit."""

    turns: int | None = 50
    tool_calls: int | None = 200
    seconds: float | None = 1800.0
    tokens: int | None = None
    cost: float | None = None


# --- agents, tools, threads, runs -----------------------------------------------------------------------------


class Principal(Record, frozen=True, kw_only=True):
    """On whose behalf something is done, and how far the credential reaches.

    `user_id` owns threads and runs; `actor` is the display name that audits show; `may_approve` is False for kernels.
    """

    user_id: str
    actor: str = ""
    may_approve: bool = True
    is_system: bool = False
    kernel_id: str | None = None

    @property
    def name(self) -> str:
        """What audits show: the actor's display name, else the user id."""
        return self.actor or self.user_id


SYSTEM = Principal(user_id="", actor="system", is_system=True)
"""The explicit context that sees all: recovery, rebuild, prune."""

OWNER = "owner"
"""The user id on a server with one user, whatever name its token login happens to show."""


class ToolSpec(Record, frozen=True, kw_only=True):
    """What a model is told of a tool, and what the policy knows of it.

    `parameters` is a JSON Schema object. `timeout_s` bounds one execution; `output_cap` is in characters, more goes
    to a blob. `client` marks a tool that lives in the client and is called over its socket.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    effects: tuple[Effect, ...] = (Effect.READ,)
    idempotent: bool = False
    sequential: bool = False
    timeout_s: float = 120.0
    output_cap: int = 32_768
    client: bool = False


class Cell(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The notebook cell a run was started from."""

    cell_id: str | None = None
    execution_count: int | None = None
    notebook: str | None = None


class RunRequest(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What starts a run, over REST and the socket alike. Only `input` is needed.

    `client_tools` are tools that live in the starting client; `kernel_id` is the kernel that `run_cell` uses, and
    `waits` says that a cell of that kernel is waiting for this run. `instructions` are told the model after the
    server's own. `kwargs` are settings of the model (`temperature`, `thinking` …) and `context_max`, the tokens of its
    window to use; `script` is what the `scripted` model plays. `on_ask` "reject" is for headless runs.
    """

    input: str | tuple[InputPart, ...]
    model: str | None = None
    thread_id: str | None = None
    agent: str | None = None
    tools: tuple[str, ...] | None = None
    client_tools: tuple[ToolSpec, ...] = ()
    budget: Budget | None = None
    policy: str | None = None
    instructions: str | None = None
    on_ask: Literal["wait", "reject"] = "wait"
    multitask: Multitask = Multitask.REJECT
    metadata: dict[str, Any] = {}
    kwargs: dict[str, Any] = {}
    follow_up_to_run_id: str | None = None
    script: Any = None
    kernel_id: str | None = None
    waits: bool = False
    cell: Cell | None = None


class ForkRequest(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be otherwise in a run that begins at a turn of another one. What is left out stays as it was there.

    `turn` is made anew; without it the run goes on after the last one. `input` is what the person says there: in place
    of the run's own input at turn 0, after what the model knows by then at a later turn. `tools` null allows all of
    the server's. A thread, metadata and a budget's use are the new run's own.
    """

    turn: int | None = None
    input: str | tuple[InputPart, ...] | None = None
    model: str | None = None
    instructions: str | None = None
    kwargs: dict[str, Any] | None = None
    tools: tuple[str, ...] | UnsetType | None = UNSET
    client_tools: tuple[ToolSpec, ...] | None = None
    budget: Budget | None = None
    script: Any = None
    metadata: dict[str, Any] = {}
    kernel_id: str | None = None
    waits: bool = False
    cell: Cell | None = None


class Fork(Record, frozen=True, kw_only=True):
    """Where a forked run begins: before this turn of that run.

    `past` is the blob of a `Past`, `images` are the pictures in it. `played` counts the answers of a model that stand
    in it and that the model is to have given, for those that play turn after turn (scripted, replay).
    """

    run_id: str
    turn: int
    past: str
    images: tuple[str, ...] = ()
    played: int = 0


class Past(Record, frozen=True, kw_only=True):
    """The body of the blob that a forked run begins with: the messages before its first turn, as the model saw them.

    It is a copy, so that the run is whole whatever becomes of the one that it comes from.
    """

    schema_version: int = written_always()
    messages: tuple["Message", ...] = ()


class Thread(Record, frozen=True, kw_only=True):
    thread_id: str
    user_id: str
    created_at: datetime
    updated_at: datetime
    title: str | None = None
    metadata: dict[str, Any] = {}
    status: ThreadStatus = ThreadStatus.IDLE


class Run(Record, frozen=True, kw_only=True):
    """One execution of an agent, as a row: what lists and pages show. The journal is its truth.

    `usage` is that of its own turns alone; `helper_tokens` and `helper_cost` are of model calls that are no turns, as
    compaction makes them. Subagents are runs of their own: `RunTotals` adds them up. `past_blob` is what a forked run
    begins with.
    """

    run_id: str
    thread_id: str
    user_id: str
    status: RunStatus
    agent: str
    model: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    queued: bool = False
    multitask: Multitask = Multitask.REJECT
    input: tuple[InputPart, ...] = ()
    metadata: dict[str, Any] = {}
    kwargs: dict[str, Any] = {}
    cell: Cell | None = None
    parent_run_id: str | None = None
    follow_up_to_run_id: str | None = None
    compare_group_id: str | None = None
    usage: Usage = Usage()
    model_call_count: int = 0
    tool_call_count: int = 0
    message_count: int = 0
    first_human_message: str | None = None
    last_ai_message: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    detail_blob: str | None = None
    rolled_back: bool = False
    helper_tokens: int = 0
    helper_cost: float | None = None
    forked_from_run_id: str | None = None
    forked_from_turn: int | None = None
    past_blob: str | None = None


class RunTotals(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What a run used together with its subagents, and theirs. Each model call counts once.

    `own_tokens` are the run's own turns, `helper_tokens` its calls that are no turns (compaction), `subagent_tokens`
    both of all runs below it; `total_tokens` is their sum. `runs` counts them with itself. `cost` is US dollars, None
    where one of the parts is unknown.
    """

    run_id: str
    runs: int
    own_tokens: int
    helper_tokens: int
    subagent_tokens: int
    total_tokens: int
    cost: float | None


class Turn(Record, frozen=True, kw_only=True):
    """One model call, as a row; `turn` counts from 0 within its run. `blob` holds a `TurnRecord`.

    `cache_life_s` is how long the provider keeps a prompt that is not sent again, None where that is not known.
    """

    run_id: str
    turn: int
    blob: str
    model: str
    stop_reason: str
    usage: Usage
    started_at: datetime
    finished_at: datetime
    cache_life_s: float | None = None


class Segment(Struct, frozen=True, array_like=True):
    """A region of a prompt as it was sent: the instructions, a tool's schema, a message or an attachment.

    `fingerprint` stands for its bytes: 16 hex digits of their SHA-256. `tokens` is an estimate.
    """

    region: Literal["system", "tool", "message", "attachment"]
    label: str
    fingerprint: str
    tokens: int


class TurnSegment(Record, frozen=True, kw_only=True):
    """A region of a turn's prompt, as a row, with what the provider read of it from its cache.

    The tokens of a turn's segments sum to its input tokens, `hit` to its cache-read tokens, and `hit + miss` is
    `tokens`. Where the provider reported nothing `tokens` is the estimate, and `hit` and `miss` are None.
    """

    run_id: str
    turn: int
    position: int
    region: str
    label: str
    fingerprint: str
    tokens: int
    hit: int | None = None
    miss: int | None = None


class ToolTrace(Record, frozen=True, kw_only=True):
    """One execution of a tool call, as a row; a call that was never executed has one row too.

    `position` is the call's place among those of its turn, `attempt` counts its executions: after a crash a call may
    be executed again. `tool_call_id` tells nothing apart by itself, real agents use one again. `tool_input` and
    `tool_output` are beginnings where they are long; `blob` holds the whole output. `outcome` is None until it ended.
    """

    run_id: str
    turn: int
    position: int
    tool_call_id: str
    tool_name: str
    attempt: int = 0
    thread_id: str = ""
    trace_id: str | None = None
    tool_input: str = ""
    tool_output: str | None = None
    blob: str | None = None
    decision: Decision | None = None
    outcome: Outcome | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    latency_ms: float | None = None
    tokens_used: int | None = None
    cache_tokens: int | None = None
    reasoning_tokens: int | None = None


class Feedback(Record, frozen=True, kw_only=True):
    """What a person thinks of a run, or of one message of it: `rating` is +1 or -1."""

    feedback_id: str
    run_id: str
    thread_id: str
    user_id: str
    rating: Literal[1, -1]
    created_at: datetime
    updated_at: datetime
    message_id: str | None = None
    comment: str | None = None

    def __repr__(self) -> str:
        of = f"{self.message_id} of {self.run_id}" if self.message_id else self.run_id
        return f"<Feedback {self.rating:+} on {of}{f': {self.comment!r}' if self.comment else ''}>"


class FeedbackSummary(Record, frozen=True, kw_only=True):
    """How often a run was rated, and how."""

    run_id: str
    total: int
    positive: int
    negative: int


class TurnRecord(Record, frozen=True, kw_only=True):
    """The body of a turn's blob: what was new in the request, and what the model answered.

    The messages of a thread are the concatenation of `request` and `response` over its turns. `complete` is False for
    an answer that was cut off by a crash or a lost stream. `segments` are the regions of the whole prompt, in order.
    """

    schema_version: int = written_always()
    run_id: str
    turn: int
    model: str
    request: tuple[Message, ...]
    response: Message
    stop_reason: str
    usage: Usage
    started_at: datetime
    finished_at: datetime
    complete: bool = True
    segments: tuple[Segment, ...] = ()


class Detail(Record, frozen=True, kw_only=True):
    """The body of a run's detail blob: everything needed to find the rest of an archived run.

    `turns` are blob keys in order, `events` is the blob of the journal's lines, `event_count` its number of
    events.
    """

    schema_version: int = written_always()
    run_id: str
    thread_id: str
    user_id: str
    agent: str
    model: str
    input: tuple[InputPart, ...]
    turns: tuple[str, ...]
    events: str
    event_count: int
    last_event_id: str
    status: RunStatus
    usage: Usage
    started_at: datetime
    ended_at: datetime
    metadata: dict[str, Any] = {}


class Approval(Record, frozen=True, kw_only=True):
    """A tool call that waits, or waited, for a person. `arguments` is what the model asked, JSON text.

    `resolved_arguments` is what was approved instead. `policy` names the rule that decided where nobody was asked.
    """

    approval_id: str
    run_id: str
    tool_call_id: str
    tool_name: str
    arguments: str
    effects: tuple[Effect, ...]
    preview: dict[str, Any]
    asked_at: datetime
    expires_at: datetime
    decision: Decision | None = None
    resolved_arguments: str | None = None
    reason: str | None = None
    actor: str | None = None
    policy: str | None = None
    resolved_at: datetime | None = None
    status: AskStatus = AskStatus.PENDING


class InputNeeded(Record, frozen=True, kw_only=True):
    """A question that waits, or waited, for a person's answer; `schema` is a JSON Schema for a form.

    `content` is the answer: None for one that is `resolved` when nobody answered in time.
    """

    request_id: str
    run_id: str
    prompt: str
    schema: dict[str, Any] | None = None
    asked_at: datetime | None = None
    content: str | None = None
    actor: str | None = None
    resolved_at: datetime | None = None
    status: AskStatus = AskStatus.PENDING


# --- workflows --------------------------------------------------------------------------------------------------


class WorkflowBudget(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the live calls of one pass, or of one phase, may take together: tokens, US dollars. None means no limit."""

    tokens: int | None = None
    cost: float | None = None


class WorkflowRun(Record, frozen=True, kw_only=True):
    """One pass of a workflow: in it each stored result is claimed at most once. `project` is the server's workspace.

    `budget_tokens` and `budget_cost` are what its live calls may take together, None for no limit.
    """

    workflow_run_id: str
    user_id: str
    workflow: str
    project: str
    created_at: datetime
    updated_at: datetime
    args: dict[str, Any] = {}
    kernel_id: str | None = None
    budget_tokens: int | None = None
    budget_cost: float | None = None


class HeadlessRun(Record, frozen=True, kw_only=True):
    """A script that the server carries out, in a pass with the same id.

    `status` is `waiting_input` while it merely waits for people: `waits_for` names the runs that ask them. `active_s`
    is how long it worked, without that time. `called_by` is the call of another workflow that called it.
    `digest` is the SHA-256 of the script's text, which is kept beside this: it is what runs, whatever became of the
    file. `model` is that of calls that name none, None for the server's. `calls` counts those that were made, `hits`
    those of them that were answered from the store. `said` are the last lines of what it told. `result` is plain data.
    `resumes` is the run that this one takes up in a pass of its own.
    """

    workflow_run_id: str
    user_id: str
    workflow: str
    project: str
    digest: str
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    args: dict[str, Any] = {}
    phase: str | None = None
    said: tuple[str, ...] = ()
    calls: int = 0
    hits: int = 0
    waits_for: tuple[str, ...] = ()
    active_s: float = 0.0
    called_by: str | None = None
    result: Any = None
    error_code: str | None = None
    error_message: str | None = None
    ended_at: datetime | None = None
    model: str | None = None
    resumes: str | None = None


class WorkflowEvent(Record, frozen=True, kw_only=True):
    """Something that a run of a script told. `number` counts from 1 within the run.

    `type` is `status`, `phase`, `log` or `call`. `text` is the status, the phase's title, the line, or the call's name.
    Of a call: where it stands (`hit` when it was answered from the store, `running`, `done`, `failed`), what it took
    when it ran, and why it failed.
    """

    type: str
    text: str
    at: datetime
    number: int = 0
    call_id: str | None = None
    status: str | None = None
    phase: str | None = None
    model: str | None = None
    run_id: str | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    message: str | None = None


class StoredCall(Record, frozen=True, kw_only=True):
    """A call of a workflow, as a row: in flight, or done with its answer. A call that failed has none.

    `key` is the hash of `fields`, what determines the answer; `number` orders results of a key, lowest first. `said` is
    the call as it was said. `run_id` is the run that answers or answered it, the `tries`-th one. `answer` is the run's
    text; one with a schema is JSON that satisfies it. `replaces` is the call whose place it takes when it is done.
    `tokens` and `cost` are of all tries, None where unknown.
    """

    call_id: str
    user_id: str
    workflow: str
    project: str
    key: str
    fields: dict[str, Any]
    said: dict[str, Any]
    created_at: datetime
    used_at: datetime
    number: int = 0
    label: str | None = None
    cell: str | None = None
    position: int = 0
    is_done: bool = False
    run_id: str | None = None
    tries: int = 0
    answer: str | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    done_at: datetime | None = None
    replaces: str | None = None


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """A keyset page. `next_cursor` is None on the last."""

    items: tuple[T, ...] = field(default=())
    next_cursor: str | None = None


# --- small words ----------------------------------------------------------------------------------------------

ID_PATTERN = r"[A-Za-z0-9_-]{1,128}"
"""What an id from outside must full-match before anything is looked up."""


def new_id(prefix: str) -> str:
    """Returns a fresh id, `prefix_` and 20 lower-case hex digits of randomness: safe as a file name on every file
    system."""
    return f"{prefix}_{secrets.token_hex(10)}"


def utc_now() -> datetime:
    return datetime.now(UTC)


_UNSAFE = dict.fromkeys([0, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}")


def clean(value: T) -> T:
    """Returns the value with NUL and lone surrogates in its texts replaced by U+FFFD and NaN or infinite floats by
    None.

    Done at ingress for everything that comes from people, models and tools, so that every store and every client
    accepts it.
    """
    if isinstance(value, str):
        return value if _is_clean(value) else value.translate(_UNSAFE)  # type: ignore[return-value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(clean(item) for item in value)
    return value


def _is_clean(text: str) -> bool:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\0" not in text


MAX_DEPTH = 100
"""How deeply JSON from people, models and tools may be nested. Much of what it meets later recurses."""


def is_deeper_than(levels: int, value: Any) -> bool:
    """Tells whether lists and objects are nested deeper. Looks without recursion, so that no value is too deep for
    it."""
    layer = [value]
    for _ in range(levels):
        layer = [item for held in layer for item in _held(held)]
        if not layer:
            return False
    return True


def _held(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def canonical_json(value: Any) -> str:
    """Returns the one JSON text that equal values share: sorted keys, no spaces, no NaN. Raises ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
