"""The door in: events are numbered, written, synced where it matters, and published in order."""

import asyncio
import errno
import os
from datetime import UTC, datetime

import pytest

from jupyter_agent import events as ev
from jupyter_agent.exceptions import (
    InvalidRequest,
    JournalDamaged,
    RunActive,
    RunFinished,
    RunNotFound,
    StorageFull,
    StorageUnavailable,
    TooLarge,
)
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.storage import open_storage
from jupyter_agent.storage.journals import FileWriter
from jupyter_agent.storage.postgres_lines import PostgresWriter
from jupyter_agent.testing import check_events
from tests.storage.planting import plant_journal
from tests.storage.samples import RUN, complete, delta, file_of, lines, started

ON_FILES = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For what is about the calls of an operating system."""


class SlowDisk:
    """Makes every sync of a writer wait for leave, so that a test can see what happens meanwhile."""

    def __init__(self, monkeypatch):
        self.leave = asyncio.Event()
        self.syncs = 0
        for kind in (FileWriter, PostgresWriter):
            self._slow_down(kind, monkeypatch)

    def _slow_down(self, kind, monkeypatch):
        real = kind.sync

        async def sync(writer):
            self.syncs += 1
            await self.leave.wait()
            await real(writer)

        monkeypatch.setattr(kind, "sync", sync)


def on_disk(storage, run_id=RUN):
    return [one for batch in storage.lines.read(run_id) for one in batch]


async def test_events_are_numbered_from_one_and_written_as_they_are_returned(journal, storage):
    await journal.open(RUN)
    before = datetime.now(UTC)
    given = [await journal.append(RUN, event) for event in (started(), delta("a"), complete())]
    assert [event.id for event in given] == [f"{ev.run_tag(RUN)}-1-{seq}" for seq in (1, 2, 3)]
    assert all(event.run_id == RUN and before <= event.at <= datetime.now(UTC) for event in given)
    assert on_disk(storage) == [ev.encode_line(event) for event in given]
    assert check_events(on_disk(storage), is_complete=True) == given


async def test_the_live_fold_grows(journal):
    transcript = await journal.open(RUN)
    assert transcript is journal.transcript(RUN)
    await journal.append(RUN, started())
    await journal.append(RUN, delta("so "))
    await journal.append(RUN, delta("far"))
    assert (transcript.text, transcript.event_count) == ("so far", 3)
    assert await journal.load(RUN) is transcript
    await journal.close(RUN)
    assert journal.transcript(RUN) is None
    assert (await journal.load(RUN)).text == "so far"


async def test_nothing_follows_the_last_event(journal, storage):
    await journal.open(RUN)
    await journal.append(RUN, started())
    ends = asyncio.gather(*(journal.append(RUN, complete()) for _ in range(3)), return_exceptions=True)
    assert [type(one).__name__ for one in await ends] == ["SessionComplete", "RunFinished", "RunFinished"]
    with pytest.raises(RunFinished, match="is over"):
        await journal.append(RUN, delta("late"))
    await journal.close(RUN)
    assert (await journal.open(RUN)).is_complete
    with pytest.raises(RunFinished):
        await journal.append(RUN, delta("late"))
    assert len(on_disk(storage)) == 2


async def test_appending_to_what_is_not_open(journal):
    with pytest.raises(RunNotFound, match="open it before"):
        await journal.append(RUN, started())
    with pytest.raises(InvalidRequest, match="is no run id"):
        await journal.open("../outside")


def another(storage):
    """A second process's stores of the same."""
    url = storage.rows.backend.url.render_as_string(hide_password=False) if storage.is_shared else ""
    return open_storage(storage.folder, url)


async def test_a_second_process_is_turned_away(journal, storage):
    await journal.open(RUN)
    second = another(storage)
    other = Journal(second.lines, storage.blobs)
    with pytest.raises(RunActive, match="another process"):
        await other.open(RUN)
    await other.aclose()
    await second.close()


async def test_time_is_monotone_and_always_written_in_full(journal, monkeypatch):
    """Clocks jump; a second that is exactly full loses no digits."""
    moments = iter(
        [
            datetime(2026, 1, 1, 12, 0, 5, 0, tzinfo=UTC),
            datetime(2026, 1, 1, 11, tzinfo=UTC),
            datetime(2026, 1, 1, 13, tzinfo=UTC),
        ]
    )

    class Clock(datetime):
        @classmethod
        def now(cls, _zone):
            return next(moments)

    await journal.open(RUN)
    monkeypatch.setattr("jupyter_agent.journal.live.datetime", Clock)
    ats = [(await journal.append(RUN, event)).at for event in (started(), delta("a"), delta("b"))]
    assert ats == sorted(ats)
    assert all(at.microsecond for at in ats)


