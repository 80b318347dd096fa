"""REST: threads, runs, their events as pages and as a stream, what waits for people, blobs, and faults said well."""

import asyncio
import hashlib
import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from jupyter_agent.testing import check_events
from tests.gateway.talk import API, ASKS, QUICK, SLOW, api, fetch, headers_of
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ended_run(server: LiveServer, script: Any = QUICK, **more: Any) -> dict[str, Any]:
    run_id = await server.start_run(script, **more)
    status, run = await api(server, "GET", f"runs/{run_id}?wait=30")
    assert (status, run["status"]) == (200, "completed")
    return dict(run)


async def waiting(server: LiveServer, run_id: str, what: str) -> dict[str, Any]:
    """Returns the one thing that waits for a person."""
    async with asyncio.timeout(20):
        while True:
            _, page = await api(server, "GET", f"runs/{run_id}/{what}")
            open_ones = [one for one in page["items"] if "decision" not in one]
            if open_ones:
                return dict(open_ones[0])
            await asyncio.sleep(0.02)


# --- threads --------------------------------------------------------------------------------------------------------


async def test_a_thread_is_made_renamed_described_and_deleted(server: LiveServer) -> None:
    status, thread = await api(server, "POST", "threads", {"title": "Mine", "metadata": {"a": 1, "b": 2}})
    assert (status, thread["title"], thread["metadata"]) == (201, "Mine", {"a": 1, "b": 2})
    path = f"threads/{thread['threadId']}"
    status, changed = await api(server, "PATCH", path, {"title": "Ours", "metadata": {"b": None, "c": 3}})
    assert (status, changed["title"], changed["metadata"]) == (200, "Ours", {"a": 1, "c": 3})
    assert (await api(server, "GET", path))[1] == changed
    assert (await api(server, "DELETE", path)) == (204, None)
    assert (await api(server, "GET", path))[0] == 404
    assert (await api(server, "DELETE", path))[0] == 404


async def test_a_thread_with_an_id_of_ones_own_is_made_once(server: LiveServer) -> None:
    first = await api(server, "POST", "threads", {"threadId": "mine-1", "title": "One"})
    again = await api(server, "POST", "threads", {"threadId": "mine-1", "title": "Two"})
    assert first[0] == again[0] == 201
    assert again[1]["title"] == "One"


