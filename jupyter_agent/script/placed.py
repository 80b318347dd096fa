"""Calls as they come from whoever runs a workflow, and as they are told back."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from ..records import Cell
from .call import AgentCall
from .key import Difference

IN_FLIGHT: Final = "in flight"
"""Why a call runs that another one started: it is joined."""

CallStatus = Literal["hit", "missed", "running", "done", "failed", "gone"]


class PlacedCall(AgentCall, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A call with its place in the notebook and what the workflow sets for all of its calls.

    `token` is this call's own in the pass: sent again, it is the same call, and nothing is claimed or started twice.
    `cell` names the cell for this pass (its id, or its position), `position` is the call's place within it; `origin`
    is where a notebook finds it. `settings` are the model's, `script` is what the `scripted` model plays.
    """

    token: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    cell: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    position: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    origin: Cell | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    instructions: str | None = None
    script: Any = None


_PLACES: Final = frozenset({"cell", "position", "label", "phase", "token", "origin"})


def words_of(said: Mapping[str, Any]) -> str:
    """Returns a digest of what a call says as plain data, wherever it stands and whatever people call it: of two calls
    with the same words a server answers both alike."""
    words = {name: value for name, value in said.items() if name not in _PLACES}
    return hashlib.sha256(msgspec.json.encode(words, order="sorted")).hexdigest()


class CallState(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a call stands.

    `hit`: answered from the store. `missed`: there is nothing to reuse, and it was not started. `running`, `done`,
    `failed` (with `code`, `message`, `details`): it runs or ran live. `gone`: nobody carries it out any more, start it
    again. `waits_for` says what a running one waits for a person with: an answer, or a decision; `silent_since` that
    nothing has come of it for minutes.
    `why` says why it was or was not reused: `unchanged`, `first time`, `prompt changed` …; `difference` has the values.
    `answer` is text; of a call with a schema it is JSON. `tokens` and `cost` are what it took when it ran.
    """

    call_id: str | None = None
    status: CallStatus
    key: str | None = None
    why: str | None = None
    difference: Difference | None = None
    answer: str | None = None
    run_id: str | None = None
    waits_for: Literal["waiting_input", "waiting_confirmation"] | None = None
    silent_since: datetime | None = None
    tries: int = 0
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    created_at: datetime | None = None
    model: str | None = None
    code: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None


class UsedResult(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A result that was told ahead, and the call that used it."""

    call_id: Annotated[str, Meta(min_length=1, max_length=128)]
    token: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    cell: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class AheadResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a call of these words would be answered from the store next."""

    words: str
    state: CallState
