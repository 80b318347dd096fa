"""Real faults: a full disk, a failing one, kill -9, two processes. Nothing acknowledged is lost."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_agent import events as ev
from jupyter_agent.exceptions import StorageError, StorageFull
from jupyter_agent.failpoints import NAMES
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.records import SYSTEM, Thread, utc_now
from jupyter_agent.storage import open_storage
from jupyter_agent.storage.journals import FileLines
from jupyter_agent.testing import check_events
from tests.storage.samples import RUN, delta, started

ROOT = Path(__file__).parents[2]

WRITER = """
import asyncio, sys
from pathlib import Path
from jupyter_agent.journal import Journal
from jupyter_agent.storage.blobs import FileBlobs
from jupyter_agent.storage.journals import FileLines
from jupyter_agent import events as ev
from jupyter_agent.exceptions import AgentError
from tests.storage.samples import RUN, delta, started

async def main(folder, number):
    journal = Journal(FileLines(folder), FileBlobs(folder))
    transcript = await journal.open(RUN)
    if not transcript.event_count:
        await journal.append(RUN, started())
    for n in range(number):
        event = ev.InputRequest(request_id=str(n), prompt="?") if n % 3 == 0 else delta("x" * (n % 50) * 40)
        try:
            event = await journal.append(RUN, event)
        except AgentError as fault:
            print("refused", fault.code, flush=True)
            continue
        print(event.id, flush=True)
    await journal.aclose()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def run_writer(folder, number, *, wrap=(), **environment):
    return subprocess.Popen(
        [*wrap, sys.executable, "-c", WRITER, str(folder), str(number)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(folder):
    store = FileLines(folder)
    found = [one for batch in store.read(RUN) for one in batch]
    store.close()
    return found


def assert_kept(folder, acknowledged):
    """Opening recovers; everything acknowledged is there, once, in order."""
    store = FileLines(folder)
    store.open(RUN).close()
    store.close()
    seen = [event.id for event in check_events(stored(folder))]
    assert [one for one in seen if one in set(acknowledged)] == acknowledged


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1])
def test_kill_9_loses_nothing_acknowledged(tmp_path, delay):
    """Killed at a random instant, three times in a row on one journal."""
    acknowledged = []
    for _ in range(3):
        writer = run_writer(tmp_path, 100_000)
        acknowledged.append(writer.stdout.readline().strip())
        try:
            writer.wait(delay)
        except subprocess.TimeoutExpired:
            writer.kill()
        rest, _ = writer.communicate(timeout=30)
        assert writer.returncode == -signal.SIGKILL
        acknowledged += rest.split("\n")[:-1]
        assert_kept(tmp_path, acknowledged)
    assert {ev.parse_cursor(one).epoch for one in acknowledged} == {1, 2, 3}


@pytest.mark.parametrize(
    "name", ["journal.created", "journal.before_write", "journal.after_write", "journal.sync", "journal.after_sync"]
)
@pytest.mark.parametrize("nth", [1, 7])
def test_killed_at_each_step_of_an_append(tmp_path, name, nth):
    writer = run_writer(tmp_path, 30, JUPYTER_AGENT_FAILPOINTS=f"{name}=kill;nth={nth}")
    told, errors = writer.communicate(timeout=60)
    is_passed = name != "journal.created" or nth == 1
    assert writer.returncode == (-signal.SIGKILL if is_passed else 0), errors
    assert_kept(tmp_path, told.split("\n")[:-1])


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("nth", [1, 5])
def test_a_failed_sync_by_failpoint_ends_acknowledgement(tmp_path, fault, nth):
    writer = run_writer(tmp_path, 30, JUPYTER_AGENT_FAILPOINTS=f"journal.sync=raise:{fault};nth={nth}")
    told, errors = writer.communicate(timeout=60)
    lines = told.split("\n")[:-1]
    if nth == 1:
        assert "StorageUnavailable" in errors
    else:
        first = next(n for n, one in enumerate(lines) if one.startswith("refused"))
        assert set(lines[first:]) == {"refused storage_unavailable"}, "not one acknowledgement after the failure"
        lines = lines[:first]
    assert_kept(tmp_path, lines)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("inject", "code"),
    [
        ("fdatasync:error=EIO:when=3", "storage_unavailable"),
        ("fdatasync:error=ENOSPC:when=2", "storage_unavailable"),
        ("write:error=ENOSPC:when=4+5", "storage_full"),
        ("write:error=EIO:when=6", "storage_unavailable"),
    ],
)
def test_faults_of_the_system_calls_themselves(tmp_path, inject, code):
    path = tmp_path / "journals" / f"{RUN}.jsonl"
    wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"inject={inject}"]
    probe = subprocess.run([*wrap[:5], "true"], capture_output=True, check=False, timeout=30)
    if probe.returncode:
        pytest.skip(f"strace may not trace here: {probe.stderr!r}")
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    writer = run_writer(tmp_path, 30, wrap=wrap)
    told, errors = writer.communicate(timeout=90)
    lines = told.split("\n")[:-1]
    assert f"refused {code}" in lines, (told, errors)
    if inject.startswith("fdatasync"):
        first = lines.index(f"refused {code}")
        assert {one.split(" ")[0] for one in lines[first:]} == {"refused"}
    assert_kept(tmp_path, [one for one in lines if not one.startswith("refused")])


