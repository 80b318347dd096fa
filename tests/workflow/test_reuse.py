"""Resume by content over a real runner, journal and store, compared call by call with a plain reference.

A script is edited, permuted, cut and moved between cells, its calls finish in any order or never, the server stops at
any point: exactly what changed or was not finished runs live, and each call has the answer that the reference gives it.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_agent.exceptions import BadCredentials
from jupyter_agent.models import ModelCatalog
from jupyter_agent.models.contract import Finished, ModelRequest, Piece, TextPiece
from jupyter_agent.records import Usage, WorkflowBudget, WorkflowRun, new_id, utc_now
from jupyter_agent.runtime import RunnerSettings
from jupyter_agent.script.placed import CallState, PlacedCall
from jupyter_agent.workflow.calls import Calls
from jupyter_agent.workflow.resolving import Resolver
from tests.runtime.conftest import ALICE, World

from .reference import Reference, Result, Said

KEYS = ("a", "b", "c", "bad")
"""Few, so that many calls are alike. "bad" fails whenever it may go on."""
MOST = 8
"""Calls of a script: fewer than work at once."""
PLAYS = 5
"""Each of another seed."""
WITHIN_S = 60.0


class Held:
    """Answers with the run's id when it may: each run has an answer of its own, and the test says when."""

    name = "held"
    context_max = None
    sees_images = False
    tools_first = False

    def __init__(self) -> None:
        self.may: Counter[str] = Counter()
        self.open: set[str] = set()
        self.heard: set[str] = set()
        self._changed = asyncio.Event()

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    def let(self, *, one: str | None = None, keys: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Lets one call of a key go on, or all of some keys from now on."""
        self.may = Counter([one] if one is not None else [])
        self.open = set(keys)
        self._changed.set()
        self._changed = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        key = next(message.text for message in request.messages if message.role == "user")
        self.heard.add(request.run_id)
        while key not in self.open and not self.may[key]:
            await self._changed.wait()
        self.may[key] -= key not in self.open
        if key == "bad":
            raise BadCredentials("It does not know you.")
        yield TextPiece(request.run_id)
        yield Finished(stop_reason="stop", usage=Usage(input_tokens=5, output_tokens=2, requests=1), model=self.name)


class HeldModels(ModelCatalog):
    """The catalog with one model more."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self.held = held

    def get(self, name: str, *, script: Any = None) -> Any:
        return self.held if name == "held" else super().get(name, script=script)


class Place:
    """A server's inside over one folder, which may stop and start again."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder, self._database_url = folder, database_url
        self.model = Held()

    async def open(self) -> None:
        models = HeldModels(self.model)
        chosen = RunnerSettings(retry_base_s=0.01, max_fruitless_restarts=1_000)
        self.world = World(self._folder, settings=chosen, database_url=self._database_url, models=models)
        await self.world.open()
        world = self.world
        self.calls = Calls(
            storage=world.storage, journal=world.journal, runner=world.runner, project="p", budget=WorkflowBudget(),
            resolver=Resolver(models=models, toolbox=world.toolbox, settings=world.settings),
        )  # fmt: skip
        await self.calls.recover()

    async def close(self) -> None:
        await self.calls.close()
        await self.world.close()


class Play:
    """Passes of one workflow, each call compared with the reference."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.chance = place, random.Random(seed)
        self.workflow = new_id("w")
        self.reference = Reference()
        self.heard_before = set(place.model.heard)
        self.cut = self.unsure = 0
        self._tokens = itertools.count()

    async def play(self) -> None:
        script = [(self.chance.choice(KEYS), False) for _ in range(self.chance.randint(1, MOST))]
        for _ in range(self.chance.randint(1, 4)):
            await self._pass(script)
            script = self._edited(script)
        await self._end()
        await self._replayed([(key, False) for key, _ in script])

    def _edited(self, script: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
        """Draws an order, and a few calls that are dropped, inserted, changed or fresh."""
        edited = self.chance.sample(script, len(script))
        for deed in self.chance.choices(["drop", "insert", "edit", "fresh"], k=self.chance.randint(0, 3)):
            at = self.chance.randint(0, len(edited))
            call = (self.chance.choice(KEYS), deed == "fresh")
            if deed == "insert" and len(edited) < MOST:
                edited.insert(at, call)
            elif deed != "insert":
                edited[at : at + 1] = [] if deed == "drop" else [call]
        return edited

    # --- a pass ---------------------------------------------------------------------------------------------

    async def _pass(self, script: list[tuple[str, bool]]) -> None:
        its_pass = await self._opened()
        rest = list(script)
        cells: list[list[tuple[str, bool]]] = []
        while rest:
            # Where a cell begins is drawn anew: calls move between cells from pass to pass.
            count = self.chance.randint(1, len(rest))
            cells.append(rest[:count])
            rest = rest[count:]
        for number, cell in enumerate(cells):
            said = [Said(key, fresh, f"cell {number}", f"t{next(self._tokens)}") for key, fresh in cell]
            await self._cell(its_pass, said)
            await self._happens()
            if self.chance.random() < 0.25:
                # After a restart a run of the server says its calls again, as the same ones.
                await self._claimed(its_pass, said)
        if self.chance.random() < 0.25:
            count = await self.place.world.storage.rows.release_claims(its_pass, cell="cell 0", by=ALICE)
            assert count == self.reference.release(its_pass, "cell 0")
            again = [Said(key, fresh, "cell 0", f"t{next(self._tokens)}") for key, fresh in cells[0]] if cells else []
            await self._cell(its_pass, again)
            await self._happens()

    async def _opened(self) -> str:
        now = utc_now()
        its_pass = new_id("wfr")
        await self.place.calls.open(
            WorkflowRun(
                workflow_run_id=its_pass, user_id="alice", workflow=self.workflow, project="p", created_at=now,
                updated_at=now,
            )
        )  # fmt: skip
        self.reference.claims[its_pass] = []
        return its_pass

    async def _cell(self, its_pass: str, said: list[Said]) -> None:
        while said:
            count = self.chance.randint(1, len(said))
            await self._claimed(its_pass, said[:count])
            said = said[count:]

    async def _claimed(self, its_pass: str, said: list[Said]) -> None:
        expected = self.reference.claim(its_pass, said)
        asked = [
            PlacedCall(prompt=call.key, model="held", tools=(), token=call.token, cell=call.cell, fresh=call.fresh)
            for call in said
        ]
        told = await self.place.calls.claim(its_pass, asked, start=True, by=ALICE)
        for call, result, state in zip(said, expected, told, strict=True):
            if result is None:
                assert state.status == "running", call
                assert state.why not in ("in flight", "unchanged"), "it was to run live"
                assert state.call_id not in [one.call_id for one in self.reference.results]
                self.reference.start(its_pass, call, str(state.call_id))
            else:
                self._is(state, result, call)

    def _is(self, state: CallState, result: Result, call: Said) -> None:
        assert state.call_id == result.call_id, "it is the first of its key that is left"
        if result.answer is None:
            # What is only said once more is not joined.
            assert (state.status, state.why) == ("running", None if result.token == call.token else "in flight")
        else:
            assert (state.status, state.why, state.answer) == ("hit", "unchanged", result.answer)

    # --- what happens meanwhile -----------------------------------------------------------------------------

    async def _happens(self) -> None:
        for what in self.chance.choices(["one", "stop", "stop amid"], (6, 1, 1), k=self.chance.randint(0, 4)):
            flying = self.reference.flying()
            keys = {result.key for result in flying}
            if what == "one" and keys:
                await self._one_ends(self.chance.choice(sorted(keys)))
            elif what == "stop":
                await self._restarted()
            elif what == "stop amid":
                # Of two that replace the same result the first takes its place: which one that is would be chance.
                replacing = Counter(result.key for result in flying if result.replaces is not None)
                await self._restarted(amid={key for key in keys if replacing[key] < 2})

    async def _one_ends(self, key: str) -> None:
        before = {result.call_id for result in self.reference.flying({key})}
        self.place.model.let(one=key)
        await self._until(lambda now: len(before & now) == len(before) - 1)
        await self._note({key})

    async def _restarted(self, amid: set[str] | None = None) -> None:
        """The server stops and starts; with `amid`, while the calls of these keys end."""
        if amid:
            self.place.model.let(keys=amid)
            for _ in range(self.chance.randint(0, 40)):
                await asyncio.sleep(0)
            await asyncio.sleep(self.chance.choice([0.0, 0.002, 0.01]))
        await self.place.close()
        await self.place.open()
        if amid:
            ending = {result.call_id for result in self.reference.flying(amid)}
            await self._until(lambda now: not ending & now)
            self.place.model.let()
            await self._note(amid, may_be_cut=True)

    async def _until(self, found: Any) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not found({call.call_id for call in await self.place.world.storage.rows.calls_in_flight()}):
                await asyncio.sleep(0.002)

    async def _note(self, keys: set[str], *, may_be_cut: bool = False) -> None:
        """Has the reference know which calls of these keys have ended. An answer that was cut in its middle is no
        answer: it was asked for once more."""
        flying = self.reference.flying(keys)
        rows = self.place.world.storage.rows
        kept = {call.call_id: call for call in await rows.get_calls([one.call_id for one in flying], by=ALICE)}
        for result in flying:
            call = kept.get(result.call_id)
            if call is not None and call.is_done:
                assert call.answer == call.run_id, "the answer is that of the call's own run, whole"
                assert call.tries == 1 or may_be_cut
                self.cut += call.tries - 1
                self.reference.finish(result, str(call.answer))
            elif call is None and result.key != "bad":
                # A fresh call replaced it while it ran: nobody can say any more whether it was cut before.
                self.unsure += 1
        for result in flying:
            # What a fresh call replaced has gone with its end.
            if result.call_id not in kept and result in self.reference.results:
                assert result.key == "bad", "only what failed is dropped"
                self.reference.drop(result)

    # --- the end --------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        while flying := self.reference.flying():
            await self._one_ends(flying[0].key)
        kept = await self.place.world.storage.rows.list_calls(self.workflow, "p", by=ALICE)
        expected = sorted(self.reference.results, key=lambda result: result.number)
        assert [(call.call_id, call.answer) for call in kept] == [(one.call_id, one.answer) for one in expected]
        heard = self.place.model.heard - self.heard_before
        twice = len(heard) - self.reference.started - self.cut
        assert 0 <= twice <= self.unsure, "what ran live did so once, whatever happened"

    async def _replayed(self, script: list[tuple[str, bool]]) -> None:
        """Restart and Run All: what was answered is answered from the store, once each."""
        await self._restarted()
        left = Counter(result.key for result in self.reference.results)
        its_pass = await self._opened()
        asked = [PlacedCall(prompt=key, model="held", tools=()) for key, _ in script]
        told = await self.place.calls.claim(its_pass, asked, start=False, by=ALICE)
        hits = Counter(key for (key, _), state in zip(script, told, strict=True) if state.status == "hit")
        assert hits == Counter(key for key, _ in script) & left


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    return request.getfixturevalue("database_url") if request.param == "postgres" else ""


@pytest.mark.timeout(300)
async def test_exactly_what_changed_or_was_not_finished_runs_live(tmp_path, url):
    place = Place(tmp_path, url)
    await place.open()
    try:
        for seed in range(PLAYS):
            try:
                await Play(place, seed).play()
            except Exception as fault:
                fault.add_note(f"It was the play of the seed {seed}.")
                raise
    finally:
        await place.close()
