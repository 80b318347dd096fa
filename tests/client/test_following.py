"""A run as it comes in over a socket that is lost, late, refused or silent."""

import asyncio
import contextlib
import gc
import random
import socket
from datetime import timedelta
from urllib.parse import urlsplit

import msgspec
import pytest

from jupyter_agent import events as ev
from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import Gateway
from jupyter_agent.client.run import Run
from jupyter_agent.client.transport import Link, Timing
from jupyter_agent.exceptions import (
    ApprovalNotFound,
    ConnectionLost,
    Forbidden,
    GatewayNotFound,
    RunFailed,
    RunNotFound,
    Unauthenticated,
)
from jupyter_agent.protocol.commands import Interrupt
from jupyter_agent.records import Effect, RunRequest, RunStatus, Usage
from jupyter_agent.records import Run as RunRecord
from tests.client.conftest import QUICK, until
from tests.client.peer import START, TOKEN, Peer, run_record


def seqs(run):
    return [int(event.id.rsplit("-", 1)[1]) for event in run.events]


async def test_a_run_is_folded_as_it_comes(peer, open_run):
    journal = peer.journal()
    journal.begin()
    run = open_run()
    journal.say("Good ")
    await until(lambda: run.text == "Good ")
    assert run.status is RunStatus.RUNNING
    journal.say("morning.")
    journal.end()
    assert await asyncio.wait_for(run.aresult(), 10) == "Good morning."
    assert run.status is RunStatus.COMPLETED
    assert run.usage.total_tokens == 10
    assert seqs(run) == list(range(1, 7))
    assert [message.role for message in run.messages] == ["user", "assistant"]
    assert "completed" in repr(run)
    assert "Good morning." in repr(run)


async def test_the_token_is_in_the_header_and_in_no_url(peer, open_run):
    peer.journal().begin()
    run = open_run()
    await until(lambda: run.events)
    assert [headers["Authorization"] for headers in peer.headers] == [f"token {TOKEN}"]
    assert not any(TOKEN in uri for uri in peer.uris)
    assert peer.heard[0] == {"type": "auth", "token": ""}


async def test_events_are_taken_exactly_once_over_many_kills(peer, open_run):
    journal = peer.journal()
    journal.begin()
    run = open_run()
    dice = random.Random(7)
    for number in range(400):
        journal.say(f"{number} ")
        if dice.random() < 0.15:
            peer.drop_all()
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.01)
    journal.end()
    assert await asyncio.wait_for(run.aresult(), 60) == "".join(f"{number} " for number in range(400))
    assert seqs(run) == list(range(1, 405))
    cursors = [frame.get("lastEventId") for frame in peer.commands("follow")]
    assert len(cursors) > 5
    assert all(cursors[1:]), "A reconnect did not resume from its cursor."


async def test_many_runs_share_one_socket_and_each_has_its_own_cursor(peer, open_run):
    runs = []
    for number in range(5):
        journal = peer.journal(f"run_{number}")
        journal.begin()
        for piece in range(number):
            journal.say(f"{piece}")
        runs.append(open_run(f"run_{number}"))
    await until(lambda: all(len(run.events) == 2 + number for number, run in enumerate(runs)))
    assert len(peer.sockets) == 1
    peer.drop_all()
    for number, run in enumerate(runs):
        peer.journal(run.id).say("!")
        peer.journal(run.id).end()
        expected = "".join(map(str, range(number))) + "!"
        assert await asyncio.wait_for(run.aresult(), 10) == expected
    assert len(peer.sockets) == 1


async def test_an_ended_run_is_followed_no_more(peer, open_run):
    journal = peer.journal()
    journal.begin()
    journal.end()
    run = open_run()
    await asyncio.wait_for(run.aresult(), 10)
    await until(lambda: peer.commands("unfollow"))
    assert peer.commands("unfollow")[0]["runId"] == "run_peer"


async def test_what_a_crash_took_back_is_forgotten(peer, open_run):
    journal = peer.journal()
    journal.begin()
    journal.say("kept ")
    journal.say("lost ")
    journal.say("lost too ")
    run = open_run()
    await until(lambda: len(run.events) == 5)
    journal.crash(lost=2)
    peer.drop_all()
    journal.say("instead")
    journal.end()
    assert await asyncio.wait_for(run.aresult(), 10) == "kept instead"
    assert seqs(run) == list(range(1, 7))