async def test_opened_again_it_goes_on_in_a_new_epoch(journal):
    await journal.open(RUN)
    await journal.append(RUN, started())
    for epoch in (2, 3):
        await journal.close(RUN)
        await journal.open(RUN)
        event = await journal.append(RUN, delta("x"))
        assert ev.parse_cursor(event.id).place == (epoch, epoch)


@ON_FILES
async def test_the_first_event_of_an_epoch_is_synced_whatever_it_is(journal, monkeypatch):
    """Otherwise a loss of power could take a whole epoch back that a client has seen, and its ids would come again."""
    await journal.open(RUN)
    await journal.append(RUN, started())
    await journal.close(RUN)
    await journal.open(RUN)
    disk = SlowDisk(monkeypatch)
    appending = asyncio.create_task(journal.append(RUN, delta("first of epoch 2")))
    await asyncio.sleep(0.01)
    assert not appending.done()
    disk.leave.set()
    await appending
    await journal.append(RUN, delta("second"))
    assert disk.syncs == 1


async def test_a_commit_point_is_seen_only_when_it_is_on_disk_and_nothing_overtakes_it(journal, storage, monkeypatch):
    transcript = await journal.open(RUN)
    disk = SlowDisk(monkeypatch)
    disk.leave.set()
    await journal.append(RUN, started())
    disk.leave.clear()
    order = []

    async def append(event, name):
        await journal.append(RUN, event)
        order.append(name)

    question = ev.InputRequest(request_id="q", prompt="?")
    tasks = [asyncio.create_task(append(question, "commit"))]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(append(delta(str(n)), n)) for n in range(3)]
    tasks.append(asyncio.create_task(append(ev.InputReceived(request_id="q", content="!"), "second commit")))
    tasks.append(asyncio.create_task(append(delta("last"), "last")))
    await asyncio.sleep(0.01)
    assert len(on_disk(storage)) == (1 if storage.is_shared else 7), "written at once, where that takes no round trip"
    assert (order, transcript.event_count) == ([], 1), "and shown to nobody"
    disk.leave.set()
    await asyncio.gather(*tasks)
    assert order == ["commit", 0, 1, 2, "second commit", "last"]
    assert disk.syncs == 3, "one for the first event, one for the first commit, one for the second"


async def test_commit_points_share_a_sync(journal, monkeypatch):
    await journal.open(RUN)
    disk = SlowDisk(monkeypatch)
    tasks = [asyncio.create_task(journal.append(RUN, started()))]
    await asyncio.sleep(0.01)
    tasks += [
        asyncio.create_task(journal.append(RUN, ev.InputRequest(request_id=str(n), prompt="?"))) for n in range(50)
    ]
    await asyncio.sleep(0.01)
    disk.leave.set()
    await asyncio.gather(*tasks)
    assert disk.syncs == 2


async def test_a_cancelled_append_is_written_all_the_same(journal, storage, monkeypatch):
    transcript = await journal.open(RUN)
    disk = SlowDisk(monkeypatch)
    appending = asyncio.create_task(journal.append(RUN, started()))
    await asyncio.sleep(0.01)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    disk.leave.set()
    await journal.append(RUN, delta("next"))
    assert transcript.event_count == 2
    check_events(on_disk(storage))


async def test_cancelling_at_random_leaves_an_unbroken_journal(journal, storage):
    await journal.open(RUN)
    await journal.append(RUN, started())

    async def talk(name):
        for n in range(60):
            event = ev.InputRequest(request_id=f"{name}{n}", prompt="?") if n % 7 == 0 else delta(f"{name}{n}")
            await journal.append(RUN, event)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(talk(name)) for name in "abcdefgh"]
    for n, task in enumerate(tasks):
        await asyncio.sleep(0.002 * n)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await journal.append(RUN, complete())
    seen = check_events(on_disk(storage), is_complete=True)
    assert len(seen) == journal.transcript(RUN).event_count


async def test_cancelling_the_opener_leaves_it_open(journal):
    opening = asyncio.create_task(journal.open(RUN))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await journal.open(RUN)
    await journal.append(RUN, started())


