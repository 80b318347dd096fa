"""What a flow is declared with: steps, the cases of a switch, and the flow itself."""

import hashlib
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..exceptions import FlowInvalid
from .context import Context

DEFAULT_TIMEOUT_S: Final = 300.0
DEFAULT_AT_ONCE: Final = 16
MAX_STEPS: Final = 1_000
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Kind(StrEnum):
    """What a step does: asks an agent, calls a function, waits for a person, chooses a branch."""

    AGENT = "agent"
    CODE = "code"
    APPROVAL = "approval"
    SWITCH = "switch"


class Rule(StrEnum):
    """Which of its dependencies must have ended how, before a step starts."""

    ALL_SUCCESS = "all_success"
    ONE_SUCCESS = "one_success"
    ALL_DONE = "all_done"


class Case(Struct, frozen=True):
    """A branch of a switch: taken when `when` is the first that is true; `steps` are where the branch begins."""

    label: str
    when: Callable[[Context], Any]
    steps: tuple[str, ...] = ()


class Default(Struct, frozen=True):
    """The branch of a switch that is taken when no case is true."""

    steps: tuple[str, ...] = ()
    label: str = "default"


class Step(Struct, frozen=True, kw_only=True):
    """A node of a flow.

    `deps` are the ids it waits for, `trigger_rule` how they must have ended. `when` is asked once they have; a step
    whose guard is false is skipped. `do` is the function of a code step; `prompt` is what an agent or a person is
    asked, as text or a function; all these functions get a Context. `options` go to the agent as they are. `cases` and
    `default` are a switch's.

    `timeout_s` bounds one attempt: 5 min unless given, and for people no limit unless given. After a time-out there are
    `max_retries` more attempts, after a failure too where `retry_on` names it. `side_effects` says that a function must
    not be called again when nobody knows whether it was carried out.
    """

    id: str
    kind: Kind
    deps: tuple[str, ...] = ()
    trigger_rule: Rule = Rule.ALL_SUCCESS
    when: Callable[[Context], Any] | None = None
    do: Callable[[Context], Any] | None = None
    prompt: str | Callable[[Context], str] | None = None
    options: Mapping[str, Any] = {}
    cases: tuple[Case, ...] = ()
    default: Default | None = None
    batch: str | None = None
    timeout_s: float | None = None
    max_retries: int = 0
    retry_on: tuple[str, ...] = ("timed_out",)
    side_effects: bool = False

    def __post_init__(self) -> None:
        for name, convert in (("kind", Kind), ("trigger_rule", Rule)):
            try:
                value = convert(getattr(self, name))
            except ValueError as fault:
                known = ", ".join(convert)
                raise FlowInvalid(
                    f"Step {self.id!r} has the {name} {getattr(self, name)!r}; there are: {known}."
                ) from fault
            msgspec.structs.force_setattr(self, name, value)
        for name in ("deps", "cases", "retry_on"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise FlowInvalid(f"Step {self.id!r} has {name}={given!r}: write a list, [{given!r}].")
            msgspec.structs.force_setattr(self, name, tuple(given))

    @property
    def branches(self) -> tuple[Case | Default, ...]:
        """The branches of a switch in order, the default last."""
        return (*self.cases, *([self.default] if self.default is not None else []))

    @property
    def limit_s(self) -> float | None:
        """How many seconds an attempt may take; None without a limit."""
        if self.timeout_s is not None or self.kind in (Kind.APPROVAL, Kind.SWITCH):
            return self.timeout_s
        return DEFAULT_TIMEOUT_S


class Flow:
    """A fixed process: named steps and what each waits for. Nothing is checked until it is asked for or starts.

    `batches` says how many steps of a batch may be in flight at once, `max_concurrent` how many agents and functions
    of the whole flow. `render(ctx)` makes the result from what the steps gave, `output` is the name of its file.
    """

    def __init__(
        self,
        name: str,
        steps: "list[Step] | tuple[Step, ...]",
        *,
        batches: Mapping[str, int] | None = None,
        max_concurrent: int = DEFAULT_AT_ONCE,
        render: Callable[[Context], Any] | None = None,
        output: str | None = None,
    ) -> None:
        self.name = name
        self.steps = tuple(steps)
        self.batches = dict(batches or {})
        self.max_concurrent = max_concurrent
        self.render = render
        self.output = output

    @cached_property
    def by_id(self) -> dict[str, Step]:
        return {step.id: step for step in self.steps}

    @cached_property
    def switch_of(self) -> dict[str, Step]:
        """The switch that a step begins a branch of, by the step's id."""
        return {
            target: step
            for step in self.steps
            if step.kind is Kind.SWITCH
            for branch in step.branches
            for target in branch.steps
        }

    def deps_of(self, step: Step) -> tuple[str, ...]:
        """Returns what a step waits for: what it says, and the switch that it begins a branch of."""
        switch = self.switch_of.get(step.id)
        return tuple(dict.fromkeys([*step.deps, *([switch.id] if switch is not None else [])]))

    @cached_property
    def dependents(self) -> dict[str, tuple[Step, ...]]:
        """Who waits for a step, by its id."""
        found: dict[str, list[Step]] = {step.id: [] for step in self.steps}
        for step in self.steps:
            for dep in self.deps_of(step):
                if dep in found:
                    found[dep].append(step)
        return {name: tuple(steps) for name, steps in found.items()}

    @cached_property
    def order(self) -> tuple[Step, ...]:
        """The steps, each behind all it waits for, otherwise as declared. Raises FlowInvalid for a cycle."""
        sorter = TopologicalSorter({step.id: self.deps_of(step) for step in self.steps})
        try:
            return tuple(self.by_id[name] for name in sorter.static_order() if name in self.by_id)
        except CycleError as fault:
            raise FlowInvalid(f"Flow {self.name!r} has a cycle: {' → '.join(reversed(fault.args[1]))}.") from fault

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """All that a step stands behind, directly or not, by its id."""
        found: dict[str, frozenset[str]] = {}
        for step in self.order:
            deps = self.deps_of(step)
            found[step.id] = frozenset(deps).union(*(found[dep] for dep in deps))
        return found

    @cached_property
    def shape(self) -> str:
        """SHA-256 of what is declared, without the functions: by it a restarted server knows its flow again."""
        declared = [
            (
                step.id, step.kind, self.deps_of(step), step.trigger_rule, step.when is not None, step.batch,
                [(branch.label, branch.steps) for branch in step.branches],
            )
            for step in self.steps
        ]  # fmt: skip
        return hashlib.sha256(msgspec.json.encode([self.name, declared])).hexdigest()

    def check(self) -> None:
        """Raises FlowInvalid with everything that is wrong with it, if anything is."""
        from .faults import faults_of

        if found := faults_of(self):
            told = "\n".join(f"  - {fault.text}" for fault in found)
            wrong = [{"steps": list(fault.steps), "text": fault.text} for fault in found]
            raise FlowInvalid(f"Flow {self.name!r} cannot start:\n{told}", details={"faults": wrong})

    def __repr__(self) -> str:
        from .page import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from .page import as_html

        return as_html(self)
