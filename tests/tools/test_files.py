"""The file tools on the files that people really have, and on those that nobody wants."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_agent.exceptions import InvalidArguments, ToolError
from jupyter_agent.tools import first_toolbox
from jupyter_agent.tools.files import MAX_CONTENT_BYTES, MAX_COUNTED_BYTES, MAX_ENTRIES, MAX_READ_CHARS


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- list_files -----------------------------------------------------------------------------------------------


async def test_list_one_folder(use) -> None:
    assert await use("list_files") == "data/\nnotes.txt  23 bytes"
    assert await use("list_files", path="data") == "data/deep/\ndata/sales.csv  28 bytes"


async def test_list_by_pattern_at_any_depth(use) -> None:
    both = "data/deep/more.csv  4 bytes\ndata/sales.csv  28 bytes"
    assert await use("list_files", pattern="*.csv") == both
    assert await use("list_files", pattern="**/*.csv") == both
    assert await use("list_files", pattern="data/*.csv") == "data/sales.csv  28 bytes"
    assert await use("list_files", pattern="*.{txt,md}") == "notes.txt  23 bytes"
    assert await use("list_files", pattern="[mn]o*", path="data/deep") == "data/deep/more.csv  4 bytes"
    assert await use("list_files", pattern="*.parquet") == "No file matches *.parquet."


async def test_list_leaves_hidden_and_checkpoints_out(use, root: Path) -> None:
    for name in (".env", ".git/config", ".ipynb_checkpoints/a.csv", "__pycache__/b.csv", "node_modules/c.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    shown = await use("list_files", pattern="*.csv")
    assert "a.csv" not in shown
    assert "b.csv" not in shown
    assert "c.csv" not in shown
    assert "hidden left out" in await use("list_files")
    assert ".env  1 bytes" in await use("list_files", pattern=".*")
    assert ".git/config  1 bytes" in await use("list_files", path=".git")


async def test_list_is_capped_and_counts_the_rest(use, root: Path) -> None:
    for number in range(MAX_ENTRIES + 7):
        (root / "data" / f"f{number:04}.txt").touch()
    lines = (await use("list_files", path="data")).splitlines()
    assert lines[-1] == "[9 more are left out: give a narrower path or pattern]"
    assert len(lines) == MAX_ENTRIES + 1


async def test_list_empty_and_wrong(use, root: Path) -> None:
    (root / "empty").mkdir()
    assert await use("list_files", path="empty") == "The folder is empty."
    with pytest.raises(ToolError, match="is a file, not a folder"):
        await use("list_files", path="notes.txt")
    with pytest.raises(ToolError, match=r"no dat in the workspace. Close to it: data\."):
        await use("list_files", path="dat")
    with pytest.raises(InvalidArguments, match="no file pattern"):
        await use("list_files", pattern="[z-a]")
    with pytest.raises(InvalidArguments, match="at most 1,000"):
        await use("list_files", pattern="*" * 2000)


async def test_list_a_deep_tree(use, root: Path) -> None:
    deep = root
    for _ in range(40):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "x.csv").touch()
    shown = await use("list_files", pattern="*.csv")
    assert "1 folders not entered, unreadable or too deep: d/d" in shown


HOSTILE_NAMES = [
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned",
    "a\ntouch pwned",
    "-rf",
    "--help",
    "|touch pwned",
    "* ?",
    "a\x1b[31mred",
    "\u202egpj.exe",
    "a\u200bb",
    b"bad\xff\xfe".decode("utf-8", "surrogateescape"),
    "'\"",
]


async def test_hostile_names_are_only_names(use, root: Path) -> None:
    """Files with such names are listed, searched and read, and nothing is ever executed on the way."""
    for name in HOSTILE_NAMES:
        (root / "data" / name).write_text("needle")
    executed: list[str] = []
    watching = True

    def watch(event: str, args: tuple[object, ...]) -> None:
        if watching and event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "exec"):
            executed.append(event)

    sys.addaudithook(watch)
    try:
        shown = await use("list_files", path="data")
        found = await use("search_files", query="needle")
        for name in HOSTILE_NAMES[:-2]:
            assert await use("read_file", path=f"data/{name}") == "needle"
            with pytest.raises(ToolError):
                await use("create_file", path=f"data/{name}", content="x")
        await use("list_files", pattern="$(touch pwned)*")
        await use("create_file", path="data/$(touch also)", content="x")
    finally:
        watching = False
    assert executed == []
    assert not [path for path in names_below(root) if "pwned" in path and "touch" not in path]
    lines = shown.splitlines()
    assert len(lines) == len(HOSTILE_NAMES) + 2
    assert json.dumps("data/a\ntouch pwned") + "  6 bytes" in lines
    assert all(line.isprintable() for line in lines)
    assert len(found.splitlines()) == len(HOSTILE_NAMES)
    (shown + found).encode()


# --- read_file ------------------------------------------------------------------------------------------------


async def test_read_whole_and_in_part(use, root: Path) -> None:
    assert await use("read_file", path="data/sales.csv") == "city,amount\nBerlin,3\nParis,"
    assert await use("read_file", path="./data//sales.csv", start_line=2, max_lines=1) == (
        "Berlin,3\n[lines 2 to 2 of 3; go on with start_line=3]"
    )
    assert await use("read_file", path="data/sales.csv", start_line=3) == "Paris,\n[lines 3 to 3 of 3]"
    with pytest.raises(ToolError, match="has 3 lines: start_line 9 is beyond"):
        await use("read_file", path="data/sales.csv", start_line=9)
    (root / "empty.txt").touch()
    assert await use("read_file", path="empty.txt") == "[the file is empty]"
    assert await use("read_file", path="data/sales.csv", start_line=1.0, max_lines=500.0)


async def test_read_stays_below_the_output_cap_and_says_how_to_go_on(use, root: Path) -> None:
    (root / "long.txt").write_text("".join(f"line {n} {'x' * 90}\n" for n in range(1, 2001)))
    text, at = "", 1
    for _ in range(50):
        part = await use("read_file", path="long.txt", start_line=at)
        assert len(part) <= MAX_READ_CHARS + 200 < first_toolbox().get("read_file").spec.output_cap
        body, _, note = part.rpartition("\n[lines ")
        text += body + "\n"
        if "go on with" not in note:
            break
        at = int(note.rpartition("=")[2].rstrip("]"))
    assert text == (root / "long.txt").read_text()


async def test_read_what_is_no_text(use, root: Path) -> None:
    (root / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (root / "data.bin").write_bytes(b"ab\0cd")
    (root / "bad.txt").write_bytes(b"caf\xe9 \xff\n" + b"ok\n")
    (root / "late.txt").write_bytes(b"x\n" * 5000 + b"a\0b\n")
    (root / "bom.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    with pytest.raises(ToolError, match=r"binary file of 10 bytes \(a PNG image\)"):
        await use("read_file", path="plot.png")
    with pytest.raises(ToolError, match="it contains NUL bytes"):
        await use("read_file", path="data.bin")
    assert await use("read_file", path="bad.txt") == "caf\ufffd \ufffd\nok"
    assert (await use("read_file", path="late.txt", start_line=5001)).startswith("a\ufffdb")
    assert (await use("read_file", path="bom.csv")).splitlines()[1] == "1,2"


async def test_read_a_huge_line_in_little_memory(use, root: Path) -> None:
    with (root / "one.json").open("wb") as file:
        file.write(b"[")
        for _ in range(64):
            file.write(b"1234567," * 131_072)
        file.write(b"0]\nlast\n")
    shown = await use("read_file", path="one.json")
    assert shown.startswith("[1234567,")
    assert "more bytes of this line are left out]\nlast" in shown
    assert len(shown) < 5000


async def test_read_a_huge_file_counts_only_so_far(use, root: Path) -> None:
    (root / "huge.txt").write_bytes((b"row" + b"." * 1021 + b"\n") * (MAX_COUNTED_BYTES // 1000))
    shown = await use("read_file", path="huge.txt", max_lines=2)
    assert "[lines 1 to 2 of more than 6" in shown
    assert shown.endswith("; go on with start_line=3]")


async def test_read_folders_and_missing_files(use) -> None:
    with pytest.raises(ToolError, match="is a folder: list it"):
        await use("read_file", path="data")
    with pytest.raises(ToolError, match=r"no data/sale.csv in the workspace. Close to it: sales\.csv\."):
        await use("read_file", path="data/sale.csv")
    with pytest.raises(ToolError, match="as if it were a folder"):
        await use("read_file", path="notes.txt/x")
    with pytest.raises(InvalidArguments, match="max_lines"):
        await use("read_file", path="notes.txt", max_lines=0)


async def test_reading_does_not_hold_the_loop(use, root: Path) -> None:
    (root / "big.txt").write_bytes(b"some text\n" * 3_000_000)
    beats = 0
    reading = asyncio.create_task(use("read_file", path="big.txt", start_line=2_999_000))
    while not reading.done():
        await asyncio.sleep(0.005)
        beats += 1
    assert (await reading).endswith("of 3,000,000; go on with start_line=2999500]")
    assert beats > 5  # it would be one


async def test_cancelling_stops_the_thread(use, root: Path) -> None:
    (root / "big.txt").write_bytes(b"some text\n" * 6_000_000)
    threads = threading.active_count()
    searching = asyncio.create_task(use("search_files", query="nothing like this"))
    await asyncio.sleep(0.2)
    assert not searching.done()
    searching.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await searching
    await asyncio.get_running_loop().shutdown_default_executor()
    assert time.monotonic() - began < 10
    assert threading.active_count() <= threads


# --- create_file ----------------------------------------------------------------------------------------------


async def test_create_and_never_overwrite(use, root: Path) -> None:
    assert await use("create_file", path="new/folder/a.txt", content="one\ntwo") == (
        "Created new/folder/a.txt with 7 bytes in 2 lines."
    )
    assert (root / "new/folder/a.txt").read_text() == "one\ntwo"
    with pytest.raises(ToolError, match="exists already and is not overwritten"):
        await use("create_file", path="new/folder/a.txt", content="other")
    assert (root / "new/folder/a.txt").read_text() == "one\ntwo"
    (root / "dangling").symlink_to("nowhere.txt")
    with pytest.raises(ToolError, match="exists already"):
        await use("create_file", path="dangling", content="x")
    assert not (root / "nowhere.txt").exists()
    with pytest.raises(ToolError, match="exists already"):
        await use("create_file", path="data", content="x")


async def test_create_many_at_once_makes_one(use, root: Path) -> None:
    results = await asyncio.gather(
        *(use("create_file", path="race/x.txt", content=f"content {n}") for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 1
    assert all(isinstance(result, str | ToolError) for result in results)
    assert (root / "race/x.txt").read_text().startswith("content ")


@pytest.mark.parametrize(
    "path", ["", ".", "folder/", "/", "a\nb", "a\u202eb", " ", "a/ b", "x" * 256, "é" * 128, "tab\t"]
)
async def test_create_refuses_names_that_mislead(path: str, use, root: Path) -> None:
    before = names_below(root)
    with pytest.raises(ToolError):
        await use("create_file", path=path, content="x")
    assert names_below(root) == before


async def test_names_that_look_alike_do_not_collide(use, root: Path) -> None:
    for path in ("é.txt", "e\u0301.txt", "con", "CON", "A.txt", "a.txt"):
        exists = path in ("CON", "a.txt", "e\u0301.txt") and (root / path).exists()
        if exists:  # where the file system takes both for one
            with pytest.raises(ToolError, match="exists already"):
                await use("create_file", path=path, content=path)
        else:
            await use("create_file", path=path, content=path)
            assert (root / path).read_text() == path


async def test_create_takes_nul_and_surrogates_as_text(use, root: Path) -> None:
    await use("create_file", path="odd.txt", content="a\0b\ud800c")
    assert (root / "odd.txt").read_text() == "a\ufffdb\ufffdc"


async def test_create_has_a_limit(use, root: Path) -> None:
    await use("create_file", path="most.txt", content="x" * MAX_CONTENT_BYTES)
    with pytest.raises(InvalidArguments, match="at most 1,048,576"):
        await use("create_file", path="more.txt", content="é" * (MAX_CONTENT_BYTES // 2 + 1))
    assert not (root / "more.txt").exists()


def test_the_preview_shows_all_of_it(call) -> None:
    tool = first_toolbox().get("create_file")
    assert tool.preview is not None
    content = "import os\n" + "\n" * 1000 + "os.remove('x')\u202e # \u200bharmless"
    preview = tool.preview(call.environment, {"path": "./data//evil\u202etxt.py", "content": content})
    assert preview["path"] == json.dumps("data/evil\u202etxt.py")
    assert preview["bytes"] == len(content.encode())
    assert "+os.remove('x')⟨U+202E⟩ # ⟨U+200B⟩harmless" in preview["diff"]
    assert preview["diff"].count("\n+") >= 1002
    assert "\\ No newline at end of file" in preview["diff"]
    outside = tool.preview(call.environment, {"path": "../x", "content": ""})
    assert outside["path"] == "../x"


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A workspace of an ordinary user, since root may write everywhere. Threads keep the user while the test runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "shut").mkdir(mode=0o555)
        (folder / "private").mkdir(mode=0o700)
        (folder / "private" / "x.txt").write_text("x")
        (folder / "private.txt").write_text("x")
        (folder / "private.txt").chmod(0)
        (folder / "private").chmod(0)
        uid = os.geteuid()
        if uid == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if uid == 0:
                os.seteuid(0)
            (folder / "private").chmod(0o700)


async def test_folders_without_permission(use, call, plain_user: Path) -> None:
    call.environment.workspace = plain_user
    for path in ("shut/a.txt", "shut/new/a.txt"):
        with pytest.raises(ToolError, match="not permitted"):
            await use("create_file", path=path, content="x")
    for path in ("private.txt", "private/x.txt"):
        with pytest.raises(ToolError, match="not permitted"):
            await use("read_file", path=path)
    assert "not entered" in await use("list_files", pattern="*.txt")
    assert "1 files that cannot be read" in await use("search_files", query="x")
    assert names_below(plain_user / "shut") == []


def remount_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte, nearly full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        (disk / "filler").write_bytes(b"x" * 900_000)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_leaves_nothing_half_written(use, call, small_disk: Path) -> None:
    call.environment.workspace = small_disk
    with pytest.raises(ToolError, match=r"disk is full: nothing was written of new/folder/a\.txt"):
        await use("create_file", path="new/folder/a.txt", content="y" * 500_000)
    assert names_below(small_disk) == ["filler"]
    await use("create_file", path="new/folder/a.txt", content="it fits")


async def test_a_disk_that_cannot_be_written(use, call, small_disk: Path) -> None:
    call.environment.workspace = small_disk
    remount_read_only(small_disk)
    with pytest.raises(ToolError, match="cannot be written: choose another folder"):
        await use("create_file", path="a.txt", content="y")
