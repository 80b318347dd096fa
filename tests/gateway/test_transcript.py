"""A whole run at once: what its events say at one instant, told quickly, and what a notebook keeps of it."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jupyter_agent import events as ev
from jupyter_agent.compact import CompactRun, compact
from jupyter_agent.display import MIME_TYPE
from jupyter_agent.gateway.telling import Telling
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.records import Outcome, Run, RunStatus, Text, Usage
from jupyter_agent.storage import Storage, open_storage
from jupyter_agent.transcript import Transcript
from tests.gateway.talk import API, ASKS, SLOW, api, fetch, headers_of, talking
from tests.gateway.test_rest import ended_run
from tests.golden.make_transcripts import START
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLS = {"turns": [{"text": "I look.", "calls": [{"name": "list_files", "arguments": {}}]}, {"text": "Done."}]}


async def events_of(server: LiveServer, run_id: str) -> list[dict[str, Any]]:
    """All events of a run, from its pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        _, page = await api(server, "GET", f"runs/{run_id}/events?limit=1000{cursor}")
        found += page["items"]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def folded(events: list[dict[str, Any]], *, detail: str | None = None) -> dict[str, Any]:
    """What these events say, as the gateway should."""
    seen = Transcript()
    for event in events:
        seen.apply(ev.decode_line(json.dumps(event)))
    return dict(json.loads(msgspec.json.encode(compact(seen, detail=detail))))


async def archived(server: LiveServer, run_id: str) -> str:
    """Waits until a run is put away, and returns the key of its detail."""
    async with asyncio.timeout(20):
        while True:
            _, run = await api(server, "GET", f"runs/{run_id}")
            if "detailBlob" in run and not [*server.home.rglob(f"*{run_id}*.jsonl")]:
                return str(run["detailBlob"])
            await asyncio.sleep(0.05)


# --- what is told ---------------------------------------------------------------------------------------------------


async def test_an_ended_run_is_told_from_its_archive(server: LiveServer) -> None:
    run = await ended_run(server, TOOLS)
    detail = await archived(server, run["runId"])
    status, told = await api(server, "GET", f"runs/{run['runId']}/transcript")
    assert (status, told) == (200, folded(await events_of(server, run["runId"]), detail=detail))
    assert (told["status"], told["isComplete"], told["detail"]) == ("completed", True, detail)
    assert [turn["text"] for turn in told["turns"]] == ["I look.", "Done."]
    assert told["turns"][0]["toolCalls"][0]["outcome"] == "success"


