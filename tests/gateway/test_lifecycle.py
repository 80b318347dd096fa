"""The life of threads and runs from outside: made once, listed stably, ended once, and never left running by nobody."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jupyter_agent.storage import DATABASE_URL
from tests.gateway.talk import API, ASKS, QUICK, SLOW, api, fetch, headers_of
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


TERMINAL = ("completed", "error", "interrupted")


async def ended(server: LiveServer, run_id: str) -> dict[str, Any]:
    """Joins a run."""
    async with asyncio.timeout(60):
        while True:
            _, run = await api(server, "GET", f"runs/{run_id}?wait=20")
            if run["status"] in TERMINAL:
                return dict(run)


async def reached(server: LiveServer, run_id: str, status: str) -> None:
    async with asyncio.timeout(30):
        while (await api(server, "GET", f"runs/{run_id}"))[1]["status"] != status:
            await asyncio.sleep(0.05)


def change(url: str, statements: str) -> None:
    """Changes a database behind its server's back."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(statements)


async def a_thread(server: LiveServer, **fields: Any) -> str:
    return str((await api(server, "POST", "threads", fields))[1]["threadId"])


async def every(server: LiveServer, path: str, *, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        status, page = await api(server, "GET", f"{path}limit={limit}{cursor}")
        assert status == 200, page
        items += page["items"]
        if page["nextCursor"] is None:
            return items
        cursor = f"&cursor={page['nextCursor']}"


# --- made once, listed stably ---------------------------------------------------------------------------------------


async def test_many_who_make_the_same_make_it_once(server: LiveServer) -> None:
    asked = [api(server, "POST", "threads", {"threadId": "the-same", "title": f"{n}"}) for n in range(12)]
    made = await asyncio.gather(*asked)
    assert {status for status, _ in made} == {201}
    assert len({thread["title"] for _, thread in made}) == 1
    body = {"input": "hi", "model": "echo", "threadId": "the-same"}
    headers = headers_of(Idempotency_Key="start-once")
    started = await asyncio.gather(*(api(server, "POST", "runs", body, headers=headers) for _ in range(8)))
    assert {status for status, _ in started} == {201}
    assert len({run["runId"] for _, run in started}) == 1
    assert len(await every(server, "runs?threadId=the-same&", limit=50)) == 1


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_no_row_is_listed_twice_or_lost_while_others_come(server: LiveServer, limit: int) -> None:
    before = {thread["threadId"] for thread in await every(server, "threads?", limit=200)}

    async def come() -> None:
        for _ in range(10):
            await asyncio.gather(*(a_thread(server) for _ in range(3)))

    async def look() -> list[str]:
        return [thread["threadId"] for thread in await every(server, "threads?", limit=limit)]

    *lists, _ = await asyncio.gather(*(look() for _ in range(3)), come())
    for listed in lists:
        assert len(listed) == len(set(listed))
        assert before <= set(listed)
    whole = await every(server, "threads?", limit=limit)
    assert whole == await every(server, "threads?", limit=200)
    places = [(thread["createdAt"], thread["threadId"]) for thread in whole]
    assert places == sorted(places, reverse=True)
    assert len(whole) == len(before) + 30


# --- ended once -----------------------------------------------------------------------------------------------------


async def test_an_ended_run_never_changes(server: LiveServer) -> None:
    run_id = await server.start_run(ASKS)
    await reached(server, run_id, "waiting_confirmation")
    _, page = await api(server, "GET", f"runs/{run_id}/approvals")
    approval = page["items"][0]["approvalId"]
    assert (await api(server, "POST", f"runs/{run_id}/interrupt"))[0] == 202
    over = await ended(server, run_id)
    assert over["status"] == "interrupted"
    assert (await api(server, "POST", f"approvals/{approval}", {"approved": True}))[0] == 409
    assert (await api(server, "POST", f"runs/{run_id}/inputs/nobody", {"content": "x"}))[0] in (404, 409)
    await api(server, "POST", f"runs/{run_id}/interrupt")
    assert (await api(server, "GET", f"runs/{run_id}"))[1] == over
    _, page = await api(server, "GET", f"runs/{run_id}/approvals")
    assert [(one["status"], one.get("decision")) for one in page["items"]] == [("lapsed", None)]


async def test_an_end_keeps_what_it_does_not_name(server: LiveServer) -> None:
    first = await server.start_run(QUICK)
    said = {
        "metadata": {"a": [1, {"b": None}], "\U0001f600": 0.5},
        "kwargs": {"temperature": 0.25},
        "cell": {"cellId": "c1", "executionCount": 3, "notebook": "n.ipynb"},
        "followUpToRunId": first,
        "threadId": (await ended(server, first))["threadId"],
    }
    run_id = await server.start_run(QUICK, **said)
    over = await ended(server, run_id)
    assert {name: over[name] for name in said} == said
    assert (over["status"], over["firstHumanMessage"]) == ("completed", "Play the script.")
    assert over["createdAt"] <= over["startedAt"] <= over["endedAt"] <= over["updatedAt"]
    thread = f"threads/{over['threadId']}"
    await api(server, "PATCH", thread, {"metadata": {"kept": 1}})
    assert (await ended(server, await server.start_run(QUICK, threadId=over["threadId"])))["status"] == "completed"
    assert (await api(server, "GET", thread))[1]["metadata"] == {"kept": 1}


async def test_no_run_stays_running_with_nobody_at_it(tmp_path: Path) -> None:
    """Killed in the middle of everything; each run goes on by itself after the start, or has ended."""
    async with LiveServer(tmp_path) as server:
        busy = await a_thread(server)
        slow = await server.start_run(SLOW, threadId=busy)
        queued = await server.start_run(QUICK, threadId=busy, multitask="enqueue")
        waits = await server.start_run(ASKS)
        done = await server.start_run(QUICK)
        before = await ended(server, done)
        await reached(server, slow, "running")
        await reached(server, waits, "waiting_confirmation")
        await server.kill()
        await server.start()
        assert (await ended(server, slow))["status"] == "completed"
        assert (await ended(server, queued))["status"] == "completed"
        after = await ended(server, done)
        assert after | {"detailBlob": None} == before | {"detailBlob": None}
        assert (await api(server, "GET", f"runs/{waits}"))[1]["status"] == "waiting_confirmation"
        async with asyncio.timeout(30):
            while (await api(server, "GET", "health"))[1]["activeRuns"] != 1:
                await asyncio.sleep(0.05)
        assert [run["runId"] for run in await every(server, "runs?status=pending,running&", limit=50)] == []
        assert (await api(server, "POST", f"runs/{waits}/interrupt"))[0] == 202


# --- what cannot be written down ends nobody ------------------------------------------------------------------------

NO_ROW = """
CREATE TRIGGER no_more_runs BEFORE INSERT ON runs BEGIN INSERT INTO nowhere VALUES (1); END;
"""
NO_JOURNAL = """
CREATE FUNCTION no_more_journals() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER no_more_journals BEFORE INSERT ON journals FOR EACH ROW EXECUTE FUNCTION no_more_journals()
"""


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_a_run_whose_row_fails_leaves_the_old_one_running(tmp_path: Path, strategy: str) -> None:
    async with LiveServer(tmp_path) as server:
        thread = await a_thread(server)
        old = await server.start_run(SLOW, threadId=thread)
        await reached(server, old, "running")
        (folder,) = (server.home / "data" / "jupyter_agent").iterdir()
        with sqlite3.connect(folder / "jupyter_agent.db", timeout=10) as db:
            db.executescript(NO_ROW)
        db.close()
        body = {"input": "new", "model": "echo", "threadId": thread, "multitask": strategy}
        status, fault = await api(server, "POST", "runs", body)
        assert (status >= 500, fault["code"]) == (True, "storage_unavailable")
        assert (await api(server, "GET", f"runs/{old}"))[1]["status"] == "running"
        assert (await ended(server, old))["status"] == "completed"
        with sqlite3.connect(folder / "jupyter_agent.db", timeout=10) as db:
            db.execute("DROP TRIGGER no_more_runs")
        db.close()
        assert len(await every(server, f"runs?threadId={thread}&", limit=50)) == 1
        status, run = await api(server, "POST", "runs", body)
        assert (status, (await ended(server, run["runId"]))["status"]) == (201, "completed")


@pytest.mark.parametrize(
    ("strategy", "store"), [("interrupt", "sqlite"), ("rollback", "sqlite"), ("rollback", "postgres")]
)
async def test_a_run_whose_journal_fails_leaves_the_old_one_running(
    tmp_path: Path, strategy: str, storing: dict[str, str]
) -> None:
    failing = storing or {"JUPYTER_AGENT_FAILPOINTS": "journal.created=raise:ENOSPC;nth=2"}
    async with LiveServer(tmp_path, environment=failing) as server:
        thread = await a_thread(server)
        old = await server.start_run(SLOW, threadId=thread)
        await reached(server, old, "running")
        if storing:
            change(storing[DATABASE_URL], NO_JOURNAL)
        body = {"input": "new", "model": "echo", "threadId": thread, "multitask": strategy}
        status, fault = await api(server, "POST", "runs", body)
        assert (status, fault["code"]) == (507, "storage_full")
        if storing:
            change(storing[DATABASE_URL], "DROP FUNCTION no_more_journals CASCADE")
        assert (await api(server, "GET", f"runs/{old}"))[1]["status"] == "running"
        assert [run["runId"] for run in await every(server, f"runs?threadId={thread}&", limit=50)] == [old]
        status, run = await api(server, "POST", "runs", body)
        assert status == 201
        assert (await ended(server, old))["status"] == "interrupted"
        assert (await ended(server, run["runId"]))["status"] == "completed"


@pytest.mark.parametrize(
    ("nth", "store"), [*((nth, "sqlite") for nth in range(2, 5)), *((nth, "postgres") for nth in (3, 4))]
)
async def test_a_start_that_fails_at_any_of_its_writes_leaves_nothing_behind(
    tmp_path: Path, nth: int, storing: dict[str, str]
) -> None:
    failpoints = storing | {"JUPYTER_AGENT_FAILPOINTS": f"rows.before_commit=raise:EIO;nth={nth}"}
    async with LiveServer(tmp_path, environment=failpoints) as server:
        status, thread = await api(server, "POST", "threads", {})
        if status != 201:
            status, thread = await api(server, "POST", "threads", {})
        body = {"input": "new", "model": "echo", "threadId": thread["threadId"]}
        status, run = await api(server, "POST", "runs", body)
        left = await every(server, f"runs?threadId={thread['threadId']}&", limit=50)
        assert [one["runId"] for one in left] == ([run["runId"]] if status == 201 else [])
        if status == 201:
            assert (await ended(server, run["runId"]))["status"] == "completed"
        status, run = await api(server, "POST", "runs", body)
        assert (status, (await ended(server, run["runId"]))["status"]) == (201, "completed")


async def test_many_who_want_the_same_thread_at_once(server: LiveServer) -> None:
    """Each interrupts whoever is there: one after the other runs, the last to the end, and none is left behind."""
    thread = await a_thread(server)
    old = await server.start_run(SLOW, threadId=thread)
    line = await server.start_run(QUICK, threadId=thread, multitask="enqueue")
    body = {"input": "new", "model": "scripted", "script": QUICK, "threadId": thread, "multitask": "interrupt"}
    made = await asyncio.gather(*(api(server, "POST", "runs", body) for _ in range(10)))
    assert {status for status, _ in made} == {201}
    over = [await ended(server, run["runId"]) for _, run in made]
    assert {run["status"] for run in over} <= {"completed", "interrupted"}
    assert (await ended(server, old))["status"] == "interrupted"
    assert (await ended(server, line))["status"] == "completed", "who stood in line before has their turn"
    assert "status" not in (await api(server, "GET", f"threads/{thread}"))[1], "it is idle"


async def test_who_stands_in_line_is_never_forgotten(server: LiveServer) -> None:
    """What they wait for ends at the very moment they come."""
    for _ in range(15):
        thread = await a_thread(server)
        await server.start_run(QUICK, threadId=thread)
        behind = await asyncio.gather(
            *(server.start_run(QUICK, threadId=thread, multitask="enqueue") for _ in range(3))
        )
        for run_id in behind:
            assert (await ended(server, run_id))["status"] == "completed"


# --- bad input ------------------------------------------------------------------------------------------------------

LISTS = ("threads?", "runs?", "runs/{run}/turns?", "runs/{run}/traces?", "runs/{run}/feedback?")


async def test_absurd_limits_and_cursors_from_elsewhere_are_refused(server: LiveServer) -> None:
    runs = [await server.start_run(QUICK) for _ in range(2)]
    for run_id in runs:
        await ended(server, run_id)
        for number in range(2):
            await api(server, "POST", f"runs/{run_id}/feedback", {"rating": 1, "messageId": f"m{number}"})
    cursors = {}
    for path in LISTS:
        for limit in (0, -1, 201, 2**31, 2**63, 2**70, "1e3", "1.5", "NaN", "", "0x10", "٣"):
            status, fault = await api(server, "GET", f"{path.format(run=runs[0])}limit={limit}")
            assert (status, "limit" in fault["details"]["fields"]) == (422, True), (path, limit)
        status, page = await api(server, "GET", f"{path.format(run=runs[0])}limit=1")
        assert status == 200
        if page["nextCursor"]:
            cursors[path] = page["nextCursor"]
    assert {"threads?", "runs?", "runs/{run}/feedback?"} <= cursors.keys()
    for path in LISTS:
        for origin, cursor in cursors.items():
            if origin != path:
                status, fault = await api(server, "GET", f"{path.format(run=runs[0])}cursor={cursor}")
                assert (status, fault["code"]) == (422, "invalid_request"), (path, origin)
        for cursor in ("x", "%00", "AAAA", "=" * 8, "a" * 500, "cnVucyAyMDI2", "💥"):
            status, _ = await api(server, "GET", f"{path.format(run=runs[0])}cursor={cursor}")
            assert status == 422, (path, cursor)


@pytest.mark.parametrize("raw", ['"a\\u0000b"', '"\\ud800"', '"\\ud83d\\ude00"', '"\u202e"', "1e400", "[[1e999]]"])
async def test_odd_values_are_kept_the_same_way_everywhere(server: LiveServer, raw: str) -> None:
    for name, path in (("threads", "threads"), ("runs", "runs")):
        more = '"input":"hi","model":"echo",' if name == "runs" else '"title":"t",'
        answer = await fetch(server, "POST", f"{API}/{path}", raw=f'{{{more}"metadata":{{"k":{raw}}}}}'.encode())
        assert answer.code in (201, 422), answer.body
        if answer.code == 201:
            made = json.loads(answer.body)
            one = f"{path}/{made['runId' if name == 'runs' else 'threadId']}"
            _, again = await api(server, "GET", one)
            assert again["metadata"] == made["metadata"]
            assert "\0" not in json.dumps(again["metadata"], ensure_ascii=False)
    assert (await api(server, "GET", "threads?limit=5"))[0] == 200


@pytest.mark.parametrize("raw", [b'{"metadata":{"k":NaN}}', b'{"metadata":{"k":Infinity}}', b'{"title":"\xff"}'])
async def test_what_is_no_json_is_refused(server: LiveServer, raw: bytes) -> None:
    assert (await fetch(server, "POST", f"{API}/threads", raw=raw)).code == 422
