"""A call with a schema: each try is told what was wrong with the one before, over a real runner, journal and store."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from jupyter_agent.models import ModelCatalog
from jupyter_agent.models.contract import Finished, ModelRequest, Piece, TextPiece
from jupyter_agent.records import Usage, WorkflowRun, utc_now
from jupyter_agent.script.placed import CallState, PlacedCall
from jupyter_agent.workflow.calls import Calls
from jupyter_agent.workflow.resolving import Resolver
from tests.runtime.conftest import ALICE, World

FORM = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
ANSWERS = ["Gladly!", '{"n": "three"}', '{"m": 3}', '```json\n{"n": 3,}\n```']


class Learner:
    """Answers a little better each time it is told what was wrong."""

    name = "learner"
    context_max = None
    sees_images = True
    tools_first = False

    def __init__(self) -> None:
        self.heard: list[str] = []

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        said = [message.text for message in request.messages if message.role == "user"]
        self.heard.append(said[-1])
        yield TextPiece(ANSWERS[min(len(said), len(ANSWERS)) - 1])
        yield Finished(stop_reason="stop", usage=Usage(input_tokens=5, output_tokens=2, requests=1), model=self.name)


class Learners(ModelCatalog):
    """The catalog with one model more."""

    def __init__(self) -> None:
        super().__init__()
        self.learner = Learner()

    def get(self, name: str, *, script: Any = None) -> Any:
        return self.learner if name == "learner" else super().get(name, script=script)


@pytest.fixture
async def calls(open_world):
    models = Learners()
    world: World = await open_world(models=models)
    made = Calls(
        storage=world.storage, journal=world.journal, runner=world.runner, project="p",
        resolver=Resolver(models=models, toolbox=world.toolbox, settings=world.settings),
    )  # fmt: skip
    now = utc_now()
    await made.open(
        WorkflowRun(workflow_run_id="wfr", user_id="alice", workflow="w", project="p", created_at=now, updated_at=now)
    )
    yield made, models.learner
    await made.close()


async def ended(calls: Calls, call: PlacedCall) -> CallState:
    cursor = calls.feeds.cursor("wfr")
    (state,) = await calls.claim("wfr", [call], start=True, by=ALICE)
    async with asyncio.timeout(20):
        while state.status == "running":
            cursor, news, _ = await calls.feeds.after("wfr", cursor, wait_s=5)
            state = next((one for one in news if one.call_id == state.call_id), state)
    return state


async def test_each_try_is_told_what_was_wrong(calls):
    carried, learner = calls
    state = await ended(carried, PlacedCall(prompt="How many?", model="learner", tools=(), schema=FORM))
    assert (state.status, state.answer, state.tries, state.tokens) == ("done", '{"n":3}', 4, 28)
    assert learner.heard[0] == "How many?"
    assert "it is no JSON" in learner.heard[1]
    assert "n must be an integer" in learner.heard[2]
    assert "n is missing" in learner.heard[3]


async def test_an_answer_that_never_fits_says_so_and_is_not_kept(calls):
    carried, learner = calls
    never = {"type": "object", "required": ["k"]}
    state = await ended(carried, PlacedCall(prompt="How many?", model="learner", tools=(), schema=never))
    assert (state.status, state.code, len(learner.heard)) == ("failed", "schema_not_satisfied", 5)
    assert "k is missing" in str(state.message)
    (again,) = await carried.claim("wfr", [PlacedCall(prompt="How many?", model="learner", tools=(), schema=never)],
                                   start=False, by=ALICE)  # fmt: skip
    assert again.status == "missed"
