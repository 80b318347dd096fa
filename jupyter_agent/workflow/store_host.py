"""The host of a script on the server: its calls are claimed from the store, or run live and stored.

Calls that are made in one go are claimed in one go. A run that is taken up after a restart says its calls
again; those that it claimed before are the same ones then, and nothing runs twice.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from ..exceptions import AgentError, LeaseLost, fault_named
from ..records import HeadlessRun, Principal, StoredCall, canonical_json
from ..script import AgentCall, BudgetView
from ..script.ahead import Ahead
from ..script.placed import IN_FLIGHT, CallState, PlacedCall
from .active_time import Turn
from .ahead import ahead_of, use
from .call_states import state_of
from .calls import Calls
from .meta import Meta
from .resolving import said_of
from .telling import NAME_CHARS, Telling

LOOK_EVERY_S: Final = 30.0
GONE_S: Final = 2.0
MAX_SAID: Final = 200
_Told = Callable[[], None]
Nest = Callable[["StoreHost", AgentCall, int], Awaitable[Any]]
"""Carries out the workflow that a call calls, at a place of the run, and returns its result."""


class Spending:
    """What the live calls of this run took, as the script has seen it: a replay sees the same at the same place."""

    def __init__(self) -> None:
        self.total: int | None = None
        self._tokens = 0
        self._cost: float | None = 0.0

    @property
    def cost(self) -> float | None:
        return self._cost

    def spent(self) -> int:
        return self._tokens

    def remaining(self) -> float:
        return float("inf") if self.total is None else max(0, self.total - self._tokens)

    def add(self, state: CallState) -> None:
        """Counts a call that ran live."""
        self._tokens += state.tokens or 0
        self._cost = None if state.cost is None or self._cost is None else self._cost + state.cost


class Fence(NamedTuple):
    """The number under which a run is carried out where servers share the store; `lost` is called when another one has
    it."""

    lease_no: int | None = None
    lost: Callable[[], None] = lambda: None


class StoreHost:
    """A script's words over the store. `told` is called whenever there is something new to tell of the run; `meta` is
    what the script says of itself, and for all of its calls. Of a run that another server has nothing is answered any
    more."""

    def __init__(
        self,
        calls: Calls,
        run: HeadlessRun,
        *,
        by: Principal,
        told: _Told,
        turn: Turn,
        nest: Nest,
        meta: Meta | None = None,
        fence: Fence | None = None,
    ) -> None:
        self._calls = calls
        self.run = self._run = run
        self._turn = turn
        self._nest = nest
        self._asking: dict[str, str] = {}
        self._pass = run.workflow_run_id
        self._by = by
        self._told = told
        self._meta = meta or Meta(name=run.workflow)
        self.fence = fence or Fence()
        self._is_leaving = False
        self._held: list[StoredCall] = []
        self._spending = Spending()
        self._asked: list[tuple[PlacedCall, asyncio.Future[CallState]]] = []
        self._claiming: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._ahead = Ahead()
        self._flying: dict[str, asyncio.Future[CallState]] = {}
        self._names: dict[str, str] = {}
        self._stalled: set[str] = set()
        self.telling = Telling()
        self.phase_now: str | None = run.phase
        self.said: list[str] = list(run.said)
        self.made = 0
        self.hits = 0

    @property
    def args(self) -> Mapping[str, Any]:
        return self._run.args

    @property
    def budget(self) -> BudgetView:
        return self._spending

    def phase(self, title: str) -> None:
        self.phase_now = title
        self.telling.say("phase", title)
        self._say(f"# {title}")

    def log(self, message: str) -> None:
        self.telling.say("log", message)
        self._say(message)

    def _say(self, message: str) -> None:
        self.said = [*self.said, message[:1_000]][-MAX_SAID:]
        self._told()

    async def agent(self, call: AgentCall) -> Any:
        return await self.agent_at(call, self.made)

    @property
    def asking(self) -> tuple[str, ...]:
        """The runs that wait for a person."""
        return tuple(dict.fromkeys(self._asking.values()))

    async def _works(self) -> None:
        """Has the run at work again, when it is its turn."""
        is_news = self._turn.is_waiting
        await self._turn.work()
        if is_news:
            self._told()

    def merely_waits(self) -> bool:
        """Tells whether all that goes on waits for people."""
        flying = [call_id for call_id, settled in self._flying.items() if not settled.done()]
        is_claiming = bool(self._asked) or (self._claiming is not None and not self._claiming.done())
        return bool(flying) and not is_claiming and all(call_id in self._asking for call_id in flying)

    async def agent_at(self, call: AgentCall, place: int, *, within: str = "", meta: Meta | None = None) -> Any:
        """Returns the answer of the call at a place of the run, or of a script that it calls: `within` says which, and
        `meta` is what that one says. Cancelled, it stops the call."""
        await self._works()
        if call.kind == "workflow":
            return await self._nest(self, call, place)
        said = (meta or self._meta).said_for(call, model=self._run.model)
        placed = PlacedCall(cell=f"call {within}{place}", position=place, **said)
        held = self._again(placed)
        if held is not None:
            state = await self._looked_at(held)
        else:
            state = self._ahead.take(placed) or await self._claimed(placed)
            self.made += 1
            self.hits += state.status == "hit"
        self._tell(placed, state)
        if state.status == "running":
            self._names[str(state.call_id)] = repr((placed.label or " ".join(placed.prompt.split()))[:NAME_CHARS])
            state = await self._settled(state)
            await self._works()
            self._tell(placed, state)
        if state.status in ("done", "failed"):
            self._spending.add(state)
        if state.status in ("failed", "gone"):
            raise fault_named(state.code or AgentError.code, state.message or "The call was lost.", state.details)
        return state.answer if call.schema is None else json.loads(state.answer or "null")

    def _tell(self, placed: PlacedCall, state: CallState) -> None:
        self.telling.call(placed, state)
        self._told()

    async def resumes(self) -> None:
        """Learns what this run claimed before: what it says again is the same call, not one more."""
        self._held = list(await self._calls.rows.held_calls(self._pass))
        self.made = len(self._held)
        self.hits = sum(held.created_at < self._run.created_at for held in self._held)
        self._spending.total = (await self._calls.rows.get_workflow_run(self._pass, by=self._by)).budget_tokens

    def _again(self, placed: PlacedCall) -> StoredCall | None:
        """Returns the call that was made before as this one: at its place, or else with its words."""
        if not self._held:
            return None
        words = _words(said_of(placed))
        same = [held for held in self._held if _words(held.said) == words]
        found = next((held for held in same if held.cell == placed.cell), same[0] if same else None)
        if found is not None:
            self._held.remove(found)
        return found

    def leave(self) -> None:
        """Says that the server stops, or that another one has the run: calls go on without this host."""
        self._is_leaving = True

    async def close(self) -> None:
        """Ends what listens for answers."""
        for task in (self._claiming, self._hearing):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _looked_at(self, held: StoredCall) -> CallState:
        """Returns where a call stands that was made before this run was taken up."""
        if held.is_done:
            is_own = held.created_at >= self._run.created_at
            return state_of(held, "done" if is_own else "hit")
        self._listen()
        self._flying.setdefault(held.call_id, asyncio.get_running_loop().create_future())
        return state_of(held, "running", why=IN_FLIGHT)

    def _listen(self) -> None:
        if self._hearing is None:
            self._hearing = asyncio.create_task(self._hear(self._calls.feeds.cursor(self._pass)))

    # --- claiming -----------------------------------------------------------------------------------------------

    async def _claimed(self, placed: PlacedCall) -> CallState:
        answer: asyncio.Future[CallState] = asyncio.get_running_loop().create_future()
        self._asked.append((placed, answer))
        if self._claiming is None or self._claiming.done():
            self._claiming = asyncio.create_task(self._claim_all())
        return await answer

    async def _claim_all(self) -> None:
        while self._asked:
            # Whatever else is asked in this turn of the loop goes along.
            await asyncio.sleep(0)
            asked, self._asked = self._asked, []
            asked = [(placed, answer) for placed, answer in asked if not answer.done()]
            self._listen()
            try:
                states = await self._answers([placed for placed, _ in asked])
            except LeaseLost:
                # A script must not hear of it: it would go on, and call that a result.
                self.leave()
                self.fence.lost()
                return
            except AgentError as fault:
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(fault)
                continue
            for (_, answer), state in zip(asked, states, strict=True):
                if state.status == "running" and state.call_id is not None:
                    self._flying.setdefault(state.call_id, asyncio.get_running_loop().create_future())
                if not answer.done():
                    answer.set_result(state)

    async def _answers(self, placed: list[PlacedCall]) -> list[CallState]:
        used, self._ahead.used = self._ahead.used, []
        if used:
            await use(self._calls, self._pass, used, by=self._by, lease_no=self.fence.lease_no)
        states = await self._calls.claim(self._pass, placed, start=True, by=self._by, lease_no=self.fence.lease_no)
        if len(placed) == 1:
            wanted = self._ahead.wanted
            self._ahead.learn(await ahead_of(self._calls, self._pass, states, (), by=self._by, most=wanted))
        else:
            self._ahead.claimed(states)
        return states

    # --- waiting ------------------------------------------------------------------------------------------------

    async def _settled(self, state: CallState) -> CallState:
        call_id = str(state.call_id)
        settled = self._flying[call_id]
        try:
            if state.why not in (IN_FLIGHT, None):
                return await asyncio.shield(settled)
            # Started by another, or asked for once more, it may have ended before it was listened to: one that failed
            # is `gone` then, and the news say why.
            (now,) = await self._calls.look(self._pass, [call_id], by=self._by)
            if now.status == "gone":
                await asyncio.wait({settled}, timeout=GONE_S)
                return settled.result() if settled.done() else now
            self._note(now)
            return now if now.status != "running" else await asyncio.shield(settled)
        except asyncio.CancelledError:
            if not self._is_leaving:
                await asyncio.shield(self._calls.stop(self._pass, [call_id], by=self._by))
            raise

    async def _hear(self, cursor: str) -> None:
        while True:
            cursor, news, missed = await self._calls.feeds.after(self._pass, cursor, wait_s=LOOK_EVERY_S)
            waiting = [call_id for call_id, settled in self._flying.items() if not settled.done()]
            if missed and waiting:
                news = tuple(await self._calls.look(self._pass, waiting, by=self._by))
            for state in news:
                self._note(state)
                if state.call_id is None or state.status == "running":
                    continue
                settled = self._flying.setdefault(state.call_id, asyncio.get_running_loop().create_future())
                if not settled.done():
                    settled.set_result(state)
            if any(not settled.done() and one not in self._asking for one, settled in self._flying.items()):
                # An agent that was waiting for a person works again.
                await self._works()

    def _note(self, state: CallState) -> None:
        """Notes whether a call waits for a person, and tells people when one is stalled."""
        before, call_id = self.asking, str(state.call_id)
        if state.silent_since is None:
            self._stalled.discard(call_id)
        elif call_id not in self._stalled:
            self._stalled.add(call_id)
            name = self._names.get(call_id, "a call")
            self.log(f"Nothing has come of {name} since {state.silent_since:%H:%M} UTC: it is stalled.")
        if state.status == "running" and state.waits_for is not None:
            self._asking[call_id] = str(state.run_id)
        else:
            self._asking.pop(call_id, None)
        if self.asking != before:
            self._told()


def _words(said: dict[str, Any]) -> str:
    """Returns what makes a call another one: where it stands and what people call it does not."""
    return canonical_json({name: value for name, value in said.items() if name not in _PLACES})


_PLACES: Final = frozenset({"cell", "position", "label", "phase", "phaseBudget"})
