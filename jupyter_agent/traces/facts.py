"""What is found in the logs of other agents: runs, turns, messages and tool calls, each with its id there.

Our own ids are made of the content, so that the same file gives the same ids each time. `place` says where in the
file a fact stands.
"""

from datetime import datetime

from msgspec import Struct

from ..records import Decision, Message, Outcome, RunStatus, Usage

TEXT_CHARS = 64 * 1024
"""Of one text of a message. What is longer is cut, and counted."""
CALL_CHARS = 8 * 1024
"""Of a tool call's arguments and result: as many as our own rows keep."""
WORDS_CHARS = 500
"""Of an error, and of a run's first and last message."""


class Fact(Struct, frozen=True, kw_only=True):
    """Whatever is found: which run it belongs to, here and there, and where it stands in the file."""

    run_id: str
    thread_id: str
    foreign_run_id: str | None = None
    place: str = ""


class ImportedRun(Fact, frozen=True, kw_only=True):
    """One run of somebody's agent. `usage` is what the log counts as a whole: of its turns, and of what no turn shows.

    `is_measured` tells whether any tokens were reported: otherwise they are unknown, not zero.
    """

    format: str
    version: str | None = None
    foreign_thread_id: str | None = None
    parent_run_id: str | None = None
    agent: str | None = None
    model: str | None = None
    status: RunStatus = RunStatus.COMPLETED
    started_at: datetime | None = None
    ended_at: datetime | None = None
    usage: Usage = Usage()
    is_measured: bool = False
    model_call_count: int = 0
    tool_call_count: int = 0
    message_count: int = 0
    first_human_message: str | None = None
    last_ai_message: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class ImportedTurn(Fact, frozen=True, kw_only=True):
    """One model call. `usage` is None where the log says nothing of it; a failed one has the stop reason "error"."""

    turn: int
    model: str | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    run_created_at: datetime | None = None
    foreign_turn_id: str | None = None


class ImportedMessage(Fact, frozen=True, kw_only=True):
    """One message. Its pictures are counted, not kept."""

    message: Message
    turn: int | None = None
    created_at: datetime | None = None
    foreign_message_id: str | None = None


class ImportedCall(Fact, frozen=True, kw_only=True):
    """One tool call. `tool_call_id` is unique within its run, `foreign_tool_call_id` need not be.

    `outcome` is None where the log has no result. `latency_ms` is there where the log itself measured it.
    """

    turn: int
    position: int
    tool_call_id: str
    name: str
    arguments: str = ""
    decision: Decision | None = None
    outcome: Outcome | None = None
    result: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    latency_ms: float | None = None
    model: str | None = None
    run_created_at: datetime | None = None
    foreign_tool_call_id: str | None = None


class Unmapped(Struct, frozen=True, kw_only=True):
    """Something in the file that is no fact of ours: what kind, how often, and where first."""

    kind: str
    count: int
    first_place: str