async def test_what_comes_twice_is_taken_once(peer, open_run):
    journal = peer.journal()
    journal.begin()
    journal.say("once ")
    run = open_run()
    await until(lambda: len(run.events) == 3)
    [socket] = peer.sockets
    for line in journal.lines:
        socket.say(line)
    journal.say("more")
    await until(lambda: len(run.events) >= 4)
    assert run.text == "once more"
    assert seqs(run) == [1, 2, 3, 4]


async def test_the_last_event_may_be_behind_its_status(peer, open_run):
    """The row of a run can say that it ended just before its last event is there."""
    journal = peer.journal()
    journal.begin()
    journal.append(ev.StatusChange(status=RunStatus.COMPLETED))
    run = open_run()
    waiting = asyncio.ensure_future(run.aresult())
    await until(lambda: run._feed.is_replayed)
    journal.append(ev.SessionComplete(status=RunStatus.COMPLETED, usage=Usage()))
    await asyncio.wait_for(waiting, 10)
    assert isinstance(run.events[-1], ev.SessionComplete)


async def test_a_run_that_lost_its_last_event_is_over_too(peer, open_run, monkeypatch):
    monkeypatch.setattr("jupyter_agent.client.feed.LAST_EVENT_S", 0.2)
    journal = peer.journal()
    journal.begin()
    journal.say("Saved.")
    journal.append(ev.StatusChange(status=RunStatus.COMPLETED))
    assert await asyncio.wait_for(open_run().aresult(), 10) == "Saved."


async def test_a_snapshot_stands_for_a_history_that_is_gone(peer, open_run):
    peer.journal().begin()
    run = open_run()
    await until(lambda: run.events)
    [socket] = peer.sockets
    cursor = run.events[-1].id
    socket.say(
        {
            "type": "snapshot",
            "runId": "run_peer",
            "status": "running",
            "turn": 2,
            "text": "So far",
            "lastEventId": cursor,
        }
    )
    await until(lambda: run.text == "So far")
    assert len(run.turns) == 2
    peer.journal().end()
    assert await asyncio.wait_for(run.aresult(), 10) == "So far"


async def test_frames_of_types_unknown_here_are_kept_and_change_nothing(peer, open_run):
    journal = peer.journal()
    journal.begin()
    run = open_run()
    await until(lambda: len(run.events) == 2)
    [socket] = peer.sockets
    before_seq = run.events[-1].id.rsplit("-", 1)[0]
    socket.say({"type": "from_the_future", "id": f"{before_seq}-3", "runId": "run_peer", "x": 1})
    await until(lambda: len(run.events) == 3)
    assert run.events[2].fields["x"] == 1
    assert run.status is RunStatus.RUNNING


async def test_a_silent_gateway_is_left_and_found_again(peer, open_run):
    journal = peer.journal()
    journal.begin()
    run = open_run()
    await until(lambda: run.events)
    peer.beats = False
    await until(lambda: len(peer.commands("follow")) >= 2)
    peer.beats = True
    journal.end()
    await asyncio.wait_for(run.aresult(), 10)


async def test_heartbeats_keep_a_quiet_connection(peer, open_run):
    peer.journal().begin()
    run = open_run()
    await until(lambda: len(peer.commands("heartbeat")) >= 3)
    assert len(peer.commands("follow")) == 1
    assert run.connection is Link.CONNECTED


async def test_a_server_that_comes_back_is_found_again(peer, open_run):
    journal = peer.journal()
    journal.begin()
    run = open_run()
    await until(lambda: run.events)
    port = peer.port
    await peer.close()
    await until(lambda: run.connection is Link.WAITING)
    assert "connection: waiting to reconnect" in repr(run)
    again = Peer(port)
    again.journals["run_peer"] = journal
    journal.say("Back.")
    journal.end()
    assert await asyncio.wait_for(run.aresult(), 10) == "Back."
    await again.close()


async def test_a_server_that_is_overloaded_is_tried_again(peer, open_run):
    peer.refuse_with = 503
    peer.journal().begin()
    run = open_run()
    await until(lambda: len(peer.headers) >= 2)
    peer.refuse_with = None
    await until(lambda: run.events)


