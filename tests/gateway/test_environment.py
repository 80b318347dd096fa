"""Tools in Jupyter's kernels: in that of a run, of its thread, of the cell that waits, and those of clients."""

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from jupyter_agent.testing import check_events
from tests.gateway.talk import Talk, api, connected, fetch, talking
from tests.live_server import LiveServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

IN_A_KERNEL_S = 60.0
"""A kernel takes a while to start on a busy machine."""


def cell(*codes: str) -> dict[str, Any]:
    calls = [{"name": "run_cell", "arguments": {"code": code}} for code in codes]
    return {"turns": [*({"calls": [call]} for call in calls), {"text": "Done."}]}


async def approve_all(talk: Talk) -> None:
    """Approves whatever is asked until the run is over."""
    while not talk.of("session_complete"):
        frame = await talk.next(IN_A_KERNEL_S)
        assert frame is not None
        if frame["type"] == "tool_confirmation_request":
            await talk.say({"type": "tool_confirmation", "toolCallId": frame["toolCallId"],
                            "approvalId": frame["approvalId"], "approved": True})  # fmt: skip


def results(talk: Talk) -> list[dict[str, Any]]:
    return [frame["event"] for frame in talk.of("agent_event") if frame["event"]["kind"] == "tool_result"]


def progress(talk: Talk) -> str:
    events = [frame["event"] for frame in talk.of("agent_event")]
    return "".join(event["content"] for event in events if event["kind"] == "tool_progress")


async def until_going(talk: Talk) -> None:
    """Returns when a cell has printed that it is going, while somebody else reads the socket."""
    async with asyncio.timeout(IN_A_KERNEL_S):
        while "going" not in progress(talk):
            await asyncio.sleep(0.05)


async def play(server: LiveServer, script: dict[str, Any], **more: Any) -> Talk:
    """Plays a script to its end, approving everything, and returns what was heard."""
    run_id = await server.start_run(script, **more)
    async with talking(server, f"chatKey={run_id}") as talk:
        await approve_all(talk)
    check_events(talk.heard, is_complete=True)
    return talk


async def new_kernel(server: LiveServer) -> str:
    status, kernel = await server.request("POST", "api/kernels", {"name": "python3"})
    assert status == 201
    return str(kernel["id"])


async def test_a_run_without_a_kernel_gets_one_for_its_thread(server: LiveServer) -> None:
    _, thread = await api(server, "POST", "threads", {})
    first = await play(server, cell("import os; x = 41; print(os.getcwd())"), threadId=thread["threadId"])
    assert results(first)[0]["result"].strip() == str(server.root)
    second = await play(server, cell("x + 1"), threadId=thread["threadId"])
    assert results(second)[0]["result"].strip() == "42", "variables stay between runs of a thread"
    _, kernels = await server.request("GET", "api/kernels")
    assert len(kernels) == 1


async def test_a_cell_streams_and_its_rich_results_are_kept(server: LiveServer) -> None:
    code = """
import base64, time
from IPython.display import display, Image, HTML
for n in range(3):
    print("step", n, flush=True)
    time.sleep(0.1)
png = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
                       "hgGAWjR9awAAAABJRU5ErkJggg==")
display(Image(data=png))
display(HTML("<b>table</b>"))
display(Image(data=png))
"last"
"""
    talk = await play(server, cell(code))
    [result] = results(talk)
    assert not result.get("isError")
    assert "step 2" in progress(talk)
    assert "'last'" in result["result"]
    assert {"image/png", "text/html"} <= result["mime"].keys()
    answer = await fetch(server, "GET", f"jupyter-agent/api/blobs/{result['mime']['image/png']}")
    assert (answer.code, answer.headers["Content-Type"], answer.body[:4]) == (200, "image/png", b"\x89PNG")
    html = await fetch(server, "GET", f"jupyter-agent/api/blobs/{result['mime']['text/html']}")
    assert html.headers["Content-Type"] == "application/octet-stream"
    assert html.headers["Content-Disposition"].startswith("attachment")
    assert html.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_exception_is_the_cells_result(server: LiveServer) -> None:
    talk = await play(server, cell("def f():\n    return 1 / 0\nf()"))
    [result] = results(talk)
    assert result["isError"]
    assert "ZeroDivisionError" in result["result"]
    assert "\x1b" not in result["result"]


