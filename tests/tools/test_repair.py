"""JSON that is nearly right is mended where one reading only is left, and right JSON stays as it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.tools import repair_json

MENDED = {
    '{"path": "a.csv",}': {"path": "a.csv"},
    '{"a": [1, 2, ], }': {"a": [1, 2]},
    '```json\n{"path": "a.csv"}\n```': {"path": "a.csv"},
    '```\n{"path": "a.csv"}\n```\n': {"path": "a.csv"},
    "{'path': 'a.csv'}": {"path": "a.csv"},
    "{'say': 'it\\'s \"so\"'}": {"say": 'it\'s "so"'},
    '{"say": "it\\\'s"}': {"say": "it's"},
    '{"a": True, "b": False, "c": None}': {"a": True, "b": False, "c": None},
    '{"a": {"b": ["x"': {"a": {"b": ["x"]}},
    '{"path": "a.csv"': {"path": "a.csv"},
    '{"code": "a = 1\nb = 2\t"}': {"code": "a = 1\nb = 2\t"},
    '\ufeff{"a": 1}': {"a": 1},
    "": {},
    "  \n": {},
    "{'a': 'True, None,}'}": {"a": "True, None,}"},
    "```json\n{'a': True,}\n```": {"a": True},
}

HOPELESS = [
    '{"content": "half of a sen',  # the rest is lost
    '{"max_lines": 12',  # perhaps 123
    '{"path": "a.csv",',  # more was to come
    '{"path":',
    '{"path"',
    "{",
    "[",
    '{"a": 1}}',
    '{"a": 1] ',
    '{"a": 1,,}',
    "{,}",
    "[,]",
    '{"a":,}',
    '{path: "a"}',
    "{'it's': 1}",
    '{"a": NaN}',
    '{"a": -Infinity}',
    '{"a": 1} and {"b": 2}',
    '{}{"a": 1}',
    "read_file(path='a')",
    "I will read the file.",
    "{'a': '\\x41'}",
    '{"a": tru',
    "[" * 100_000,
    '{"a":' * 100_000 + "1" + "}" * 100_000,
    "'" * 50_001,
    "\\",
    "\0",
]


@pytest.mark.parametrize("text", MENDED)
def test_nearly_right_json_is_mended(text: str) -> None:
    mended = repair_json(text)
    assert mended != text
    assert mended is not None
    assert json.loads(mended) == MENDED[text]


@pytest.mark.parametrize("text", HOPELESS, ids=range(len(HOPELESS)))
def test_what_may_have_lost_content_is_not_mended(text: str) -> None:
    assert repair_json(text) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)


@given(value=VALUES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_right_json_is_never_changed(value: object, indent: int | None, *, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert repair_json(text) is text


@given(OBJECTS)
def test_what_python_prints_is_read_as_python_means_it(value: dict[str, object]) -> None:
    mended = repair_json(repr(value))
    if mended is not None:  # escapes that JSON lacks, such as \x00, are left alone
        assert json.loads(mended) == value


@given(OBJECTS.filter(bool), st.sampled_from(["```json\n%s\n```", "%s\n", " ```\n%s```"]))
def test_fences_change_no_value(value: dict[str, object], fence: str) -> None:
    text = fence % json.dumps(value, indent=1)
    mended = repair_json(text)
    assert mended is not None
    assert json.loads(mended) == value


@given(OBJECTS.filter(bool), st.data())
def test_a_cut_text_is_mended_to_a_beginning_of_itself(value: dict[str, object], data: st.DataObject) -> None:
    """Whatever is cut off the end: nothing is invented, no text or number comes out shorter than it was written."""
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(min_value=1, max_value=len(text) - 1))]
    mended = repair_json(cut)
    if mended is not None:
        assert mended.startswith(cut)
        assert set(mended[len(cut) :]) <= set("]}")
        assert is_part(json.loads(mended), value)


def is_part(part: object, whole: object) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and is_part(item, whole[key]) for key, item in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(is_part, part, whole))
    return part == whole


@given(st.text(alphabet="{}[]:,'\"\\ \n`aTrueNon01.e-", max_size=60) | st.text(max_size=60))
def test_whatever_comes_out_parses(text: str) -> None:
    mended = repair_json(text)
    if mended is not None:
        json.loads(mended)
