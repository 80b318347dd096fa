"""Tools, clients and models that say more than fits an event: the run goes on, and what is cut says so."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.talk import Talk, api, talking
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTROL = "\x01" * 60_000
"""Each takes six bytes on the wire."""
WIDE = "\N{DUCK}" * 60_000
SPEC = {"name": "in_client", "description": "Lives in the client.", "parameters": {"type": "object"}, "timeoutS": 30}


async def called(talk: Talk, name: str) -> dict[str, Any]:
    """Starts a run that calls the client's tool, and returns the call."""
    script = {"turns": [{"calls": [{"name": "in_client", "arguments": {}}]}, {"text": "Over."}]}
    started = await talk.command(
        "start_run", clientId=name, input="x", model="scripted", script=script, clientTools=[SPEC]
    )
    run_id = started["result"]["runId"]
    return await talk.until(lambda frame: frame["type"] == "client_tool_call" and frame["runId"] == run_id)


async def ended(server: LiveServer, run_id: str) -> dict[str, Any]:
    _, run = await api(server, "GET", f"runs/{run_id}?wait=30")
    return dict(run)


async def result_of(server: LiveServer, run_id: str) -> dict[str, Any]:
    _, page = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
    return next(one["event"] for one in page["items"] if one.get("event", {}).get("kind") == "tool_result")


@pytest.mark.parametrize("text", [CONTROL, WIDE, "x" * 900_000], ids=["control", "wide", "long"])
async def test_output_of_any_kind_fits(server: LiveServer, text: str) -> None:
    async with talking(server) as talk:
        call = await called(talk, f"output {text[:1]}")
        named = {"runId": call["runId"], "toolCallId": call["toolCallId"]}
        await talk.say({"type": "client_tool_progress", **named, "content": text})
        assert (await talk.command("client_tool_result", **named, result=text))["type"] == "ack"
        run = await ended(server, call["runId"])
    assert (run["status"], run.get("errorMessage")) == ("completed", None)
    result = await result_of(server, call["runId"])
    assert result["truncated"]
    assert f"{len(text):,} characters" in result["result"]


async def test_any_number_of_rich_results_fits(server: LiveServer) -> None:
    rich = {f"image/x{number}-{'y' * 60}": "eA==" for number in range(2_000)}
    async with talking(server) as talk:
        call = await called(talk, "rich")
        said = {"runId": call["runId"], "toolCallId": call["toolCallId"], "result": "shown", "mime": rich}
        said["mime"] = {"x" * 5_000: "eA==", "text/ht\0ml": "eA==", **said["mime"]}
        assert (await talk.command("client_tool_result", **said))["type"] == "ack"
        run = await ended(server, call["runId"])
    assert (run["status"], run.get("errorMessage")) == ("completed", None)
    result = await result_of(server, call["runId"])
    assert 0 < len(result["mime"]) <= 64
    assert all(name.startswith("image/x") for name in result["mime"])


@pytest.mark.parametrize("letter", ["\x01", "\N{DUCK}", '"', "x"])
@pytest.mark.parametrize("count", [11_000, 24_000, 50_000])
async def test_a_question_about_any_file_fits(server: LiveServer, letter: str, count: int) -> None:
    content = letter * min(count, 200_000 // len(json.dumps(letter, ensure_ascii=False)[1:-1].encode()))
    call = {"name": "create_file", "arguments": {"path": f"{count}-{ord(letter)}.txt", "content": content}}
    run_id = await server.start_run({"turns": [{"calls": [call]}, {"text": "Over."}]})
    async with asyncio.timeout(20):
        while not (found := (await api(server, "GET", f"runs/{run_id}/approvals"))[1]["items"]):
            assert (await server.run(run_id)).get("errorMessage") is None
            await asyncio.sleep(0.05)
    status, _ = await api(server, "POST", f"approvals/{found[0]['approvalId']}", {"approved": True})
    assert status == 200
    run = await ended(server, run_id)
    assert (run["status"], run.get("errorMessage")) == ("completed", None)
    assert (server.root / call["arguments"]["path"]).read_text() == content  # type: ignore[index]


@pytest.mark.parametrize("letter", ["\x01", "\N{DUCK}"])
async def test_a_model_may_say_it_all_at_once(server: LiveServer, letter: str) -> None:
    text = letter * (40_000 if letter == "\x01" else 50_000)
    turn = {"thinking": letter * 100, "text": text, "chunk": 1_000_000}
    run = await ended(server, await server.start_run({"turns": [turn]}))
    assert (run["status"], run.get("errorMessage")) == ("completed", None)
