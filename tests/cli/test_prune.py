"""`jupyter agent prune` where it cannot work: it says what to do and deletes nothing."""

import sqlite3

import pytest

from jupyter_agent.cli import main
from jupyter_agent.cli.prune import SIZE, _number
from jupyter_agent.storage import DATABASE
from jupyter_agent.storage.migrations import migrate


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "blobs" / "ab").mkdir(parents=True)
    (tmp_path / "blobs" / "ab" / ("c" * 62)).write_bytes(b"kept")
    migrate(tmp_path / DATABASE)
    return tmp_path


def kept(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {
        f"{DATABASE}-wal", f"{DATABASE}-shm", "server.lock", "migrations.lock",
    }  # fmt: skip


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_damaged_database_is_named_with_what_to_do(folder, capsys, dry):
    (folder / DATABASE).write_bytes(b"garbage" * 1000)
    before = kept(folder)
    assert main(["prune", "--larger-than", "0", "--data-folder", str(folder), *dry]) == 2
    assert "jupyter agent rebuild" in capsys.readouterr().err
    assert kept(folder) == before
    assert (folder / DATABASE).read_bytes() == b"garbage" * 1000


def test_a_newer_database_is_left_alone(folder, capsys):
    with sqlite3.connect(folder / DATABASE) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    before = kept(folder)
    assert main(["prune", "--older-than", "0s", "--data-folder", str(folder)]) == 2
    assert "Update jupyter_agent" in capsys.readouterr().err
    assert kept(folder) == before


@pytest.mark.parametrize(
    "words",
    [["--older-than", "-3d"], ["--older-than", "30"], ["--older-than", "3 parsecs"], ["--larger-than", "much"],
     ["--larger-than", "5 XB"], ["--older-than", "9" * 400 + "d"], ["--older-than", "400000w"], []],
)  # fmt: skip
def test_amounts_that_are_none_are_refused(folder, capsys, words):
    try:
        code = main(["prune", "--data-folder", str(folder), *words])
    except SystemExit as refused:  # argparse takes a minus for an option
        code = refused.code
    assert code == 2
    assert capsys.readouterr().err.strip()
    assert kept(folder) == kept(folder)


@pytest.mark.parametrize(("amount", "limit"), [("5GB", 5 * 10**9), ("1.5 MiB", 3 * 2**19), ("700", 700), ("0", 0)])
def test_amounts_are_read_as_people_write_them(amount, limit):
    assert _number(amount, SIZE) == limit


def test_nothing_old_nothing_gone(folder, capsys):
    assert main(["prune", "--older-than", "30d", "--data-folder", str(folder)]) == 0
    assert "0 threads with 0 runs" in capsys.readouterr().out
    assert (folder / "blobs" / "ab" / ("c" * 62)).exists(), "it was put just now"