async def test_lists_are_paged_without_holes(server: LiveServer) -> None:
    _, thread = await api(server, "POST", "threads", {})
    for _ in range(5):
        await ended_run(server, threadId=thread["threadId"])
    found, cursor = [], ""
    while True:
        _, page = await api(server, "GET", f"runs?threadId={thread['threadId']}&limit=2{cursor}")
        found += [run["runId"] for run in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    _, whole = await api(server, "GET", f"runs?threadId={thread['threadId']}")
    assert found == [run["runId"] for run in whole["items"]]
    assert len(set(found)) == 5


# --- runs -----------------------------------------------------------------------------------------------------------


async def test_a_run_is_started_before_its_first_model_call(server: LiveServer) -> None:
    status, run = await api(server, "POST", "runs", {"input": "hi", "model": "scripted", "script": SLOW,
                                                     "metadata": {"from": "test"}})  # fmt: skip
    assert (status, run["status"], run["metadata"]) == (201, "pending", {"from": "test"})
    path = f"runs/{run['runId']}"
    assert (await api(server, "DELETE", path))[0] == 409
    for _ in range(2):
        assert (await api(server, "POST", f"{path}/interrupt"))[0] == 202
    assert (await api(server, "GET", path))[1]["status"] == "interrupted"
    assert (await api(server, "POST", "runs/nobody/interrupt"))[0] == 404
    assert (await api(server, "DELETE", path))[0] == 204
    assert (await api(server, "GET", path))[0] == 404


async def test_a_run_that_ended_by_itself_cannot_be_interrupted(server: LiveServer) -> None:
    run = await ended_run(server)
    status, fault = await api(server, "POST", f"runs/{run['runId']}/interrupt")
    assert (status, fault["code"]) == (409, "run_finished")


async def test_a_start_that_is_sent_again_starts_nothing(server: LiveServer) -> None:
    body = {"input": "once", "model": "scripted", "script": QUICK}
    headers = headers_of(Idempotency_Key="key-1")
    answers = [await api(server, "POST", "runs", body, headers=headers) for _ in range(5)]
    assert len({run["runId"] for _, run in answers}) == 1


async def test_a_start_that_is_sent_again_after_a_restart_starts_nothing(server: LiveServer) -> None:
    body = {"input": "once", "model": "scripted", "script": QUICK}
    headers = headers_of(Idempotency_Key="key-2")
    _, before = await api(server, "POST", "runs", body, headers=headers)
    await server.stop()
    await server.start()
    _, after = await api(server, "POST", "runs", body, headers=headers)
    assert before["runId"] == after["runId"]


async def test_a_busy_thread_takes_another_run_as_the_strategy_says(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    _, run = await api(server, "GET", f"runs/{run_id}")
    more = {"input": "x", "model": "scripted", "script": QUICK, "threadId": run["threadId"]}
    status, fault = await api(server, "POST", "runs", more)
    assert (status, fault["code"]) == (409, "thread_busy")
    _, queued = await api(server, "POST", "runs", {**more, "multitask": "enqueue"})
    assert queued["queued"]
    _, taking = await api(server, "POST", "runs", {**more, "multitask": "interrupt"})
    assert (await api(server, "GET", f"runs/{run_id}"))[1]["status"] == "interrupted"
    for one in (taking, queued):
        assert (await api(server, "GET", f"runs/{one['runId']}?wait=30"))[1]["status"] == "completed"


async def test_the_turns_of_a_run(server: LiveServer) -> None:
    run = await ended_run(server, {"turns": [{"calls": [{"name": "list_files", "arguments": {}}]}, {"text": "Done."}]})
    _, page = await api(server, "GET", f"runs/{run['runId']}/turns")
    assert [turn["turn"] for turn in page["items"]] == [0, 1]
    _, first = await api(server, "GET", f"runs/{run['runId']}/turns?limit=1")
    _, second = await api(server, "GET", f"runs/{run['runId']}/turns?limit=1&cursor={first['nextCursor']}")
    assert first["items"] + second["items"] == page["items"]
    answer = await fetch(server, "GET", f"{API}/blobs/{page['items'][0]['blob']}")
    assert hashlib.sha256(answer.body).hexdigest() == page["items"][0]["blob"]


# --- people ---------------------------------------------------------------------------------------------------------


async def test_an_approval_is_decided_over_rest_once(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    asked = await waiting(server, run_id, "approvals")
    path = f"approvals/{asked['approvalId']}"
    assert (await api(server, "GET", path))[1] == asked
    edited = {"path": "edited.txt", "content": "edited\n"}
    status, decided = await api(server, "POST", path, {"approved": True, "arguments": edited, "reason": "better"})
    assert (status, decided["decision"]) == (200, "edit")
    status, fault = await api(server, "POST", path, {"approved": False})
    assert status in (404, 409), fault
    await api(server, "GET", f"runs/{run_id}?wait=30")
    assert (server.root / "edited.txt").read_text() == "edited\n"


async def test_a_preview_that_is_too_long_for_an_event_is_read_whole(server: LiveServer) -> None:
    code = "".join(f"print({number:05})\n" for number in range(6_000))
    run_id = await server.start_run([{"calls": [{"name": "run_cell", "arguments": {"code": code}}]}, "Done."])
    preview = (await waiting(server, run_id, "approvals"))["preview"]
    assert preview["shortened"]
    status, whole = await api(server, "GET", f"blobs/{preview['blob']}")
    assert status == 200
    assert whole["code"] == code
    assert whole["hash"] == preview["hash"]
    await api(server, "POST", f"runs/{run_id}/interrupt", {})


async def test_a_question_is_answered_over_rest(server: LiveServer) -> None:
    script = {"turns": [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Which?"}}]}, {"text": "Thanks."}]}
    run_id = await server.start_run(script)
    asked = await waiting(server, run_id, "inputs")
    path = f"runs/{run_id}/inputs/{asked['requestId']}"
    assert (await api(server, "POST", path, {"content": "this one"}))[0] == 204
    assert (await api(server, "POST", path, {"content": "that one"}))[0] == 409
    assert (await api(server, "GET", f"runs/{run_id}?wait=30"))[1]["status"] == "completed"


# --- events ---------------------------------------------------------------------------------------------------------


async def test_pages_of_events_are_the_journals_own_bytes(server: LiveServer) -> None:
    run = await ended_run(server)
    lines, cursor = [], ""
    while True:
        answer = await fetch(server, "GET", f"{API}/runs/{run['runId']}/events?limit=3{cursor}")
        page = json.loads(answer.body)
        lines += [json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    check_events(lines, is_complete=True)


class Listener:
    """Reads an event stream to its end, or until it has enough."""

    def __init__(self, server: LiveServer, run_id: str, **headers: str) -> None:
        self.text = ""
        self._request = HTTPRequest(
            f"{server.url}/{API}/runs/{run_id}/events",
            headers={**headers_of(), "Accept": "text/event-stream", **headers},
            streaming_callback=self._take,
            request_timeout=60,
        )

    def _take(self, chunk: bytes) -> None:
        self.text += chunk.decode()

    async def listen(self) -> int:
        client = AsyncHTTPClient(force_instance=True)
        try:
            answer = await client.fetch(self._request, raise_error=False)
        finally:
            client.close()
        self.headers = answer.headers
        return int(answer.code)

    @property
    def events(self) -> list[dict[str, str]]:
        blocks = [block for block in self.text.split("\n\n") if block and not block.startswith(":")]
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_a_stream_of_events_has_the_same_ids_and_ends(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    listener = Listener(server, run_id)
    assert await listener.listen() == 200
    assert listener.headers["Content-Type"] == "text/event-stream"
    assert listener.headers["Cache-Control"] == "no-cache, no-transform"
    assert listener.headers["X-Accel-Buffering"] == "no"
    events = [one for one in listener.events if "id" in one]
    check_events([one["data"] for one in events], is_complete=True)
    assert all(json.loads(one["data"])["id"] == one["id"] for one in events)
    assert [one["event"] for one in listener.events if "id" not in one] == ["replay_complete"]


async def test_a_stream_resumes_after_the_id_that_the_listener_has(server: LiveServer) -> None:
    run = await ended_run(server)
    whole = Listener(server, run["runId"])
    await whole.listen()
    ids = [one["id"] for one in whole.events if "id" in one]
    rest = Listener(server, run["runId"], **{"Last-Event-ID": ids[3]})
    assert await rest.listen() == 200
    assert [one["id"] for one in rest.events if "id" in one] == ids[4:]
    after_the_end = Listener(server, run["runId"], **{"Last-Event-ID": ids[-1]})
    assert await after_the_end.listen() == 204
    other = Listener(server, run["runId"], **{"Last-Event-ID": "0123456789-1-1"})
    assert await other.listen() == 200
    assert other.events[0]["event"] == "gap"
    assert [one["id"] for one in other.events if "id" in one] == ids


async def test_a_stream_announces_what_waits_under_the_listeners_id(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    asked = await waiting(server, run_id, "approvals")
    _, page = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
    last = page["items"][-1]["id"]
    listener = Listener(server, run_id, **{"Last-Event-ID": last})
    listening = asyncio.create_task(listener.listen())
    async with asyncio.timeout(10):
        while not any("tool_confirmation_request" in one["data"] for one in listener.events):
            await asyncio.sleep(0.02)
    [announced] = [one for one in listener.events if "tool_confirmation_request" in one["data"]]
    assert announced["id"] == last
    await api(server, "POST", f"approvals/{asked['approvalId']}", {"approved": False})
    assert await listening == 200


# --- blobs ----------------------------------------------------------------------------------------------------------


async def test_an_attachment_goes_in_and_comes_out(server: LiveServer) -> None:
    data = b"GIF89a" + b"<script>alert(1)</script>" * 10
    digest = hashlib.sha256(data).hexdigest()
    answer = await fetch(server, "POST", f"{API}/blobs", raw=data)
    assert json.loads(answer.body) == {"blob": digest, "mime": "image/gif", "size": len(data)}
    answer = await fetch(server, "PUT", f"{API}/blobs/{digest}", raw=data)
    assert answer.code == 201
    out = await fetch(server, "GET", f"{API}/blobs/{digest}")
    assert (out.code, out.body, out.headers["Content-Type"]) == (200, data, "image/gif")
    assert "sandbox" in out.headers["Content-Security-Policy"]
    assert out.headers["X-Content-Type-Options"] == "nosniff"
    wrong = await fetch(server, "PUT", f"{API}/blobs/{digest}", raw=b"something else")
    assert wrong.code == 422


async def test_a_page_as_an_attachment_is_never_shown(server: LiveServer) -> None:
    answer = await fetch(server, "POST", f"{API}/blobs", raw=b"<html><script>alert(1)</script>")
    out = await fetch(server, "GET", f"{API}/blobs/{json.loads(answer.body)['blob']}")
    assert out.headers["Content-Type"] == "application/octet-stream"
    assert out.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("key", ["0" * 63, "0" * 65, "A" * 64, "0" * 64 + "%0a", "..%2f..%2fetc", "sha256:" + "0" * 57])
async def test_only_a_digest_is_a_key(server: LiveServer, key: str) -> None:
    assert (await fetch(server, "GET", f"{API}/blobs/{key}")).code == 404
    assert (await fetch(server, "PUT", f"{API}/blobs/{key}", raw=b"x")).code == 404


async def test_bodies_have_their_limits(server: LiveServer) -> None:
    answer = await fetch(server, "POST", f"{API}/runs", raw=b'{"input":"' + b"x" * (2 << 20) + b'"}')
    assert (answer.code, json.loads(answer.body)["code"]) == (413, "too_large")
    answer = await fetch(server, "POST", f"{API}/blobs", raw=b"x" * (21 << 20))
    assert answer.code == 413


# --- what is wrong --------------------------------------------------------------------------------------------------


async def test_every_wrong_field_is_named(server: LiveServer) -> None:
    body = {
        "input": 7,
        "model": ["x"],
        "multitask": "sometimes",
        "budget": {"turns": "many", "money": 1},
        "clientTools": [{"name": "ok", "description": "", "parameters": {}}, {"name": 3}],
        "unheardOf": True,
    }
    status, fault = await api(server, "POST", "runs", body)
    assert (status, fault["code"]) == (422, "invalid_request")
    assert set(fault["details"]["fields"]) == {
        "input", "model", "multitask", "budget.turns", "budget.money", "clientTools[1].name",
        "clientTools[1].description", "clientTools[1].parameters", "unheardOf",
    }  # fmt: skip


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b'"x"', b"\xff", b'{"input":"\\ud800"}', b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(server: LiveServer, raw: bytes) -> None:
    answer = await fetch(server, "POST", f"{API}/runs", raw=raw)
    assert answer.code == 422, answer.body
    assert json.loads(answer.body)["code"] == "invalid_request"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=201", "limit=x", "limit=-1", "cursor=%00", "cursor=nonsense", "status=dancing", "nope=1",
        "title%22%3D1--=x", "x%27)%20OR%20(%271%27%3D%271=1", "threadId=..", "since=yesterday",
        "cursor=" + "x" * 1_000,
    ],
)  # fmt: skip
async def test_a_query_that_is_wrong_is_refused(server: LiveServer, query: str) -> None:
    status, fault = await api(server, "GET", f"runs?{query}")
    assert (status, fault["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("key", ['title"=1--', "x') OR '1'='1", "a; DROP TABLE runs", "json_extract(1)", "user_id"])
async def test_a_key_is_never_a_column(server: LiveServer, key: str) -> None:
    _, thread = await api(server, "POST", "threads", {"title": "Same"})
    path = f"threads/{thread['threadId']}"
    status, fault = await api(server, "PATCH", path, {key: "x"})
    assert (status, key in fault["details"]["fields"]) == (422, True)
    # As data it is as good as any.
    status, changed = await api(server, "PATCH", path, {"metadata": {key: "x"}})
    assert (status, changed["metadata"]) == (200, {key: "x"})
    assert changed["title"] == "Same"


@pytest.mark.parametrize("text", ["a\0b", "\U0001f600" * 100, "\u202e\u2066", "x" * 200_000])
async def test_odd_text_is_kept_and_read(server: LiveServer, text: str) -> None:
    status, run = await api(server, "POST", "runs", {"input": text, "model": "echo"})
    assert status == 201
    assert (await api(server, "GET", f"runs/{run['runId']}?wait=30"))[1]["status"] == "completed"
    assert (await api(server, "GET", f"threads/{run['threadId']}"))[0] == 200


async def test_an_unknown_model_says_which_there_are(server: LiveServer) -> None:
    status, fault = await api(server, "POST", "runs", {"input": "x", "model": "scriptde"})
    assert (status, fault["code"]) == (422, "unknown_model")
    assert "scripted" in fault["message"]


async def test_what_is_listed(server: LiveServer) -> None:
    _, models = await api(server, "GET", "models")
    assert models["default"] == "demo"
    assert {"demo", "echo", "scripted"} <= {model["name"] for model in models["items"]}
    _, tools = await api(server, "GET", "tools")
    assert {"run_cell", "create_file"} <= {tool["name"] for tool in tools["items"]}
    _, health = await api(server, "GET", "health")
    assert health["status"] == "ok"
