"""Passes and calls over REST: what is reused, what runs live, and what happens to it when nobody waits any more."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.talk import api
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def opened(server: LiveServer, workflow: str = "review") -> str:
    status, run = await api(server, "POST", "workflow-runs", {"workflow": workflow})
    assert status == 201, run
    assert (run["workflow"], run["userId"]) == (workflow, "owner")
    return str(run["workflowRunId"])


def echo(prompt: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "model": "echo", "tools": [], **more}


async def claim(server: LiveServer, run: str, *calls: dict[str, Any], start: bool = True) -> list[dict[str, Any]]:
    body = {"calls": list(calls), "start": start}
    status, told = await api(server, "POST", f"workflow-runs/{run}/calls", body)
    assert status == 200, told
    return [{**one, "cursor": told["cursor"]} for one in told["items"]]


async def settled(server: LiveServer, run: str, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Waits for calls in flight as a client does: by news, and a look where some were missed."""
    left = {one["callId"]: one for one in states if one["status"] == "running"}
    done = {one["callId"]: one for one in states if one["status"] != "running"}
    cursor = states[0]["cursor"] if states else ""
    async with asyncio.timeout(30):
        while left:
            status, news = await api(server, "GET", f"workflow-runs/{run}/calls/news?wait=5&cursor={cursor}")
            assert status == 200, news
            cursor, items = news["cursor"], news["items"]
            if news["missed"]:
                _, told = await api(server, "POST", f"workflow-runs/{run}/calls/look", {"callIds": list(left)})
                cursor, items = told["cursor"], told["items"]
            for one in items:
                if one["status"] != "running" and left.pop(one["callId"], None):
                    done[one["callId"]] = one
    return [done[one["callId"]] for one in states]


async def test_what_was_answered_is_reused_and_explained(server: LiveServer) -> None:
    first = await opened(server, "explained")
    (missed,) = await claim(server, first, echo("one", label="a"), start=False)
    assert (missed["status"], missed["why"]) == ("missed", "first time")
    states = await settled(server, first, await claim(server, first, echo("one", label="a"), echo("two", label="b")))
    assert [(one["status"], one["answer"]) for one in states] == [("done", "one"), ("done", "two")]
    assert all(one["tokens"] > 0 and one["runId"].startswith("run_") for one in states)
    run = await server.run(states[0]["runId"])
    assert run["metadata"]["callId"] == states[0]["callId"]

    again = await opened(server, "explained")
    told = await claim(server, again, echo("two", label="renamed"), echo("changed", label="a"), start=False)
    assert [(one["status"], one["why"]) for one in told] == [("hit", "unchanged"), ("missed", "prompt changed")]
    assert told[0]["answer"] == "two"
    assert told[1]["difference"] == {"field": "prompt", "was": "one", "now": "changed"}
    model, tools, more = await claim(
        server, again, echo("one", label="a", model="demo"), echo("one", label="a", tools=["read_file"]),
        echo("two", label="b"), start=False,
    )  # fmt: skip
    assert (model["why"], model["difference"]["was"], model["difference"]["now"]) == ("model changed", "echo", "demo")
    assert (tools["why"], tools["difference"]["now"]) == ("tools changed", "read_file")
    assert more["why"] == "one more of the same"


async def test_a_cell_that_runs_again_claims_again(server: LiveServer) -> None:
    run = await opened(server, "again")
    await settled(server, run, await claim(server, run, echo("x", cell="one"), echo("y", cell="two")))
    assert (await api(server, "POST", f"workflow-runs/{run}/release", {"cell": "one"}))[1] == {"count": 1}
    told = await claim(server, run, echo("x", cell="one"), echo("y", cell="one"), start=False)
    assert [one["status"] for one in told] == ["hit", "missed"]


async def test_identical_calls_each_have_an_answer_of_their_own(server: LiveServer) -> None:
    run = await opened(server, "alike")
    states = await settled(server, run, await claim(server, run, *[echo("same")] * 5))
    assert len({one["runId"] for one in states}) == 5
    again = await opened(server, "alike")
    told = await claim(server, again, *[echo("same")] * 6, start=False)
    assert [one["status"] for one in told] == ["hit"] * 5 + ["missed"]
    assert len({one["runId"] for one in told[:5]}) == 5


