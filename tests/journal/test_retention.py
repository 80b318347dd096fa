"""What goes by age and size, what nobody refers to, and that what was deleted is nowhere any more."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import zlib
from datetime import timedelta

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from jupyter_agent.exceptions import StorageFull
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.journal.check import check
from jupyter_agent.journal.retention import Limits, carry_out, choose, collect, delete_thread, unreferred
from jupyter_agent.records import SYSTEM, Feedback, Image, Principal, Text, utc_now
from jupyter_agent.storage import DATABASE, open_storage
from jupyter_agent.storage.cursors import Key
from jupyter_agent.storage.tables import metadata, threads
from tests.journal.collecting import race
from tests.journal.test_rows_follow import ALICE, World
from tests.storage.samples import keys_of
from tests.storage.test_hard_faults import small_disk  # noqa: F401 - a fixture

DAY = timedelta(days=1)
CANARY = "canary-4f1c9a"


@pytest.fixture
def kind():
    """What goes and what comes free is told by files here."""
    return "sqlite"


@pytest.fixture
def world(storage, journal, projection):
    return World(storage, Journal(storage.lines, storage.blobs, observer=projection, unused_s=0.0), projection)


async def aged(world, thread, days):
    """Makes a thread as old as that."""

    async def change(db):
        at = utc_now() - days * DAY
        await db.execute(sa.update(threads).where(threads.c.thread_id == thread).values(updated_at=at))

    await world.storage.rows._write(change)


async def old_threads(world, count=4):
    """Threads t0, t1 …: the first is the oldest, ten days for each behind it."""
    for number in range(count):
        await world.whole_run(f"r{number}", 1, thread=f"t{number}")
        await aged(world, f"t{number}", 10 * (count - number))


def names(plan):
    return [doomed.thread.thread_id for doomed in plan.threads]


def taken(folder):
    kept = (path for name in ("blobs", "journals") for path in (folder / name).rglob("*"))
    return sum(path.stat().st_size for path in kept if path.is_file())


async def delete(world, plan):
    async def one(thread):
        await delete_thread(thread.thread_id, world.storage, world.journal)

    return await carry_out(plan, world.storage, delete=one)


async def test_without_limits_nothing_goes(world):
    await old_threads(world)
    plan = await choose(world.storage, Limits(), by=SYSTEM)
    assert (names(plan), plan.bytes) == ([], 0)


async def test_what_is_older_goes_and_the_plan_says_what_comes_free(world):
    await old_threads(world)
    plan = await choose(world.storage, Limits(older_than=15 * DAY), by=SYSTEM)
    assert names(plan) == ["t0", "t1", "t2"]
    before = taken(world.storage.folder)
    assert names(await choose(world.storage, Limits(older_than=15 * DAY), by=SYSTEM)) == names(plan), "a look changes"
    done = await delete(world, plan)
    assert (names(done), done.runs) == (names(plan), 3)
    assert before - taken(world.storage.folder) == plan.bytes == done.bytes
    assert [run.run_id for run in (await world.storage.rows.list_runs(by=SYSTEM)).items] == ["r3"]
    assert (await check(world.storage)).problems == []


async def test_of_what_is_too_much_the_longest_unused_go(world):
    await old_threads(world)
    whole = await choose(world.storage, Limits(larger_than=0), by=SYSTEM)
    assert names(whole) == ["t0", "t1", "t2", "t3"]
    first_two = sum(doomed.bytes for doomed in whole.threads[:2])
    plan = await choose(world.storage, Limits(larger_than=whole.bytes_before - first_two + 1), by=SYSTEM)
    assert names(plan) == ["t0", "t1"]
    assert names(await choose(world.storage, Limits(larger_than=whole.bytes_before), by=SYSTEM)) == []


async def test_what_is_shared_comes_free_with_the_last(world):
    shared = await world.storage.blobs.put(os.urandom(50_000))
    for name in ("a", "b", "c"):
        await world.whole_run(name, 0, thread=name, input=(Image(blob=shared, mime="image/png"),))
        await aged(world, name, 30 if name != "c" else 1)
    few = await choose(world.storage, Limits(older_than=9 * DAY), by=SYSTEM)
    assert max(doomed.bytes for doomed in few.threads) < 50_000
    all_of_them = await choose(world.storage, Limits(larger_than=0), by=SYSTEM)
    assert [doomed.bytes > 50_000 for doomed in all_of_them.threads] == [False, False, True]
    await delete(world, few)
    assert await world.storage.blobs.get(shared)


async def test_a_thread_that_is_used_stays(world):
    await old_threads(world, 3)
    await world.start("active", thread="t0")
    plan = await choose(world.storage, Limits(older_than=DAY / 100, larger_than=0), by=SYSTEM)
    assert "t0" not in names(plan)
    await world.storage.rows.update_thread("t1", by=ALICE, title="used again meanwhile")
    assert names(await delete(world, plan)) == ["t2"]
    assert (await world.storage.rows.get_thread("t1", by=ALICE)).title == "used again meanwhile"


async def test_each_chooses_among_their_own(world):
    await old_threads(world)
    mallory = Principal(user_id="mallory")
    assert names(await choose(world.storage, Limits(larger_than=0), by=mallory)) == []
    assert len(names(await choose(world.storage, Limits(larger_than=0), by=ALICE))) == 4


async def test_pages_of_old_threads_hold_each_once(world):
    """Many of one instant."""
    at = utc_now()
    for number in range(23):
        await world.whole_run(f"r{number}", 0, thread=f"t{number}")

    async def at_once(db):
        await db.execute(sa.update(threads).values(updated_at=at))

    await world.storage.rows._write(at_once)
    found, after = [], None
    while page := await world.storage.rows.idle_threads(by=SYSTEM, after=after, limit=5):
        found += [thread.thread_id for thread in page]
        after = Key(page[-1].updated_at, page[-1].thread_id)
    assert found == sorted(f"t{number}" for number in range(23))


# --- what nobody refers to ------------------------------------------------------------------------------------------


async def test_what_nobody_refers_to_is_collected_after_a_while(world):
    await world.whole_run("done", 2)
    await world.start("active", thread="u")
    await world.turn("active", 0)
    await world.projection.settle("active")
    before = set(await keys_of(world.storage.blobs))
    lost = await world.storage.blobs.put(b"nobody's")
    assert await collect(world.storage) == {}, "somebody may be about to refer to it"
    assert set(await collect(world.storage, grace_s=0.0)) == {lost}
    assert set(await keys_of(world.storage.blobs)) == before
    assert (await check(world.storage)).problems == []


@pytest.mark.parametrize("kept_as", ["journal", "archive"])
async def test_nothing_is_collected_while_a_run_has_no_row(world, caplog, kept_as):
    """As when somebody lost the database: everything would look like nobody's."""
    await world.whole_run("done", 2, archives=kept_as == "archive")
    await world.journal.close("done")
    keys = set(await keys_of(world.storage.blobs))

    async def lose(db):
        for name in ("turn_segments", "turns", "tool_traces", "approvals", "inputs", "blob_refs", "runs", "threads"):
            await db.execute(sa.delete(metadata.tables[name]))

    await world.storage.rows._write(lose)
    assert await collect(world.storage, grace_s=0.0) == await unreferred(world.storage, grace_s=0.0) == {}
    assert "jupyter agent rebuild" in caplog.text
    assert set(await keys_of(world.storage.blobs)) == keys


