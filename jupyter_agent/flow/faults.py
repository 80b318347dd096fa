"""What is wrong with a flow, all of it at once, before anything starts."""

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from .state import StepStatus
from .step import ID, MAX_STEPS, Flow, Kind, Step

RETRIED = (StepStatus.TIMED_OUT.value, StepStatus.FAILED.value)
MAX_RETRIES = 10
MAX_TIMEOUT_S = 7 * 86_400.0


class Fault(NamedTuple):
    """Something wrong: whom it is about, and a sentence."""

    steps: tuple[str, ...]
    text: str


def faults_of(flow: Flow) -> list[Fault]:
    """Returns everything that is wrong with a flow; an empty list lets it start."""
    if not flow.steps:
        return [Fault((), "It has no steps.")]
    if len(flow.steps) > MAX_STEPS:
        return [Fault((), f"It has {len(flow.steps):,} steps; a flow has {MAX_STEPS:,} at most.")]
    found = [*_flow(flow), *_ids(flow)]
    for step in flow.steps:
        found += [
            Fault((step.id,), f"Step {step.id!r} {text}.") for text in (*_links(flow, step), *_itself(flow, step))
        ]
    return [*found, *_branches(flow), *_never(flow)]


def _flow(flow: Flow) -> Iterator[Fault]:
    if flow.max_concurrent < 1:
        yield Fault((), f"max_concurrent is {flow.max_concurrent}: at least 1 step must be able to run.")
    for name, at_most in flow.batches.items():
        if at_most < 1:
            yield Fault((), f"Batch {name!r} lets {at_most} steps run at once: at least 1 must be able to.")


def _ids(flow: Flow) -> Iterator[Fault]:
    for name, count in Counter(step.id for step in flow.steps).items():
        if count > 1:
            yield Fault((name,), f"{count} steps have the id {name!r}: ids are unique.")
        if not ID.fullmatch(name):
            yield Fault(
                (name,), f"{name!r} is no id: 1 to 100 letters, digits, '_', '.' or '-', a letter or digit first."
            )


def _links(flow: Flow, step: Step) -> Iterator[str]:
    for dep in step.deps:
        if dep == step.id:
            yield "depends on itself"
        elif dep not in flow.by_id:
            yield f"depends on {dep!r}, which is no step"
    for branch in step.branches:
        for target in branch.steps:
            if target == step.id:
                yield f"leads to itself by the branch {branch.label!r}"
            elif target not in flow.by_id:
                yield f"leads to {target!r} by the branch {branch.label!r}, which is no step"


def _itself(flow: Flow, step: Step) -> Iterator[str]:
    if step.kind is Kind.CODE and step.do is None:
        yield "is code and has no function: give it do="
    if step.kind in (Kind.AGENT, Kind.APPROVAL) and step.prompt is None:
        yield f"is of the kind {step.kind} and asks nothing: give it a prompt"
    if step.kind is Kind.SWITCH and not step.cases:
        yield "is a switch and has no cases"
    if step.kind is not Kind.SWITCH and step.branches:
        yield f"has cases and is no switch but {step.kind}"
    if step.kind is not Kind.CODE and step.do is not None:
        yield f"has a function and is no code but {step.kind}"
    for label, count in Counter(branch.label for branch in step.branches).items():
        if count > 1:
            yield f"has {count} branches with the label {label!r}"
    if step.batch is not None and step.batch not in flow.batches:
        yield f"is of the batch {step.batch!r}, which the flow's batches do not name with how many may run at once"
    if not 0 <= step.max_retries <= MAX_RETRIES:
        yield f"has max_retries={step.max_retries}: 0 to {MAX_RETRIES} are possible"
    if step.timeout_s is not None and not 0 < step.timeout_s <= MAX_TIMEOUT_S:
        yield f"has timeout_s={step.timeout_s}: above 0 and a week at most"
    for name in step.retry_on:
        if name not in RETRIED:
            yield f"is retried on {name!r}; there are: {', '.join(RETRIED)}"


def _branches(flow: Flow) -> Iterator[Fault]:
    switches: dict[str, list[str]] = {}
    for step in flow.steps:
        for target in dict.fromkeys(target for branch in step.branches for target in branch.steps):
            switches.setdefault(target, []).append(step.id)
    for target, names in switches.items():
        if len(names) > 1:
            yield Fault(
                (target, *names), f"Step {target!r} begins branches of {' and '.join(names)}: of one switch only."
            )


def _never(flow: Flow) -> Iterator[Fault]:
    """Yields the cycles, and whoever can never start behind them or behind what is not there."""
    deps = {step.id: {dep for dep in flow.deps_of(step) if dep != step.id} for step in flow.steps}
    stuck: set[str] = set()
    for cycle in _cycles({name: found & deps.keys() for name, found in deps.items()}):
        stuck |= {*cycle}
        yield Fault(tuple(cycle), f"Steps wait for each other in a circle: {' → '.join([*cycle, cycle[0]])}.")
    named = {*stuck}
    stuck |= {name for name, found in deps.items() if not found <= deps.keys()}
    stuck |= {step.id for step in flow.steps if step.id in flow.deps_of(step)}
    named |= stuck
    while more := {name for name, found in deps.items() if found & stuck} - stuck:
        stuck |= more
    behind = tuple(step.id for step in flow.steps if step.id in stuck - named)
    if behind:
        yield Fault(behind, f"{_listed(behind)} can never start: what they wait for never ends.")


def _cycles(deps: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yields cycles, no step in two of them, until the rest has none."""
    left = dict(deps)
    while True:
        try:
            TopologicalSorter({name: sorted(found & left.keys()) for name, found in left.items()}).prepare()
        except CycleError as fault:
            cycle = list(reversed(fault.args[1][1:]))
            yield cycle
            for name in cycle:
                del left[name]
        else:
            return


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
