"""Where calls of workflows stand, as told: by their rows, and by the runs that answer them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..records import StoredCall
from ..script.key import CallFields, difference
from ..script.placed import CallState, CallStatus, PlacedCall


def state_of(call: StoredCall, status: CallStatus, *, why: str | None = None) -> CallState:
    """Returns the state of a stored call."""
    return CallState(
        call_id=call.call_id, status=status, key=call.key, why=why, answer=call.answer, run_id=call.run_id,
        tries=call.tries, tokens=call.tokens, cost=call.cost, seconds=call.seconds, created_at=call.created_at,
        model=call.fields.get("model"),
    )  # fmt: skip


def gone_state(call_id: str, fault: Mapping[str, Any] | None) -> CallState:
    """Returns the state of a call that has no row any more: failed where it is known why."""
    if fault is None:
        return CallState(call_id=call_id, status="gone")
    return CallState(
        call_id=call_id, status="failed", code=fault["code"], message=fault["message"], details=fault.get("details")
    )


def run_of(call: StoredCall) -> str:
    """Returns the id of the run that answers this try: known before it is started, so that after a restart it is found
    whatever was written down of it."""
    return f"run_{hashlib.sha256(f'{call.call_id}-{max(call.tries, 1)}'.encode()).hexdigest()[:20]}"


def script_run_of(call_id: str) -> str:
    """Returns the id of the run that carries a called workflow out."""
    return f"wfr_{call_id}"


def missed(placed: PlacedCall, key: str, fields: CallFields, nearest: Sequence[StoredCall]) -> CallState:
    """Returns the state of a call that has nothing to reuse, and why: compared with the nearest earlier one of its
    label, at its place if there is one."""
    why, found = "first time", None
    if placed.fresh:
        why = "fresh"
    elif nearest:
        at_place = [one for one in nearest if (one.cell, one.position) == (placed.cell, placed.position)]
        # Without a label only the place says that it is the same call, changed.
        near = at_place or ([*nearest] if placed.label is not None else [])
        alike = [one for one in nearest if one.key == key]
        if alike:
            why = "one more of the same"
        elif near:
            found = difference(fields, msgspec.convert(near[0].fields, CallFields))
            why = f"{found.field} changed" if found is not None else why
    return CallState(status="missed", key=key, why=why, difference=found, model=fields.model)
