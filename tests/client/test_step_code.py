"""What a step is known by: the code of a function and what it is given, and what counts as its result."""

import pandas as pd
import pytest

from jupyter_agent.client.code import inputs_of, source_of
from jupyter_agent.client.steps import _json_of
from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.script.content import digest


def defined(text, name="f", **given):
    """Returns a function as a kernel has it: without a file that could be read."""
    space = {"__name__": "__main__", **given}
    exec(text, space)  # noqa: S102 - as a cell is
    return space[name]


def helper(x):
    return x + 1


def uses_helper(x):
    return helper(x) * 2


def closes_over(factor):
    def scaled(x, by=factor):
        return x * by * factor

    return scaled


def test_a_function_is_known_by_its_text_and_the_helpers_that_it_uses():
    assert "return helper(x) * 2" in source_of(uses_helper)
    assert "return x + 1" in source_of(uses_helper)
    assert source_of(uses_helper) == source_of(uses_helper)
    assert source_of(len) == "builtins.len"


def test_what_it_closes_over_counts():
    assert source_of(closes_over(2)) == source_of(closes_over(2))
    assert source_of(closes_over(2)) != source_of(closes_over(3))
    assert "# factor = 2" in source_of(closes_over(2))


def test_without_a_text_the_compiled_code_counts_and_its_place_does_not():
    plain = source_of(defined("def f(x): return x + 1"))
    assert source_of(defined("\n\n\ndef f(x): return x + 1")) == plain
    assert source_of(defined("def f(x): return x + 2")) != plain
    assert source_of(lambda x: x + 1) == source_of(lambda x: x + 1)
    assert source_of(lambda x: x + 1) != source_of(lambda x: x + 3)


def test_a_function_that_calls_itself_or_is_none():
    assert source_of(defined("def f(x): return f(x - 1) if x else 0"))
    for wrong in (3, "f", [].append.__self__):
        with pytest.raises(InvalidRequest, match="step\\(\\) takes a function"):
            source_of(wrong)


def test_inputs_are_named_and_known_by_content():
    def f(x, y=1, *rest, **more):
        return x

    assert inputs_of(f, (3,), {"z": "a"}) == ("x = 3", "y = 1", "rest = ()", "more = {'z': 'a'}")
    assert inputs_of(f, (1,), {}) != inputs_of(f, (1.0,), {}) != inputs_of(f, (True,), {})
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    same, other = inputs_of(f, (frame.copy(),), {}), inputs_of(f, (frame.assign(a=[1, 3]),), {})
    assert inputs_of(f, (frame,), {}) == same != other
    with pytest.raises(TypeError):
        inputs_of(f, (), {})
    with pytest.raises(InvalidRequest, match="The input 'x' cannot be known by its content"):
        inputs_of(f, (object(),), {})


def test_content_reaches_into_containers_and_files(tmp_path):
    frame = pd.DataFrame({"a": range(1_000)})
    changed = frame.copy()
    changed.loc[500, "a"] = -1
    assert str(frame) == str(changed), "a table shows its ends alone"
    for holds in (lambda it: [it], lambda it: {"t": it}, lambda it: (1, [it])):
        assert digest(holds(frame)) == digest(holds(frame.copy())) != digest(holds(changed))
    path = tmp_path / "data.bin"
    path.write_bytes(b"\xff\x00one")
    first = digest(path)
    path.write_bytes(b"\xff\x00two")
    assert digest(path) != first
    assert digest({1, 2, 3}) == digest({3, 2, 1}) != digest({1, 2})
    assert digest([1]) != digest((1,))


def test_results_are_plain_json_or_what_is_none_is_named():
    assert _json_of({"a": [1, 2.5, None, True, "é"]}, "f") == '{"a":[1,2.5,null,true,"é"]}'
    for value, said in (
        ({"a": [1, (2, 3)]}, r"result\['a'\]\[1\] is a tuple; return a list"),
        ({"n": float("nan")}, r"result\['n'\] is the float nan"),
        ({1: 2}, r"result is the key 1 \(int\)"),
        (pd.DataFrame({"a": [1]}), r"result is a pandas.*DataFrame; return frame.to_dict"),
        (pd.Series([1]).iloc[0], r"numpy.int64; return value.item\(\)"),
        ("x" * 600_000, "write what is large to a file"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            _json_of(value, "f")
