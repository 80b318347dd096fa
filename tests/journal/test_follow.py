"""The door out: every event once and in order, whatever is stored, live, archived, slow or late."""

import asyncio
import contextlib
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_agent import events as ev
from jupyter_agent.exceptions import JournalDamaged, RunNotFound
from jupyter_agent.journal.places import Places
from jupyter_agent.journal.recent import KEPT_BYTES
from jupyter_agent.testing import check_events
from tests.storage.planting import plant_journal
from tests.storage.samples import RUN, complete, delta, file_of, lines, started


async def collect(follower, into=None):
    """All lines of a follower to its end, and how often it said that it had caught up."""
    found = into if into is not None else []
    told = 0
    async for batch in follower:
        found += batch.lines
        told += batch.caught_up
    return found, told


async def write(journal, count, *, ends=False, opens=True):
    if opens:
        await journal.open(RUN)
        await journal.append(RUN, started())
    for n in range(count):
        await journal.append(RUN, delta(f"{n} "))
    if ends:
        await journal.append(RUN, complete())


async def put_away(journal, storage):
    """Ends a run as the runner does."""
    key = await journal.archive(RUN)
    journal._details[RUN] = key
    return key


def id_of(seq, *, epoch=1, run_id=RUN):
    return f"{ev.run_tag(run_id)}-{epoch}-{seq}"


def ids(found):
    return [str(ev.line_cursor(one)) for one in found]


async def test_from_the_first_event_to_the_last(journal):
    await write(journal, 3)
    following = asyncio.create_task(collect(journal.follow(RUN)))
    await write(journal, 3, ends=True, opens=False)
    found, told = await following
    assert ids(found) == [id_of(seq) for seq in range(1, 9)]
    assert told == 1
    check_events(found, is_complete=True)


async def test_caught_up_comes_with_what_was_stored_and_before_what_is_live(journal):
    await write(journal, 4)
    follower = journal.follow(RUN)
    first = await anext(follower)
    assert (len(first.lines), first.caught_up) == (5, True)
    await write(journal, 1, opens=False)
    second = await anext(follower)
    assert (ids(second.lines), second.caught_up) == ([id_of(6)], False)
    assert follower.last_event_id == id_of(6)


async def test_an_empty_run_is_caught_up_at_once(journal):
    await journal.open(RUN)
    follower = journal.follow(RUN)
    assert await anext(follower) == ([], True)
    assert follower.last_event_id is None
    await journal.append(RUN, started())
    assert ids((await anext(follower)).lines) == [id_of(1)]


async def test_at_the_last_event_there_is_only_the_word_that_all_is_there(journal):
    await write(journal, 1, ends=True)
    for _ in range(2):
        follower = journal.follow(RUN, after=id_of(3))
        assert await anext(follower) == ([], True)
        with pytest.raises(StopAsyncIteration):
            await anext(follower)
        assert follower.gap is None
        await journal.close(RUN)


@pytest.mark.parametrize("where", ["live", "stored", "archived"])
async def test_every_cursor(journal, storage, where):
    """Strictly after what exists; a gap, and never silence, for what does not."""
    await write(journal, 4)
    await journal.close(RUN)
    await write_more(journal, 3)  # epoch 2 begins with event 6
    await journal.append(RUN, complete())
    if where != "live":
        await journal.close(RUN)
    if where == "archived":
        await put_away(journal, storage)
        storage.lines.delete(RUN)
    whole = [id_of(seq, epoch=1 if seq < 6 else 2) for seq in range(1, 10)]
    for after, seen, is_gap in [
        (None, 0, False),
        *((one, number, False) for number, one in enumerate(whole, 1)),
        (id_of(6, epoch=1), 5, True),  # lost with the crash
        (id_of(600, epoch=1), 5, True),
        (id_of(5, epoch=2), 5, True),
        (id_of(10, epoch=2), 9, True),
        (id_of(1, epoch=3), 9, True),
        (id_of(0), 0, True),
        (id_of(9, epoch=0), 0, True),
        (id_of(3, run_id="run_other"), 0, True),
        ("", 0, True),
        ("nonsense", 0, True),
        (id_of(3) + "0" * 80, 0, True),
    ]:
        follower = journal.follow(RUN, after=after)
        found, told = await collect(follower)
        assert ids(found) == whole[seen:], after
        assert told == 1
        assert follower.gap == ((after, whole[0], whole[-1]) if is_gap else None), after


async def write_more(journal, count):
    await journal.open(RUN)
    for n in range(count):
        await journal.append(RUN, delta(f"more {n} "))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 6), st.integers(0, 20))
def test_the_place_of_a_cursor(epochs, epoch, seq):
    """The place is that of the last event at or before the cursor, told here by looking at every event."""
    epochs = sorted(epochs)
    places = Places(RUN)
    places.take(lines(["x"] * (len(epochs) - 1), epochs=epochs))
    events = list(zip(epochs, range(1, len(epochs) + 1), strict=True))
    place = places.locate(id_of(seq, epoch=epoch))
    assert place.is_exact == ((epoch, seq) in events)
    assert place.seq == sum(event <= (epoch, seq) for event in events)
    assert [places.id_of(number) for _, number in events] == [id_of(n, epoch=e) for e, n in events]


