"""Asks agents on behalf of the steps of flows: each attempt is a call with a run of its own, found again by its key."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..exceptions import AgentError, InvalidRequest, fault_named
from ..flow import StepStatus
from ..flow.decisions import Ended
from ..records import SYSTEM, Principal, WorkflowRun, utc_now
from ..script import AgentCall, BudgetView, Words
from ..script.call import MAX_TIMEOUT_S
from ..script.placed import CallState, PlacedCall
from .calls import Calls

LOOK_EVERY_S: Final = 30.0
MAX_TOKEN: Final = 128


class CallAgents:
    """The agents of flows. A flow's run is a pass of its own: what its steps asked is not reused by another run."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._words = Words(_Unasked())
        self._left: set[str] = set()

    def leave(self, flow_run_id: str) -> None:
        """Says that the server stops, or that another one has the run: what is asked goes on, and is found again."""
        self._left.add(flow_run_id)

    async def agent(self, prompt: str, *, key: str, options: Mapping[str, Any]) -> Any:
        """Returns the answer: text, or the validated object where the options have a `schema`. The options are those of
        `agent(…)` in workflows. Raises the call's failure, InvalidRequest for options that it does not take."""
        call = self._said(prompt, key, options)
        self._left.discard(key.split(":", maxsplit=1)[0])
        pass_id, by = await self._pass(key)
        cursor = self._calls.feeds.cursor(pass_id)
        (state,) = await self._calls.claim(pass_id, [call], start=True, by=by)
        if state.status == "running":
            state = await self._settled(pass_id, str(state.call_id), cursor, by)
        if state.status in ("failed", "gone"):
            raise fault_named(state.code or AgentError.code, state.message or "The call was lost.")
        return state.answer if call.schema is None else json.loads(state.answer or "null")

    async def find(self, key: str) -> Ended | bool:
        """Returns how the call under this key ended, True while it goes on, False where there is none."""
        pass_id, by = await self._pass(key)
        # Only its token is looked for: with `fresh` nothing else is claimed in its place.
        asked = PlacedCall(prompt="?", token=_token(key), fresh=True)
        (state,) = await self._calls.claim(pass_id, [asked], start=False, by=by)
        if state.status == "running":
            return True
        if state.status != "hit":
            return False
        (stored,) = await self._calls.rows.get_calls([str(state.call_id)], by=by)
        answer = state.answer if stored.said.get("schema") is None else json.loads(state.answer or "null")
        return Ended(StepStatus.COMPLETED, output=answer)

    def _said(self, prompt: str, key: str, options: Mapping[str, Any]) -> PlacedCall:
        step = key.split(":")[1]
        try:
            call: AgentCall = self._words.agent(prompt, **{"label": step, "timeout": MAX_TIMEOUT_S, **options}).call
        except TypeError as fault:
            raise InvalidRequest(f"The options of step {step!r} are not those of an agent: {fault}.") from fault
        return PlacedCall(token=_token(key), cell=step, **msgspec.structs.asdict(call))

    async def _pass(self, key: str) -> tuple[str, Principal]:
        """Returns the pass of a flow's run, begun when it is needed first, and on whose behalf it is."""
        flow_run_id = key.split(":", maxsplit=1)[0]
        run = await self._calls.rows.get_flow_run(flow_run_id, by=SYSTEM)
        now = utc_now()
        await self._calls.open(
            WorkflowRun(
                workflow_run_id=flow_run_id, user_id=run.user_id, workflow=f"flow {run.flow} {flow_run_id}",
                project=self._calls.project, created_at=now, updated_at=now,
            )
        )  # fmt: skip
        return flow_run_id, Principal(user_id=run.user_id, actor=f"flow {run.flow}")

    async def _settled(self, pass_id: str, call_id: str, cursor: str, by: Principal) -> CallState:
        try:
            while True:
                cursor, news, missed = await self._calls.feeds.after(pass_id, cursor, wait_s=LOOK_EVERY_S)
                if missed or not news:
                    news = tuple(await self._calls.look(pass_id, [call_id], by=by))
                for state in news:
                    if state.call_id == call_id and state.status != "running":
                        return state
        except asyncio.CancelledError:
            if pass_id not in self._left:
                await asyncio.shield(self._calls.stop(pass_id, [call_id], by=by))
            raise


class _Unasked:
    """A host whose words are said and never carried out: they check what is said."""

    args: Mapping[str, Any] = {}

    @property
    def budget(self) -> BudgetView:
        raise NotImplementedError

    async def agent(self, call: AgentCall) -> Any:
        raise NotImplementedError

    def phase(self, title: str) -> None: ...

    def log(self, message: str) -> None: ...


def _token(key: str) -> str:
    return key if len(key) <= MAX_TOKEN else hashlib.sha256(key.encode()).hexdigest()
