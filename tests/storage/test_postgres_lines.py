"""Journals and blobs in PostgreSQL's tables: nothing lost and nothing doubled while connections are cut, one writer."""

import asyncio
import hashlib
import os

import pytest
from sqlalchemy import make_url

from jupyter_agent.exceptions import BlobDamaged, BlobNotFound, JournalDamaged, RunActive, StorageUnavailable
from jupyter_agent.journal import Journal
from jupyter_agent.storage import open_storage
from jupyter_agent.testing import check_events
from tests.storage.planting import plant_blob, plant_journal
from tests.storage.samples import RUN, complete, delta, file_of, keys_of, lines, started

KEY = "ab" * 32


@pytest.fixture
def name(database_url):
    return make_url(database_url).database


@pytest.fixture
async def storage(tmp_path, database_url):
    found = open_storage(tmp_path / "data", database_url)
    await found.rows.open()
    yield found
    await found.close()


@pytest.fixture
async def other(tmp_path, database_url):
    """Another server's."""
    found = open_storage(tmp_path / "other", database_url)
    yield found
    await found.close()


def stored(storage, run_id=RUN):
    return [one for batch in storage.lines.read(run_id) for one in batch]


async def test_while_connections_are_cut_nothing_is_lost_or_doubled(storage, postgres, name):
    """Several runs stream while all connections are cut again and again."""
    journal = Journal(storage.lines, storage.blobs)
    run_ids = [f"run_{number}" for number in range(4)]
    is_over = False

    async def cut():
        number = 0
        while not is_over:
            number += await asyncio.to_thread(postgres.end_connections, name)
            await asyncio.sleep(0.15)
        return number

    async def stream(run_id):
        await journal.open(run_id)
        given = [await journal.append(run_id, started())]
        for number in range(60):
            given.append(await journal.append(run_id, delta(f"{number} ")))
            await asyncio.sleep(0.005)
        return [*given, await journal.append(run_id, complete())]

    cutting = asyncio.create_task(cut())
    found = await asyncio.gather(*map(stream, run_ids))
    is_over = True
    assert await cutting > 3
    for run_id, given in zip(run_ids, found, strict=True):
        assert check_events(stored(storage, run_id), is_complete=True) == given
    await journal.aclose()


async def test_lines_that_come_together_take_one_round_trip(storage, monkeypatch):
    journal = Journal(storage.lines, storage.blobs)
    run_ids = [f"run_{number}" for number in range(20)]
    for run_id in run_ids:
        await journal.open(run_id)
    sizes = []
    real = storage.lines._append
    monkeypatch.setattr(storage.lines, "_append", lambda batch: (sizes.append(len(batch)), real(batch)))
    events = [started(), *(delta(str(number)) for number in range(20))]
    await asyncio.gather(*(journal.append(run_id, event) for run_id in run_ids for event in events))
    assert sum(sizes) == len(run_ids) * len(events)
    assert len(sizes) < 60
    for run_id in run_ids:
        check_events(stored(storage, run_id))
    await journal.aclose()


async def test_one_server_writes_a_journal_and_whoever_lost_it_writes_nothing(storage, other, postgres, name):
    writer = await asyncio.to_thread(storage.lines.open, RUN)
    first, second, late = lines(["a", "b"])
    writer.write(first)
    await writer.sync()
    assert storage.lines.is_held(RUN)
    with pytest.raises(RunActive, match="another process"):
        await asyncio.to_thread(other.lines.open, RUN)
    postgres.end_connections(name)
    successor = await asyncio.to_thread(other.lines.open, RUN)
    assert successor.recovered == (2, 2, 0)
    writer.write(second)
    with pytest.raises(StorageUnavailable, match="taken over"):
        await writer.sync()
    with pytest.raises(StorageUnavailable, match="taken over"):
        writer.write(late)
    assert stored(storage) == [first]
    for one in (writer, successor):
        one.close()


async def test_what_another_wrote_and_let_go_is_not_overwritten(storage, other, postgres, name):
    writer = await asyncio.to_thread(storage.lines.open, RUN)
    first, mine, _ = lines(["a", "b"])
    theirs = lines(["other"])[1]
    writer.write(first)
    await writer.sync()
    postgres.end_connections(name)
    successor = await asyncio.to_thread(other.lines.open, RUN)
    successor.write(theirs)
    await successor.sync()
    await other.close()
    writer.write(mine)
    with pytest.raises(StorageUnavailable, match="taken over"):
        await writer.sync()
    assert stored(storage) == [first, theirs]
    writer.close()


async def test_damage_is_loud_and_set_aside_on_request(storage):
    original = lines(["a", "b", "c"])
    damaged = file_of([original[0], original[1][:-1] + b"x", *original[2:]])
    plant_journal(storage, RUN, damaged)
    with pytest.raises(JournalDamaged, match="event 2"):
        stored(storage)
    with pytest.raises(JournalDamaged):
        await asyncio.to_thread(storage.lines.open, RUN)
    writer = await asyncio.to_thread(lambda: storage.lines.open(RUN, repair=True))
    assert writer.recovered[:2] == (2, 2)
    writer.close()
    assert [path.read_bytes() for path in storage.lines.quarantine.iterdir()] == [damaged]
    again = await asyncio.to_thread(storage.lines.open, RUN)
    assert again.recovered == (2, 2, 0), "no epoch that stood there comes again"
    again.close()


@pytest.mark.parametrize("after", [0, 1, 1023, 1024, 2000, 2001, 2002])
async def test_long_journals_are_read_from_anywhere(storage, after):
    original = lines([f"text {number}" for number in range(2000)])
    plant_journal(storage, RUN, file_of(original))
    found = [one for batch in storage.lines.read(RUN, after_seq=after, batch_bytes=10_000) for one in batch]
    assert found == original[after:]


async def test_blobs_are_kept_once_healed_and_never_served_wrong(storage, postgres, name):
    noise = os.urandom(300_000)
    keys = await asyncio.gather(*(storage.blobs.put(noise) for _ in range(8)))
    assert set(keys) == {hashlib.sha256(noise).hexdigest()}
    postgres.end_connections(name)
    assert await storage.blobs.get(keys[0]) == noise
    assert await keys_of(storage.blobs) == [keys[0]]
    plant_blob(storage, keys[0], noise[:-1] + b"x")
    with pytest.raises(BlobDamaged):
        await storage.blobs.get(keys[0])
    await storage.blobs.put(noise)
    assert await storage.blobs.get(keys[0]) == noise


async def test_blobs_absent_deleted_and_put_again(storage):
    blobs = storage.blobs
    with pytest.raises(BlobNotFound):
        await blobs.get(KEY)
    for wrong in ("", "..", KEY.upper(), "\0" * 64):
        with pytest.raises(BlobNotFound):
            await blobs.get(wrong)
    assert await blobs.delete(KEY)
    key = await blobs.put(b"")
    await blobs.put(b"")
    assert not await blobs.delete(key, unused_s=60), "somebody put it again just now"
    assert await blobs.get(key) == b""
    assert await blobs.delete(key)
    key = await blobs.put(b"x")
    assert await blobs.delete(key, unused_s=60), "whoever made it is who deletes it"
    with pytest.raises(BlobNotFound):
        await blobs.get(key)