async def test_a_run_that_waits_is_told_with_what_it_waits_for(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    async with asyncio.timeout(20):
        while "approvals" not in (told := (await api(server, "GET", f"runs/{run_id}/transcript"))[1]):
            await asyncio.sleep(0.02)
    assert told["approvals"] == (await api(server, "GET", f"runs/{run_id}/approvals"))[1]["items"]
    _, shown = await api(server, "GET", f"runs/{run_id}/display")
    assert told["approvals"][0]["approvalId"] not in json.dumps(shown)
    assert shown[MIME_TYPE]["waiting"] == [{"kind": "approval", "what": "create_file"}]
    assert "made.txt" in shown["text/html"]
    assert "Partial" in shown["text/html"]
    await api(server, "POST", f"runs/{run_id}/interrupt")


async def test_what_a_notebook_keeps(server: LiveServer) -> None:
    run = await ended_run(server, TOOLS, input="<script>Say</script> done")
    detail = await archived(server, run["runId"])
    status, shown = await api(server, "GET", f"runs/{run['runId']}/display")
    assert (status, set(shown)) == (200, {MIME_TYPE, "text/html", "text/plain"})
    assert (shown[MIME_TYPE]["runId"], shown[MIME_TYPE]["detail"]) == (run["runId"], detail)
    assert "&lt;script&gt;Say" in shown["text/html"]
    assert "Partial" not in shown["text/html"]


@pytest.mark.parametrize("what", ["transcript", "display"])
async def test_a_run_that_is_not_there(server: LiveServer, what: str) -> None:
    for run_id in ("run_00000000000000000000", "no%20id", "x" * 200):
        status, fault = await api(server, "GET", f"runs/{run_id}/{what}")
        assert (status, fault["code"]) == (404, "run_not_found")
    run = await ended_run(server)
    await archived(server, run["runId"])
    assert (await api(server, "DELETE", f"runs/{run['runId']}"))[0] == 204
    assert (await api(server, "GET", f"runs/{run['runId']}/{what}"))[0] == 404


async def test_an_archived_run_is_not_sent_twice_to_who_has_it(server: LiveServer) -> None:
    run = await ended_run(server)
    await archived(server, run["runId"])
    path = f"{API}/runs/{run['runId']}/transcript"
    first = await fetch(server, "GET", path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    tag = first.headers["ETag"]
    again = await fetch(server, "GET", path, headers=headers_of(If_None_Match=tag))
    assert (again.code, again.body) == (304, b"")
    other = await fetch(server, "GET", path, headers=headers_of(If_None_Match='"another"'))
    assert (other.code, other.body) == (200, first.body)
    # It is asked for each time: what was deleted is gone for who has it too, and strangers learn nothing.
    assert (await fetch(server, "GET", path, headers={"If-None-Match": tag})).code in (401, 403)
    assert (await api(server, "DELETE", f"runs/{run['runId']}"))[0] == 204
    assert (await fetch(server, "GET", path, headers=headers_of(If_None_Match=tag))).code == 404


async def test_a_run_that_goes_on_is_never_cached(server: LiveServer) -> None:
    run_id = await server.start_run(SLOW)
    answer = await fetch(server, "GET", f"{API}/runs/{run_id}/transcript")
    assert "ETag" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    await api(server, "POST", f"runs/{run_id}/interrupt")


# --- and then followed ----------------------------------------------------------------------------------------------

FAST = {
    "turns": [
        *(
            {"text": "word " * 150, "delay_s": 0.001, "calls": [{"name": "list_files", "arguments": {"pattern": turn}}]}
            for turn in "abcd"
        ),
        {"text": "word " * 400, "delay_s": 0.001},
    ]
}  # fmt: skip


async def test_told_and_then_followed_every_event_comes_once(server: LiveServer) -> None:
    """While a run streams as fast as it can, many come in the middle: a transcript, then the socket from there."""
    run_id = await server.start_run(FAST)

    async def comes_in(after_s: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        await asyncio.sleep(after_s)
        async with talking(server) as talk:
            _, told = await api(server, "GET", f"runs/{run_id}/transcript")
            await talk.command("follow", runId=run_id, lastEventId=told.get("lastEventId"))
            if not told.get("isComplete"):
                await talk.until("session_complete")
            assert not talk.of("gap")
            return told, [json.loads(text) for text in talk.events]

    comings = await asyncio.gather(*(comes_in(number * 0.1) for number in range(25)))
    events = await events_of(server, run_id)
    place = {event["id"]: number for number, event in enumerate(events, start=1)}
    starts = set()
    for told, followed in comings:
        at = place[told["lastEventId"]]
        starts.add(at)
        told.pop("detail", None)
        assert told == folded(events[:at])
        assert followed == events[at:]
    assert len(starts) > 10, "they came at different times"
    assert len([at for at in starts if at < len(events)]) > 5, "and while it streamed"


# --- quickly --------------------------------------------------------------------------------------------------------

TURNS = 2_000


@pytest_asyncio.fixture(loop_scope="module")
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    found = open_storage(tmp_path / "data")
    await found.rows.open()
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def journal(storage: Storage) -> AsyncIterator[Journal]:
    projection = Projection(storage.rows, storage.blobs)
    found = Journal(storage.lines, storage.blobs, observer=projection)
    yield found
    await projection.aclose()
    await found.aclose()


def a_long_run() -> list[ev.AnyEvent]:
    """2,000 turns of 15 events."""
    events: list[ev.AnyEvent] = [
        ev.RunStarted(thread_id="thread_1", user_id="owner", agent="a", model="m", input=(Text(text="hi"),)),
        ev.StatusChange(status=RunStatus.RUNNING),
    ]
    for turn in range(TURNS):
        call = {"tool_call_id": f"call_{turn}"}
        events += [ev.AgentEvent(event=ev.TextDelta(content="some more words ")) for _ in range(5)]
        events += [
            ev.AgentEvent(event=ev.ToolCallStart(name="run_cell", arguments='{"code": "1"}', **call)),
            ev.AgentEvent(event=ev.ToolCallEnd(**call)),
            ev.TurnCommitted(turn=turn, blob="b" * 64, model="m", usage=Usage(input_tokens=9, requests=1),
                             started_at=START, finished_at=START, stop_reason="tool_use"),
            ev.ToolTraceStart(trace_id=f"t{turn}", tool_name="run_cell", tool_input="{}", turn=turn, started_at=START,
                              **call),
            *(ev.AgentEvent(event=ev.ToolProgress(content="a line of it\n", **call)) for _ in range(3)),
            ev.ToolTraceFinish(trace_id=f"t{turn}", outcome=Outcome.SUCCESS, latency_ms=1, finished_at=START, **call),
            ev.AgentEvent(event=ev.ToolResultReady(result="word " * 60, **call)),
            ev.AgentEvent(event=ev.StepComplete(step_index=turn)),
        ]  # fmt: skip
    return events


def stored(storage: Storage, run_id: str, events: list[ev.AnyEvent]) -> str:
    """Writes a journal as it is on disk and returns the id of its last event."""
    tag, last = ev.run_tag(run_id), ""
    writer = storage.lines.open(run_id)
    for seq, event in enumerate(events, start=1):
        last = f"{tag}-1-{seq}"
        at = START + timedelta(milliseconds=seq)
        writer.write(ev.encode_line(msgspec.structs.replace(event, id=last, run_id=run_id, at=at)))
    writer.close()
    return last


def row(run_id: str, **more: Any) -> Run:
    return Run(run_id=run_id, thread_id="thread_1", user_id="owner", status=RunStatus.RUNNING, agent="a", model="m",
               created_at=START, updated_at=START, **more)  # fmt: skip


async def lags_during(work: Awaitable[Any]) -> tuple[Any, list[float]]:
    """Does the work, and returns its answer and for how long it kept a clock waiting that ticks every 2 ms, sorted.

    Counted in processor time of this process, so that it is less about what else the machine has to do. The garbage
    collector's pauses grow with everything that a process holds, a test suite for one: they are not counted.
    """
    gc.disable()
    try:
        task, lags = asyncio.ensure_future(work), []
        while not task.done():
            began = time.process_time()
            await asyncio.sleep(0.002)
            lags.append(time.process_time() - began)
        return await task, sorted(lags)
    finally:
        gc.enable()


@pytest.mark.parametrize("where", ["live", "stored"])
async def test_a_very_long_run_is_told_quickly_and_nobody_waits(storage: Storage, journal: Journal, where: str) -> None:
    last = stored(storage, "run_1", a_long_run())
    if where == "live":
        await journal.open("run_1")
    telling = Telling(journal)
    took, longest = [], []
    for _ in range(5):
        began = time.process_time()
        told, lags = await lags_during(telling.tell(row("run_1")))
        took.append(time.process_time() - began)
        longest.append(lags[-1])
        assert (len(told.turns), told.last_event_id) == (TURNS, last)
        assert where == "live" or len(lags) >= 2, "The loop goes round meanwhile."
    assert min(took) < 4
    assert min(longest) < 0.5, f"the loop waited {longest}"


async def test_a_run_whose_history_is_gone_is_told_from_its_row(journal: Journal) -> None:
    gone = row("run_2", input=(Text(text="What is it?"),), last_ai_message="It was this.", model_call_count=3,
               error_code="x", error_message="It broke.")  # fmt: skip
    told = await Telling(journal).tell(msgspec.structs.replace(gone, status=RunStatus.ERROR))
    assert isinstance(told, CompactRun)
    assert (told.prompt, told.summary, told.turns, told.left_out_turns) == ("What is it?", "It was this.", (), 3)
    assert (told.is_complete, told.last_event_id) == (True, "")
    assert told.error is not None
    assert told.error.message == "It broke."


async def test_only_a_few_runs_are_read_back_at_once(storage: Storage, journal: Journal) -> None:
    """The first is told long before the last, so they did not all take turns with everything else."""
    for number in range(8):
        stored(storage, f"run_{number}", a_long_run()[:9_000])
    telling = Telling(journal)
    done: list[float] = []

    async def tell(number: int) -> str:
        told = await telling.tell(row(f"run_{number}"))
        done.append(time.perf_counter() - began)
        return told.last_event_id

    began = time.perf_counter()
    assert len(set(await asyncio.gather(*map(tell, range(8))))) == 8
    assert done[0] < 0.6 * done[-1], done
