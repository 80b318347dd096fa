"""A data folder read without its server: the same frames, nothing written, and plain words for what cannot be read."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pandas as pd
import pytest

import jupyter_agent as ja
from jupyter_agent.events import run_tag
from jupyter_agent.exceptions import BlobNotFound, InvalidRequest, JournalDamaged, NotFound, SchemaTooNew, StorageError
from jupyter_agent.facts.kinds import REVISION
from jupyter_agent.storage import DATABASE
from jupyter_agent.storage.migrations import HEAD
from tests.frames.schemas import MANY, agreed, schema
from tests.live_server import TOKEN, LiveServer

SCRIPT = [{"calls": [{"name": "list_files", "arguments": {"pattern": "*"}}]}, {"text": "Done."}]
SLOW = [{"calls": SCRIPT[0]["calls"]}, {"text": "word " * 500, "duration_s": 120}]


def told(source):
    return {kind: getattr(source, kind)() for kind in MANY}


def same(found, wanted):
    for kind in MANY:
        assert schema(found[kind]) == agreed(MANY, kind)
        pd.testing.assert_frame_equal(found[kind].astype("object"), wanted[kind].astype("object"), obj=kind)


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder as a stopped server left it, and what its server told before."""
    import asyncio

    home = tmp_path_factory.mktemp("store")
    live = LiveServer(home)
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        for number in range(3):
            run = ja.run(f"run {number}", model="scripted", script=SCRIPT, metadata={"n": number}, show=False)
            run.result()
            run.rate(1)
        folder = next(home.rglob(DATABASE)).parent
        slow = ja.run("slow", model="scripted", script=SLOW, show=False)
        while not [call for call in slow.tool_calls if call.outcome]:
            pass
        # Read beside the server that works in it: the run that goes on is there too.
        beside = ja.open_store(folder)
        while not beside.tool_calls(run=slow)["outcome"].count():
            time.sleep(0.05)  # rows are a little behind what happens
        assert list(beside.tool_calls(run=slow)["outcome"]) == ["success"]
        assert list(beside.runs()["status"]) == ["completed"] * 3 + ["running"]
        assert beside.events(run=slow)["type"].iloc[0] == "run_started"
        slow.interrupt()
        asked = told(ja)
        client.close()
        runner.run(live.stop())
    return folder, asked


@pytest.fixture
def folder(kept, tmp_path):
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(kept[0], tmp_path / "copy"))


def test_it_says_what_the_server_said_and_writes_nothing(kept):
    folder, asked = kept
    before = files(folder)
    same(told(ja.open_store(folder / DATABASE)), asked)
    assert files(folder) == before


def test_filters_forms_and_twins_are_the_same(kept):
    store = ja.open_store(str(kept[0]))
    assert len(store.runs(metadata={"n": 1})) == 1
    assert store.usage("tool").loc["list_files", "calls"] == 4
    assert sum(len(part) for part in store.events(batches=True, status="completed")) == len(
        store.events(status="completed")
    )
    assert store.messages(arrow=True, columns=["text"]).column_names == ["text"]
    assert list(store.turns(columns=None)) == list(store.turns())
    with pytest.raises(InvalidRequest, match="They have: run_id"):
        store.events(columns=["price"], batches=True)
    assert repr(store) == f"<Store {kept[0]}>"


@pytest.mark.parametrize("kind", MANY)
def test_an_empty_store_has_the_same_dtypes(tmp_path, kind):
    from jupyter_agent.storage.migrations import migrate

    migrate(tmp_path / DATABASE)
    assert schema(getattr(ja.open_store(tmp_path), kind)()) == agreed(MANY, kind)