def test_two_processes_fight_for_one_journal(tmp_path):
    """One writes, the other is turned away in a sentence; both start again and again."""
    acknowledged, refusals = [], 0
    for _ in range(2):
        both = [run_writer(tmp_path, 40) for _ in range(2)]
        for writer in both:
            told, errors = writer.communicate(timeout=60)
            if writer.returncode:
                assert "is being written by another process" in errors
                refusals += 1
            acknowledged.append(told.split("\n")[:-1])
    seen = {event.id for event in check_events(stored(tmp_path))}
    for some in acknowledged:
        assert set(some) <= seen
    assert sum(map(len, acknowledged)) == len({one for some in acknowledged for one in some})
    assert refusals < 4


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    ) if os.geteuid() == 0 and shutil.which("mount") else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip(f"mounting a tmpfs of 1 MiB needs root: {mounted.stderr if mounted else 'not root'}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def fill(journal, acknowledged):
    while True:
        event = ev.InputRequest(request_id="q", prompt="x" * 3000) if len(acknowledged) % 4 else delta("y" * 9000)
        acknowledged.append(await journal.append(RUN, event))


async def fill_rows(rows):
    for number in range(2000):
        now = utc_now()
        await rows.create_thread(Thread(thread_id=f"t{number}", user_id="u" * 500, created_at=now, updated_at=now))


async def test_a_full_disk_and_room_again(small_disk):
    """Everything says that the disk is full, nothing is half done, reads work, and no restart is needed."""
    storage = open_storage(small_disk / "data")
    await storage.rows.open()
    projection = Projection(storage.rows, storage.blobs)
    journal = Journal(storage.lines, storage.blobs, observer=projection)
    await storage.rows.create_thread(
        Thread(thread_id="thr_1", user_id="owner", created_at=utc_now(), updated_at=utc_now())
    )
    await journal.open(RUN)
    acknowledged = [await journal.append(RUN, started())]
    with pytest.raises(StorageFull, match="disk is full"):
        await fill(journal, acknowledged)
    with pytest.raises(StorageFull):
        await storage.blobs.put(os.urandom(300_000))
    with pytest.raises(StorageError):
        await fill_rows(storage.rows)
    assert (await storage.rows.get_thread("thr_1", by=SYSTEM)).user_id == "owner"
    assert [event.id for event in check_events(stored(small_disk / "data"))] == [event.id for event in acknowledged]
    grown = small_disk / "data" / "jupyter_agent.db"
    assert grown.exists()
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    acknowledged.append(await journal.append(RUN, ev.InputRequest(request_id="again", prompt="?")))
    await storage.blobs.put(os.urandom(300_000))
    await storage.rows.create_thread(Thread(thread_id="after", user_id="u", created_at=utc_now(), updated_at=utc_now()))
    assert [event.id for event in check_events(stored(small_disk / "data"))] == [event.id for event in acknowledged]
    await journal.aclose()
    await projection.aclose()
    await storage.close()


def test_every_failpoint_of_the_source_is_on_the_list_and_the_other_way_round():
    import re

    used = set()
    for path in (ROOT / "jupyter_agent").rglob("*.py"):
        used |= set(re.findall(r'failpoint\("([^"]+)"\)', path.read_text()))
    assert used == NAMES


def test_a_failpoint_that_is_none_is_refused(tmp_path):
    writer = run_writer(tmp_path, 1, JUPYTER_AGENT_FAILPOINTS="no.such=kill")
    _, errors = writer.communicate(timeout=60)
    assert "is no failpoint. There are:" in errors
