"""kill -9 of the server at any instant of a workflow: the result is the undisturbed one, and nothing finished runs
again."""

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.workflow import Workflow
from jupyter_agent.exceptions import AgentError
from jupyter_agent.records import SYSTEM
from jupyter_agent.runtime.history import CUT_NOTE
from jupyter_agent.storage import open_storage
from tests.crash.workflows import Campaign
from tests.live_server import TOKEN, LiveServer

KILLS = 2


async def script(wf: Workflow) -> list[str]:
    """Forty calls: a fan-out, eight items through three stages, a fan-out again, a merge."""

    def say(text: str) -> Any:
        return wf.agent(text, tools=[])

    first = await wf.parallel([say(f"first {n}") for n in range(8)], on_error="raise")
    piped = await wf.pipeline(
        first, lambda p, *_: say(f"{p} a"), lambda p, *_: say(f"{p} b"), lambda p, *_: say(f"{p} c"), on_error="raise"
    )
    last = await wf.parallel([say(f"last {n} of {len(piped)}") for n in range(7)], on_error="raise")
    return [*piped, *last, await say(f"merge {len(piped)} {len(last)}")]


UNDISTURBED = [
    *(f"first {n} a b c" for n in range(8)), *(f"last {n} of 8" for n in range(7)), "merge 8 7",
]  # fmt: skip


@contextlib.asynccontextmanager
async def workflow(server: LiveServer, name: str):
    client = Client(gateway_at(f"{server.url}/", TOKEN, source="the test"))
    made = Workflow(client, name)
    made.defaults = type(made.defaults)(model="echo")
    try:
        yield made
    finally:
        await asyncio.to_thread(client.close)


async def answers_of(server: LiveServer) -> Counter[str]:
    """How often each prompt was answered by a run, after the server has stopped. One that was cut off in the middle of
    its answer was not finished: it is asked again."""
    folder = next((server.home / "data" / "jupyter_agent").iterdir())
    storage = open_storage(folder)
    await storage.rows.open()
    try:
        found, cursor = Counter(), None
        while True:
            page = await storage.rows.list_runs(by=SYSTEM, limit=200, cursor=cursor)
            whole = [run for run in page.items if run.status == "completed" and run.last_ai_message != CUT_NOTE]
            found.update(run.first_human_message for run in whole)
            cursor = page.next_cursor
            if cursor is None:
                return found
    finally:
        await storage.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_workflow_outlives_its_server(tmp_path, seed):
    """The script goes on meanwhile: what it sent is sent again, and acts once."""
    chance = random.Random(seed)
    server = LiveServer(tmp_path)
    await server.start()
    async with workflow(server, "lasting") as wf:
        playing = asyncio.create_task(script(wf))
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 2.5))
            await server.kill()
            await server.start()
        assert await playing == UNDISTURBED
        assert len(wf.calls) == 40
    await server.stop()
    assert await answers_of(server) == Counter(set(answers_prompts()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [3])
async def test_a_workflow_whose_script_died_too_goes_on_where_it_was(tmp_path, seed):
    """Run again from its beginning in a new pass: finished calls come from the store, those in flight are joined."""
    chance = random.Random(seed)
    server = LiveServer(tmp_path)
    await server.start()
    for _ in range(KILLS):
        async with workflow(server, "again") as wf:
            playing = asyncio.create_task(script(wf))
            await asyncio.sleep(chance.uniform(0.1, 2.5))
            await server.kill()
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError, AgentError):
                await playing
        await server.start()
    async with workflow(server, "again") as wf:
        assert await script(wf) == UNDISTURBED
        wf.new_pass()
        assert await script(wf) == UNDISTURBED
        assert {row.reused for row in wf.calls} == {True}
        assert wf.budget.spent() == 0
    await server.stop()
    assert await answers_of(server) == Counter(set(answers_prompts()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [4])
async def test_a_script_with_a_gate_outlives_its_server(tmp_path, seed):
    """As `benchmarks.workflow_crash` does, a few times."""
    server = LiveServer(tmp_path, environment={"JUPYTER_AGENT_DEMO_PACE": "0"})
    try:
        books = await Campaign(server, seed=seed).wage(KILLS)
    finally:
        await server.stop()
    assert not books.faults, books.faults
    assert (books.kills, books.workflows) >= (KILLS, 1)


def answers_prompts() -> list[str]:
    staged = [f"first {n}{stage}" for n in range(8) for stage in ("", " a", " a b", " a b c")]
    return [*staged, *(f"last {n} of 8" for n in range(7)), "merge 8 7"]
