"""One `agent()` of a workflow as it was said, and the caps that hold for all of them."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from .attachment import Attachment

MAX_AT_ONCE: Final = 16
"""Agents that work at the same time in one run of a workflow."""

MAX_CALLS: Final = 1_000
"""Calls of one run of a workflow."""

MAX_ITEMS: Final = 4_096
"""Items of one `parallel` or `pipeline`."""

MAX_TRIES: Final = 5
"""Answers that a call with a schema may give, each told what was wrong with the one before."""

DEFAULT_TIMEOUT_S: Final = 300.0
MAX_TIMEOUT_S: Final = 7 * 86_400.0
MAX_RETRIES: Final = 10
MAX_NAME_CHARS: Final = 1_000
"""Of a label, and of a phase."""


CallKind = Literal["agent", "ask", "gate", "workflow"]
PEOPLE: Final[tuple[CallKind, ...]] = ("ask", "gate")
"""Calls that a person answers."""


class AgentCall(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What `agent(…)` says, plain data only; or, by its `kind`, `ask`, `gate` or `workflow`.

    `prompt` is then the question, the title, or the name of the workflow; `given` is a gate's `detail`, or what a
    workflow is called with.

    `schema` is a JSON Schema of the answer, None for text. `tools` are names of tools to allow, None for all of them.
    `budget` has `turns`, `tool_calls`, `tokens`, `cost`, `seconds`; `phase_budget` is what all calls of its phase may
    take together, `tokens` and `cost`. `label` and `phase` are for people and never count
    for what is reused. `fresh` runs live and replaces; `side_effects` is for calls that change the world: they are
    neither repeated nor replayed without a word. `retries` is how often a failed call is tried again, `timeout_s` how
    long one may take, None for the workflow's own limit.
    """

    prompt: Annotated[str, Meta(min_length=1)]
    kind: CallKind = "agent"
    given: dict[str, Any] = {}
    label: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    phase: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    phase_budget: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    model: str | None = None
    tools: tuple[str, ...] | None = None
    agent: str | None = None
    budget: dict[str, Any] | None = None
    attach: tuple[Attachment, ...] = ()
    fresh: bool = False
    side_effects: bool = False
    retries: Annotated[int, Meta(ge=0, le=MAX_RETRIES)] = 0
    timeout_s: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)] | None = None