@pytest.mark.parametrize(("status", "fault"), [(403, Unauthenticated), (404, GatewayNotFound), (302, Unauthenticated)])
async def test_a_refusal_that_lasts_is_told_at_once(peer, open_run, status, fault):
    peer.refuse_with = status
    run = open_run()
    with pytest.raises(fault, match="http://127"):
        await asyncio.wait_for(run.aresult(), 10)
    assert len(peer.headers) == 1


async def test_a_wrong_token_is_told_at_once(peer):
    client = Client(Gateway(url=peer.url, token="wrong", source="the test"), timing=QUICK)
    with pytest.raises(Unauthenticated, match="refused our token"):
        await client.join(client.start(_request()))
    await asyncio.to_thread(client.close)


async def test_nobody_at_the_address_is_told_at_once():
    client = Client(Gateway(url="http://127.0.0.1:9/", token="x", source="the test"), timing=QUICK)
    with pytest.raises(GatewayNotFound, match=r"Nothing answers at http://127.0.0.1:9/.*jupyter lab"):
        await client.join(client.start(_request()))
    await asyncio.to_thread(client.close)


async def test_a_run_that_does_not_exist_is_told(peer, open_run):
    run = open_run("run_unknown")
    with pytest.raises(RunNotFound, match="run_unknown"):
        await asyncio.wait_for(run.aresult(), 10)


async def test_a_command_is_sent_again_until_it_is_acknowledged(peer, client, open_run):
    peer.journal().begin()
    run = open_run()
    await until(lambda: run.events)
    peer.acknowledges = False
    interrupting = asyncio.create_task(run.ainterrupt())
    await until(lambda: peer.commands("interrupt"))
    peer.acknowledges = True
    peer.drop_all()
    await asyncio.wait_for(interrupting, 10)
    sent = peer.commands("interrupt")
    assert len(sent) == 2
    assert sent[0] == sent[1], "The second try must carry the same clientId, so that it acts once."


async def test_a_command_without_an_answer_is_given_up(peer, client):
    peer.acknowledges = False
    with pytest.raises(ConnectionLost, match=r"did not answer within 0\.2 s"):
        await client.join(client.transport.command(Interrupt(run_id="run_peer"), timeout_s=0.2))


async def test_a_failed_run_raises_one_paragraph(peer, open_run):
    journal = peer.journal()
    journal.begin()
    journal.append(ev.ErrorRaised(code="bad_credentials", message="The key for openai is wrong. Set OPENAI_API_KEY."))
    journal.end(RunStatus.ERROR)
    with pytest.raises(RunFailed, match=r"run_peer failed \(bad_credentials\): The key for openai is wrong") as caught:
        await asyncio.wait_for(open_run().aresult(), 10)
    assert caught.value.details["code"] == "bad_credentials"
    assert len(caught.value._render_traceback_()) == 1


async def test_an_interrupted_run_raises_with_its_reason(peer, open_run):
    journal = peer.journal()
    journal.begin()
    journal.end(RunStatus.INTERRUPTED, summary="Stopped by owner.")
    with pytest.raises(RunFailed, match=r"was interrupted: Stopped by owner\."):
        await asyncio.wait_for(open_run().aresult(), 10)


async def test_a_wait_that_takes_too_long_leaves_the_run_alone(peer, open_run):
    peer.journal().begin()
    run = open_run()
    with pytest.raises(TimeoutError, match="It goes on"):
        await run.aresult(timeout=0.2)
    with pytest.raises(TimeoutError, match="It goes on"):
        await asyncio.to_thread(run.result, 0.2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.aresult(), 0.2)
    assert not peer.commands("interrupt")


