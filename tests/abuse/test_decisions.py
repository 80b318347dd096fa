"""Decisions that would do more than they say, from outside: over REST and the socket of a real server."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.gateway.talk import api, talking
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def creates(path: str) -> dict[str, Any]:
    return {"calls": [{"name": "create_file", "arguments": {"path": path, "content": "made\n"}}]}


async def asked(server: LiveServer, run_id: str) -> dict[str, Any]:
    """Waits for the run's pending approval and returns it."""
    async with asyncio.timeout(20):
        while True:
            _, page = await api(server, "GET", f"runs/{run_id}/approvals")
            if pending := [one for one in page["items"] if "decision" not in one]:
                return dict(pending[0])
            await asyncio.sleep(0.02)


async def events_of(server: LiveServer, run_id: str, kind: str) -> list[dict[str, Any]]:
    _, page = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
    return [event for event in page["items"] if event["type"] == kind]


@pytest.mark.parametrize("remember", ["run", "thread"])
@pytest.mark.parametrize("over", ["rest", "socket"])
async def test_a_no_that_is_to_be_remembered_is_no_yes(server: LiveServer, remember: str, over: str) -> None:
    first, second, third = (f"{remember}-{over}-{number}.txt" for number in range(3))
    run_id = await server.start_run({"turns": [creates(first), creates(second), {"text": "Over."}]})
    approval = await asked(server, run_id)
    if over == "rest":
        verdict = {"approved": False, "remember": remember}
        status, _ = await api(server, "POST", f"approvals/{approval['approvalId']}", verdict)
        assert status == 200
    else:
        async with talking(server) as talk:
            said = {"runId": run_id, "toolCallId": approval["toolCallId"], "approved": False, "remember": remember}
            assert (await talk.command("tool_confirmation", **said))["type"] == "ack"
    again = await asked(server, run_id)
    assert again["approvalId"] != approval["approvalId"]
    await api(server, "POST", f"runs/{run_id}/interrupt")
    thread_id = (await server.run(run_id))["threadId"]
    next_id = await server.start_run({"turns": [creates(third), {"text": "Over."}]}, threadId=thread_id)
    await asked(server, next_id)
    await api(server, "POST", f"runs/{next_id}/interrupt")
    assert not [name for name in (first, second, third) if (server.root / name).exists()]


async def test_of_many_decisions_at_once_exactly_one_counts(server: LiveServer) -> None:
    run_id = await server.start_run({"turns": [creates("race.txt"), {"text": "Over."}]})
    approval = await asked(server, run_id)
    address = f"approvals/{approval['approvalId']}"
    answers = await asyncio.gather(
        *(api(server, "POST", address, {"approved": number % 2 == 0, "reason": str(number)}) for number in range(50))
    )
    assert Counter(status for status, _ in answers) == {200: 1, 409: 49}
    decided = next(body for status, body in answers if status == 200)
    await api(server, "GET", f"runs/{run_id}?wait=20")
    resolved = await events_of(server, run_id, "approval_resolved")
    assert [event["decision"] for event in resolved] == [decided["decision"]]
    assert (server.root / "race.txt").exists() == (decided["decision"] == "approve")


async def test_an_approval_is_good_for_its_own_call_and_run_once(server: LiveServer) -> None:
    spent_run = await server.start_run({"turns": [creates("spent.txt"), {"text": "Over."}]})
    spent = await asked(server, spent_run)
    await api(server, "POST", f"runs/{spent_run}/interrupt")
    run_id = await server.start_run({"turns": [creates("own.txt"), {"text": "Over."}]})
    own = await asked(server, run_id)
    async with talking(server) as talk:
        for call, approval, of_run in (
            (spent["toolCallId"], spent["approvalId"], spent_run),
            (own["toolCallId"], spent["approvalId"], run_id),
            (spent["toolCallId"], own["approvalId"], run_id),
            (spent["toolCallId"], None, run_id),
        ):
            said = {"runId": of_run, "toolCallId": call, "approvalId": approval, "approved": True}
            assert (await talk.command("tool_confirmation", **said))["type"] == "failed", said
    for arguments in (
        "",
        "x",
        [],
        "[]",
        {},
        {"path": 1, "content": "x"},
        {"path": "own.txt", "content": "x", "mode": 7},
    ):
        status, fault = await api(
            server, "POST", f"approvals/{own['approvalId']}", {"approved": True, "arguments": arguments}
        )
        assert status == 422, (arguments, fault)
    assert (await server.run(run_id))["status"] == "waiting_confirmation"
    await api(server, "POST", f"runs/{run_id}/interrupt")
    assert not (server.root / "spent.txt").exists()
    assert not (server.root / "own.txt").exists()
