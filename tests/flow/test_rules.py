"""Each trigger rule with each way a dependency can stand: as the table of the documents says."""

import re
from pathlib import Path

import pytest

from jupyter_agent.flow.decisions import verdict
from jupyter_agent.flow.step import Rule

DOCUMENT = Path(__file__).parents[2] / "docs" / "flows.md"
STANDINGS = ("completed", "failed", "timed_out", "cancelled", "skipped", "excluded", "open")

ALONE = {
    "all_success": ("starts", *["is skipped"] * 4, "is excluded", "waits"),
    "one_success": ("starts", *["is skipped"] * 4, "is excluded", "waits"),
    "all_done": ("starts", *["starts"] * 4, "is excluded", "waits"),
}
BESIDE_COMPLETED = {
    "all_success": ("starts", *["is skipped"] * 4, "starts", "waits"),
    "one_success": ("starts",) * 7,
    "all_done": (*["starts"] * 6, "waits"),
}
BESIDE_FAILED = {
    "all_success": ("is skipped",) * 7,
    "one_success": ("starts", *["is skipped"] * 4, "starts", "waits"),
    "all_done": (*["starts"] * 6, "waits"),
}
BESIDE_OPEN = {
    "all_success": ("waits", *["is skipped"] * 4, "waits", "waits"),
    "one_success": ("starts", *["waits"] * 6),
    "all_done": ("waits",) * 7,
}
TABLES = {
    "the only one": ((), ALONE),
    "beside a completed one": (("completed",), BESIDE_COMPLETED),
    "beside a failed one": (("failed",), BESIDE_FAILED),
    "beside an open one": (("open",), BESIDE_OPEN),
}


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("beside", TABLES)
def test_a_rule_and_how_a_dependency_stands(rule, beside):
    others, table = TABLES[beside]
    assert tuple(verdict(rule, [one, *others]).value for one in STANDINGS) == table[rule]
    assert tuple(verdict(rule, [*others, one]).value for one in STANDINGS) == table[rule]


@pytest.mark.parametrize("rule", Rule)
def test_a_step_without_dependencies_starts(rule):
    assert verdict(rule, []).value == "starts"


def test_the_documents_have_the_same_table():
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    told = {(rule, beside): tuple(cells.split(" | ")) for rule, beside, cells in rows}
    known = {(rule, name): table[rule] for name, (_, table) in TABLES.items() for rule in Rule}
    assert told == known