async def test_approvals_are_given_by_id_and_only_where_they_wait(peer, client, open_run):
    journal = peer.journal()
    journal.begin()
    run = open_run()
    with pytest.raises(ApprovalNotFound, match="Waiting now: none"):
        await run.aapprove()
    ask(journal, "apr_1", "call_1")
    ask(journal, "apr_2", "call_2")
    await until(lambda: len(run.approvals) == 2)
    with pytest.raises(ApprovalNotFound, match="not exactly one"):
        await run.aapprove()
    await run.aapprove("call_1", arguments={"path": "b.txt"}, remember="run")
    await run.areject("apr_2", "not today")
    first, second = peer.commands("tool_confirmation")
    assert first["approved"] is True
    assert first["approvalId"] == "apr_1"
    assert first["arguments"] == '{"path": "b.txt"}'
    assert first["remember"] == "run"
    assert second["approved"] is False
    assert second["reason"] == "not today"
    assert second["runId"] == "run_peer"


async def test_a_refused_approval_is_the_gateways_fault(peer, open_run):
    journal = peer.journal()
    journal.begin()
    ask(journal, "apr_1", "call_1")
    peer.faults["tool_confirmation"] = {"code": "forbidden", "message": "Kernels may not approve."}
    run = open_run()
    await until(lambda: run.approvals)
    with pytest.raises(Forbidden, match="may not approve"):
        await run.aapprove()


async def test_a_question_is_answered(peer, open_run):
    journal = peer.journal()
    journal.begin()
    journal.append(ev.InputRequest(request_id="req_1", prompt="Which colour?"))
    run = open_run()
    await until(lambda: run.inputs)
    await run.aanswer("req_1", "blue")
    assert peer.commands("user_input")[0]["content"] == "blue"


def test_the_delay_before_a_try_grows_and_has_full_jitter():
    timing = Timing()
    for attempt, most in enumerate([1, 2, 4, 8, 16, 30, 30]):
        delays = [timing.delay(attempt) for _ in range(300)]
        assert max(delays) <= most
        assert min(delays) < most / 3
        assert max(delays) > most * 2 / 3
    assert timing.delay(10_000) <= 30


def ask(journal, approval_id, tool_call_id):
    journal.append(
        ev.AgentEvent(
            event=ev.ToolCallStart(tool_call_id=tool_call_id, name="create_file", arguments='{"path": "a.txt"}')
        )
    )
    journal.append(
        ev.ToolConfirmationRequest(
            tool_call_id=tool_call_id,
            tool=ev.ToolDescription(
                identifier="create_file", api_name="create_file", name="create_file", arguments='{"path": "a.txt"}'
            ),
            approval_id=approval_id,
            expires_at=START + timedelta(minutes=10),
            effects=(Effect.WRITE,),
            preview={"path": "a.txt"},
        )
    )


def _request():
    return RunRequest(input="x")


async def test_a_client_that_is_closed_twice_is_closed(client, open_run):
    run = open_run()
    await asyncio.to_thread(lambda: run.status)
    for _ in range(2):
        await asyncio.to_thread(client.close)
    assert client.transport.link == "closed"


def open_sockets(port: int) -> list[socket.socket]:
    """Returns the sockets of this process that lead to a port."""
    return [one for one in gc.get_objects() if isinstance(one, socket.socket) and leads_to(one, port)]


def leads_to(one: socket.socket, port: int) -> bool:
    with contextlib.suppress(OSError):
        return one.family is socket.AF_INET and bool(one.getpeername()[1] == port)
    return False


async def test_a_closed_client_leaves_no_socket(peer):
    """Its loop ends at once, and with it whoever would have waited for the gateway's goodbye."""
    peer.journal().begin()
    client = Client(Gateway(url=peer.url, token=TOKEN, source="the test"), timing=QUICK)
    run = Run(client, msgspec.convert(run_record("run_peer"), RunRecord), client.feed("run_peer", {}))
    await until(lambda: run.events)
    port = urlsplit(peer.url).port
    assert open_sockets(port)
    await asyncio.to_thread(client.close)
    assert not open_sockets(port)


async def test_a_client_that_is_closed_as_it_connects_leaves_no_socket(peer):
    peer.journal().begin()
    peer.opens_after_s = 0.3
    client = Client(Gateway(url=peer.url, token=TOKEN, source="the test"), timing=QUICK)
    Run(client, msgspec.convert(run_record("run_peer"), RunRecord), client.feed("run_peer", {}))
    await until(lambda: any("/ws" in uri for uri in peer.uris))
    await asyncio.to_thread(client.close)
    assert not open_sockets(urlsplit(peer.url).port)
