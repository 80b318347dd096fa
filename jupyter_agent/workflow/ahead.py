"""Looks ahead of a pass: what its next calls would be answered from the store, if they are those that followed before.

A client that has them need not ask for each. It says afterwards what it used, before it claims anything else; so
results are claimed in the order in which they would have been, and none of them twice.
"""

from collections.abc import Sequence
from typing import Final

from ..exceptions import InvalidRequest
from ..records import Principal, StoredCall
from ..script import MAX_CALLS
from ..script.key import key_of
from ..script.placed import AheadResult, CallState, UsedResult, words_of
from ..storage.ahead import Use
from .call_states import state_of
from .calls import Calls
from .resolving import placed_of

MOST_BYTES: Final = 400_000


async def use(
    calls: Calls, workflow_run_id: str, used: Sequence[UsedResult], *, by: Principal, lease_no: int | None = None
) -> None:
    """Claims what a client used of what it was told ahead; `lease_no` is that of the script's run whose pass it is.
    Raises WorkflowRunNotFound, LeaseLost."""
    claims = [Use(one.call_id, one.token, one.cell) for one in used]
    await calls.rows.use_calls(workflow_run_id, claims, by=by, lease_no=lease_no)


async def ahead_of(
    calls: Calls,
    workflow_run_id: str,
    states: Sequence[CallState],
    used: Sequence[UsedResult],
    *,
    by: Principal,
    most: int,
) -> tuple[AheadResult, ...]:
    """Returns what the calls after the last of these would be answered; nothing where that one was not from the store.
    Raises WorkflowRunNotFound."""
    last = states[-1].call_id if states and states[-1].status == "hit" else None
    if last is None and not states and used:
        last = used[-1].call_id
    if last is None:
        return ()
    most = min(most, MAX_CALLS - await calls.rows.count_claims(workflow_run_id))
    found = await calls.rows.calls_after(workflow_run_id, last, by=by, most=most) if most > 0 else []
    told: list[AheadResult] = []
    size = 0
    for call in found:
        size += len(call.answer or "")
        if size > MOST_BYTES:
            break
        if _still_has_its_key(calls, call):
            told.append(AheadResult(words=words_of(call.said), state=state_of(call, "hit", why="unchanged")))
    return tuple(told)


def _still_has_its_key(calls: Calls, call: StoredCall) -> bool:
    """Tells whether this server would answer the call as it was said with this result: its defaults and tools may be
    others by now."""
    # Steps have no model: a kernel asks for them by themselves.
    if not call.is_done or call.said.get("fresh") or not call.fields.get("model"):
        return False
    try:
        return key_of(calls.resolver.fields(placed_of(call))) == call.key
    except InvalidRequest:
        return False
