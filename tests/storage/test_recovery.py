"""What comes back from a journal that was cut, flipped, doubled or filled with NUL: exactly what is intact, no more."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_agent import events as ev
from jupyter_agent.exceptions import JournalDamaged, RunActive, SchemaTooNew
from jupyter_agent.storage.journals import FileLines
from jupyter_agent.testing import check_events
from tests.storage.samples import RUN, complete, delta, file_of, line, lines, started

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=5)
on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@pytest.fixture
def store():
    """In memory where there is such a folder: thousands of recoveries, each synced, wear a disk for nothing."""
    memory = Path("/dev/shm")  # noqa: S108
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = FileLines(Path(folder))
        found.folder.mkdir()
        yield found
        found.close()


def plant(store, data):
    store.path(RUN).write_bytes(data)
    for kept in store.quarantine.glob("*") if store.quarantine.exists() else ():
        kept.unlink()


def everything(store):
    """All that a reader gets, and whether it ran into damage."""
    found = []
    try:
        for batch in store.read(RUN, batch_bytes=100):
            found += batch
    except JournalDamaged as fault:
        return found, fault
    return found, None


def assert_recovers(store, good, *, torn_bytes=None):
    """Opening cuts to the good lines; an append after it makes a journal that passes every check."""
    writer = store.open(RUN)
    try:
        assert writer.recovered.next_seq == len(good) + 1
        if torn_bytes is not None:
            assert writer.recovered.torn_bytes == torn_bytes
        epoch = writer.recovered.epoch
        added = started() if not good else delta("after")
        writer.write(line(added, len(good) + 1, epoch=epoch))
    finally:
        writer.close()
    found, fault = everything(store)
    assert fault is None
    assert found[:-1] == good
    assert len(check_events(found)) == len(good) + 1
    assert store.path(RUN).read_bytes() == file_of(found)


def assert_set_aside(store, data, good):
    """A damaged journal is refused; set aside it goes on from its good beginning, in an epoch of its own."""
    with pytest.raises(JournalDamaged) as fault:
        store.open(RUN)
    assert store.path(RUN).read_bytes() == data, "refusing changes nothing"
    assert fault.value.details["offset"] == len(file_of(good))
    assert fault.value.details["seq"] == len(good) + 1
    writer = store.open(RUN, repair=True)
    assert writer.recovered.next_seq == len(good) + 1
    assert writer.recovered.epoch > top_epoch(data)
    writer.close()
    assert [kept.read_bytes() for kept in store.quarantine.iterdir()] == [data]
    assert everything(store) == (good, None)
    again = store.open(RUN)
    assert again.recovered.epoch > top_epoch(data), "also after a crash right behind the repair"
    again.close()


def top_epoch(data):
    return max((place.epoch for one in data.split(b"\n") if (place := ev.line_cursor(one))), default=0)


def expected(data, original):
    """The oracle, told without any of the code under test: the untouched first lines, and what stands behind them."""
    good = []
    for one in original:
        if not data.startswith(file_of([*good, one])):
            break
        good.append(one)
    rest = data[len(file_of(good)) :].split(b"\n")[:-1]
    return good, any(one in original[len(good) :] for one in rest)


@settings(on_disk, max_examples=4)
@given(texts)
@example([])
@example(["\u2028 ümlaut \U0001f600", '{"type":"x"}\n'])
def test_every_cut_point(store, some):
    original = lines(some, ends=True)
    whole = file_of(original)
    for cut in range(len(whole) + 1):
        data = whole[:cut]
        good = original[: data.count(b"\n")]
        plant(store, data)
        assert everything(store) == (good, None)
        if len(good) < len(original):
            assert_recovers(store, good, torn_bytes=cut - len(file_of(good)))


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_flipped_byte(store, mask):
    original = lines(["a", 'q"\n', "é"], ends=True)
    whole = file_of(original)
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= mask
        good, is_damaged = expected(bytes(data), original)
        plant(store, data)
        found, fault = everything(store)
        assert found == good
        assert (fault is not None) == is_damaged
        if is_damaged:
            assert_set_aside(store, bytes(data), good)
        else:
            assert_recovers(store, good)


@pytest.mark.parametrize("at_line", range(5))
@pytest.mark.parametrize("byte", [b"\n", b"\0", b'"', b"}"])
def test_every_byte_replaced_in_one_line(store, at_line, byte):
    original = lines(["a", "b", "c"], ends=True)
    start = len(file_of(original[:at_line]))
    for at in range(start, start + len(original[at_line]) + 1):
        data = bytearray(file_of(original))
        if data[at : at + 1] == byte:
            continue
        data[at : at + 1] = byte
        good, is_damaged = expected(bytes(data), original)
        plant(store, data)
        found, fault = everything(store)
        assert (found, fault is not None) == (good, is_damaged)


@on_disk
@given(texts, st.data())
def test_a_doubled_tail_is_torn(store, some, data):
    original = lines(some)
    first = data.draw(st.integers(0, len(original) - 1))
    cut = data.draw(st.integers(0, len(file_of(original[first:]))))
    tail = file_of(original[first:])[:cut] * data.draw(st.integers(1, 3))
    plant(store, file_of(original) + tail)
    assert everything(store) == (original, None)
    assert_recovers(store, original, torn_bytes=len(tail))


@on_disk
@given(texts, st.integers(1, 300_000), st.binary(max_size=40))
@example(["a"], 262_145, b"")
@example(["a"], 524_288, b"\n")
def test_a_tail_of_nul_or_noise_is_torn(store, some, size, noise):
    original = lines(some)
    tail = b"\0" * size + noise
    plant(store, file_of(original) + tail)
    assert everything(store) == (original, None)
    assert_recovers(store, original, torn_bytes=len(tail))


def test_nul_in_the_middle_is_damage(store):
    original = lines(["a", "b", "c"])
    data = file_of(original[:2]) + b"\0" * 500 + b"\n" + file_of(original[2:])
    plant(store, data)
    assert everything(store)[0] == original[:2]
    assert_set_aside(store, data, original[:2])


@pytest.mark.parametrize(
    "wrong",
    [
        lines(["a", "b", "c", "d"])[4:],
        [line(delta("x"), 4, run_id="run_other")],
        [line(delta("x"), 5)],
        [line(delta("x"), 4, epoch=2)[:-3] + b'0"}', line(delta("y"), 5, epoch=2)],
    ],
    ids=["hole", "foreign", "ahead", "broken line before a good one"],
)
def test_intact_lines_that_do_not_follow_are_damage(store, wrong):
    good = lines(["a", "b"])
    plant(store, file_of(good + wrong))
    assert everything(store)[0] == good
    assert_set_aside(store, file_of(good + wrong), good)


def test_an_epoch_never_goes_back(store):
    good = lines(["a", "b"], epochs=[1, 2, 2])
    plant(store, file_of([*good, line(delta("late"), 4, epoch=1)]))
    with pytest.raises(JournalDamaged):
        store.open(RUN)


def test_an_epoch_named_by_a_torn_tail_is_not_used_again(store):
    """The tail may be a damaged line that somebody has seen."""
    good = lines(["a", "b"])
    plant(store, file_of(good) + line(delta("seen"), 4, epoch=7)[:-2])
    writer = store.open(RUN)
    assert writer.recovered.epoch == 8
    writer.close()


def test_a_newer_journal_is_refused_by_name(store):
    plant(store, file_of([line(started(schema_version=2), 1)]))
    with pytest.raises(SchemaTooNew, match="schema version 2"):
        store.open(RUN)
    with pytest.raises(SchemaTooNew, match="Update jupyter_agent"):
        list(store.read(RUN))


def test_a_journal_has_one_writer(store):
    writer = store.open(RUN)
    with pytest.raises(RunActive, match="another process"):
        FileLines(store.folder.parent).open(RUN)
    writer.close()
    store.open(RUN).close()


def test_files_are_private(store):
    store.open(RUN).close()
    assert store.path(RUN).stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_reading_from_a_seq_uses_places_noted_while_writing(store):
    writer = store.open(RUN)
    original = lines(["x" * 500] * 600)
    for one in original:
        writer.write(one)
    for after in (0, 1, 299, 600, 601, 700):
        found = [one for batch in store.read(RUN, after_seq=after) for one in batch]
        assert found == original[after:]
    assert writer.mark_before(500).offset > 0
    writer.close()
    assert [one for batch in store.read(RUN, after_seq=599) for one in batch] == original[599:]


def test_the_end_survives(store):
    original = [*lines(["a"]), line(complete(), 3)]
    plant(store, file_of(original) + b"\0")
    assert_recovers_only(store, original)


def assert_recovers_only(store, good):
    writer = store.open(RUN)
    writer.close()
    assert everything(store) == (good, None)
