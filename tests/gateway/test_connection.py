"""The life of a connection: hold-back, replay, gap, live, late resume, announcements, and two clients at once."""

import asyncio
import json

import pytest

from jupyter_agent.events import parse_cursor
from jupyter_agent.testing import check_events
from tests.gateway.talk import ASKS, QUICK, SLOW, api, connected, framed, headers_of, raw_socket, talking
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = 0.1
"""Less than the silence after which the gateway begins by itself, in seconds."""


async def over(server: LiveServer, run_id: str) -> None:
    status, run = await api(server, "GET", f"runs/{run_id}?wait=30")
    assert status == 200
    assert run["status"] in ("completed", "error", "interrupted"), run


def place(frame: dict[str, str]) -> tuple[int, int]:
    cursor = parse_cursor(frame["id"])
    assert cursor is not None
    return cursor.place


async def test_a_silent_client_gets_its_run_from_the_first_event(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    async with talking(server, f"chatKey={run_id}") as talk:
        done = await talk.until("replay_complete")
        if not talk.of("session_complete"):
            await talk.until("session_complete")
    check_events(talk.heard, is_complete=True)
    assert done["status"] in ("pending", "running", "completed")


async def test_events_are_held_back_until_the_client_says_where_it_stands(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    cursor = (await first_events(server, run_id))[2]
    async with talking(server, f"chatKey={run_id}") as talk:
        assert await talk.silence(HELD) == []
        await talk.say({"type": "resume", "lastEventId": cursor})
        await talk.until("replay_complete")
    assert place(json.loads(talk.events[0]))[1] == 4


async def first_events(server: LiveServer, run_id: str) -> list[str]:
    _, page = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
    return [event["id"] for event in page["items"]]


async def test_replay_is_strictly_after_the_cursor_in_the_address(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    ids = await first_events(server, run_id)
    async with talking(server, f"chatKey={run_id}&lastEventId={ids[4]}") as talk:
        done = await talk.until("replay_complete")
    assert [frame["id"] for frame in talk.frames if "id" in frame] == ids[5:]
    assert done == {"type": "replay_complete", "runId": run_id, "status": "completed", "lastEventId": ids[-1]}
    check_events(talk.heard, after=ids[4])


async def test_the_cursor_at_the_end_brings_nothing_but_the_word_that_it_is_the_end(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    ids = await first_events(server, run_id)
    async with talking(server, f"chatKey={run_id}&lastEventId={ids[-1]}") as talk:
        await talk.until("replay_complete")
        assert talk.events == []
        await talk.say({"type": "heartbeat"})
        await talk.until("heartbeat_ack")


@pytest.mark.parametrize("cursor", ["0123456789-1-5", "nonsense", "1-2-3", "-", "x" * 60, "a-1-99999999999999999999"])
async def test_a_cursor_of_another_run_is_a_gap_and_then_everything(server: LiveServer, cursor: str) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    ids = await first_events(server, run_id)
    async with talking(server, f"chatKey={run_id}&lastEventId={cursor}") as talk:
        await talk.until("replay_complete")
    [gap] = talk.of("gap")
    assert gap == {"type": "gap", "runId": run_id, "requested": cursor, "earliest": ids[0], "latest": ids[-1]}
    assert talk.frames.index(gap) < [*map(json.dumps, talk.frames)].index(json.dumps(json.loads(talk.events[0])))
    check_events(talk.heard, is_complete=True)


async def test_a_cursor_beyond_what_survived_is_a_gap_and_then_what_comes_after(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    ids = await first_events(server, run_id)
    tag, epoch, seq = ids[-1].split("-")
    beyond = f"{tag}-{epoch}-{int(seq) + 10}"
    async with talking(server, f"chatKey={run_id}&lastEventId={beyond}") as talk:
        await talk.until("replay_complete")
    assert [gap["requested"] for gap in talk.of("gap")] == [beyond]
    assert talk.events == []


async def test_a_late_resume_stops_what_is_being_sent(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with talking(server, f"chatKey={run_id}") as talk:
        await talk.until(lambda frame: "id" in frame and place(frame)[1] >= 20)
        behind = json.loads(talk.events[3])["id"]
        await talk.say({"type": "resume", "lastEventId": behind})
        await talk.until(lambda frame: "id" in frame and place(frame)[1] >= 40)
        await talk.say({"type": "interrupt"})
        await talk.until("session_complete")
    check_events(talk.heard, is_complete=True)


async def test_a_late_resume_skips_ahead(server: LiveServer) -> None:
    run_id = await server.start_run({"turns": [{"text": "word " * 700, "delay_s": 0}]})
    await over(server, run_id)
    ids = await first_events(server, run_id)
    async with connected(server, f"chatKey={run_id}") as talk:
        await talk.say({"type": "auth", "token": TOKEN})
        await talk.until("auth_success")
        await talk.until(lambda frame: "id" in frame)
        await talk.say({"type": "resume", "lastEventId": ids[-3], "clientId": "late"})
        await talk.until(lambda frame: frame["type"] == "ack")
        seen = [json.loads(text)["id"] for text in talk.events]
        await talk.silence(0.5)
    rest = [json.loads(text)["id"] for text in talk.events][len(seen) :]
    assert len(set(seen + rest)) == len(seen + rest), "nothing twice"
    assert all(one in (ids[-2], ids[-1]) or ids.index(one) > ids.index(seen[-1]) for one in rest)


async def test_a_client_joining_late_sees_all_and_two_see_the_same(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with talking(server, f"chatKey={run_id}") as first:
        await first.until(lambda frame: "id" in frame and place(frame)[1] >= 30)
        async with talking(server, f"chatKey={run_id}") as second:
            await second.until("replay_complete")
            await second.say({"type": "interrupt"})
            await asyncio.gather(first.until("session_complete"), second.until("session_complete"))
    assert first.events == second.events
    check_events(first.heard, is_complete=True)


async def test_heartbeats_are_acknowledged_before_during_and_after(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    async with talking(server, f"chatKey={run_id}") as talk:
        await talk.say({"type": "heartbeat"})
        await talk.until("heartbeat_ack", 5)
        if not talk.of("session_complete"):
            await talk.until("session_complete")
        await talk.say({"type": "heartbeat"})
        await talk.until("heartbeat_ack", 5)
        assert talk.code is None


# --- approvals and inputs -------------------------------------------------------------------------------------------


async def test_what_waits_is_announced_under_the_clients_own_cursor(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    async with talking(server, f"chatKey={run_id}") as talk:
        asked = await talk.until("tool_confirmation_request")
        await talk.until(lambda frame: frame.get("status") == "waiting_confirmation")
    ids = await first_events(server, run_id)
    async with talking(server, f"chatKey={run_id}&lastEventId={ids[-1]}") as back:
        again = await back.until("tool_confirmation_request")
        assert {**again, "id": "", "crc": ""} == {**asked, "id": "", "crc": ""}
        assert again["id"] == ids[-1]
        assert await back.silence(0.4) == [], "once"
        await back.say({"type": "tool_confirmation", "toolCallId": asked["toolCallId"], "approved": True})
        await back.until("session_complete")
    check_events(back.heard, after=ids[-1])
    assert (server.root / "made.txt").read_text() == "made\n"


async def test_what_is_left_is_announced_after_each_decision(server: LiveServer) -> None:
    calls = [{"name": "create_file", "arguments": {"path": f"left-{n}.txt", "content": "x"}} for n in range(3)]
    run_id = await server.start_run({"turns": [{"calls": calls}, {"text": "Done."}]})
    async with talking(server, f"chatKey={run_id}") as talk:
        asked = [await talk.until("tool_confirmation_request") for _ in range(3)]
        await talk.say({"type": "tool_confirmation", "toolCallId": asked[0]["toolCallId"], "approved": False,
                        "reason": "not this one"})  # fmt: skip
        await talk.until("approval_resolved")
        left = [await talk.until("tool_confirmation_request") for _ in range(2)]
        assert {one["approvalId"] for one in left} == {one["approvalId"] for one in asked[1:]}
        for one in asked[1:]:
            await talk.say({"type": "tool_confirmation", "approvalId": one["approvalId"],
                            "toolCallId": one["toolCallId"], "approved": True})  # fmt: skip
        await talk.until("session_complete")
    check_events(talk.heard, is_complete=True)
    assert not (server.root / "left-0.txt").exists()
    assert (server.root / "left-2.txt").exists()


async def test_the_first_decision_wins_and_the_other_client_sees_it(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    async with talking(server, f"chatKey={run_id}") as one, talking(server, f"chatKey={run_id}") as other:
        asked = await one.until("tool_confirmation_request")
        await other.until("tool_confirmation_request")
        answer = {"type": "tool_confirmation", "toolCallId": asked["toolCallId"]}
        await asyncio.gather(
            one.say({**answer, "approved": True, "clientId": "one"}),
            other.say({**answer, "approved": False, "clientId": "other"}),
        )
        seen = [await talk.until("session_complete") and talk for talk in (one, other)]
        outcomes = [
            frame["type"]
            for talk in seen
            for frame in [*talk.frames, *await talk.silence(0.3)]
            if frame["type"] in ("ack", "failed") and frame["clientId"] in ("one", "other")
        ]
    assert sorted(outcomes) == ["ack", "failed"]
    assert [len(talk.of("approval_resolved")) for talk in (one, other)] == [1, 1]


async def test_an_answer_to_nothing_is_refused_and_changes_nothing(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    async with talking(server, f"chatKey={run_id}") as talk:
        await talk.until("tool_confirmation_request")
        refused = await talk.command("tool_confirmation", toolCallId="call_of_nobody", approved=True)
        assert (refused["type"], refused["code"]) == ("failed", "approval_not_found")
        refused = await talk.command("user_input", requestId="nobody", content="hi")
        assert refused["code"] == "input_not_found"
        assert (await api(server, "GET", f"runs/{run_id}"))[1]["status"] == "waiting_confirmation"
        await talk.say({"type": "interrupt"})
        await talk.until("session_complete")
    check_events(talk.heard, is_complete=True)


async def test_a_question_is_announced_and_answered_once(server: LiveServer) -> None:
    script = {"turns": [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Which?"}}]}, {"text": "Thanks."}]}
    run_id = await server.start_run(script)
    async with talking(server, f"chatKey={run_id}") as talk:
        asked = await talk.until("input_request")
        await talk.until(lambda frame: frame.get("status") == "waiting_input")
    last = (await first_events(server, run_id))[-1]
    async with talking(server, f"chatKey={run_id}&lastEventId={last}") as back:
        assert (await back.until("input_request"))["id"] == last
        assert (await back.command("user_input", requestId=asked["requestId"], content="This\0one"))["type"] == "ack"
        again = await back.command("user_input", requestId=asked["requestId"], content="That one")
        assert again["code"] in ("already_resolved", "run_finished")
        if not back.of("session_complete"):
            await back.until("session_complete")
    assert [frame["content"] for frame in back.of("input_received")] == ["This\ufffdone"]


# --- many runs over one socket --------------------------------------------------------------------------------------


async def test_many_runs_over_one_socket(server: LiveServer) -> None:
    runs = [await server.start_run(QUICK) for _ in range(5)]
    async with talking(server) as talk:
        for run_id in runs:
            assert (await talk.command("follow", runId=run_id))["type"] == "ack"
        while len(talk.of("replay_complete")) < 5 or len(talk.of("session_complete")) < 5:
            await talk.next()
    for run_id in runs:
        check_events([text for text in talk.events if json.loads(text)["runId"] == run_id], is_complete=True)


async def test_an_ended_run_that_is_followed_again_replays(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    async with talking(server) as talk:
        for count in (1, 2):
            await talk.command("follow", runId=run_id)
            while len(talk.of("replay_complete")) < count:
                await talk.next()
    assert talk.events[: len(talk.events) // 2] == talk.events[len(talk.events) // 2 :]


async def test_a_run_that_is_no_longer_followed_is_silent(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with talking(server) as talk:
        await talk.command("follow", runId=run_id)
        await talk.until(lambda frame: "id" in frame)
        assert (await talk.command("unfollow", runId=run_id))["type"] == "ack"
        assert await talk.silence(0.3) == []
        assert (await talk.command("interrupt", runId=run_id))["type"] == "ack"


async def test_channels_leave_holes_and_completeness_is_told(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    await over(server, run_id)
    ids = await first_events(server, run_id)
    async with talking(server) as talk:
        await talk.command("follow", runId=run_id, channels=["text"])
        done = await talk.until("replay_complete")
    kinds = {frame["event"]["kind"] for frame in talk.of("agent_event")}
    assert "text_delta" in kinds
    assert kinds <= {"text_delta", "thinking", "message_complete", "step_complete"}
    assert not talk.of("status_change")
    assert done["lastEventId"] == ids[-1]


async def test_the_news_of_all_ones_runs_and_threads(server: LiveServer) -> None:
    async with talking(server) as talk:
        await talk.command("follow", runId="*")
        run_id = await server.start_run(QUICK)
        await talk.until(lambda frame: frame["type"] == "run_changed" and frame["status"] == "completed")
        _, run = await api(server, "GET", f"runs/{run_id}")
        await api(server, "PATCH", f"threads/{run['threadId']}", {"title": "A better name"})
        renamed = await talk.until("thread_changed")
        assert (renamed["change"], renamed["title"]) == ("updated", "A better name")
        await api(server, "DELETE", f"threads/{run['threadId']}")
        await talk.until(lambda frame: frame["type"] == "thread_changed" and frame["change"] == "deleted")
    changes = [(frame["change"], frame["status"]) for frame in talk.of("run_changed") if frame["runId"] == run_id]
    assert changes[0] == ("created", "pending")
    assert ("status", "running") in changes


# --- commands -------------------------------------------------------------------------------------------------------


async def test_a_run_started_over_the_socket_is_followed_at_once(server: LiveServer) -> None:
    async with talking(server) as talk:
        answer = await talk.command("start_run", input="go", model="scripted", script=QUICK)
        assert answer["result"]["status"] == "pending"
        await talk.until("session_complete")
    assert talk.frames[1]["type"] == "ack"
    check_events(talk.heard, is_complete=True)


async def test_the_same_command_a_hundred_times_starts_one_run(server: LiveServer) -> None:
    command = {"type": "start_run", "input": "once", "model": "scripted", "script": QUICK, "clientId": "the-same"}
    found = set()
    for _ in range(4):
        async with talking(server) as talk:
            for _ in range(25):
                await talk.say({**command, "follow": False})
            while len(talk.of("ack")) < 25:
                await talk.next()
            found |= {frame["result"]["runId"] for frame in talk.of("ack")}
    assert len(found) == 1


async def test_an_interrupt_acts_at_once_and_a_second_one_too(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with talking(server, f"chatKey={run_id}") as talk:
        await talk.until(lambda frame: frame["type"] == "agent_event")
        # Whatever is queued before it does not hold it up.
        for number in range(300):
            await talk.say({"type": "user_input", "requestId": f"none-{number}", "content": "x"})
        started = asyncio.get_running_loop().time()
        await talk.say({"type": "interrupt"})
        await talk.say({"type": "interrupt"})
        end = await talk.until("session_complete")
        assert asyncio.get_running_loop().time() - started < 2.0 + 3.0
        assert end["status"] == "interrupted"
        again = await talk.command("interrupt")
        assert again["type"] == "ack" or again["code"] == "run_finished"
    check_events(talk.heard, is_complete=True)


async def test_an_interrupt_and_a_close_is_an_interrupt(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with talking(server, f"chatKey={run_id}") as talk:
        await talk.until(lambda frame: frame["type"] == "agent_event")
        await talk.say({"type": "interrupt"})
    await over(server, run_id)
    assert (await api(server, "GET", f"runs/{run_id}"))[1]["status"] == "interrupted"


async def test_what_a_client_said_before_it_left_still_acts(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    async with connected(server, f"chatKey={run_id}") as talk:
        await talk.say({"type": "auth", "token": TOKEN})
        await talk.say({"type": "interrupt"})
    await over(server, run_id)
    assert (await api(server, "GET", f"runs/{run_id}"))[1]["status"] == "interrupted"


async def test_what_came_in_one_packet_with_the_close_still_acts(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    status, opened = await raw_socket(server, query=f"?chatKey={run_id}")
    assert status == 101
    said = framed({"type": "auth", "token": TOKEN}) + framed({"type": "interrupt"}) + bytes([0x88, 0x80, 0, 0, 0, 0])
    await asyncio.get_running_loop().sock_sendall(opened, said)
    await over(server, run_id)
    opened.close()
    assert (await api(server, "GET", f"runs/{run_id}"))[1]["status"] == "interrupted"


async def test_ten_unreadable_frames_in_a_row_are_enough(server: LiveServer) -> None:
    async with talking(server) as talk:
        for _ in range(9):
            await talk.say("{")
        await talk.say({"type": "heartbeat"})
        await talk.until("heartbeat_ack")
        for _ in range(10):
            await talk.say({"type": "never heard of"})
        assert await talk.ended() == 4400
    assert len(talk.of("failed")) == 19


async def test_a_resume_needs_a_run_in_the_address(server: LiveServer) -> None:
    async with talking(server) as talk:
        refused = await talk.command("resume", lastEventId="a-1-1")
        assert refused["code"] == "invalid_request"
        refused = await talk.command("interrupt")
        assert refused["details"]["fields"] == {"runId": "missing"}


@pytest.mark.parametrize("run_id", ["run_of_nobody", "..%2F..%2Fetc", "x" * 200, "a%20b", "%00"])
async def test_a_run_that_is_not_there_looks_like_a_wrong_token(server: LiveServer, run_id: str) -> None:
    said = []
    for token, key in ((TOKEN, run_id), ("wrong", run_id)):
        async with connected(server, f"chatKey={key}") as talk:
            await talk.say({"type": "auth", "token": token})
            code = await talk.ended()
        said.append((code, talk.frames))
    assert said[0] == said[1]
    assert said[0][0] == 4401


async def test_an_authenticated_handshake_may_skip_the_auth_frame(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    async with connected(server, f"chatKey={run_id}", headers=headers_of()) as talk:
        await talk.say({"type": "resume", "lastEventId": "nothing"})
        await talk.until("replay_complete")
    assert talk.frames[0]["type"] == "auth_success"


async def test_a_token_is_refreshed_and_a_wrong_one_ends_the_connection(server: LiveServer) -> None:
    async with talking(server) as talk:
        await talk.say({"type": "auth", "token": TOKEN})
        await talk.say({"type": "auth", "token": ""})
        await talk.until("auth_success")
        await talk.until("auth_success")
        await talk.say({"type": "auth", "token": "wrong"})
        assert await talk.ended() == 4401
