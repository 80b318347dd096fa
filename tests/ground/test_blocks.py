"""Tables and code in a model's text: found, aligned, and never more than text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.display.blocks import blocks

TABLE = """\
| file | missing | share |
|---|---:|:---:|
| `survey.csv` | 66 | 13.8% |
| a\\|b | 7 | |
"""


def test_a_table_stands_in_columns():
    before, (is_fixed, table), after = blocks(f"These are the files:\n\n{TABLE}\nThat is all.")
    assert before == (False, "These are the files:")
    assert after == (False, "That is all.")
    assert is_fixed
    assert table.splitlines() == [
        "file          missing  share",
        "------------  -------  -----",
        "`survey.csv`       66  13.8%",
        "a\\|b                7",
    ]


def test_code_loses_its_fences_and_nothing_else():
    text = "Look:\n```python\n  | is | no table\n\nprint(1)\n```\nDone."
    assert list(blocks(text)) == [(False, "Look:"), (True, "  | is | no table\n\nprint(1)"), (False, "Done.")]


@pytest.mark.parametrize("text", ["| a | b |\n| c |", f"| {'x' * 61} |\n| y |"])
def test_what_is_no_table_stays_as_it_is(text):
    assert list(blocks(text)) == [(True, text)]


@given(st.text(alphabet="|-: `a\\\n", max_size=60))
def test_no_word_is_lost(text):
    said = "\n".join(shown for _, shown in blocks(text))
    assert said.count("a") == text.count("a")