def test_what_a_killed_server_left_is_read_to_its_last_write(folder):
    program = (
        "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1])\n"
        "database.execute('PRAGMA journal_mode=WAL')\n"
        "database.execute('UPDATE runs SET model = ?', ['written last'])\n"
        "database.commit(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder / DATABASE)], check=False)
    assert (folder / f"{DATABASE}-wal").stat().st_size > 0
    assert set(ja.open_store(folder).runs()["model"]) == {"written last"}


def test_a_folder_that_cannot_be_written_is_read(folder, tmp_path):
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    program = (
        "import subprocess, sys, jupyter_agent as ja; from pathlib import Path; source, place = sys.argv[1:]\n"
        "subprocess.run(['mount', '--bind', source, place], check=True)\n"
        "subprocess.run(['mount', '-o', 'remount,bind,ro', place], check=True)\n"
        "store = ja.open_store(place); print(len(store.runs()), len(store.events()) > 0)\n"
        "assert not [name for name in ('sqlalchemy', 'jupyter_server') if name in sys.modules]\n"
    )
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("This machine lets nobody mount in a namespace of their own.")
    command = ["unshare", "-rm", sys.executable, "-c", program, str(folder), str(mounted)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["4", "True"], done.stderr


def test_what_cannot_be_read_is_told_with_what_to_do(folder, tmp_path):
    with pytest.raises(NotFound, match="give the data folder of a server"):
        ja.open_store(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="is no path"):
        ja.open_store("a\0b")
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    (spoilt / DATABASE).write_bytes(b"garbage" * 10_000)
    with pytest.raises(StorageError, match="jupyter agent rebuild"):
        ja.open_store(spoilt)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    shutil.copy(tmp_path / "other.db", spoilt / DATABASE)
    with pytest.raises(StorageError, match="no database of jupyter_agent"):
        ja.open_store(spoilt)
    for revision, fault, words in (("9999", SchemaTooNew, "Update jupyter_agent"), ("0000", StorageError, "older")):
        with sqlite3.connect(folder / DATABASE) as database:
            database.execute("UPDATE alembic_version SET version_num = ?", [revision])
        database.close()
        with pytest.raises(fault, match=words):
            ja.open_store(folder)


def test_events_whose_archive_is_gone_or_damaged_are_told(folder):
    for path in (folder / "blobs").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\0" + path.read_bytes())
    with pytest.raises(StorageError, match="no longer holds the bytes"):
        ja.open_store(folder).events()
    shutil.rmtree(folder / "blobs")
    with pytest.raises(BlobNotFound, match="copied as a whole"):
        ja.open_store(folder).events()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("INSERT INTO alembic_version VALUES ('0006')", "is damaged"),
        ("UPDATE alembic_version SET version_num = x'ff00'", "is damaged"),
        ("UPDATE runs SET created_at = 'never'", "is damaged"),
        ("UPDATE runs SET input_tokens = 'many'", "is damaged"),
        ("UPDATE runs SET run_id = '../../' || run_id", "is no journal"),
    ],
)
def test_a_database_that_somebody_else_wrote_is_told(folder, spoil, words):
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute(spoil)
    database.close()
    with pytest.raises(StorageError, match=words):
        told(ja.open_store(folder))


def test_what_is_no_journal_is_not_opened(folder):
    """A pipe, which nobody may ever write to, and a device without an end."""
    run_id = ja.open_store(folder).runs()["run_id"].iloc[0]
    path = folder / "journals" / f"{run_id}.jsonl"
    path.parent.mkdir(exist_ok=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir):
        path.unlink(missing_ok=True)
        make(path)
        with pytest.raises(StorageError, match="is no journal"):
            ja.open_store(folder).events(run=run_id)


@pytest.mark.parametrize("said", [b"{{{{", b'{"a":' * 5_000 + b"1" + b"}" * 5_000])
def test_a_line_that_was_written_as_no_event_is_told(folder, said):
    run_id = ja.open_store(folder).runs()["run_id"].iloc[0]
    line = b'{"type":"run_started","id":"%b-1-1","metadata":' % run_tag(run_id).encode() + said
    path = folder / "journals" / f"{run_id}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(line + b',"crc":"%08x"}\n' % zlib.crc32(line))
    with pytest.raises(JournalDamaged, match=f"The journal of {run_id} holds a line that is no event"):
        ja.open_store(folder).events(run=run_id)


def test_it_is_for_the_schema_that_storage_writes():
    assert REVISION == HEAD