async def test_what_is_put_and_referred_to_is_never_collected(world):
    """A small dose; benchmarks/collecting.py takes the full one, on both databases."""
    raced = await race(world.storage, 60, seed=5)
    assert (raced.attached, raced.lost, raced.wrong) == (60, 0, 0)
    assert raced.gone


async def test_bytes_that_are_put_while_they_are_deleted_stay(world):
    blobs = world.storage.blobs
    body = os.urandom(200)
    for _ in range(300):
        key = await blobs.put(body)
        os.utime(blobs.path(key), (1, 1))
        blobs._put_again.clear()
        gone, _ = await asyncio.gather(blobs.delete(key, kept_for_s=5.0), blobs.put(body))
        assert await blobs.get(key) == body, gone


async def test_an_upload_goes_with_the_run_that_used_it(world):
    key = await world.storage.blobs.put(b"a picture")
    await world.storage.rows.refer(key, run_id=None, user_id="alice")
    await world.whole_run("r", 0, input=(Image(blob=key, mime="image/png"),))
    assert await world.storage.rows.blob_is_referred_to(key, by=ALICE)
    await delete_thread("t", world.storage, world.journal)
    assert await keys_of(world.storage.blobs) == []


async def test_an_upload_that_looks_like_an_archive_holds_nothing_up(world):
    forged = await world.storage.blobs.put(b'{"schemaVersion":1,"eventCount":1}')
    await world.storage.rows.refer(forged, run_id=None, user_id="mallory")
    lost = await world.storage.blobs.put(b"nobody's")
    assert set(await collect(world.storage, grace_s=0.0, now=utc_now() + 2 * DAY)) == {forged, lost}