async def test_secrets_that_a_cell_prints_are_masked(server: LiveServer) -> None:
    talk = await play(server, cell("import os; print(os.environ['JUPYTER_TOKEN'], os.environ['JUPYTER_AGENT_TOKEN'])"))
    [result] = results(talk)
    assert result["result"].split() == ["[secret]", "[secret]"]
    assert "token-of-the-tests" not in "".join(talk.heard)


async def test_a_run_uses_the_kernel_that_it_names(server: LiveServer) -> None:
    kernel_id = await new_kernel(server)
    await play(server, cell("answer = 6 * 7"), kernelId=kernel_id)
    talk = await play(server, cell("print(answer)"), kernelId=kernel_id)
    assert results(talk)[0]["result"].strip() == "42"
    await server.request("DELETE", f"api/kernels/{kernel_id}")
    talk = await play(server, cell("1"), kernelId=kernel_id)
    assert results(talk)[0]["isError"]
    assert "not running" in results(talk)[0]["result"]


async def test_a_busy_kernel_is_waited_for_and_said_to_be_busy(server: LiveServer) -> None:
    kernel_id = await new_kernel(server)
    one = await server.start_run(cell("import time; print('going', flush=True); time.sleep(5)"), kernelId=kernel_id)
    other = await server.start_run(cell("print('second')"), kernelId=kernel_id)
    async with talking(server, f"chatKey={one}") as first, talking(server, f"chatKey={other}") as second:
        first_over = asyncio.create_task(approve_all(first))
        started = await second.until("tool_confirmation_request")
        await until_going(first)
        await second.say({"type": "tool_confirmation", "toolCallId": started["toolCallId"], "approved": True})
        await asyncio.gather(first_over, approve_all(second))
    assert "busy" in progress(second)
    assert results(second)[0]["result"].strip() == "second"
    await server.request("DELETE", f"api/kernels/{kernel_id}")


async def interrupted(server: LiveServer, code: str, kernel_id: str) -> float:
    """Starts a cell, interrupts its run when it has begun, and returns the seconds until the run was over."""
    run_id = await server.start_run(cell(code), kernelId=kernel_id)
    async with talking(server, f"chatKey={run_id}") as talk:
        asked = await talk.until("tool_confirmation_request")
        await talk.say({"type": "tool_confirmation", "toolCallId": asked["toolCallId"], "approved": True})
        await talk.until(lambda frame: "going" in frame.get("event", {}).get("content", ""), IN_A_KERNEL_S)
        started = asyncio.get_running_loop().time()
        await talk.say({"type": "interrupt"})
        await talk.until("session_complete")
        took = asyncio.get_running_loop().time() - started
    check_events(talk.heard, is_complete=True)
    return took


async def test_an_interrupted_run_interrupts_its_cell(server: LiveServer) -> None:
    kernel_id = await new_kernel(server)
    took = await interrupted(server, "import time; print('going', flush=True); time.sleep(60)", kernel_id)
    assert took < 5
    talk = await play(server, cell("print('free again')"), kernelId=kernel_id)
    assert results(talk)[0]["result"].strip() == "free again"
    await server.request("DELETE", f"api/kernels/{kernel_id}")


async def test_a_kernel_that_ignores_interrupts_does_not_hold_its_run_up(server: LiveServer) -> None:
    kernel_id = await new_kernel(server)
    code = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('going', flush=True)
end = time.monotonic() + 20
while time.monotonic() < end:
    time.sleep(0.1)
