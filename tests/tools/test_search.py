"""search_files: right answers, clear errors, linear time."""

import time
from pathlib import Path

import pytest

from jupyter_agent.exceptions import InvalidArguments, ToolError


async def test_matches_are_shown_with_path_and_line(use) -> None:
    assert await use("search_files", query="line$") == "notes.txt:1: first line\nnotes.txt:2: second line"
    assert await use("search_files", query="(?i)berlin") == "data/sales.csv:2: Berlin,3"
    assert await use("search_files", query="1", path="data", pattern="*.csv") == "data/deep/more.csv:2: 1"
    assert await use("search_files", query="Paris", path="data/sales.csv") == "data/sales.csv:3: Paris,"
    assert await use("search_files", query="Paris", pattern="*.txt") == "No line matches Paris in 1 files."


async def test_a_wrong_query_is_explained(use) -> None:
    for query, reason in {
        "(": "missing )",
        "(?=a)": "Look-around",
        r"\1": "back-references",
        "a{1000}{1000}": "repetition",
    }.items():
        with pytest.raises(InvalidArguments, match=r"is no regular expression that works here") as caught:
            await use("search_files", query=query)
        assert reason in caught.value.message
    with pytest.raises(InvalidArguments, match="minLength"):
        await use("search_files", query="")
    with pytest.raises(InvalidArguments, match="at most 1,000"):
        await use("search_files", query="a" * 1001)


async def test_what_is_not_searched_is_said(use, root: Path) -> None:
    (root / "image.bin").write_bytes(b"first\0line")
    (root / "id_rsa").write_text("first line")
    (root / ".hidden").write_text("first line")
    shown = await use("search_files", query="first")
    assert shown.splitlines()[0] == "notes.txt:1: first line"
    assert "[not searched: 1 files that are no text]" in shown
    assert "[not searched: 1 files that may hold secrets (name one to search it)]" in shown
    assert "[1 hidden left out]" in shown
    assert await use("search_files", query="first", path="id_rsa") == "id_rsa:1: first line"
    with pytest.raises(ToolError, match="binary file"):
        await use("search_files", query="first", path="image.bin")


async def test_matches_are_capped(use, root: Path) -> None:
    (root / "many.txt").write_text("hit\n" * 500)
    shown = (await use("search_files", query="hit", max_matches=3)).splitlines()
    assert len(shown) == 4
    assert shown[-1].startswith("[the first 3 matches; there are more")
    (root / "wide.txt").write_text(("x" * 5000 + "needle" + "y" * 5000 + "\n") * 2)
    lines = (await use("search_files", query="needle", pattern="wide.txt")).splitlines()
    assert len(lines) == 2
    assert all("needle" in line and len(line) < 300 for line in lines)


async def test_hostile_patterns_are_linear(use, root: Path) -> None:
    (root / "as.txt").write_text(("a" * 50_000 + "!\n") * 10)
    began = time.monotonic()
    for query in ("(a|aa)+$", "(.*a){20}", "(a+)+b", "(?:.*?,){11}P", "(a*)*c"):
        await use("search_files", query=query, path="as.txt")
    await use("list_files", pattern="*a" * 200 + "b")
    # Backtracking would take longer than the universe: any bound tells the two apart.
    assert time.monotonic() - began < 30
