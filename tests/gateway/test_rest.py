"""REST: threads, runs, their events as pages and as a stream, what waits for people, blobs, and faults said well."""

import asyncio
import hashlib
import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from jupyter_agent.testing import check_events
from tests.gateway.talk import API, ASKS, QUICK, SLOW, api, fetch, headers_of, talking
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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


async def test_only_what_waits_for_its_turn_is_taken_back(server: LiveServer) -> None:
    """A prompt that is taken back at the moment in which it begins goes on: by request and over the socket."""
    first = await server.start_run(SLOW)
    _, run = await api(server, "GET", f"runs/{first}")
    more = {"input": "x", "model": "scripted", "script": QUICK, "threadId": run["threadId"], "multitask": "enqueue"}
    queued = [(await api(server, "POST", "runs", more))[1]["runId"] for _ in range(2)]
    only = {"ifQueued": True}
    async with talking(server) as talk:
        status, fault = await api(server, "POST", f"runs/{first}/interrupt", only)
        assert (status, fault["code"]) == (409, "run_active")
        refused = await talk.command("interrupt", runId=first, **only)
        assert (refused["type"], refused["code"]) == ("failed", "run_active")
        assert (await api(server, "GET", f"runs/{first}"))[1]["status"] == "running"

        assert (await api(server, "POST", f"runs/{queued[0]}/interrupt", only))[0] == 202
        assert (await talk.command("interrupt", runId=queued[1], **only))["type"] == "ack"
        assert (await talk.command("interrupt", runId=first))["type"] == "ack"
    for run_id in queued:
        _, run = await api(server, "GET", f"runs/{run_id}")
        assert (run["status"], run.get("startedAt")) == ("interrupted", None)


async def test_a_decision_that_was_sent_over_a_socket_can_be_sent_again_by_request(server: LiveServer) -> None:
    """The socket died before its answer came: the same decision is no second one."""
    run_id = await server.start_run(ASKS)
    asked = await waiting(server, run_id, "approvals")
    named = {"runId": run_id, "toolCallId": asked["toolCallId"], "approvalId": asked["approvalId"]}
    async with talking(server) as talk:
        answer = await talk.command("tool_confirmation", clientId="one-decision", approved=False, **named)
    path, verdict = f"approvals/{asked['approvalId']}", {"approved": False}
    await api(server, "GET", f"runs/{run_id}?wait=30")
    again = await api(server, "POST", path, verdict, headers=headers_of(Idempotency_Key="one-decision"))
    assert again == (200, answer["result"])
    status, _ = await api(server, "POST", path, verdict, headers=headers_of(Idempotency_Key="another"))
    assert status in (404, 409)


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


async def test_the_tool_calls_of_a_run(server: LiveServer) -> None:
    calls = [{"name": name, "arguments": {}} for name in ("list_files", "no_such_tool", "list_files")]
    run = await ended_run(server, {"turns": [{"calls": calls}, {"calls": calls[:1]}, {"text": "Done."}]})
    path = f"runs/{run['runId']}/traces"
    _, page = await api(server, "GET", path)
    assert [(one["turn"], one["position"], one["toolName"], one["outcome"]) for one in page["items"]] == [
        (0, 0, "list_files", "success"),
        (0, 1, "no_such_tool", "error"),
        (0, 2, "list_files", "success"),
        (1, 0, "list_files", "success"),
    ]
    assert page["items"][0]["latencyMs"] > 0
    assert "traceId" not in page["items"][1], "It was never executed."
    found, cursor = [], ""
    while cursor is not None:
        _, part = await api(server, "GET", f"{path}?limit=1{cursor and '&cursor=' + cursor}")
        found += part["items"]
        cursor = part["nextCursor"]
    assert found == page["items"]
    assert (await api(server, "GET", f"{path}?turn=1"))[1]["items"] == page["items"][3:]
    for query, field in (("turn=-1", "turn"), ("limit=201", "limit"), ("cursor=x", "cursor"), ("tool=x", "tool")):
        status, fault = await api(server, "GET", f"{path}?{query}")
        assert (status, list(fault["details"]["fields"])) == (422, [field])


# --- feedback -------------------------------------------------------------------------------------------------------


