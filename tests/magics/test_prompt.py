"""Values in prompts, and the options before them."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.magics.options import parse
from jupyter_agent.magics.prompt import fill

NAMES = {"x": 20, "name": "Ada", "row": {"a": 1}, "price": 2.5, "items": [1, 2, 3]}


def filled(template):
    return fill(template, lambda source: eval(source, {}, NAMES)).text  # noqa: S307 - as the shell does


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain text", "plain text"),
        ("x is {x}.", "x is 20."),
        ("{name!r} pays {price:.2f}", "'Ada' pays 2.50"),
        ("{row['a']} {items[1:]} { {'k': 'v'}['k'] }", "1 [2, 3] v"),
        ("{{literal}} and }} and {{", "{literal} and } and {"),
        ("a lone } stays", "a lone } stays"),
        ("{'}'}", "}"),
        ("{x}{x}", "2020"),
        ("{\n  x\n}", "20"),
    ],
)
def test_expressions_are_put_in_place(template, text):
    assert filled(template) == text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{unknown}", r"\{unknown\} in the prompt raised NameError.*Nothing was started"),
        ("{1/0}", "ZeroDivisionError"),
        ('give me JSON: {"a": 1}', "opens no Python expression.*Write {{ and }}"),
        ("function() { return 1 }", "opens no Python expression"),
        ("{}", "opens no Python expression"),
        ("{ unclosed", "opens no Python expression"),
        ("{'y' * 50_000}", "gives 50,000 characters"),
    ],
)
def test_what_fails_starts_nothing_and_says_why(template, said):
    with pytest.raises(InvalidRequest, match=said):
        filled(template)


@given(st.text())
def test_any_text_comes_through_with_its_braces_doubled(text):
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text


def test_a_frame_is_described_and_not_sent():
    frame = pd.DataFrame({"city": ["Oslo", None] * 500, "secret": range(1000)})
    prompt = fill("Look at {frame}.", lambda _: frame)
    assert "frame is a pandas DataFrame with 1,000 rows and 2 columns" in prompt.text
    assert "500 missing" in prompt.text
    assert "999" not in prompt.text
    assert [value.expression for value in prompt.inserted] == ["frame"]
    assert "Series with 1,000 rows" in fill("{s}", lambda _: frame.city).text


def test_options_stand_before_the_rest():
    options = parse("-m openai:gpt-x -t 'my thread' --tools a,b --no-wait answer")
    assert (options.model, options.thread, options.tools) == ("openai:gpt-x", "my thread", "a,b")
    assert options.no_wait
    assert options.rest == "answer"
    assert parse("--model=demo --new What is -m here?").rest == "What is -m here?"
    assert parse("").rest == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--modle demo", "no option '--modle'"),
        ("-m", "-m needs a value"),
        ("-m --new", "-m needs a value"),
        ("--new -t x", "either a thread or --new"),
    ],
)
def test_wrong_options_are_said(line, said):
    with pytest.raises(InvalidRequest, match=said):
        parse(line)