async def test_an_event_that_does_not_fit_is_refused_and_takes_no_number(journal, storage):
    await journal.open(RUN)
    await journal.append(RUN, started())
    with pytest.raises(TooLarge, match="Keep its long fields as blobs"):
        await journal.append(RUN, delta("x" * ev.MAX_LINE_BYTES))
    with pytest.raises(InvalidRequest):
        await journal.append(RUN, delta("\ud800"))
    assert (await journal.append(RUN, delta("fits"))).id.endswith("-2")
    check_events(on_disk(storage))


async def test_text_of_every_kind_is_one_line(journal, storage):
    await journal.open(RUN)
    await journal.append(RUN, started())
    text = '\n\r\u2028\u2029\0\x1b[31m\U0001f600 \\n "crc":"00000000"}\n{}'
    await journal.append(RUN, delta(text))
    assert journal.transcript(RUN).text == text
    assert check_events(on_disk(storage))[1].event.content == text


def failing(number, times=1):
    """An os call that fails with this errno so many times, then works."""
    left = [times]

    def call(real):
        def wrapped(*args):
            if left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number))
            return real(*args)

        return wrapped

    return call


@ON_FILES
async def test_a_full_disk_writes_nothing_and_takes_no_number(journal, storage, monkeypatch):
    await journal.open(RUN)
    await journal.append(RUN, started())
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC)(os.write))
    with pytest.raises(StorageFull, match="make room"):
        await journal.append(RUN, ev.InputRequest(request_id="q", prompt="?"))
    assert (await journal.append(RUN, delta("again"))).id.endswith("-1-2")
    check_events(on_disk(storage))


@ON_FILES
async def test_a_short_write_is_taken_back(journal, storage, monkeypatch):
    await journal.open(RUN)
    await journal.append(RUN, started())
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:20]))
    with pytest.raises(StorageFull):
        await journal.append(RUN, delta("cut"))
    monkeypatch.setattr(os, "write", real)
    await journal.append(RUN, delta("whole"))
    assert len(check_events(on_disk(storage))) == 2


@ON_FILES
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_failed_sync_ends_all_acknowledgement(journal, storage, monkeypatch, number):
    other = "run_other"
    await journal.open(RUN)
    await journal.open(other)
    await journal.append(RUN, started())
    monkeypatch.setattr(os, "fdatasync", failing(number)(os.fdatasync))
    waiting = [
        asyncio.create_task(journal.append(RUN, event))
        for event in (ev.InputRequest(request_id="q", prompt="?"), delta("a"))
    ]
    for fault in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(fault, StorageUnavailable)
    assert journal.transcript(RUN).event_count == 1, "nobody sees what is not on disk"
    for run_id in (RUN, other):
        with pytest.raises(StorageUnavailable, match="start the server again"):
            await journal.append(run_id, delta("b"))
    with pytest.raises(StorageUnavailable):
        await journal.open("run_third")


async def test_a_damaged_journal_goes_on_from_its_good_beginning(journal, storage):
    original = lines(["a", "b", "c"])
    plant_journal(storage, RUN, file_of([original[0], original[1][:-1] + b"x", *original[2:]]))
    with pytest.raises(JournalDamaged):
        await journal.open(RUN)
    transcript = await journal.open(RUN, quarantine=True)
    assert transcript.event_count == 1
    event = await journal.append(RUN, ev.ErrorRaised(code="journal_damaged", message="It was damaged."))
    assert ev.parse_cursor(event.id).place == (2, 2)
    assert len(list(storage.lines.quarantine.iterdir())) == 1


async def test_a_failing_observer_does_not_stop_a_run(storage):
    class Broken(Projection):
        def observe(self, _event, _transcript):
            raise ZeroDivisionError

    journal = Journal(storage.lines, storage.blobs, observer=Broken(storage.rows, storage.blobs))
    await journal.open(RUN)
    await journal.append(RUN, started())
    assert journal.transcript(RUN).event_count == 1
    await journal.aclose()


async def test_a_flood_of_deltas_lets_others_have_their_turn(journal):
    await journal.open(RUN)
    await journal.append(RUN, started())
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    beating = asyncio.create_task(beat())
    for n in range(2000):
        await journal.append(RUN, delta(str(n)))
    beating.cancel()
    assert beats >= 2000 // 128 - 1


async def test_closing_waits_for_what_was_written(journal, storage, monkeypatch):
    await journal.open(RUN)
    disk = SlowDisk(monkeypatch)
    appending = asyncio.create_task(journal.append(RUN, started()))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(journal.close(RUN))
    await asyncio.sleep(0.01)
    with pytest.raises(RunNotFound, match="being closed"):
        await journal.append(RUN, delta("late"))
    disk.leave.set()
    await closing
    assert (await appending).id.endswith("-1-1")
