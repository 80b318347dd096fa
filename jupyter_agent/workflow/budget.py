"""The budget of a workflow's pass: what a call gets of it, decided before it starts. Pure functions of the ledger.

A call reserves what it may take, and is ended there:

- what its own `budget=` says, where it says something;
- else twice the most that a finished call like it took: one of the same key, else of the same label, else of the
  workflow; at least 1,000 tokens, or a hundredth of the dollars; and where a sixteenth of what is free is more, that:
  a call that was edited may take another way than those before it;
- else a share of the whole: half for another workflow, a quarter for a call with tools, which may take many turns, a
  sixteenth for one without.

What people are asked takes nothing.

One that does not fit waits while calls in flight may give back something, and gets what is left when none does. It is
refused where what is left is nothing, less than its own budget, or less than such a call took in the middle.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec

from ..exceptions import BudgetExceeded
from ..records import Budget, StoredCall, WorkflowBudget
from ..script import MAX_AT_ONCE, PEOPLE
from ..storage.spending import Grant, Ledger, PastCall, Spend

TOKENS: Final = 100_000
"""What a pass may take where nobody says otherwise."""
LEAST_TOKENS: Final = 1_000
LEAST_OF_COST: Final = 0.01
HEADROOM: Final = 2.0
SHARE: Final = 1 / MAX_AT_ONCE
SHARE_WITH_TOOLS: Final = 1 / 4
SHARE_OF_WORKFLOW: Final = 1 / 2


class _Limit(NamedTuple):
    """One limit that holds for a call: the whole pass's, or its phase's. `name` is what people call it."""

    name: str
    allowed: float
    settled: float
    reserved: float

    @property
    def free(self) -> float:
        return self.allowed - self.settled - self.reserved


class _Wish(NamedTuple):
    """What a call would take of one unit, and what it must have at least. Where `may_grow` is set it gets more than it
    wants while there is much."""

    wanted: float
    needed: float
    may_grow: bool = False


def granted(call: StoredCall, ledger: Ledger, *, run_budget: Budget) -> Grant:
    """Returns what a call gets of a pass that stands so. `run_budget` is what a run may take that says nothing."""
    if call.said.get("kind") in PEOPLE:
        return Grant(reserved=WorkflowBudget(tokens=0, cost=0.0))
    got: dict[str, float | None] = {}
    waits = False
    for unit in ("tokens", "cost"):
        limits = _limits(call, ledger, unit)
        if not limits:
            got[unit] = None
            continue
        wish = _wish(call, ledger, unit, min(one.allowed for one in limits), run_budget)
        tightest = min(limits, key=lambda one: one.allowed - one.settled)
        left = tightest.allowed - tightest.settled
        if left <= 0 or left < wish.needed:
            return Grant(refusal=_refused(unit, tightest, wish))
        waits |= any(one.free < wish.wanted and one.reserved > 0 for one in limits)
        free = min(one.free for one in limits)
        got[unit] = min(free, max(wish.wanted, free * SHARE) if wish.may_grow else wish.wanted)
    if waits:
        return Grant()
    tokens = got["tokens"]
    return Grant(reserved=WorkflowBudget(tokens=None if tokens is None else int(tokens), cost=got["cost"]))


def _limits(call: StoredCall, ledger: Ledger, unit: str) -> list[_Limit]:
    phase = call.said.get("phase")
    of_phase = call.said.get("phaseBudget") or {}
    found = []
    if (allowed := getattr(ledger.budget, unit)) is not None:
        found.append(_limit("The workflow", unit, allowed, ledger.settled, ledger.reserved))
    if phase is not None and (allowed := of_phase.get(unit)) is not None:
        settled, reserved = ledger.in_phases.get(phase, Spend()), ledger.reserved_in_phases.get(phase, Spend())
        found.append(_limit(f"The phase {phase!r}", unit, allowed, settled, reserved))
    return found


def _limit(name: str, unit: str, allowed: float, settled: Spend, reserved: Spend) -> _Limit:
    return _Limit(name, allowed, getattr(settled, unit), getattr(reserved, unit))


def _wish(call: StoredCall, ledger: Ledger, unit: str, allowed: float, run_budget: Budget) -> _Wish:
    said = call.said.get("budget")
    is_workflow = call.said.get("kind") == "workflow"
    own = said.get(unit) if said else None if is_workflow else getattr(run_budget, unit)
    if own is not None:
        return _Wish(own, own)
    pool = [value for past in like(call.key, call.label, ledger.past) if (value := getattr(past, unit)) is not None]
    if pool:
        least = LEAST_TOKENS if unit == "tokens" else allowed * LEAST_OF_COST
        return _Wish(min(allowed, max(HEADROOM * max(pool), least)), min(allowed, median(pool)), may_grow=True)
    share = SHARE_OF_WORKFLOW if is_workflow else SHARE_WITH_TOOLS if call.fields.get("tools") else SHARE
    least = LEAST_TOKENS if unit == "tokens" else 0.0
    return _Wish(min(allowed, max(allowed * share, least)), 0)


def like(key: str, label: str | None, past: Sequence[PastCall]) -> Sequence[PastCall]:
    """Returns the finished calls that say what another one takes: of its key, else of its label, else all."""
    same = [one for one in past if one.key == key]
    return same or [one for one in past if label is not None and one.label == label] or past


_UNITS: Final = {"tokens": "{:,.0f} tokens", "cost": "{:,.4g} US dollars"}


def _refused(unit: str, limit: _Limit, wish: _Wish) -> BudgetExceeded:
    amount = _UNITS[unit].format
    left = max(0, limit.allowed - limit.settled)
    needs = f", and this call needs {amount(wish.needed)}" if wish.needed > 0 else ""
    return BudgetExceeded(
        f"{limit.name} may take {amount(limit.allowed)}, of which {amount(left)} are left{needs}: it was not started. "
        f"Give it more, for example budget={{'{unit}': {limit.allowed * 2:g}}}.",
        details={"limit": unit, "allowed": limit.allowed, "used": limit.settled, "needed": wish.needed},
    )


def within(budget: Budget, reserved: WorkflowBudget, *, tokens: int, cost: float | None) -> Budget:
    """Returns a run's budget within what its call reserved, `tokens` and `cost` of which its earlier tries took.

    Raises BudgetExceeded where they took all of it.
    """
    taken = {"tokens": float(tokens), "cost": cost or 0.0}
    narrowed: dict[str, Any] = {}
    for unit, took in taken.items():
        allowed = getattr(reserved, unit)
        if allowed is None:
            continue
        if took >= allowed:
            raise BudgetExceeded(
                f"Its earlier tries took {_UNITS[unit].format(took)} of the {_UNITS[unit].format(allowed)} that it may "
                "take. Give the call a budget of its own.",
                details={"limit": unit, "allowed": allowed, "used": took},
            )
        own = getattr(budget, unit)
        left = allowed - took
        narrowed[unit] = left if own is None else min(own, left)
    if "tokens" in narrowed:
        narrowed["tokens"] = int(narrowed["tokens"])
    return msgspec.structs.replace(budget, **narrowed)
