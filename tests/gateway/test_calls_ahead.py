"""One request for a call, or for many that follow like before: over a real server, with the kernel's client."""

import asyncio
import contextlib
from typing import Any

import pytest

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.workflow import Workflow
from tests.gateway.talk import api
from tests.gateway.test_workflows import echo, opened
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Counting(Client):
    """Counts what it asks of calls."""

    asked = 0

    async def request(self, method: str, path: str, **more: Any) -> Any:
        self.asked += path.endswith("/calls") or "/calls/" in path
        return await super().request(method, path, **more)


@contextlib.asynccontextmanager
async def workflow(server: LiveServer, name: str):
    client = Counting(gateway_at(f"{server.url}/", TOKEN, source="the test"))
    made = Workflow(client, name)
    made.defaults = type(made.defaults)(model="echo")
    try:
        yield made, client
    finally:
        await asyncio.to_thread(client.close)


async def say(wf: Workflow, *prompts: str) -> list[str]:
    return [await wf.agent(prompt, tools=[]) for prompt in prompts]


async def test_the_answer_to_a_start_waits_for_the_end_and_says_why(server: LiveServer) -> None:
    run = await opened(server, "one-request")
    body = {"calls": [echo("one", label="a")], "start": True, "wait": 20}
    _, told = await api(server, "POST", f"workflow-runs/{run}/calls", body)
    (state,) = told["items"]
    assert (state["status"], state["answer"], state["why"]) == ("done", "one", "first time")
    body = {"calls": [echo("two", label="a")], "start": True, "wait": 20}
    _, told = await api(server, "POST", f"workflow-runs/{run}/calls", body)
    assert told["items"][0]["difference"] == {"field": "prompt", "was": "one", "now": "two"}
    body = {"calls": [echo("slow", model="scripted", script={"turns": [{"wait_s": 60, "text": "x"}]})], "start": True}
    _, told = await api(server, "POST", f"workflow-runs/{run}/calls", body | {"wait": 0.05})
    assert told["items"][0]["status"] == "running"


async def test_calls_that_follow_like_before_need_few_requests(server: LiveServer) -> None:
    prompts = [f"{number}" for number in range(60)]
    async with workflow(server, "row") as (wf, client):
        first = await say(wf, *prompts)
        runs = [row.run_id for row in wf.calls]
        wf.new_pass()
        client.asked = 0
        assert await say(wf, *prompts) == first == prompts
        assert [row.run_id for row in wf.calls] == runs
        assert {(row.reused, row.why, row.tokens) for row in wf.calls} == {(True, "unchanged", 0)}
        assert client.asked < 15


async def test_told_ahead_or_asked_for_the_answers_are_the_same(server: LiveServer) -> None:
    """Identical calls, an edit, calls in another order and many at once: each has the result that it would have had."""

    async def script(wf: Workflow) -> list[str | None]:
        await say(wf, "a", "b", "b", "c", "b", "d", "edited" if edits else "e", "f", "a", "c", "c")
        await wf.parallel([wf.agent(prompt, tools=[]) for prompt in "gbha"], on_error="raise")
        await say(wf, "f", "f", "z")
        return [row.run_id for row in wf.calls]

    edits = False
    async with workflow(server, "same") as (wf, _):
        first = await script(wf)
        edits = True
        wf.new_pass()
        ahead = await script(wf)
        row = next(row for row in wf.calls if row.prompt == "edited")
        assert row.reused is False
        wf.forget()
    assert [one for one in ahead if one not in first] == [row.run_id]

    edits = False
    async with workflow(server, "asked") as (wf, _):
        await script(wf)
        before = [row.run_id for row in wf.calls]
        edits = True
        wf.new_pass()
        wf._opened()._ahead.wanted = 0
        wf._opened()._ahead.take = lambda _: None
        asked = await script(wf)
    assert [first.index(one) if one in first else None for one in ahead] == [
        before.index(one) if one in before else None for one in asked
    ]


async def test_what_was_used_is_claimed_and_what_is_forgotten_runs(server: LiveServer) -> None:
    async with workflow(server, "used") as (wf, _):
        await say(wf, *"abcdefgh")
        wf.new_pass()
        assert await say(wf, *"abcd") == list("abcd")
        assert await say(wf, "b") == ["b"]
        assert [row.reused for row in wf.calls] == [True] * 4 + [False], "b was used: another one runs live"
        assert await say(wf, "e") == ["e"]
        assert await asyncio.to_thread(wf.forget) == 9
        assert await say(wf, "f") == ["f"]
        assert [row.reused for row in wf.calls][-2:] == [True, False]


async def test_results_used_before_a_server_died_are_not_claimed_twice(tmp_path: Any) -> None:
    server = LiveServer(tmp_path)
    await server.start()
    async with workflow(server, "killed") as (wf, _):
        await say(wf, *"abcdef")
        wf.new_pass()
        await say(wf, *"abcd")
        await server.kill()
        await server.start()
        assert await say(wf, *"def") == list("def")
        assert [row.reused for row in wf.calls] == [True] * 4 + [False, True, True]
    await server.stop()


@pytest.mark.parametrize("body", [{"used": [{"token": "t"}]}, {"ahead": -1}, {"ahead": 1_001}, {"wait": 61}])
async def test_what_is_wrong_is_refused(server: LiveServer, body: dict[str, Any]) -> None:
    run = await opened(server, "wrong")
    status, told = await api(server, "POST", f"workflow-runs/{run}/calls", {"calls": [], **body})
    assert (status, told["code"]) == (422, "invalid_request")
