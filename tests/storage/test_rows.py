"""Threads, runs and turns as rows: who may see them, how they move, and in what order they are listed."""

import asyncio
import random
import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from jupyter_agent.exceptions import (
    Conflict,
    InvalidRequest,
    RunActive,
    RunNotFound,
    StorageError,
    ThreadBusy,
    ThreadNotFound,
)
from jupyter_agent.records import (
    ACTIVE,
    SYSTEM,
    TERMINAL,
    Cell,
    Image,
    Multitask,
    Principal,
    Run,
    RunStatus,
    Text,
    Thread,
    ThreadStatus,
    Turn,
    Usage,
    clean,
)
from jupyter_agent.storage import queries
from jupyter_agent.storage.cursors import Key, encode_cursor
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.tables import runs

ALICE, MALLORY = Principal(user_id="alice"), Principal(user_id="mallory")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [f"{number:064x}" for number in range(10)]


def a_thread(name="t", user="alice", **fields):
    return Thread(**{"thread_id": name, "user_id": user, "created_at": BEGAN, "updated_at": BEGAN} | fields)


def a_run(name, thread="t", user="alice", **fields):
    given = {"status": RunStatus.PENDING, "agent": "default", "model": "echo", "created_at": BEGAN, "updated_at": BEGAN}
    return Run(run_id=name, thread_id=thread, user_id=user, **given | fields)


def a_turn(run_id, turn=0, **fields):
    given = {"blob": KEYS[turn], "model": "echo", "stop_reason": "stop", "usage": Usage(input_tokens=3, requests=1)}
    return Turn(run_id=run_id, turn=turn, started_at=BEGAN, finished_at=BEGAN, **given | fields)


@pytest.fixture
async def thread(rows):
    return await rows.create_thread(a_thread())


async def ended(rows, name, **fields):
    await rows.create_run(a_run(name, **fields))
    return await rows.save_run(a_run(name, **fields | {"status": RunStatus.COMPLETED}))


async def every_page(listing, **options):
    found, cursor = [], None
    while True:
        page = await listing(cursor=cursor, **options)
        found += page.items
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


# --- what goes in comes out ------------------------------------------------------------------------------------------


async def test_a_run_comes_back_as_it_was(rows, thread):
    run = a_run(
        "r",
        started_at=BEGAN + timedelta(microseconds=1),
        ended_at=BEGAN + timedelta(hours=1, microseconds=999_999),
        queued=True,
        multitask=Multitask.ENQUEUE,
        input=(Text(text="ünï\U0001f600", blob=KEYS[0]), Image(blob=KEYS[1], mime="image/png")),
        metadata={"a": [1, {"b": None}], "n": 1.5},
        kwargs={"x": 2**70},
        cell=Cell(cell_id="c", execution_count=3),
        parent_run_id="p",
        follow_up_to_run_id="f",
        compare_group_id="g",
        usage=Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, reasoning_tokens=1, requests=1, cost=0.5),
        model_call_count=1,
        tool_call_count=2,
        message_count=3,
        first_human_message="first",
        last_ai_message="last",
        error_code="e",
        error_message="m",
        detail_blob=KEYS[2],
        rolled_back=True,
    )
    assert await rows.create_run(run) == run
    assert await rows.get_run("r", by=ALICE) == run


async def test_a_thread_comes_back_as_it_was(rows):
    thread = a_thread(title="Tïtle", metadata={"a": 1})
    assert await rows.create_thread(thread) == thread
    assert await rows.get_thread("t", by=ALICE) == thread


async def test_turns_come_back_in_order_and_are_replaced(rows, thread):
    await rows.create_run(a_run("r"))
    for turn in (2, 0, 1):
        await rows.save_turn(a_turn("r", turn))
    await rows.save_turn(a_turn("r", 1, stop_reason="length"))
    found = await every_page(rows.list_turns, run_id="r", by=ALICE, limit=2)
    assert found == [a_turn("r", 0), a_turn("r", 1, stop_reason="length"), a_turn("r", 2)]
    with pytest.raises(RunNotFound):
        await rows.save_turn(a_turn("unknown"))


