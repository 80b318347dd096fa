"""The limits of a whole workflow or of a phase, as people write them: `{"tokens": 50_000, "cost": 2.0}`."""

from typing import Any

import msgspec

from ..exceptions import InvalidRequest
from ..records import WorkflowBudget


def checked_limits(given: Any, *, what: str) -> WorkflowBudget:
    """Returns the limits of a pass or a phase. Raises InvalidRequest for what is none."""
    if isinstance(given, dict) and isinstance(tokens := given.get("tokens"), float) and tokens.is_integer():
        given = {**given, "tokens": int(tokens)}
    try:
        budget = msgspec.convert(given, WorkflowBudget)
    except msgspec.ValidationError as fault:
        raise InvalidRequest(
            f"{what} is {given!r}: it has tokens and cost, numbers above 0 ({fault}).",
            details={"fields": {"budget": str(fault)}},
        ) from fault
    if any(limit is not None and not limit > 0 for limit in (budget.tokens, budget.cost)):
        raise InvalidRequest(f"{what} is {given!r}: its tokens and cost are numbers above 0, or left out for no limit.")
    return budget
