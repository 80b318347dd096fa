"""Steps of workflows in kernels: the results of people's own code, kept beside those of agents. No run is made."""

from collections.abc import Sequence

import msgspec

from ..exceptions import InvalidRequest
from ..records import Principal, StoredCall, new_id, utc_now
from ..script import MAX_CALLS
from ..script.key import key_of
from ..script.placed import CallState
from ..script.step import PlacedStep
from ..storage.calls import Claim
from ..storage.sql import SqlRows
from .calls import missed, state_of, too_many


class Steps:
    """The steps that kernels made and make. `by` is on whose behalf something is done."""

    def __init__(self, rows: SqlRows) -> None:
        self._rows = rows

    async def keys(self, workflow_run_id: str, *, by: Principal) -> list[str]:
        """Returns the keys of all steps that a pass's workflow has stored. Raises WorkflowRunNotFound."""
        return await self._rows.step_keys(workflow_run_id, by=by)

    async def take(self, workflow_run_id: str, steps: Sequence[PlacedStep], *, by: Principal) -> list[CallState]:
        """Claims stored results for the steps without an answer, and stores the others, in order: `hit`, `missed` with
        why, or `done`. Raises WorkflowRunNotFound, TooManyCalls and InvalidRequest; then nothing was changed."""
        run = await self._rows.get_workflow_run(workflow_run_id, by=by)
        keys = [key_of(step.fields) for step in steps]
        for step in steps:
            _check(step)
        asked = [at for at, step in enumerate(steps) if step.answer is None]
        made = [at for at, step in enumerate(steps) if step.answer is not None]
        wanted = [Claim(keys[at], steps[at].cell, token=steps[at].token) for at in asked]
        held = await self._rows.claim_calls(workflow_run_id, wanted, by=by) if wanted else []
        found = dict(zip(asked, held, strict=True))
        lacking = [at for at in range(len(steps)) if found.get(at) is None]
        nearest = await self._rows.nearest_calls(run, {steps[at].name for at in lacking}) if lacking else {}
        now = utc_now()
        calls = [
            StoredCall(
                call_id=new_id("call"), user_id=run.user_id, workflow=run.workflow, project=run.project, key=keys[at],
                fields=msgspec.to_builtins(step.fields), said=msgspec.to_builtins(step.placed), label=step.name,
                cell=step.cell, position=step.position, is_done=True, tries=1, answer=step.answer, tokens=0, cost=0.0,
                seconds=step.seconds, created_at=now, used_at=now, done_at=now,
            )
            for at in made for step in (steps[at],)
        ]  # fmt: skip
        tokens = [steps[at].token for at in made]
        if calls and not await self._rows.record_calls(workflow_run_id, calls, tokens=tokens, most=MAX_CALLS, by=by):
            raise too_many(len(calls))
        stored = dict(zip(made, calls, strict=True))
        states = []
        for at, step in enumerate(steps):
            if (hit := found.get(at)) is not None:
                states.append(state_of(hit, "hit", why="unchanged"))
                continue
            state = missed(step.placed, keys[at], step.fields, nearest[step.name])
            if at in stored:
                done = state_of(stored[at], "done", why=state.why)
                state = msgspec.structs.replace(done, difference=state.difference)
            states.append(state)
        return states


def _check(step: PlacedStep) -> None:
    if step.answer is None:
        return
    try:
        msgspec.json.decode(step.answer)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise InvalidRequest(f"The result of the step {step.name!r} is no JSON: {fault}.") from fault