async def test_a_run_is_rated_once_and_its_messages_each(server: LiveServer) -> None:
    run = await ended_run(server, QUICK)
    path = f"runs/{run['runId']}/feedback"
    status, first = await api(server, "POST", path, {"rating": 1, "comment": "Good.\0"})
    assert (status, first["rating"], first["comment"]) == (201, 1, "Good.\ufffd")
    _, second = await api(server, "POST", path, {"rating": -1})
    assert second["feedbackId"] == first["feedbackId"]
    _, of_message = await api(server, "POST", path, {"rating": 1, "messageId": "m1"})
    assert len((await api(server, "GET", path))[1]["items"]) == 2
    summary = {"runId": run["runId"], "total": 2, "positive": 1, "negative": 1}
    assert (await api(server, "GET", f"{path}/summary"))[1] == summary
    assert (await api(server, "GET", f"threads/{run['threadId']}/feedback"))[1] == {run["runId"]: second}
    assert (await api(server, "GET", f"feedback/{of_message['feedbackId']}"))[1] == of_message
    assert (await api(server, "DELETE", path))[0] == 204
    assert (await api(server, "DELETE", path))[0] == 404
    assert (await api(server, "DELETE", f"feedback/{of_message['feedbackId']}"))[0] == 204
    assert (await api(server, "GET", f"{path}/summary"))[1]["total"] == 0


@pytest.mark.parametrize("body", [{}, {"rating": 0}, {"rating": 2}, {"rating": "1"}, {"rating": 1, "stars": 5}])
async def test_other_ratings_are_refused(server: LiveServer, body: Any) -> None:
    run = await ended_run(server, QUICK)
    status, fault = await api(server, "POST", f"runs/{run['runId']}/feedback", body)
    assert (status, fault["code"]) == (422, "invalid_request")
    assert (await api(server, "GET", f"runs/{run['runId']}/feedback"))[1]["items"] == []


async def test_what_is_not_there_is_not_rated(server: LiveServer) -> None:
    for method, path in (
        ("POST", "runs/run_00000000000000000000/feedback"),
        ("GET", "runs/run_00000000000000000000/feedback"),
        ("GET", "runs/run_00000000000000000000/feedback/summary"),
        ("GET", "threads/thr_00000000000000000000/feedback"),
        ("GET", "feedback/fbk_0"),
        ("DELETE", "feedback/fbk_0"),
    ):
        body = {"rating": 1} if method == "POST" else None
        assert (await api(server, method, path, body))[0] == 404, path


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


async def test_what_was_decided_is_told_when_the_run_is_over(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    asked = await waiting(server, run_id, "approvals")
    await api(server, "POST", f"approvals/{asked['approvalId']}", {"approved": False, "reason": "not now"})
    await api(server, "GET", f"runs/{run_id}?wait=30")
    _, page = await api(server, "GET", f"runs/{run_id}/approvals")
    (found,) = page["items"]
    assert (found["status"], found["decision"], found["reason"]) == ("resolved", "reject", "not now")
    assert found["askedAt"] <= found["resolvedAt"] <= found["expiresAt"]
    assert await api(server, "GET", f"approvals/{asked['approvalId']}") == (200, found)
    assert (await api(server, "POST", f"approvals/{asked['approvalId']}", {"approved": True}))[0] == 409


async def test_what_a_run_used(server: LiveServer) -> None:
    run = await ended_run(server)
    _, used = await api(server, "GET", f"runs/{run['runId']}/usage")
    assert used["totalTokens"] == used["ownTokens"] + used["helperTokens"] + used["subagentTokens"]
    assert (used["runs"], used["helperTokens"]) == (1, 0)
    assert used["ownTokens"] == run["usage"].get("inputTokens", 0) + run["usage"].get("outputTokens", 0)
    assert (await api(server, "GET", "runs/nobody/usage"))[0] == 404


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


# --- costs ----------------------------------------------------------------------------------------------------------


async def test_tokens_are_priced_one_by_one(server: LiveServer) -> None:
    model = "anthropic:claude-sonnet-4-5"
    plain = {"inputTokens": 1_000_000, "requests": 1}
    uses = [
        {"model": model, "usage": plain},
        {"model": model, "usage": plain | {"cacheReadTokens": 1_000_000}},
        {"model": "demo", "usage": plain},
        {"model": model, "usage": {"requests": 1, "unmeasuredRequests": 1}},
    ]
    status, priced = await api(server, "POST", "costs", {"items": uses})
    assert status == 200
    dear, cheap, *unknown = priced["items"]
    assert 0 < cheap < dear
    assert unknown == [None, None]
    negative = {"model": model, "usage": plain | {"requests": -1}}
    endless = {"model": model, "usage": plain | {"inputTokens": 10**400}}
    for wrong in ({"items": [{"model": model}]}, {"items": uses * 1_001}, {"items": [{"model": 5, "usage": plain}]},
                  {"items": [negative]}, {"items": [endless]}):  # fmt: skip
        status, fault = await api(server, "POST", "costs", wrong)
        assert (status, fault["code"]) == (422, "invalid_request"), wrong
