"""What a pass may spend and has spent, as the server knows it: cells that ran again and calls that failed count too."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from ..exceptions import AgentError, InvalidRequest
from ..script.limits import checked_limits

Ask = Callable[[], Mapping[str, Any]]


class PassBudget:
    """The budget of the pass that goes on. Every look asks the server. Raises GatewayNotFound and the like."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    @property
    def total(self) -> int | None:
        """Tokens that the live calls of the pass may take together, None for no limit."""
        total: int | None = self._ask()["tokens"]
        return total

    def spent(self) -> int:
        """Tokens that its live calls took, failed ones too. Calls from the store spend nothing."""
        return int(self._ask()["spentTokens"])

    def remaining(self) -> float:
        """Tokens left, with what calls in flight have reserved; infinite where there is no limit."""
        now = self._ask()
        return float("inf") if now["tokens"] is None else max(0, now["tokens"] - now["spentTokens"])

    @property
    def cost(self) -> float | None:
        """US dollars spent until now, None where a price is unknown."""
        cost: float | None = self._ask()["spentCost"]
        return cost

    def __repr__(self) -> str:
        try:
            now = self._ask()
        except AgentError as fault:
            return f"<budget: {fault.message}>"
        limit = "no limit" if now["tokens"] is None else f"of {now['tokens']:,}"
        parts = [f"{now['spentTokens']:,} tokens spent, {limit}"]
        if now["reservedTokens"]:
            parts.append(f"{now['reservedTokens']:,} reserved")
        if now["cost"] is not None:
            spent = "an unknown part" if now["spentCost"] is None else f"${now['spentCost']:.4g}"
            parts.append(f"{spent} of ${now['cost']:.4g}")
        return f"<{' · '.join(parts)}>"


def limits_of(given: Mapping[str, Any] | int) -> dict[str, Any]:
    """Returns a workflow's budget as it was given: tokens, or a dict of tokens and cost; None in it means no limit.

    Raises InvalidRequest.
    """
    limits = {"tokens": given} if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(limits, Mapping):
        raise InvalidRequest(f"A workflow's budget is tokens, or a dict with tokens and cost; not {given!r}.")
    checked = checked_limits(dict(limits), what="The workflow's budget")
    return {unit: getattr(checked, unit) for unit in limits}


def phase_budgets_in(source: str) -> dict[str, dict[str, Any]]:
    """Returns the budgets that a cell's `meta` gives its phases, by title; read, never executed. Raises
    InvalidRequest."""
    if "meta" not in source or "budget" not in source:
        return {}
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return {}  # a cell with magics in it, or one that Python refuses in a moment
    found: dict[str, dict[str, Any]] = {}
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id="meta")], value=ast.Dict() as said):
                found |= _of_phases(said)
    return found


def _of_phases(said: ast.Dict) -> dict[str, dict[str, Any]]:
    try:
        phases = ast.literal_eval(said).get("phases", [])
    except (ValueError, TypeError):
        return {}
    found = {}
    for phase in phases if isinstance(phases, list | tuple) else []:
        if isinstance(phase, dict) and phase.get("budget") is not None:
            title = str(phase.get("title"))
            checked_limits(phase["budget"], what=f"The budget of the phase {title!r}")
            found[title] = dict(phase["budget"])
    return found