HOSTILE = [
    "\0",
    "a\0b",
    "\ud800",
    "\udfff x",
    "\U0001f600",
    "'; DROP TABLE runs; --",
    "\x1b[31m",
    "\u2028",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_any_text_goes_in_and_the_rows_stay_readable(rows, text):
    thread = await rows.create_thread(a_thread(title=text, metadata={text: [text, float("nan")]}))
    assert thread.title == clean(text)
    run = await rows.create_run(
        a_run("r", input=(Text(text=text),), error_message=text, metadata={"v": text, "inf": float("inf")})
    )
    assert (run.error_message, run.metadata) == (clean(text), {"v": clean(text), "inf": None})
    assert (await rows.list_runs(by=ALICE)).items == (run,)
    for wrong in (rows.get_run, rows.get_thread):
        with pytest.raises((RunNotFound, ThreadNotFound)):
            await wrong(text, by=ALICE)
    assert await rows.list_runs(by=ALICE, model=text) == (await rows.list_runs(by=ALICE, parent_run_id=text))


@pytest.mark.parametrize("number", [2**63, 2**200, -(2**200), -1])
async def test_numbers_out_of_range_are_kept_in_range(rows, thread, number):
    run = await rows.create_run(a_run("r", usage=Usage(input_tokens=number, requests=1), tool_call_count=number))
    assert abs(run.usage.input_tokens) <= 2**63 - 1
    assert (await rows.get_run("r", by=ALICE)).tool_call_count == run.tool_call_count


# --- whose it is ------------------------------------------------------------------------------------------------------


async def test_what_belongs_to_others_reads_as_absent(rows):
    await rows.create_thread(a_thread())
    await ended(rows, "r")
    await rows.save_turn(a_turn("r"))
    await rows.refer(KEYS[3], run_id="r", user_id="alice")
    await rows.refer(KEYS[4], run_id=None, user_id="alice")
    for work, absent in [
        (rows.get_thread("t", by=MALLORY), ThreadNotFound),
        (rows.update_thread("t", by=MALLORY, title="mine"), ThreadNotFound),
        (rows.delete_thread("t", by=MALLORY), ThreadNotFound),
        (rows.create_thread(a_thread(user="mallory")), ThreadNotFound),
        (rows.create_run(a_run("m", user="mallory")), ThreadNotFound),
        (rows.get_run("r", by=MALLORY), RunNotFound),
        (rows.delete_run("r", by=MALLORY), RunNotFound),
        (rows.list_turns("r", by=MALLORY), RunNotFound),
    ]:
        with pytest.raises(absent) as theirs:
            await work
        assert "alice" not in theirs.value.message
    assert (await rows.list_runs(by=MALLORY)).items == ()
    assert (await rows.list_runs(by=MALLORY, thread_id="t")).items == ()
    assert (await rows.list_threads(by=MALLORY)).items == ()
    for key in (KEYS[0], KEYS[3], KEYS[4]):
        assert not await rows.blob_is_referred_to(key, by=MALLORY)
        assert await rows.blob_is_referred_to(key, by=ALICE)
        assert await rows.blob_is_referred_to(key, by=SYSTEM)
    assert (await rows.get_run("r", by=SYSTEM)).run_id == "r"
    assert (await rows.get_thread("t", by=ALICE)).title is None


async def test_ownership_comes_before_the_limit(rows):
    for number in range(30):
        user = "alice" if number % 10 == 0 else "mallory"
        await rows.create_thread(a_thread(f"t{number}", user, created_at=BEGAN + timedelta(seconds=number)))
    page = await rows.list_threads(by=ALICE, limit=3)
    assert [thread.thread_id for thread in page.items] == ["t20", "t10", "t0"]
    assert page.next_cursor is None


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_are_newest_first_with_ties_by_id_and_miss_nothing(rows, limit):
    chance = random.Random(limit)
    await rows.create_thread(a_thread())
    for number in range(25):
        at = BEGAN + timedelta(microseconds=chance.randrange(6))
        await ended(rows, f"r{number:02}", created_at=at, model=chance.choice(["a", "b"]))
    whole = await every_page(rows.list_runs, by=ALICE, limit=limit)
    assert whole == sorted(whole, key=lambda run: (run.created_at, run.run_id), reverse=True)
    assert len(whole) == 25
    some = await every_page(rows.list_runs, by=ALICE, limit=limit, model="a", statuses=[RunStatus.COMPLETED])
    assert some == [run for run in whole if run.model == "a"]


async def test_a_page_holds_while_newer_rows_come(rows, thread):
    for number in range(6):
        await ended(rows, f"r{number}", created_at=BEGAN + timedelta(seconds=number))
    first = await rows.list_runs(by=ALICE, limit=3)
    await ended(rows, "new", created_at=BEGAN + timedelta(days=1))
    second = await rows.list_runs(by=ALICE, limit=3, cursor=first.next_cursor)
    assert [run.run_id for run in first.items + second.items] == ["r5", "r4", "r3", "r2", "r1", "r0"]


FOREIGN = [
    "", "x", "é", "\ud800", "AAAA", "A" * 10_000, "' OR 1=1 --", "eyJhIjoxfQ==",
    encode_cursor("threads", Key(BEGAN, "t")), encode_cursor("runs", Key(BEGAN, "t")) + "=",
    encode_cursor("turns", Key(BEGAN, "other.1")), encode_cursor("turns", Key(BEGAN, "r.x")),
]  # fmt: skip


@pytest.mark.parametrize("cursor", FOREIGN, ids=range(len(FOREIGN)))
async def test_a_foreign_cursor_is_refused(rows, thread, cursor):
    await rows.create_run(a_run("r"))
    with pytest.raises(InvalidRequest, match="cursor"):
        await rows.list_runs(by=ALICE, cursor=cursor)
    with pytest.raises(InvalidRequest, match="cursor"):
        await rows.list_turns("r", by=ALICE, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_is_at_least_one(rows, limit):
    with pytest.raises(InvalidRequest, match="limit"):
        await rows.list_runs(by=ALICE, limit=limit)


# --- statuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", RunStatus)
@pytest.mark.parametrize("new", RunStatus)
async def test_a_status_moves_only_forward(rows, thread, old, new):
    await rows.create_run(a_run("r"))
    await rows.save_run(a_run("r", status=old))
    expected = old if old in TERMINAL or (new is RunStatus.PENDING) else new
    assert (await rows.save_run(a_run("r", status=new, model="other"))).status is expected
    assert (await rows.get_run("r", by=ALICE)).model == "other", "other fields are saved all the same"
    await rows.project([a_run("r", status=new)], [], [])
    assert (await rows.get_run("r", by=ALICE)).status is expected


async def test_what_a_journal_says_leaves_alone_what_it_does_not_know(rows, thread):
    run = await rows.create_run(a_run("r", queued=True, kwargs={"k": 1}))
    await rows.save_run(replace(run, detail_blob=KEYS[0], rolled_back=True))
    await rows.project(
        [a_run("r", status=RunStatus.RUNNING, last_ai_message="hi")], [a_turn("r")], [(KEYS[5], "r", "alice")]
    )
    found = await rows.get_run("r", by=ALICE)
    assert (found.queued, found.kwargs, found.detail_blob, found.rolled_back) == (True, {"k": 1}, KEYS[0], True)
    assert (found.status, found.last_ai_message) == (RunStatus.RUNNING, "hi")
    assert await rows.blob_is_referred_to(KEYS[5], by=ALICE)
    await rows.project([a_run("gone")], [a_turn("gone")], [])
    assert len((await rows.list_runs(by=ALICE)).items) == 1


@pytest.mark.parametrize("status", sorted(ACTIVE))
async def test_one_active_run_a_thread(rows, thread, status):
    await rows.create_run(a_run("first"))
    await rows.save_run(a_run("first", status=status))
    with pytest.raises(ThreadBusy, match="interrupt, rollback or enqueue"):
        await rows.create_run(a_run("second"))
    queued = await rows.create_run(a_run("queued", queued=True))
    assert queued.queued
    with pytest.raises(ThreadBusy):
        await rows.save_run(a_run("queued", queued=False))
    await rows.save_run(a_run("first", status=RunStatus.COMPLETED))
    await rows.create_run(a_run("third"))


async def test_of_many_at_once_exactly_one_becomes_active(rows, thread, tmp_path):
    other = SqlRows(rows.backend)
    await other.open()
    results = await asyncio.gather(
        *((rows, other)[number % 2].create_run(a_run(f"r{number}")) for number in range(60)), return_exceptions=True
    )
    await other.close()
    assert sum(isinstance(result, Run) for result in results) == 1
    assert sum(type(result) is ThreadBusy for result in results) == 59


async def test_queued_runs_start_in_order_and_one_at_a_time(rows, thread):
    await rows.create_run(a_run("active"))
    for number in (2, 0, 1):
        await rows.create_run(a_run(f"q{number}", queued=True, created_at=BEGAN + timedelta(seconds=number)))
    assert await rows.next_queued("t") is None
    await rows.save_run(a_run("active", status=RunStatus.ERROR))
    taken = await asyncio.gather(*(rows.next_queued("t") for _ in range(5)))
    assert [run.run_id for run in taken if run] == ["q0"]
    assert not (await rows.get_run("q0", by=ALICE)).queued
    await rows.save_run(a_run("q1", status=RunStatus.INTERRUPTED, queued=True))
    await rows.save_run(a_run("q0", status=RunStatus.COMPLETED))
    assert (await rows.next_queued("t")).run_id == "q2"
    assert await rows.next_queued("unknown") is None


async def test_the_status_of_a_thread_follows_its_runs(rows, thread):
    async def status():
        return (await rows.get_thread("t", by=ALICE)).status

    await rows.create_run(a_run("r"))
    assert await status() is ThreadStatus.BUSY
    await rows.project([a_run("r", status=RunStatus.WAITING_INPUT, updated_at=BEGAN + timedelta(hours=1))], [], [])
    assert await status() is ThreadStatus.WAITING
    assert (await rows.get_thread("t", by=ALICE)).updated_at == BEGAN + timedelta(hours=1)
    await rows.save_run(a_run("r", status=RunStatus.ERROR))
    assert await status() is ThreadStatus.ERROR
    await ended(rows, "later", created_at=BEGAN + timedelta(hours=2))
    assert await status() is ThreadStatus.IDLE


async def test_history_is_what_was_not_rolled_back(rows, thread):
    for number in range(4):
        await ended(rows, f"r{number}", created_at=BEGAN + timedelta(seconds=number), rolled_back=number == 1)
    assert [run.run_id for run in await rows.thread_runs("t")] == ["r0", "r2", "r3"]
    until = BEGAN + timedelta(seconds=2)
    assert [run.run_id for run in await rows.thread_runs("t", until=until)] == ["r0", "r2"]


async def test_what_a_fork_began_with_stays_history_when_the_fork_is_rolled_back(rows, thread):
    fork = {"forked_from_run_id": "gone", "forked_from_turn": 3, "past_blob": KEYS[0]}
    await ended(rows, "fork", rolled_back=True, **fork)
    (found,) = await rows.thread_runs("t")
    assert {name: getattr(found, name) for name in fork} == fork
    assert found.rolled_back


async def test_what_start_up_looks_at(rows, thread):
    await ended(rows, "done")
    await rows.create_run(a_run("late", created_at=BEGAN + timedelta(seconds=9)))
    await rows.create_run(a_run("queued", queued=True))
    assert [run.run_id for run in await rows.active_runs()] == ["queued", "late"]


async def test_there_is_one_run_of_an_id(rows, thread):
    await rows.create_run(a_run("r", queued=True))
    with pytest.raises(Conflict, match="already"):
        await rows.create_run(a_run("r", queued=True))
    assert await rows.create_thread(a_thread(title="again")) == await rows.get_thread("t", by=ALICE)


# --- threads ---------------------------------------------------------------------------------------------------------


async def test_metadata_is_merged_and_none_removes(rows):
    await rows.create_thread(a_thread(metadata={"a": 1, "b": 2}))
    thread = await rows.update_thread("t", by=ALICE, metadata={"b": None, "c": {"d": 3}})
    assert (thread.metadata, thread.title) == ({"a": 1, "c": {"d": 3}}, None)
    thread = await rows.update_thread("t", by=ALICE, title='title"=1--')
    assert (thread.metadata, thread.title) == ({"a": 1, "c": {"d": 3}}, 'title"=1--')
    assert thread.updated_at > BEGAN


@pytest.mark.parametrize("key", ['title"=1--', "x') OR '1'='1", "a; DROP TABLE runs", "user_id", "__reduce__"])
async def test_keys_of_metadata_are_data(rows, key):
    await rows.create_thread(a_thread())
    thread = await rows.update_thread("t", by=ALICE, metadata={key: {"lc": 1, "type": "constructor"}})
    assert (thread.metadata, thread.user_id) == ({key: {"lc": 1, "type": "constructor"}}, "alice")


# --- deletion --------------------------------------------------------------------------------------------------------


async def test_an_active_run_is_not_deleted(rows, thread):
    await rows.create_run(a_run("r", queued=True))
    for work in (rows.delete_run("r", by=ALICE), rows.delete_thread("t", by=ALICE)):
        with pytest.raises(RunActive, match="interrupt it"):
            await work
    assert (await rows.get_run("r", by=ALICE)).queued


async def test_a_deleted_run_gives_its_blobs_free_and_forgets_none(rows, thread):
    for name in ("a", "b"):
        await ended(rows, name, detail_blob=KEYS[8 if name == "a" else 9])
        await rows.refer(KEYS[5], run_id=name, user_id="alice")
    await rows.save_turn(a_turn("a", 0))
    await rows.save_turn(a_turn("a", 1))
    await rows.save_turn(a_turn("b", 1))
    await rows.refer(KEYS[6], run_id="a", user_id="alice")
    await rows.refer(KEYS[6], run_id=None, user_id="mallory")
    assert await rows.release("a") == (), "a run that is there keeps what it has"
    await rows.delete_run("a", by=ALICE)
    assert not await rows.blob_is_referred_to(KEYS[0], by=ALICE)
    free = await rows.release("a")
    assert free == [KEYS[0], KEYS[8]], "not what b, its turn or an upload refer to"
    assert await rows.release("a") == free, "told again until they are gone"
    assert await rows.deleted_runs() == ["a"]
    await rows.released("a", free)
    assert (await rows.release("a"), await rows.deleted_runs()) == ([], [])
    assert await rows.delete_thread("t", by=ALICE) == ["b"]
    assert await rows.release("b") == [KEYS[1], KEYS[5], KEYS[9]]
    with pytest.raises(ThreadNotFound):
        await rows.get_thread("t", by=ALICE)
    assert [pair async for pair in rows.referred_blobs() if pair[1] == ""] == [(KEYS[6], "")]


# --- the writer ------------------------------------------------------------------------------------------------------


async def test_a_cancelled_caller_cuts_no_transaction(rows, thread):
    for number in range(30):
        task = asyncio.create_task(ended(rows, f"r{number}"))
        await asyncio.sleep(0.0005 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rows.create_thread(thread)  # behind it in the writer's queue: the cancelled write is done, or never was
        for run in await rows.active_runs():
            await rows.save_run(replace(run, status=RunStatus.INTERRUPTED))
    for run in (await rows.list_runs(by=ALICE)).items:
        assert run.status in TERMINAL
    await rows.create_run(a_run("last"))


async def test_a_closed_store_says_so(tmp_path):
    store = SqlRows(tmp_path / "db")
    with pytest.raises(StorageError, match="not open"):
        await store.get_run("r", by=ALICE)


async def test_a_cancelled_reader_leaves_the_store_in_order(rows, thread):
    await ended(rows, "r")
    for number in range(60):
        task = asyncio.create_task(rows.list_runs(by=ALICE))
        await asyncio.sleep(0.0001 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    found = await asyncio.gather(*(rows.get_run("r", by=ALICE) for _ in range(20)))
    assert len(found) == 20


async def test_what_is_going_on_is_found_by_an_index_of_its_own(rows, thread, kind):
    """Among a million ended runs a start looks at the few active ones alone."""
    query = sa.select(runs).where(queries.IS_UNFINISHED).order_by(runs.c.created_at, runs.c.run_id)
    text = query.compile(rows._engine.sync_engine, compile_kwargs={"literal_binds": True})

    async def explain(db):
        if kind == "sqlite":
            return str((await db.execute(sa.text(f"EXPLAIN QUERY PLAN {text}"))).all())
        for way in ("seqscan", "bitmapscan"):
            await db.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        return str((await db.execute(sa.text(f"EXPLAIN {text}"))).all())

    plan = await rows._write(explain)
    assert "unfinished_runs" in plan
    assert not re.search("TEMP B-TREE|Sort", plan)
