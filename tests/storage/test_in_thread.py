"""Short transactions of SQLite, whole in a thread: the same as any other, whatever goes wrong in them."""

import asyncio

import pytest
import sqlalchemy as sa

from jupyter_agent.exceptions import Conflict, StorageError, ThreadNotFound
from jupyter_agent.records import SYSTEM, Thread, utc_now
from jupyter_agent.storage import sqlite
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.tables import threads

NOW = utc_now()


@pytest.fixture
async def rows(tmp_path):
    found = SqlRows(tmp_path / "rows.db")
    await found.open()
    yield found
    await found.close()


def a_thread(name):
    return Thread(thread_id=name, user_id="me", created_at=NOW, updated_at=NOW)


async def test_what_raises_leaves_nothing(rows):
    async def work(db):
        await db.execute(sa.insert(threads).values(thread_id="t", user_id="me", created_at=NOW, updated_at=NOW,
                                                   status="idle", metadata={}))  # fmt: skip
        raise Conflict("No.")

    with pytest.raises(Conflict):
        await rows._write(work)
    with pytest.raises(ThreadNotFound):
        await rows.get_thread("t", by=SYSTEM)


async def test_work_that_waits_for_something_else_is_refused_and_leaves_nothing(rows):
    async def work(db):
        await db.execute(sa.update(threads).values(title="x"))
        await asyncio.sleep(0)

    await rows.create_thread(a_thread("t"))
    for do in (rows._write, rows._read):
        with pytest.raises(RuntimeError, match="waits for nothing"):
            await do(work)
    assert (await rows.get_thread("t", by=SYSTEM)).title is None
    await rows.create_thread(a_thread("u"))


async def test_a_write_whose_caller_goes_away_is_whole(rows):
    writes = [asyncio.create_task(rows.create_thread(a_thread(f"t{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    for write in writes:
        write.cancel()
    await asyncio.wait(writes)
    await rows.create_thread(a_thread("last"))
    assert len((await rows.list_threads(by=SYSTEM)).items) == 21


async def test_readers_do_not_wait_for_a_writer(rows):
    began, ends = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    async def slow(db):
        await db.execute(sa.update(threads).values(title="x"))
        loop.call_soon_threadsafe(began.set)
        while not ends:
            pass

    await rows.create_thread(a_thread("t"))
    writing = asyncio.create_task(rows._write(slow))
    async with asyncio.timeout(20):
        await began.wait()
        try:
            count = await rows._read(lambda db: db.execute(sa.select(threads.c.title)))
            assert count.scalars().all() == [None]
        finally:
            ends.append(True)
            await writing


async def test_closed_it_says_so(rows):
    await rows.close()
    for do in (rows.create_thread(a_thread("t")), rows.get_run("r", by=SYSTEM)):
        with pytest.raises(StorageError, match="not open"):
            await do


async def test_a_file_on_the_network_has_one_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "is_on_network", lambda _: True)
    rows = SqlRows(tmp_path / "rows.db")
    await rows.open()
    try:
        await rows.create_thread(a_thread("t"))
        assert (await rows.get_thread("t", by=SYSTEM)).thread_id == "t"
        assert rows.backend.open_threads_engine() is None
    finally:
        await rows.close()
