"""Forks over REST: started once, owned, refused in words."""

import asyncio

import pytest

from tests.gateway.talk import ASKS, SLOW, api, headers_of
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOKS = {"turns": [{"text": "Looking. ", "calls": [{"name": "list_files", "arguments": {}}]}, {"text": "Nothing."}]}


async def over(server: LiveServer, run_id: str) -> dict[str, object]:
    status, run = await api(server, "GET", f"runs/{run_id}?wait=30")
    assert (status, run["status"]) == (200, "completed")
    return dict(run)


async def test_a_fork_is_a_run_that_says_where_it_comes_from(server: LiveServer) -> None:
    run_id = await server.start_run(LOOKS, metadata={"task": "a"})
    first = await over(server, run_id)
    status, fork = await api(server, "POST", f"runs/{run_id}/fork", {"turn": 1, "metadata": {"try": 2}})
    assert status == 201
    assert (fork["forkedFromRunId"], fork["forkedFromTurn"], fork["metadata"]) == (run_id, 1, {"try": 2})
    assert fork["threadId"] != first["threadId"]
    ended = await over(server, fork["runId"])
    assert (ended["lastAiMessage"], ended["modelCallCount"]) == ("Nothing.", 1)
    _, thread = await api(server, "GET", f"threads/{fork['threadId']}")
    _, origin = await api(server, "GET", f"threads/{first['threadId']}")
    assert thread["title"] == origin["title"]
    # The run that it comes from is as it was.
    told = await over(server, run_id)
    assert {name: told[name] for name in first} == first
    status, whole = await api(server, "GET", f"runs/{fork['runId']}/transcript")
    assert (status, whole.get("prompt", "")) == (200, "")


async def test_a_fork_that_is_sent_again_forks_nothing(server: LiveServer) -> None:
    run_id = await server.start_run(LOOKS)
    await over(server, run_id)
    headers = headers_of(Idempotency_Key="fork-once")
    made = await asyncio.gather(*(api(server, "POST", f"runs/{run_id}/fork", {"turn": 0}, headers=headers)
                                  for _ in range(5)))  # fmt: skip
    assert {status for status, _ in made} == {201}
    assert len({run["runId"] for _, run in made}) == 1
    await over(server, made[0][1]["runId"])
    await server.stop()
    await server.start()
    _, again = await api(server, "POST", f"runs/{run_id}/fork", {"turn": 0}, headers=headers)
    assert again["runId"] == made[0][1]["runId"]


async def test_what_cannot_be_forked_is_refused_in_words(server: LiveServer) -> None:
    run_id = await server.start_run(LOOKS)
    await over(server, run_id)
    path = f"runs/{run_id}/fork"
    for body, status, code, word in (
        ({}, 422, "invalid_request", "had answered"),
        ({"turn": 3}, 422, "invalid_request", "0 to 1"),
        ({"turn": -1}, 422, "invalid_request", "no turn -1"),
        ({"turn": "1"}, 422, "invalid_request", "turn"),
        ({"turn": 1, "threadId": "x"}, 422, "invalid_request", "threadId"),
        ({"turn": 1, "input": " "}, 422, "invalid_request", "empty"),
        ({"turn": 1, "tools": ["read_fil"]}, 422, "invalid_request", "read_file"),
        ({"turn": 1, "model": "nobody"}, 422, "unknown_model", "nobody"),
        ({"turn": 1, "model": "replay:run_00000000000000000000"}, 404, "run_not_found", "run_0000"),
        ({"turn": 1, "input": [{"type": "image", "blob": "0" * 64, "mime": "image/png"}]}, 404, "blob_not_found", "0"),
    ):
        answer, fault = await api(server, "POST", path, body)
        assert (answer, fault["code"]) == (status, code), fault
        assert word in fault["message"]
    for unknown in ("run_00000000000000000000", "no%20id"):
        assert (await api(server, "POST", f"runs/{unknown}/fork", {"turn": 0}))[0] == 404
    assert (await api(server, "POST", path, {"turn": 0}, headers={}))[0] == 403
    going = await server.start_run(SLOW)
    answer, fault = await api(server, "POST", f"runs/{going}/fork", {"input": "more"})
    assert (answer, fault["code"]) == (409, "run_active")
    await api(server, "POST", f"runs/{going}/interrupt", {})


async def test_what_people_allowed_is_not_allowed_in_a_fork(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    async with asyncio.timeout(20):
        while not (page := (await api(server, "GET", f"runs/{run_id}/approvals"))[1])["items"]:
            await asyncio.sleep(0.02)
    asked = page["items"][0]["approvalId"]
    await api(server, "POST", f"approvals/{asked}", {"approved": True, "remember": "thread"})
    await over(server, run_id)
    _, fork = await api(server, "POST", f"runs/{run_id}/fork", {"turn": 0})
    async with asyncio.timeout(20):
        while (await api(server, "GET", f"runs/{fork['runId']}"))[1]["status"] != "waiting_confirmation":
            await asyncio.sleep(0.02)
    assert (await api(server, "POST", f"runs/{fork['runId']}/interrupt", {}))[0] == 202