async def test_no_such_run(journal):
    with pytest.raises(RunNotFound):
        await anext(journal.follow("run_unknown"))
    with pytest.raises(RunNotFound):
        await journal.load("run_unknown")
    with pytest.raises(RunNotFound):
        await journal.page("run_unknown", after=None, limit=10)


async def test_what_is_not_synced_is_not_seen_even_by_who_reads_the_file(journal, monkeypatch):
    from tests.journal.test_append import SlowDisk

    await write(journal, 1)
    disk = SlowDisk(monkeypatch)
    asking = asyncio.create_task(journal.append(RUN, ev.InputRequest(request_id="q", prompt="?")))
    await asyncio.sleep(0.01)
    journal.live(RUN).recent._before = 10**6  # as if memory had let go of everything: the file is read
    follower = journal.follow(RUN)
    batch = await anext(follower)
    assert (ids(batch.lines), batch.caught_up) == ([id_of(1), id_of(2)], True)
    assert (await journal.page(RUN, after=None, limit=50))[1] is False
    disk.leave.set()
    await asking


async def test_a_follower_that_falls_behind_reads_the_file(journal):
    await write(journal, 0)
    follower = journal.follow(RUN)
    await anext(follower)
    for n in range(3000):
        await journal.append(RUN, delta(f"{n} " + "x" * 1000))
    live = journal.live(RUN)
    assert live.recent.since(1) is None, "memory let go of it"
    assert live.recent._bytes <= 2 * KEPT_BYTES
    await journal.append(RUN, complete())
    found, _ = await collect(follower)
    assert ids(found) == [id_of(seq) for seq in range(2, 3003)]
    assert follower._stored is None, "a follower that is done holds no file"


async def test_a_follower_goes_over_to_the_archive(journal, storage):
    """The file goes away while somebody reads it."""
    await write(journal, 3000)
    follower = journal.follow(RUN)
    journal.live(RUN).recent._before = 10**6
    found = list((await anext(follower)).lines)
    await journal.append(RUN, complete())
    await put_away(journal, storage)
    await journal.close(RUN)
    storage.lines.delete(RUN)
    follower._stored = None
    await collect(follower, found)
    assert len(check_events(found, is_complete=True)) == 3002


async def test_the_same_bytes_live_stored_and_archived(journal, storage):
    await write(journal, 200)
    following = asyncio.create_task(collect(journal.follow(RUN)))
    await write(journal, 200, ends=True, opens=False)
    live, _ = await following
    await journal.close(RUN)
    stored, _ = await collect(journal.follow(RUN))
    key = await put_away(journal, storage)
    assert await journal.archive(RUN) == key
    storage.lines.delete(RUN)
    assert await journal.archive(RUN) == key, "also when the journal is gone"
    archived, _ = await collect(journal.follow(RUN))
    paged = []
    more = True
    while more:
        page, more = await journal.page(RUN, after=str(ev.line_cursor(paged[-1])) if paged else None, limit=37)
        paged += page
    assert live == stored == archived == paged
    assert (await journal.load(RUN)).is_complete


async def test_following_a_run_that_nobody_has_open_waits_for_it(journal):
    await write(journal, 2)
    await journal.close(RUN)
    following = asyncio.create_task(collect(journal.follow(RUN)))
    await asyncio.sleep(0.05)
    assert not following.done()
    await write_more(journal, 2)
    await journal.close(RUN)
    await journal.open(RUN)
    await journal.append(RUN, complete())
    await journal.close(RUN)
    found, told = await following
    assert (len(check_events(found, is_complete=True)), told) == (6, 1)


async def test_a_deleted_run_is_no_silence(journal):
    await write(journal, 2)
    follower = journal.follow(RUN)
    await anext(follower)
    waiting = asyncio.create_task(anext(follower))
    await asyncio.sleep(0.01)
    await journal.delete(RUN)
    with pytest.raises(RunNotFound):
        await waiting


async def test_closing_the_journal_ends_followers(journal):
    await write(journal, 2)
    following = asyncio.create_task(collect(journal.follow(RUN)))
    await asyncio.sleep(0.01)
    await journal.aclose()
    assert len((await following)[0]) == 3


async def test_a_damaged_journal_is_loud(journal, storage):
    original = lines(["a", "b"], ends=True)
    plant_journal(storage, RUN, file_of([original[0], b"{}", *original[2:]]))
    with pytest.raises(JournalDamaged, match="event 2"):
        await collect(journal.follow(RUN))


@pytest.mark.parametrize("starts_first", [True, False])
async def test_seek_skips_forward_and_never_back(journal, starts_first):
    await write(journal, 8)
    follower = journal.follow(RUN, after=id_of(2))
    if starts_first:
        await follower.start()
    for cursor in (id_of(5), id_of(3), id_of(9, run_id="run_other"), "nonsense"):
        follower.seek(cursor)
    batch = await anext(follower)
    assert (ids(batch.lines), batch.caught_up) == ([id_of(seq) for seq in range(6, 10)], True)
    follower.seek(id_of(4))
    await journal.append(RUN, delta("x"))
    assert ids((await anext(follower)).lines) == [id_of(10)]


