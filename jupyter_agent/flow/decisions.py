"""What happens next in a flow, as pure functions of where it stands. They do nothing and ask no clock.

A step waits until its rule can be told from how its dependencies ended (`verdict`, the table of docs/flows.md). Every
change only touches steps further down, so one walk in order tells all of it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ..records import RunStatus
from .context import Context
from .state import UNSUCCESSFUL, StepState, StepStatus
from .step import Flow, Kind, Rule, Step

MAX_RESTARTS: Final = 10
"""How often a step is begun again after a process died under it: it may be what it died of."""

States = Mapping[str, StepState]


class Verdict(StrEnum):
    """What a rule says of a step."""

    WAIT = "waits"
    START = "starts"
    SKIP = "is skipped"
    EXCLUDE = "is excluded"


def standing(state: StepState) -> str:
    """Returns how a dependency looks to a rule: `open` until it ended, `excluded`, else its status."""
    if not state.status.is_terminal:
        return "open"
    return "excluded" if state.excluded else state.status.value


def verdict(rule: Rule, deps: Iterable[str]) -> Verdict:
    """Returns what a rule says of a step whose dependencies stand like this."""
    stand = set(deps)
    if not stand:
        return Verdict.START
    if stand == {"excluded"}:
        return Verdict.EXCLUDE
    match rule:
        case Rule.ALL_SUCCESS:
            if stand - {"completed", "excluded", "open"}:
                return Verdict.SKIP
            return Verdict.WAIT if "open" in stand else Verdict.START
        case Rule.ONE_SUCCESS:
            if "completed" in stand:
                return Verdict.START
            # An excluded one counts as satisfied, but does not hurry ahead of the branch that was taken.
            if "open" in stand:
                return Verdict.WAIT
            return Verdict.START if "excluded" in stand else Verdict.SKIP
        case Rule.ALL_DONE:
            return Verdict.WAIT if "open" in stand else Verdict.START


class Ended(NamedTuple):
    """How an attempt ended."""

    status: StepStatus
    output: Any = None
    error: str | None = None
    actor: str | None = None


class Next(NamedTuple):
    """What happens now: the steps that change, those of them that are to begin, and how the flow ended if it did."""

    changed: dict[str, StepState]
    start: tuple[str, ...]
    over: RunStatus | None = None
    error: str | None = None


def initial(flow: Flow) -> dict[str, StepState]:
    """Returns a flow's steps before any has begun."""
    return {step.id: StepState(step_id=step.id) for step in flow.steps}


def decide(flow: Flow, args: Mapping[str, Any], states: States, *, now: datetime) -> Next:
    """Returns what happens next. A step that it lets begin is running in `changed`."""
    after = dict(states)
    room = _Room(flow, states)
    start: list[str] = []
    for step in flow.order:
        state = after[step.id]
        if state.status is not StepStatus.PENDING:
            continue
        if not state.attempt and (told := _before(flow, step, args, after)) is not None:
            if told is not state:
                after[step.id] = replace(told, ended_at=now)
            continue
        if room.take(step):
            after[step.id] = replace(
                state, status=StepStatus.RUNNING, attempt=state.attempt + 1, started_at=now, error=None
            )
            start.append(step.id)
    changed = {name: state for name, state in after.items() if state is not states[name]}
    if any(not state.status.is_terminal for state in after.values()):
        return Next(changed, tuple(start))
    over, error = _end(flow, after)
    return Next(changed, (), over, error)


def _before(flow: Flow, step: Step, args: Mapping[str, Any], states: States) -> StepState | None:
    """Returns the state of a step that is not to begin: the same where it waits. None lets it begin."""
    state = states[step.id]
    deps = flow.deps_of(step)
    match verdict(step.trigger_rule, (standing(states[dep]) for dep in deps)):
        case Verdict.WAIT:
            return state
        case Verdict.EXCLUDE:
            return replace(state, status=StepStatus.SKIPPED, excluded=True, error=_not_taken(deps))
        case said:
            pass
    switch = flow.switch_of.get(step.id)
    if switch is not None and (gone := _of_branch(switch, step, states)) is not None:
        return gone
    if said is Verdict.SKIP:
        return replace(state, status=StepStatus.SKIPPED, error=_unsatisfied(step, deps, states))
    ctx = context_of(flow, step, args, states)
    try:
        if step.when is not None and not step.when(ctx):
            return replace(state, status=StepStatus.SKIPPED, error="Its guard was false.")
        if step.kind is Kind.SWITCH:
            return replace(state, status=StepStatus.COMPLETED, output=_branch(step, ctx))
    except Exception as fault:  # noqa: BLE001 - the flow's own function: whatever it raises is the step's failure
        return replace(state, status=StepStatus.FAILED, error=f"{type(fault).__name__}: {fault}")
    return None