async def test_failures_are_told_and_not_stored(server: LiveServer) -> None:
    run = await opened(server, "failing")
    fails = {"prompt": "p", "model": "scripted", "tools": [],
             "script": {"turns": [{"text": "x", "fail": {"code": "bad_credentials"}}]}}  # fmt: skip
    unknown = {"prompt": "p", "model": "no-such-model"}
    states = await settled(server, run, await claim(server, run, fails, unknown))
    assert [(one["status"], one["code"]) for one in states] == [
        ("failed", "bad_credentials"),
        ("failed", "unknown_model"),
    ]
    again = await opened(server, "failing")
    assert (await claim(server, again, fails, start=False))[0]["status"] == "missed"
    status, told = await api(server, "POST", f"workflow-runs/{run}/calls/look", {"callIds": [states[0]["callId"]]})
    assert (status, told["items"][0]["status"]) == (200, "gone")


async def test_a_failed_call_is_tried_again_as_often_as_it_says(server: LiveServer) -> None:
    run = await opened(server, "retries")
    fails = {"prompt": "p", "model": "scripted", "tools": [], "retries": 2,
             "script": {"turns": [{"text": "x", "fail": {"code": "bad_credentials"}}]}}  # fmt: skip
    (state,) = await settled(server, run, await claim(server, run, fails))
    assert state["status"] == "failed"
    _, runs = await api(server, "GET", "runs?limit=200")
    assert len([one for one in runs["items"] if one["metadata"].get("callId") == state["callId"]]) == 3


async def test_a_call_in_flight_outlives_who_asked_and_is_joined(server: LiveServer) -> None:
    slow = {"prompt": "slow", "model": "scripted", "tools": [], "script": {"turns": [{"wait_s": 5.0, "text": "done"}]}}
    first = await opened(server, "joined")
    (flying,) = await claim(server, first, slow)
    second = await opened(server, "joined")
    mine = {**slow, "token": "mine"}
    other = await opened(server, "joined-anew")
    (own,) = await claim(server, other, mine)
    (again,) = await claim(server, other, mine)
    assert (again["callId"], "why" in again) == (own["callId"], False), "it is its own, and not joined"
    (joined,) = await claim(server, second, slow, start=False)
    assert (joined["status"], joined["why"], joined["callId"]) == ("running", "in flight", flying["callId"])
    (state,) = await settled(server, second, [joined])
    assert (state["status"], state["answer"]) == ("done", "done")


async def test_stopped_means_stopped_and_nothing_is_stored(server: LiveServer) -> None:
    slow = {"prompt": "slow", "model": "scripted", "tools": [], "script": {"turns": [{"wait_s": 60, "text": "done"}]}}
    run = await opened(server, "stopped")
    (flying,) = await claim(server, run, slow)
    await asyncio.sleep(0.2)
    began = time.monotonic()
    status, told = await api(server, "POST", f"workflow-runs/{run}/calls/stop", {"callIds": [flying["callId"]]})
    assert (status, told) == (200, {"count": 1})
    (state,) = await settled(server, run, [flying])
    assert time.monotonic() - began < 5
    assert (state["status"], state["code"]) == ("failed", "interrupted")
    assert (await claim(server, await opened(server, "stopped"), slow, start=False))[0]["status"] == "missed"


async def test_what_is_stopped_while_its_run_starts_is_stopped(server: LiveServer) -> None:
    turns = {"turns": [{"wait_s": 600, "text": "done"}]}
    run = await opened(server, "stopped-early")
    flying = await claim(
        server, run, *[{"prompt": str(n), "model": "scripted", "tools": [], "script": turns} for n in range(12)]
    )
    await api(server, "POST", f"workflow-runs/{run}/calls/stop", {"callIds": [one["callId"] for one in flying]})
    assert {one["code"] for one in await settled(server, run, flying)} == {"interrupted"}


async def test_a_call_has_its_own_time(server: LiveServer) -> None:
    slow = {"prompt": "s", "model": "scripted", "tools": [], "timeoutS": 0.3, "script": {"turns": [{"wait_s": 60}]}}
    run = await opened(server, "late")
    (state,) = await settled(server, run, await claim(server, run, slow))
    assert (state["status"], state["code"]) == ("failed", "call_timed_out")


