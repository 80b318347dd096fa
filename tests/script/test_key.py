"""Keys: the same for what is the same, different for what could be answered differently, and never for NaN."""

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.script.key import CallFields, difference, digest_of, key_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.builds(
    CallFields,
    prompt=TEXT,
    schema=st.none() | st.dictionaries(TEXT, PLAIN, max_size=3),
    model=TEXT,
    settings=st.dictionaries(TEXT, PLAIN, max_size=3),
    tools=st.dictionaries(TEXT, TEXT, max_size=3),
    agent=st.none() | TEXT,
    attachments=st.lists(TEXT, max_size=2).map(tuple),
)


def shuffled(value, chance):
    """The same value, its objects in another order."""
    if isinstance(value, dict):
        items = [(name, shuffled(held, chance)) for name, held in value.items()]
        chance.shuffle(items)
        return dict(items)
    return [shuffled(held, chance) for held in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(FIELDS, st.integers())
def test_the_order_of_objects_does_not_count(fields, seed):
    again = msgspec.convert(shuffled(msgspec.to_builtins(fields), random.Random(seed)), CallFields)
    assert key_of(again) == key_of(fields)
    assert difference(again, fields) is None


@settings(deadline=None)
@given(FIELDS, FIELDS)
def test_different_calls_have_different_keys_and_a_field_that_says_why(one, other):
    found = difference(one, other)
    assert (key_of(one) == key_of(other)) == (found is None)
    if found is not None:
        assert getattr(one, found.field) != getattr(other, found.field) or found.was != found.now


@settings(deadline=None)
@given(FIELDS)
def test_keys_survive_the_wire(fields):
    assert key_of(msgspec.json.decode(msgspec.json.encode(fields), type=CallFields)) == key_of(fields)


def test_a_key_is_what_it_was():
    """Stored results are found by later versions."""
    fields = CallFields(prompt="Grüße, 日本", model="demo", schema={"b": 1, "a": [1.5, None]}, tools={"read_file": "x"})
    assert key_of(fields) == "31a3ea40b7364ac2eab0223a977077de5ab8021caa0015ef278ada29ece9c9c1"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, {"a": [-math.inf]}, "\ud800", object()])
def test_what_json_does_not_know_has_no_key(wrong):
    with pytest.raises(InvalidRequest, match="cannot be known by its content"):
        digest_of({"x": wrong})


def test_normal_forms_and_numbers_are_told_apart():
    assert len({digest_of(one) for one in ("é", "e\u0301", 1, 1.0, "1", True, None, [], {})}) == 9


def test_a_difference_shows_where_long_texts_part():
    start = "word " * 200
    found = difference(
        CallFields(prompt=f"{start}correctness {start}", model="demo"),
        CallFields(prompt=f"{start}security {start}", model="demo"),
    )
    assert found is not None
    assert (found.field, "security" in found.was, "correctness" in found.now) == ("prompt", True, True)
    assert max(len(found.was), len(found.now)) < 400


def test_tools_are_told_by_their_names():
    def told(before, after):
        found = difference(
            CallFields(prompt="x", model="m", tools=after), CallFields(prompt="x", model="m", tools=before)
        )
        assert found is not None
        return found.field, found.was, found.now

    assert told({"a": "1"}, {"a": "1", "b": "2"}) == ("tools", "without them", "b")
    assert told({"a": "1"}, {"a": "2"}) == ("tools", "a as before", "a with another description or parameters")
