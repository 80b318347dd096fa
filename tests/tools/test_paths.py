"""Nothing outside of the workspace is reached, whatever a path says and whoever swaps files meanwhile."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import OutsideWorkspace, ToolError
from jupyter_agent.tools.paths import MAX_DEPTH, Walk, names_of, opened
from jupyter_agent.tools.sensitive import is_protected, is_sensitive

from .conftest import CANARY

HOSTILE = [
    "../root-secret/secret.txt",
    "../above.txt",
    "data/../../above.txt",
    "data/../notes.txt",
    "..",
    "../",
    "..\\root-secret\\secret.txt",
    "data\\..\\..\\above.txt",
    "%2e%2e%2fabove.txt",
    "%252e%252e%252fabove.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/root/etc/passwd",
    "/proc/self/environ",
    "~",
    "~/x",
    "~root/x",
    "C:",
    "C:/Windows/win.ini",
    "C:\\Windows\\win.ini",
    "\\\\evil\\share\\x",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "notes.txt\0.png",
    "\0",
    "a" * 300,
    "a/" * 2000 + "b",
    "a/" * 3000,
    "\udc80\ud800",
]


def tools_with_paths(path: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("read_file", {"path": path}),
        ("list_files", {"path": path}),
        ("search_files", {"query": "CANARY|root|Windows", "path": path}),
        ("create_file", {"path": path + "/made.txt", "content": "x"}),
        ("create_file", {"path": path, "content": "x"}),
    ]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("path", HOSTILE)
async def test_hostile_paths_reach_nothing_outside(path: str, use, root: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    for name, arguments in tools_with_paths(path):
        try:
            answer = await use(name, **arguments)
        except ToolError as error:
            answer = error.message
        else:
            # A plain name with odd characters may be created, beneath the workspace.
            assert name == "create_file"
        assert answer.endswith(".")
        assert CANARY not in answer
    after = snapshot(tmp_path)
    assert all(Path(made).is_relative_to(root) for made in after.keys() - before.keys())
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize(
    "path", ["../above.txt", "/etc/passwd", "C:/x", "~/x", "file:///x", "a\\b", "a\0b", "data/../x"]
)
async def test_paths_that_lead_outside_are_refused_by_name(path: str, root: Path) -> None:
    with pytest.raises(OutsideWorkspace):
        names_of(root, path)


async def test_sibling_with_the_same_prefix_is_outside(use, root: Path, outside: Path) -> None:
    for path in (f"{root}-secret/secret.txt", f"{outside}/secret.txt"):
        with pytest.raises(OutsideWorkspace, match="outside of the workspace"):
            await use("read_file", path=path)


async def test_absolute_paths_inside_are_inside(use, root: Path, tmp_path: Path, call) -> None:
    assert (await use("read_file", path=str(root / "notes.txt"))).startswith("first")
    (tmp_path / "alias").symlink_to(root)
    call.environment.workspace = tmp_path / "alias"
    assert (await use("read_file", path=str(root / "notes.txt"))).startswith("first")
    assert (await use("read_file", path=f"{tmp_path}/alias/notes.txt")).startswith("first")


def links_outside(root: Path, outside: Path) -> dict[str, Path]:
    links = {
        "file_link": outside / "secret.txt",
        "folder_link": outside,
        "relative_link": Path("../root-secret/secret.txt"),
        "dangling_link": outside / "nothing",
        "data/deep/up": Path("../../../root-secret"),
        "through": Path("data/deep/up/secret.txt"),
        "proc": Path("/proc/self/root"),
        "absolute_up": Path(f"{root}/../root-secret/secret.txt"),
        "loop_a": Path("loop_b"),
        "loop_b": Path("loop_a"),
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    return links


async def test_links_outside_are_refused(use, root: Path, outside: Path, tmp_path: Path) -> None:
    before = snapshot(outside)
    for name in links_outside(root, outside):
        for path in (name, f"{name}/secret.txt", f"{name}/new/file.txt"):
            for tool, arguments in tools_with_paths(path):
                with pytest.raises(ToolError) as caught:
                    await use(tool, **arguments)
                assert CANARY not in caught.value.message
    assert snapshot(outside) == before
    # Lists and searches that meet such links on their way show them as links, or pass them by.
    assert CANARY not in await use("search_files", query="CANARY")
    assert "file_link  link" in await use("list_files")
    assert "secret.txt" not in await use("list_files", pattern="*.txt")


async def test_links_inside_are_followed(use, root: Path) -> None:
    (root / "data" / "here").symlink_to("../notes.txt")
    (root / "folder").symlink_to(root / "data")
    assert (await use("read_file", path="data/here")).startswith("first")
    assert (await use("read_file", path="folder/sales.csv")).startswith("city")
    assert "folder/sales.csv" in await use("list_files", path="folder")
    await use("create_file", path="folder/new/x.txt", content="x")
    assert (root / "data" / "new" / "x.txt").read_text() == "x"


async def test_hard_links_are_refused(use, root: Path, outside: Path) -> None:
    os.link(outside / "secret.txt", root / "hard.txt")
    with pytest.raises(OutsideWorkspace, match="second name"):
        await use("read_file", path="hard.txt")
    assert CANARY not in await use("search_files", query="CANARY")


async def test_a_link_does_not_launder_a_secret(use, root: Path) -> None:
    (root / ".env").write_text(f"KEY={CANARY}")
    (root / "harmless.txt").symlink_to(".env")
    (root / ".ssh").mkdir()
    (root / ".ssh" / "known").write_text(CANARY)
    (root / "folder").symlink_to(".ssh")
    for path in ("harmless.txt", "folder/known"):
        with pytest.raises(OutsideWorkspace, match="by its own path"):
            await use("read_file", path=path)
    with pytest.raises(OutsideWorkspace, match="by its own path"):
        await use("search_files", query="CANARY", path="folder")
    # By its own name it is a matter of policy, and read.
    assert CANARY in await use("read_file", path=".env")
    assert CANARY not in await use("search_files", query="CANARY")
    assert CANARY in await use("search_files", query="CANARY", path=".ssh")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
async def test_the_kernels_own_files_are_refused_even_beneath_the_root(use, call) -> None:
    call.environment.workspace = Path("/")
    for path in ("/proc/self/environ", "proc/self/environ", "proc/self/root/etc/passwd", "sys/kernel", "dev/null"):
        with pytest.raises(ToolError):
            await use("read_file", path=path)
    with pytest.raises(OutsideWorkspace):
        await use("read_file", path="proc/self/environ")


async def test_pipes_and_sockets_do_not_block(use, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ToolError, match="neither a file nor a folder"):
        await asyncio.wait_for(use("read_file", path="pipe"), 5)
    assert "pipe  special file" in await use("list_files")
    assert await use("search_files", query="x", pattern="pipe")


def test_swapping_a_checked_path_never_escapes(root: Path, outside: Path) -> None:
    """A thread swaps a folder and a file for links to the outside as fast as it can, while the tool opens them."""
    (root / "box").mkdir()
    (root / "box" / "secret.txt").write_text("inside")
    stop = threading.Event()

    def swap() -> None:
        spare, evil = root / "spare", root / "evil"
        while not stop.is_set():
            evil.symlink_to(outside)
            (root / "box").rename(spare)
            evil.rename(root / "box")
            (root / "box").unlink()
            spare.rename(root / "box")

    seen: dict[str, int] = {}
    swapper = threading.Thread(target=swap)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    swapper.start()
    try:
        deadline = time.monotonic() + 60
        tries = 0
        while tries < 5_000 and time.monotonic() < deadline:
            tries += 1
            try:
                with opened(root, "box/secret.txt") as (fd, _):
                    text = os.read(fd, 100).decode()
            except ToolError as error:
                text = type(error).__name__
            seen[text] = seen.get(text, 0) + 1
    finally:
        stop.set()
        swapper.join()
        sys.setswitchinterval(switch)
    assert CANARY not in seen, seen
    assert seen.get("inside"), seen
    assert len(seen) > 1, "the swaps were never met: the test shows nothing"


NAMES = st.sampled_from(["a", "b", "link", "..", ".", "", "up", "abs", "x" * 20, "é", "e\u0301", "con", "-rf"])
PATHS = st.lists(NAMES, max_size=8).map("/".join) | st.text(max_size=20)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, absolute=st.booleans())
@example(path="up/up/above.txt", absolute=False)
@example(path="a/../../above.txt", absolute=True)
def test_what_is_opened_lies_beneath(path: str, *, absolute: bool, root: Path, tmp_path: Path) -> None:
    links = {"link": "data/deep", "up": "..", "abs": str(root), "data/up": "../data/up2", "data/up2": "../.."}
    for name, target in links.items():
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    (root / "a" / "b").mkdir(parents=True, exist_ok=True)
    asked = f"{root}/{path}" if absolute else path
    try:
        with opened(root, asked) as (fd, found):
            real = Path(f"/proc/self/fd/{fd}").readlink()
    except ToolError:
        return
    assert real == root.resolve() or root.resolve() in real.parents
    assert real == root.resolve() / found


def test_a_deep_path_holds_few_descriptors(root: Path) -> None:
    with pytest.raises(OutsideWorkspace, match="names deep"):
        names_of(root, "a/" * (MAX_DEPTH + 1))
    (root / "again").symlink_to("./" * 10 + "data/..")
    with opened(root, "/".join(["again"] * 20)) as (_, found):
        assert found == "."
    (root / "bomb").symlink_to("bomb/" * 50)
    with pytest.raises(ToolError), opened(root, "bomb"):
        pass


def test_nothing_stays_open(root: Path, outside: Path) -> None:
    links_outside(root, outside)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ["data/deep/more.csv", "missing", "data/deep/up", "through", "loop_a", "notes.txt/x"]:
        try:
            with opened(root, path):
                pass
        except ToolError:
            pass
    with Walk(root, "made/by/walk.txt") as walk:
        walk.open_parent()
        walk.unmake()
    assert not (root / "made").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_missing_workspace_is_said(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="workspace cannot be opened"), opened(tmp_path / "gone", "."):
        pass


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "a/.env",
        ".ENV",
        "a/.ssh/config",
        "id_rsa",
        "ID_RSA",
        "x/id_ed25519.pub",
        "server.pem",
        "prod.env",
        ".netrc",
        ".git/config",
        "credentials.json",
        "my_credentials",
        "client_secret_1.json",
        "secrets.yaml",
        "api_token.txt",
        "jpserver-12.json",
        "jpserver-12-open.html",
        "kernel-1f.json",
        ".e\u200bnv",
        "\uff0eenv",
        ".env.",
        " .env ",
        "/abs/.aws/x",
    ],
)
def test_sensitive_names(path: str) -> None:
    assert is_sensitive(path)


@pytest.mark.parametrize(
    "path", ["", ".", "./a.csv", "data/sales.csv", "keyboard.txt", "environment.yml", "a/./b", "tokenizer.py"]
)
def test_plain_names(path: str) -> None:
    assert not is_sensitive(path)
    assert not is_protected(path)


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit",
        ".GIT/config",
        ".g\u200dit/x",
        ".bashrc",
        ".ipython/profile_default/startup/a.py",
        "lib/evil.pth",
        "sitecustomize.py",
        ".jupyter/jupyter_server_config.py",
        ".mcp.json",
        "a/.vscode/tasks.json",
    ],
)
async def test_configuration_is_never_written(path: str, use, root: Path) -> None:
    with pytest.raises(ToolError, match="tools never write there"):
        await use("create_file", path=path, content="x")
    assert not (root / path).exists()


async def test_configuration_is_not_written_through_a_link(use, root: Path) -> None:
    (root / ".git").mkdir()
    (root / "plain").symlink_to(".git")
    with pytest.raises(ToolError):
        await use("create_file", path="plain/hook", content="x")
    with pytest.raises(ToolError):
        await use("create_file", path="plain/new/hook", content="x")
    assert list((root / ".git").iterdir()) == []
    (root / "jupyter_config.d").mkdir()
    (root / "other").symlink_to("jupyter_config.d")
    with pytest.raises(ToolError, match="never write there"):
        await use("create_file", path="other/new/x.json", content="x")
    assert list((root / "jupyter_config.d").iterdir()) == []
