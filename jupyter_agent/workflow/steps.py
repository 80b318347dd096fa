"""Steps of workflows in kernels: the results of people's own code, kept beside those of agents. No run is made."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ..exceptions import InvalidRequest
from ..records import Principal, StoredCall, new_id, utc_now
from ..script import MAX_CALLS
from ..script.key import key_of
from ..script.placed import CallState
from ..script.step import PlacedStep
from ..storage.calls import NEAREST, Claim
from ..storage.sql import SqlRows
from .call_states import missed, state_of
from .calls import too_many

MOST_BYTES: Final = 400_000
"""Of results that are told before they are asked for."""


class Steps:
    """The steps that kernels made and make. `by` is on whose behalf something is done."""

    def __init__(self, rows: SqlRows) -> None:
        self._rows = rows

    async def keys(self, workflow_run_id: str, *, by: Principal) -> list[str]:
        """Returns the keys of all steps that a pass's workflow has stored. Raises WorkflowRunNotFound."""
        return await self._rows.step_keys(workflow_run_id, by=by)

    async def left(self, workflow_run_id: str, *, by: Principal) -> list[CallState]:
        """Returns the results of steps that this pass has not claimed, in the order in which it would: all of them, or
        those that come first. Raises WorkflowRunNotFound."""
        told: list[CallState] = []
        size = 0
        for call in await self._rows.steps_left(workflow_run_id, by=by, most=MAX_CALLS):
            size += len(call.answer or "")
            if size > MOST_BYTES:
                break
            if call.fields.get("source") is not None:
                told.append(state_of(call, "hit", why="unchanged"))
        return told

    async def take(self, workflow_run_id: str, steps: Sequence[PlacedStep], *, by: Principal) -> list[CallState]:
        """Claims stored results for the steps without an answer, and stores the others, in order: `hit`, `missed` with
        why, or `done`. Raises WorkflowRunNotFound, TooManyCalls and InvalidRequest; then nothing was changed."""
        for step in steps:
            _check(step)
        asked = [step for step in steps if step.answer is None]
        made = [step for step in steps if step.answer is not None]
        states = await self._claimed(workflow_run_id, asked, by=by) if asked else {}
        states |= await self._stored(workflow_run_id, made, by=by) if made else {}
        return [states[step.token] for step in steps]

    async def _claimed(
        self, workflow_run_id: str, steps: Sequence[PlacedStep], *, by: Principal
    ) -> dict[str, CallState]:
        keys = [key_of(step.fields) for step in steps]
        wanted = [Claim(key, step.cell, token=step.token) for key, step in zip(keys, steps, strict=True)]
        held = await self._rows.claim_calls(workflow_run_id, wanted, by=by)
        lacking = {step.name for step, hit in zip(steps, held, strict=True) if hit is None}
        nearest: dict[str | None, list[StoredCall]] = {}
        if lacking:
            run = await self._rows.get_workflow_run(workflow_run_id, by=by)
            nearest = await self._rows.nearest_calls(run, lacking)
        return {
            step.token: state_of(hit, "hit", why="unchanged") if hit is not None
            else missed(step.placed, key, step.fields, nearest[step.name])
            for step, key, hit in zip(steps, keys, held, strict=True)
        }  # fmt: skip

    async def _stored(
        self, workflow_run_id: str, steps: Sequence[PlacedStep], *, by: Principal
    ) -> dict[str, CallState]:
        now = utc_now()
        calls = [
            StoredCall(
                call_id=new_id("call"), user_id=by.user_id, workflow="", project="", key=key_of(step.fields),
                fields=msgspec.to_builtins(step.fields), said=msgspec.to_builtins(step.placed), label=step.name,
                cell=step.cell, position=step.position, is_done=True, tries=1, answer=step.answer, tokens=0, cost=0.0,
                seconds=step.seconds, created_at=now, used_at=now, done_at=now,
            )
            for step in steps
        ]  # fmt: skip
        tokens = [step.token for step in steps]
        nearest = await self._rows.record_calls(workflow_run_id, calls, tokens=tokens, most=MAX_CALLS, by=by)
        if nearest is None:
            raise too_many(len(calls))
        states: dict[str, CallState] = {}
        for step, call in zip(steps, calls, strict=True):
            lacking = missed(step.placed, call.key, step.fields, nearest[step.name])
            done = state_of(call, "done", why=lacking.why)
            states[step.token] = msgspec.structs.replace(done, difference=lacking.difference)
            # Those that come together came one after the other: the next one is compared with this one, too.
            nearest[step.name] = [call, *nearest[step.name]][:NEAREST]
        return states


def _check(step: PlacedStep) -> None:
    if step.answer is None:
        return
    try:
        msgspec.json.decode(step.answer)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise InvalidRequest(f"The result of the step {step.name!r} is no JSON: {fault}.") from fault
