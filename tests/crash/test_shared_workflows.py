"""Workflows and flows on two servers over one database, of which one is killed, or stopped for longer than it may be:
the other goes on, the result is the undisturbed one, and whoever wakes up writes and starts nothing any more."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.crash.workflows import Books, Campaign
from tests.gateway.talk import api
from tests.gateway.test_flows import start as start_flow
from tests.gateway.test_flows import until
from tests.gateway.test_scripts import approved, ended, start
from tests.gateway.test_shared_workflows import GATED, Two, all_events, at_the_gate, two_servers
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TTL_S = 4.0
KILLS = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    with postgres.database() as url:
        servers = two_servers(tmp_path_factory.mktemp("shared"), url, ttl_s=TTL_S)
        async with servers.a, servers.b:
            await approved(servers.a, "gated", GATED)
            yield servers


class SharedCampaign(Campaign):
    """Kills the server that was spoken to, and goes on with the other one; the killed one comes back meanwhile."""

    def __init__(self, two: Two, *, seed: int) -> None:
        super().__init__(two.a, seed=seed)
        self._two = two
        self._starting: list[asyncio.Task[None]] = []

    async def _come_back(self, kills: int) -> None:  # noqa: ARG002 - the other one is up already
        killed = self.server
        self.server = self._two.b if killed is self._two.a else self._two.a
        await asyncio.gather(*self._starting)
        self._starting = [asyncio.create_task(killed.start())]

    async def _found(self, n: int) -> str | None:
        # What the killed server was writing may be there a moment later.
        found = await super()._found(n)
        if found is None:
            await asyncio.sleep(TTL_S)
            found = await super()._found(n)
        return found

    async def _begin(self) -> None:
        for server in reversed(self._two):
            self.server = server
            await self._approve_script()

    async def wage(self, kills: int) -> Books:
        try:
            return await super().wage(kills)
        finally:
            await asyncio.gather(*self._starting)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [5])
async def test_a_script_goes_on_on_the_other_server(two: Two, seed: int) -> None:
    """With a fan-out, side effects and a gate: each call is answered once, and the files written as consented to."""
    books = await SharedCampaign(two, seed=seed).wage(KILLS)
    assert not books.faults, "\n".join(books.faults)
    assert (books.kills, books.workflows) >= (KILLS, 1)


@pytest.mark.timeout(300)
async def test_a_server_that_was_stopped_has_lost_its_script_and_writes_nothing_more(two: Two) -> None:
    run = await start(two.a, "gated", n="f")
    await at_the_gate(two.a, "f")
    os.kill(two.a.pid, signal.SIGSTOP)
    try:
        asked = await at_the_gate(two.b, "f")
        status, done = await api(two.b, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
        assert status == 200, done
        told = await ended(two.b, run, within_s=90)
        heard = await all_events(two.b, run)
        before = await runs_of(two.b, run)
    finally:
        os.kill(two.a.pid, signal.SIGCONT)
    assert (told["status"], told["result"]) == ("completed", [True, "f last of 6"])
    assert set(before.values()) == {1}
    async with asyncio.timeout(60):
        while f"The lease of run {run} is lost" not in two.a.log.read_text():
            await asyncio.sleep(0.1)
    # What it still had to do of it, it has done or left by the time that it has carried out another run.
    await ended_after_a_gate(two, "f2")
    for server in two:
        assert await ended(server, run) == told
        assert await all_events(server, run) == heard
        assert await runs_of(server, run) == before


async def runs_of(server: LiveServer, run: str) -> Counter[str]:
    """Returns what was asked in a script's run, each as often as a run was made of it."""
    _, page = await api(server, "GET", "runs?limit=200")
    its = [one for one in page["items"] if one["metadata"].get("workflowRunId") == run]
    return Counter(one.get("firstHumanMessage") for one in its)


async def ended_after_a_gate(two: Two, n: str) -> None:
    run = await start(two.a, "gated", n=n)
    asked = await at_the_gate(two.a, n)
    await api(two.a, "POST", f"approvals/{asked['approvalId']}", {"approved": True})
    assert (await ended(two.a, run))["result"] == [True, f"{n} last of 6"]


@pytest.mark.timeout(300)
async def test_a_flow_goes_on_on_the_other_server_and_a_call_s_answer_is_stored_there(two: Two) -> None:
    """The flow waits for a person, and a call of a kernel that asks nobody any more."""
    run = await start_flow(two.a, "asks", text="k")
    await until(two.b, run, "waiting_confirmation")
    _, opened = await api(two.a, "POST", "workflow-runs", {"workflow": "of a kernel"})
    calls = f"workflow-runs/{opened['workflowRunId']}/calls"
    question = {"prompt": "Well?", "kind": "ask"}
    _, begun = await api(two.a, "POST", calls, {"calls": [question], "start": True})
    call_id = begun["items"][0]["callId"]
    asked = await question_of(two.b, "Well?")
    await two.a.kill()
    status, step = await api(two.b, "POST", f"flow-runs/{run}/steps/ok", {"approved": True})
    assert (status, step["status"]) == (200, "completed"), step
    told = await until(two.b, run, "completed", within_s=60)
    assert told["run"]["result"] == "End of Read k"
    _, runs = await api(two.b, "GET", "runs?limit=200")
    answered = Counter(one["firstHumanMessage"] for one in runs["items"] if one["model"] == "echo")
    assert (answered["Read k"], answered["End of Read k"]) == (1, 1)
    said = f"runs/{asked['runId']}/inputs/{asked['requestId']}"
    status, done = await api(two.b, "POST", said, {"content": "well"})
    assert status < 300, done
    async with asyncio.timeout(60):
        # Nobody asks for the call itself: only what is stored is looked at.
        while (await claimed(two, question))["status"] != "hit":
            await asyncio.sleep(0.2)
    found = await claimed(two, question)
    assert (found["callId"], found["answer"]) == (call_id, "well")
    await two.a.start()


async def question_of(two_b: Any, prompt: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            _, runs = await api(two_b, "GET", "runs?status=waiting_input&limit=100")
            for run in runs["items"]:
                _, page = await api(two_b, "GET", f"runs/{run['runId']}/inputs")
                for one in page["items"]:
                    if one["prompt"] == prompt:
                        return dict(one) | {"runId": run["runId"]}
            await asyncio.sleep(0.1)


async def claimed(two: Two, call: dict[str, Any]) -> dict[str, Any]:
    """Returns what a new pass is answered from the store, and starts nothing."""
    _, opened = await api(two.b, "POST", "workflow-runs", {"workflow": "of a kernel"})
    _, told = await api(two.b, "POST", f"workflow-runs/{opened['workflowRunId']}/calls", {"calls": [call]})
    return dict(told["items"][0])