async def test_an_upload_that_no_run_uses_waits_a_day(world):
    key = await world.storage.blobs.put(b"a picture")
    await world.storage.rows.refer(key, run_id=None, user_id="alice")
    assert await collect(world.storage, grace_s=0.0) == {}
    assert set(await collect(world.storage, grace_s=0.0, now=utc_now() + 2 * DAY)) == {key}


async def test_what_unfinished_puts_left_goes(world):
    key = await world.storage.blobs.put(b"x")
    left = world.storage.blobs.path(key).with_name("abc.tmp")
    left.write_bytes(b"half")
    await collect(world.storage)
    assert left.exists()
    os.utime(left, (1, 1))
    await collect(world.storage)
    assert not left.exists()


# --- deleted means gone ---------------------------------------------------------------------------------------------


def found_in(folder, canary=CANARY):
    """Returns the files that hold the canary, as it is or compressed."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            with contextlib.suppress(zlib.error):
                data += zlib.decompress(data)
            if canary.encode() in data:
                found.append(path.relative_to(folder).as_posix())
    return found


async def everywhere(world):
    """A thread that says its canary in every place where something is kept."""
    rows, blobs = world.storage.rows, world.storage.blobs
    key = await blobs.put(f"picture {CANARY}".encode())
    await rows.refer(key, run_id=None, user_id="alice")
    await world.start("r", input=(Text(text=CANARY), Image(blob=key, mime="image/png")), metadata={CANARY: CANARY})
    await rows.update_thread("t", by=ALICE, title=CANARY, metadata={"note": CANARY * 200})
    for number in range(3):
        await world.turn("r", number, text=f"{CANARY} " * 300)
    await world.ask("r", "apr_1", reason=CANARY)
    await world.storage.blobs.put(f"nobody's {CANARY}".encode())
    await world.end("r")
    for number in range(30):
        rated = Feedback(
            feedback_id=f"f{number}", run_id="r", thread_id="t", user_id="alice", rating=1, message_id=f"m{number}",
            comment=f"{CANARY} {number} " * 30, created_at=utc_now(), updated_at=utc_now(),
        )  # fmt: skip
        await rows.save_feedback(rated)
    quarantine = world.storage.folder / "quarantine"
    quarantine.mkdir(exist_ok=True)
    (quarantine / "r.120.e1.0.jsonl").write_text(CANARY)
    (quarantine / f"blob-{key}-abcd1234").write_text(CANARY)


@pytest.mark.parametrize("reads", [False, True])
async def test_deleted_means_gone_from_every_file(world, reads, monkeypatch):
    monkeypatch.setattr("jupyter_agent.storage.database.FORGET_EVERY_S", 0.05)
    folder = world.storage.folder
    await world.whole_run("other", 2, thread="u")
    await everywhere(world)
    assert {name.split("/")[0].split(".")[0] for name in found_in(folder)} >= {DATABASE[:-3], "blobs", "quarantine"}
    reader = sqlite3.connect(folder / DATABASE)
    if reads:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM runs").fetchall()
    await delete_thread("t", world.storage, world.journal)
    await world.storage.rows.forget()
    if reads:
        assert f"{DATABASE}-wal" in found_in(folder), "nobody can take it from under who reads"
    reader.close()
    await collect(world.storage, grace_s=0.0)
    async with asyncio.timeout(20):
        while found_in(folder):
            await asyncio.sleep(0.05)
    assert (await check(world.storage)).problems == []
    assert (await world.storage.rows.get_run("other", by=ALICE)).model_call_count == 2


async def test_a_run_that_referred_to_nothing_stays_deleted_though_its_journal_was_left(world, storage, projection):
    """Killed between its row and its journal: a rebuild would make it again."""
    await world.start("r")
    await world.journal.close("r")
    run = await storage.rows.get_run("r", by=SYSTEM)
    await storage.rows.save_run(replace(run, status="error"))
    await storage.rows.delete_run("r", by=SYSTEM)
    assert await Journal(storage.lines, storage.blobs, observer=projection).sweep() == 1
    assert not storage.lines.exists("r")
    assert await storage.rows.deleted_runs() == []


async def test_the_room_of_what_is_gone_is_given_back(world):
    await everywhere(world)
    await world.storage.rows.forget()
    before = (world.storage.folder / DATABASE).stat().st_size
    await delete_thread("t", world.storage, world.journal)
    await world.storage.rows.shrink()
    assert (world.storage.folder / DATABASE).stat().st_size < before


# --- a full disk ----------------------------------------------------------------------------------------------------


async def test_on_a_full_disk_old_threads_can_be_deleted(small_disk):  # noqa: F811 - the fixture
    """Room is made where there is none; feedback and tool calls say that the disk is full, and nothing is half done."""
    # A database without a row takes half a mebibyte.
    remount = ["mount", "-o", "remount,size=2m", str(small_disk)]
    await asyncio.to_thread(subprocess.run, remount, check=True)
    storage = open_storage(small_disk / "data")
    await storage.rows.open()
    projection = Projection(storage.rows, storage.blobs)
    world = World(storage, Journal(storage.lines, storage.blobs, observer=projection, unused_s=0.0), projection)
    await world.start("old", input=(Image(blob=await storage.blobs.put(os.urandom(200_000)), mime="image/png"),))
    await world.end("old")
    await world.whole_run("young", 1, thread="u")
    await aged(world, "t", 10)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="space"):
        await asyncio.to_thread(filler.write_bytes, bytes(4_000_000))
    given = Feedback(feedback_id="f", run_id="young", thread_id="u", user_id="alice", rating=1, comment="x" * 9000,
                     created_at=utc_now(), updated_at=utc_now())  # fmt: skip

    async def rate_on():
        for number in range(200):
            await storage.rows.save_feedback(replace(given, feedback_id=f"f{number}", message_id=f"m{number}"))

    with pytest.raises(StorageFull, match="disk is full"):
        await rate_on()
    traces = (await storage.rows.list_traces("young", by=ALICE)).items
    run = await storage.rows.get_run("young", by=ALICE)
    many = [replace(traces[0], position=position, tool_input="y" * 5000) for position in range(200)]
    with pytest.raises(StorageFull):
        await storage.rows.project([run], [], [], traces=many)
    assert (await storage.rows.list_traces("young", by=ALICE)).items == traces
    # A deletion is written too: a little room is needed for it.
    await asyncio.to_thread(os.truncate, filler, filler.stat().st_size - 64 * 1024)
    plan = await choose(storage, Limits(older_than=DAY), by=SYSTEM)
    assert names(await delete(world, plan)) == ["t"]
    assert await storage.rows.save_feedback(given)
    assert (await check(storage)).problems == []
    await projection.aclose()
    await storage.close()