async def test_seek_beyond_everything_is_caught_up(journal):
    await write(journal, 3)
    follower = journal.follow(RUN)
    await follower.start()
    follower.seek(id_of(4))
    assert await anext(follower) == ([], True)


async def test_seek_to_the_end_ends(journal):
    await write(journal, 3, ends=True)
    follower = journal.follow(RUN)
    await follower.start()
    follower.seek(id_of(5))
    assert await collect(follower) == ([], 1)


async def test_a_cancelled_wait_loses_nothing(journal):
    await write(journal, 0)
    follower = journal.follow(RUN)
    found = []
    for n in range(300):
        if n % 50 == 0:
            journal.live(RUN).recent._before += 10**6  # reads the file, then goes back to memory
        waiting = asyncio.create_task(anext(follower))
        await journal.append(RUN, delta(str(n)))
        if n % 3:
            await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            found += (await waiting).lines
        if n % 50 == 0:
            journal.live(RUN).recent._before -= 10**6
    await journal.append(RUN, complete())
    await collect(follower, found)
    assert len(check_events(found, is_complete=True)) == 302


async def test_a_hundred_followers_share_the_lines(journal):
    await write(journal, 5)
    tasks = [asyncio.create_task(collect(journal.follow(RUN))) for _ in range(100)]
    await asyncio.sleep(0)
    await write(journal, 300, ends=True, opens=False)
    results = await asyncio.gather(*tasks)
    assert all(found == results[0][0] and told == 1 for found, told in results)
    assert len({id(found[150]) for found, _ in results}) == 1, "the very same bytes"


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_each_event_comes_once_and_in_order(journal, storage, seed):
    """Writers, crashes, slow readers, late ones, seeks and the archive, at random."""
    chance = random.Random(seed)
    texts = ["x" * chance.choice([10, 10, 10, 3000]) for _ in range(chance.randrange(100, 700))]
    results = []

    async def follow(after, pause):
        follower = journal.follow(RUN, after=id_of(after) if after else None)
        found, told, skipped = [], 0, after
        async for batch in follower:
            found += batch.lines
            told += batch.caught_up
            if chance.random() < pause:
                await asyncio.sleep(chance.random() * 0.01)
            if chance.random() < 0.02 and found:
                last = ev.line_cursor(found[-1])
                follower.seek(str(last))
        results.append((found, told, skipped))

    await journal.open(RUN)
    await journal.append(RUN, started())
    readers = []
    for text in texts:
        await journal.append(RUN, delta(text))
        if chance.random() < 0.02:
            readers.append(asyncio.create_task(follow(chance.choice([0, 0, 1]), chance.random() * 0.5)))
        if chance.random() < 0.05:
            await asyncio.sleep(0)
    await journal.append(RUN, complete())
    await put_away(journal, storage)
    await journal.close(RUN)
    storage.lines.delete(RUN)
    readers.append(asyncio.create_task(follow(0, 0.1)))
    await asyncio.gather(*readers)
    for found, told, skipped in results:
        check_events(found, after=id_of(skipped) if skipped else None)
        assert (len(found), told) == (len(texts) + 2 - skipped, 1)


async def test_a_read_of_the_file_that_was_cancelled_is_done_again(journal):
    """The thread reads on after its caller was cancelled: what it read then must not be missing."""
    await write(journal, 0)
    for n in range(2000):
        await journal.append(RUN, delta(f"{n} " + "x" * 1500))
    follower = journal.follow(RUN)
    found = list((await anext(follower)).lines)
    assert follower._stored is not None, "there is more in the file"
    for _ in range(3):
        reading = asyncio.create_task(anext(follower))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    await journal.append(RUN, complete())
    await collect(follower, found)
    assert len(check_events(found, is_complete=True)) == 2002


async def test_what_happens_while_the_end_of_the_file_is_read_is_not_missed(journal, monkeypatch):
    """The run is opened, ends and is closed while a follower is about to find that nothing more is stored."""
    await write(journal, 2)
    await journal.close(RUN)
    follower = journal.follow(RUN)
    await anext(follower)
    at_end, may_end = threading.Event(), threading.Event()
    real = journal.lines.read

    def slow(run_id, **options):
        yield from real(run_id, **options)
        at_end.set()
        may_end.wait(10)

    monkeypatch.setattr(journal.lines, "read", slow)
    follower._stored = None
    rest = asyncio.create_task(collect(follower))
    assert await asyncio.to_thread(at_end.wait, 10)
    monkeypatch.undo()
    await journal.open(RUN)
    await journal.append(RUN, complete())
    await journal.close(RUN)
    may_end.set()
    async with asyncio.timeout(10):
        found, _ = await rest
    assert ids(found) == [id_of(4, epoch=2)]
