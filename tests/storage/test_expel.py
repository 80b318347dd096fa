"""What a stopped process had in PostgreSQL is taken away when its runs are: nothing of it is written any more."""

import asyncio

import pytest
import sqlalchemy as sa

from jupyter_agent.exceptions import RunActive, StorageUnavailable
from jupyter_agent.records import SYSTEM
from jupyter_agent.storage import open_storage, postgres
from jupyter_agent.storage.contract import Holder
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.tables import runs
from tests.storage.samples import RUN, line, lines, started
from tests.storage.test_rows import a_run, a_thread

FIRST, SECOND, THIRD = lines(["one", "two"])


@pytest.fixture
async def stores(database_url, tmp_path):
    """The journals of two processes."""
    found = [open_storage(tmp_path / name, database_url) for name in ("first", "second")]
    yield [storage.lines for storage in found]
    for storage in found:
        await storage.close()


async def opened(store, *, expel=False):
    if expel:
        await asyncio.to_thread(store.expel, RUN)
    return await asyncio.to_thread(store.open, RUN)


def kept(store):
    return [one for batch in store.read(RUN) for one in batch]


async def test_what_a_stopped_process_had_not_written_is_refused(stores):
    first, second = stores
    stale = await opened(first)
    stale.write(FIRST)
    await stale.sync()
    stale.write(SECOND)
    with pytest.raises(RunActive):
        await opened(second)
    writer = await opened(second, expel=True)
    assert writer.recovered.next_seq == 2
    # The one that wakes up now finds its session ended, and the journal in other hands.
    with pytest.raises(StorageUnavailable, match="taken over"):
        await stale.sync()
    assert kept(second) == [FIRST]
    with pytest.raises(StorageUnavailable, match="taken over"):
        stale.write(THIRD)
    writer.write(SECOND)
    await writer.sync()
    assert kept(first) == [FIRST, SECOND]
    stale.close()
    writer.close()


async def test_only_who_keeps_a_journal_is_expelled(stores):
    first, second = stores
    writer = await opened(first)
    writer.write(FIRST)
    await writer.sync()
    closing = asyncio.get_running_loop().call_later(0.2, writer.close)
    again = await opened(second, expel=True)
    closing.cancel()
    again.write(SECOND)
    await again.sync()
    assert kept(first) == [FIRST, SECOND]
    # The first one's session was left alone: it lets go by itself, and goes on.
    assert not first._session.is_new
    again.close()


async def test_a_process_that_lost_one_journal_keeps_its_others(stores):
    first, second = stores
    stale = await opened(first)
    other = await asyncio.to_thread(first.open, "run_other")
    taken = await opened(second, expel=True)
    only = line(started(), 1, run_id="run_other")
    other.write(only)
    await other.sync()
    assert list(first.read("run_other")) == [[only]]
    with pytest.raises(RunActive):
        await asyncio.to_thread(second.open, "run_other")
    for writer in (stale, other, taken):
        writer.close()


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_who_is_stopped_in_a_transaction_does_not_hold_up_who_takes_over(backend, monkeypatch):
    monkeypatch.setattr(postgres, "IDLE_S", 1.0)
    stopped, taking = SqlRows(backend), SqlRows(backend)
    await stopped.open()
    await taking.open()
    await stopped.create_thread(a_thread())
    run = await stopped.create_run(a_run("r"))
    woken_up, tries = asyncio.Event(), []

    async def write(db):
        await db.execute(sa.update(runs).values(model_call_count=7))
        tries.append(len(tries))
        await woken_up.wait()

    writing = asyncio.create_task(stopped._write(write))
    async with asyncio.timeout(60):
        while not tries:
            await asyncio.sleep(0.01)
        assert await taking.take_lease("r", Holder("b", 600.0)) == 1
    assert await taking.get_run("r", by=SYSTEM) == run
    woken_up.set()
    await writing  # what was ended is done again, whole
    assert len(tries) > 1
    await stopped.close()
    await taking.close()