"""
    assert await interrupted(server, code, kernel_id) < 5
    await server.request("DELETE", f"api/kernels/{kernel_id}")


async def test_a_cell_that_waits_for_its_turn_never_runs_once_it_is_cancelled(server: LiveServer) -> None:
    kernel_id = await new_kernel(server)
    first = await server.start_run(cell("import time; print('going', flush=True); time.sleep(5)"), kernelId=kernel_id)
    second = await server.start_run(cell("ran = True"), kernelId=kernel_id)
    async with talking(server, f"chatKey={first}") as one, talking(server, f"chatKey={second}") as other:
        going = asyncio.create_task(approve_all(one))
        asked = await other.until("tool_confirmation_request")
        await until_going(one)
        await other.say({"type": "tool_confirmation", "toolCallId": asked["toolCallId"], "approved": True})
        await other.until("tool_trace_start")
        await other.say({"type": "interrupt"})
        await other.until("session_complete")
        await going
    talk = await play(server, cell("print('ran' in globals())"), kernelId=kernel_id)
    assert results(talk)[0]["result"].strip() == "False"
    assert not results(one)[0].get("isError"), "the cell of the other run was left alone"
    await server.request("DELETE", f"api/kernels/{kernel_id}")


@pytest.mark.parametrize("how", ["dies", "is shut down"])
async def test_a_kernel_that_goes_away_leaves_the_outcome_unknown(server: LiveServer, how: str) -> None:
    kernel_id = await new_kernel(server)
    code = "import os, time; print('going', os.getpid(), flush=True); time.sleep(60)"
    run_id = await server.start_run(cell(code), kernelId=kernel_id)
    async with talking(server, f"chatKey={run_id}") as talk:
        asked = await talk.until("tool_confirmation_request")
        await talk.say({"type": "tool_confirmation", "toolCallId": asked["toolCallId"], "approved": True})
        said = await talk.until(lambda frame: "going" in frame.get("event", {}).get("content", ""), IN_A_KERNEL_S)
        if how == "dies":
            os.kill(int(said["event"]["content"].split()[-1]), signal.SIGKILL)
        else:
            await server.request("DELETE", f"api/kernels/{kernel_id}")
        await talk.until("session_complete", IN_A_KERNEL_S)
    [finish] = talk.of("tool_trace_finish")
    # Jupyter interrupts a kernel before it shuts it down: then the cell says itself how it ended.
    assert finish["outcome"] in ({"unknown"} if how == "dies" else {"unknown", "error"})
    check_events(talk.heard, is_complete=True)


# --- tools of clients -----------------------------------------------------------------------------------------------

TOOL = {"name": "frame_shape", "description": "The shape of a frame.", "parameters": {"type": "object"}}
USES_IT = {"turns": [{"calls": [{"name": "frame_shape", "arguments": {"of": "df"}}]}, {"text": "Done."}]}


async def start_with_tool(talk: Talk, **more: Any) -> str:
    answer = await talk.command("start_run", input="go", model="scripted", script=USES_IT, clientTools=[TOOL | more])
    assert answer["type"] == "ack", answer
    return str(answer["result"]["runId"])


async def until_called(talk: Talk) -> dict[str, Any]:
    """Approves if need be, and returns the call that comes."""
    while True:
        frame = await talk.until(lambda frame: frame["type"] in ("client_tool_call", "tool_confirmation_request"))
        if frame["type"] == "client_tool_call":
            return frame
        await talk.say({"type": "tool_confirmation", "runId": frame["runId"], "toolCallId": frame["toolCallId"],
                        "approved": True})  # fmt: skip


async def test_a_tool_of_a_client_is_called_over_its_socket(server: LiveServer) -> None:
    async with talking(server) as talk:
        run_id = await start_with_tool(talk)
        call = await until_called(talk)
        assert (call["name"], json.loads(call["arguments"])) == ("frame_shape", {"of": "df"})
        place = {"runId": run_id, "toolCallId": call["toolCallId"]}
        await talk.command("client_tool_progress", **place, content="counting")
        result = {**place, "result": "(3, 2)", "mime": {"text/html": "<table>"}}
        for _ in range(3):
            assert (await talk.command("client_tool_result", **result))["type"] == "ack", "the first result counts"
        await talk.until("session_complete")
    assert results(talk)[0]["result"] == "(3, 2)"
    assert "text/html" in results(talk)[0]["mime"]
    assert "counting" in progress(talk)
    assert len(results(talk)) == 1


async def test_a_call_is_sent_again_to_a_client_that_comes_back(server: LiveServer) -> None:
    async with talking(server) as talk:
        run_id = await start_with_tool(talk)
        call = await until_called(talk)
    async with talking(server) as back:
        await back.command("follow", runId=run_id, tools=["frame_shape"])
        again = back.of("client_tool_call") or [await back.until("client_tool_call")]
        assert again == [call]
        await back.command("client_tool_result", runId=run_id, toolCallId=call["toolCallId"], result="late but good")
        await back.until("session_complete")
    assert results(back)[0]["result"] == "late but good"


async def test_a_client_that_takes_a_call_and_stays_away_leaves_the_outcome_unknown(server: LiveServer) -> None:
    async with talking(server) as talk:
        run_id = await start_with_tool(talk, timeoutS=1.5)
        await until_called(talk)
    async with talking(server, f"chatKey={run_id}") as other:
        await other.until("session_complete")
    assert [finish["outcome"] for finish in other.of("tool_trace_finish")] == ["unknown"]


async def test_a_client_is_told_that_its_call_is_no_longer_wanted(server: LiveServer) -> None:
    async with talking(server) as talk:
        run_id = await start_with_tool(talk)
        call = await until_called(talk)
        await talk.say({"type": "interrupt", "runId": run_id})
        cancelled = await talk.until("client_tool_cancelled")
        assert cancelled["toolCallId"] == call["toolCallId"]
        if not talk.of("session_complete"):
            await talk.until("session_complete")


async def test_nobody_answers_a_call_that_was_never_made(server: LiveServer) -> None:
    async with talking(server) as talk:
        run_id = await start_with_tool(talk)
        refused = await talk.command("client_tool_result", runId=run_id, toolCallId="call_of_nobody", result="x")
        assert refused["code"] == "not_found"
        await talk.command("interrupt", runId=run_id)


# --- kernels as clients ---------------------------------------------------------------------------------------------


async def kernel_credentials(server: LiveServer, kernel_id: str) -> dict[str, str]:
    """What the kernel finds in its environment, written to a file since what it prints is masked."""
    code = f"""