def _of_branch(switch: Step, step: Step, states: States) -> StepState | None:
    """Returns the state of a step whose branch is not, or not yet, the one that was taken; None where it is."""
    chosen, state = states[switch.id], states[step.id]
    if not chosen.status.is_terminal:
        return state
    if chosen.excluded:
        return replace(state, status=StepStatus.SKIPPED, excluded=True, error=_not_taken([switch.id]))
    if chosen.status is not StepStatus.COMPLETED:
        text = f"The switch {switch.id} did not choose: it was {chosen.status}."
        return replace(state, status=StepStatus.SKIPPED, error=text)
    taken = (branch for branch in switch.branches if f"branch:{branch.label}" == chosen.output)
    if any(step.id in branch.steps for branch in taken):
        return None
    return replace(state, status=StepStatus.SKIPPED, excluded=True, error=f"Its branch of {switch.id} was not taken.")


def _branch(step: Step, ctx: Context) -> str:
    for case in step.cases:
        if case.when(ctx):
            return f"branch:{case.label}"
    return f"branch:{step.default.label}" if step.default is not None else ""


def _not_taken(deps: Iterable[str]) -> str:
    return f"It is of a branch that was not taken, behind {', '.join(deps)}."


def _unsatisfied(step: Step, deps: Iterable[str], states: States) -> str:
    ended = ", ".join(
        f"{dep} was {states[dep].status.value.replace('_', ' ')}"
        for dep in deps
        if states[dep].status.is_terminal
        and states[dep].status is not StepStatus.COMPLETED
        and not states[dep].excluded
    )
    return f"Its rule {step.trigger_rule} does not hold: {ended}."


def context_of(flow: Flow, step: Step, args: Mapping[str, Any], states: States) -> Context:
    """Returns what the functions of a step are given."""
    return Context(args, {name: states[name] for name in flow.ancestors[step.id]}, of=step.id)


class _Room:
    """How many more steps may be in flight: of each batch, and of the whole flow without those that wait for people."""

    def __init__(self, flow: Flow, states: States) -> None:
        running = [step for step in flow.steps if states[step.id].status is StepStatus.RUNNING]
        self._batches = Counter(flow.batches)
        self._batches.subtract(step.batch for step in running if step.batch is not None)
        self._whole = flow.max_concurrent - sum(step.kind is not Kind.APPROVAL for step in running)

    def take(self, step: Step) -> bool:
        """Takes a place for the step; False where there is none."""
        counts = step.kind is not Kind.APPROVAL
        if (counts and self._whole < 1) or (step.batch is not None and self._batches[step.batch] < 1):
            return False
        self._whole -= counts
        if step.batch is not None:
            self._batches[step.batch] -= 1
        return True


def settle(step: Step, state: StepState, ended: Ended, *, now: datetime) -> StepState:
    """Returns a step after an attempt ended: over, or pending for the next one. One that is over stays as it is."""
    if state.status is not StepStatus.RUNNING:
        return state
    may_retry = ended.status.value in step.retry_on and ended.status is not StepStatus.COMPLETED
    if may_retry and ended.actor is None and state.retries < step.max_retries:
        return replace(state, status=StepStatus.PENDING, retries=state.retries + 1, error=ended.error)
    return replace(state, status=ended.status, output=ended.output, error=ended.error, actor=ended.actor, ended_at=now)


def reconcile(step: Step, state: StepState, found: "Ended | bool", *, now: datetime) -> StepState:
    """Returns a step that a dead process left running: `found` is how its work ended, whether it is still going on.

    People are waited for as before. What is gone is begun again; a function with side effects is not, since nobody
    knows whether it had any.
    """
    if state.status is not StepStatus.RUNNING or step.kind is Kind.APPROVAL or found is True:
        return state
    if found is not False:
        return settle(step, state, found, now=now)
    lost = None
    if step.kind is Kind.CODE and step.side_effects:
        lost = "The server ended while it ran, and it has side effects: nobody knows whether it was carried out."
    elif state.restarts >= MAX_RESTARTS:
        lost = f"The server ended while it ran, {state.restarts + 1} times: it is not begun again."
    if lost is not None:
        return replace(state, status=StepStatus.FAILED, error=lost, ended_at=now)
    return replace(state, status=StepStatus.PENDING, restarts=state.restarts + 1)


def cancelled(states: States, *, now: datetime) -> dict[str, StepState]:
    """Returns the steps that change when the flow is cancelled: all that are not over."""
    return {
        name: replace(state, status=StepStatus.CANCELLED, error="The flow was cancelled.", ended_at=now)
        for name, state in states.items()
        if not state.status.is_terminal
    }


def _end(flow: Flow, states: States) -> tuple[RunStatus, str | None]:
    """Returns how a flow whose steps are all over ended: in error where nobody took a failure over."""
    left = [step.id for step in flow.steps if _is_failure(flow, step, states)]
    if not left:
        return RunStatus.COMPLETED, None
    told = "; ".join(f"{name} ({states[name].status.value.replace('_', ' ')}): {states[name].error}" for name in left)
    return RunStatus.ERROR, told


def _is_failure(flow: Flow, step: Step, states: States) -> bool:
    if states[step.id].status not in UNSUCCESSFUL:
        return False
    tolerant = (one for one in flow.dependents[step.id] if one.trigger_rule is not Rule.ALL_SUCCESS)
    return not any(states[one.id].status is not StepStatus.SKIPPED for one in tolerant)
