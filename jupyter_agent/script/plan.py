"""What a workflow would do and take, said before it spends anything."""

from typing import Literal

from msgspec import Struct

from .key import Difference


class Interval(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is expected, between what nine in ten forecasts lie."""

    low: float
    expected: float
    high: float


class PlannedCall(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A call that the workflow would make. `reused` is True where its answer would come from the store, `why` says why
    or why not.

    `tokens`, `cost` and `seconds` are what it is expected to take live, the mean of `likened_to` finished calls; None
    where nothing is known, and for what is reused.
    """

    number: int
    prompt: str
    reused: bool
    why: str
    label: str | None = None
    phase: str | None = None
    cell: str | None = None
    key: str | None = None
    model: str | None = None
    difference: Difference | None = None
    tokens: float | None = None
    cost: float | None = None
    seconds: float | None = None
    likened_to: int = 0

    @property
    def name(self) -> str:
        """What people call it: its label, or the beginning of its prompt."""
        return self.label or " ".join(self.prompt.split())[:60]


class WorkflowPlan(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a workflow would do. `basis` says what that is known from: `script` (its script, carried out as far as
    stored answers reach), `calls` (those that the kernel made) or `lastPass` (those of its last pass,
    `workflowRunId`).

    `hits` calls would be answered from the store, and at least `live` ones run. `tokens`, `cost` (US dollars) and
    `seconds` (of work, one call after the other) are for those, None where nothing is known. `unknown` are sentences
    about what cannot be foreseen.
    """

    workflow: str
    basis: Literal["script", "calls", "lastPass"]
    items: tuple[PlannedCall, ...]
    hits: int
    live: int
    tokens: Interval | None
    cost: Interval | None
    seconds: Interval | None
    unknown: tuple[str, ...]
    workflow_run_id: str | None = None