async def test_answers_have_the_form_that_was_asked_for(server: LiveServer) -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    run = await opened(server, "forms")
    good, bad = await settled(
        server, run, await claim(server, run, echo('{"n": 3,}', schema=form), echo('{"n": "x"}', schema=form))
    )
    assert (good["status"], good["answer"]) == ("done", '{"n":3}')
    assert (bad["status"], bad["code"]) == ("failed", "schema_not_satisfied")
    assert "None of 5 answers" in bad["message"]
    _, runs = await api(server, "GET", "runs?limit=200")
    tries = [one for one in runs["items"] if one["metadata"].get("callId") == bad["callId"]]
    assert len(tries) == 5
    assert "n must be an integer" in tries[-2]["firstHumanMessage"], "each try is told what was wrong"
    status, told = await api(server, "POST", f"workflow-runs/{run}/calls", {"calls": [echo("x", schema={"type": 5})]})
    assert (status, told["code"]) == (422, "invalid_request")


async def test_too_many_are_refused_before_anything_starts(server: LiveServer) -> None:
    run = await opened(server, "many")
    body = {"calls": [echo(str(n)) for n in range(1001)], "start": True}
    status, told = await api(server, "POST", f"workflow-runs/{run}/calls", body)
    assert (status, told["code"]) == (409, "too_many_calls")
    _, runs = await api(server, "GET", "runs?limit=200")
    assert not [one for one in runs["items"] if one["metadata"].get("workflow") == "many"]


async def test_no_more_than_sixteen_work_at_once(server: LiveServer) -> None:
    wait = {"model": "scripted", "tools": [], "script": {"turns": [{"wait_s": 60, "text": "x"}]}}

    async def working() -> int:
        _, runs = await api(server, "GET", "runs?limit=200")
        return len([one for one in runs["items"] if one["metadata"].get("workflow") == "crowd"])

    run = await opened(server, "crowd")
    states = await claim(server, run, *[{"prompt": str(n), **wait} for n in range(20)])
    async with asyncio.timeout(30):
        while await working() < 16:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)  # a seventeenth would have begun by then
    assert await working() == 16
    ids = {"callIds": [one["callId"] for one in states]}
    assert (await api(server, "POST", f"workflow-runs/{run}/calls/stop", ids))[1] == {"count": 20}
    assert {one["status"] for one in await settled(server, run, states)} == {"failed"}


async def test_forgotten_results_run_live_again(server: LiveServer) -> None:
    run = await opened(server, "forgotten")
    await settled(server, run, await claim(server, run, echo("a", label="keep"), echo("b", label="drop")))
    assert (await api(server, "DELETE", "workflows/forgotten/results?label=drop"))[1] == {"count": 1}
    told = await claim(server, await opened(server, "forgotten"), echo("a"), echo("b"), start=False)
    assert [one["status"] for one in told] == ["hit", "missed"]


async def test_what_is_wrong_is_refused(server: LiveServer) -> None:
    run = await opened(server)
    for body in ({"calls": [{"prompt": ""}]}, {"calls": [{"prompt": "x", "budget": {"turn": 1}}]},
                 {"calls": [{"prompt": "x", "tools": ["no_such_tool"]}]}, {"calls": [{"prompt": "x", "retries": -1}]},
                 {"calls": [{"prompt": "x", "budget": {"turns": "many"}}]}):  # fmt: skip
        status, told = await api(server, "POST", f"workflow-runs/{run}/calls", body)
        assert (status, told["code"]) == (422, "invalid_request"), body
    for path in ("workflow-runs/wfr_none/calls", "workflow-runs/%20/calls"):
        assert (await api(server, "POST", path, {"calls": []}))[0] == 404
    assert (await api(server, "GET", "workflow-runs/wfr_none"))[0] == 404


async def test_results_that_nobody_uses_go_by_the_clock(tmp_path: Path) -> None:
    options = ("--AgentGateway.workflow_results_days=0.0", "--AgentGateway.retention_every_s=0.3")
    async with LiveServer(tmp_path, options=options) as short:
        run = await opened(short, "short")
        await settled(short, run, await claim(short, run, echo("a")))
        async with asyncio.timeout(20):
            while (await claim(short, await opened(short, "short"), echo("a"), start=False))[0]["status"] == "hit":
                await asyncio.sleep(0.2)