import json, os
found = {{name: os.environ[name] for name in ("JUPYTER_AGENT_URL", "JUPYTER_AGENT_TOKEN")}}
json.dump(found, open("{server.root}/credentials.json", "w"))
"""
    await play(server, cell(code), kernelId=kernel_id)
    return dict(json.loads((server.root / "credentials.json").read_text()))


async def test_a_kernels_token_starts_follows_and_interrupts_but_does_not_approve(server: LiveServer) -> None:
    kernel_id = await new_kernel(server)
    found = await kernel_credentials(server, kernel_id)
    assert found["JUPYTER_AGENT_URL"] == f"{server.url}/"
    token = found["JUPYTER_AGENT_TOKEN"]
    async with talking(server, token=token) as talk:
        started = await talk.command("start_run", input="go", model="scripted", script=cell("1"), kernelId=kernel_id)
        run_id = started["result"]["runId"]
        asked = await talk.until("tool_confirmation_request")
        refused = await talk.command("tool_confirmation", runId=run_id, toolCallId=asked["toolCallId"], approved=True)
        assert (refused["type"], refused["code"]) == ("failed", "forbidden")
        refused = await talk.command("start_run", input="go", policy="read-only")
        assert refused["code"] == "forbidden"
        headers = {"Authorization": f"token {token}"}
        assert (await api(server, "GET", f"runs/{run_id}", headers=headers))[0] == 200
        path = f"approvals/{asked['approvalId']}"
        assert (await api(server, "POST", path, {"approved": True}, headers=headers))[0] == 403
        assert (await talk.command("interrupt", runId=run_id))["type"] == "ack"
    # It is good for the gateway and for nothing else of the server.
    assert (await fetch(server, "GET", "api/kernels", headers=headers)).code == 403
    await server.request("DELETE", f"api/kernels/{kernel_id}")
    assert (await api(server, "GET", f"runs/{run_id}", headers=headers))[0] == 403
    async with connected(server) as talk:
        await talk.say({"type": "auth", "token": token})
        assert await talk.ended() == 4401


async def test_a_waiting_cell_carries_run_cell_out_itself(server: LiveServer) -> None:
    """The kernel is busy with the cell that waits; an ordinary request would queue behind it for ever."""
    kernel_id = await new_kernel(server)
    busy = await server.start_run(cell("import time; print('going', flush=True); time.sleep(6)"), kernelId=kernel_id)
    async with talking(server, f"chatKey={busy}") as holder, talking(server) as talk:
        held = asyncio.create_task(approve_all(holder))
        await until_going(holder)
        started = await talk.command("start_run", input="go", model="scripted", script=cell("2 + 2"),
                                     kernelId=kernel_id, waits=True)  # fmt: skip
        call = await until_called(talk)
        assert (call["name"], json.loads(call["arguments"])) == ("run_cell", {"code": "2 + 2"})
        await talk.command("client_tool_result", runId=started["result"]["runId"], toolCallId=call["toolCallId"],
                           result="4")  # fmt: skip
        await talk.until("session_complete")
        assert not holder.of("session_complete"), "it did not wait for the kernel"
        await held
    assert results(talk)[0]["result"] == "4"
    await server.request("DELETE", f"api/kernels/{kernel_id}")
