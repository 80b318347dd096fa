"""What could not come to an end is refused before anything starts, all of it at once, and can be seen."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import FlowInvalid
from jupyter_agent.flow import Case, Flow, Step, faults_of
from jupyter_agent.flow.step import MAX_STEPS


def code(name, *deps, **given):
    return Step(id=name, kind="code", do=lambda _: None, deps=deps, **given)


FAULTS = {
    "no steps": ([], "no steps"),
    "too many": ([code(f"s{number}") for number in range(MAX_STEPS + 1)], "1,001 steps"),
    "twice": ([code("a"), code("a")], "2 steps have the id 'a'"),
    "no id": ([code("a b")], "is no id"),
    "itself": ([code("a", "a")], "depends on itself"),
    "unknown": ([code("a", "x")], "depends on 'x', which is no step"),
    "circle": ([code("a", "c"), code("b", "a"), code("c", "b")], "in a circle: "),
    "no function": ([Step(id="a", kind="code")], "give it do="),
    "no prompt": ([Step(id="a", kind="agent")], "give it a prompt"),
    "no cases": ([Step(id="a", kind="switch")], "has no cases"),
    "a stranger's cases": ([code("a", cases=[Case("x", bool)])], "is no switch"),
    "a branch to nowhere": ([Step(id="a", kind="switch", cases=[Case("x", bool, ("b",))])], "leads to 'b'"),
    "labels": ([Step(id="a", kind="switch", cases=[Case("x", bool), Case("x", bool)])], "label 'x'"),
    "a branch of two": (
        [*(Step(id=name, kind="switch", cases=[Case("x", bool, ("c",))]) for name in "ab"), code("c")],
        "of one switch only",
    ),
    "a circle through a branch": (
        [Step(id="a", kind="switch", deps=["b"], cases=[Case("x", bool, ("b",))]), code("b")], "in a circle: ",
    ),
    "batch": ([code("a", batch="b")], "is of the batch 'b'"),
    "retries": ([code("a", max_retries=11)], "0 to 10"),
    "time-out": ([code("a", timeout_s=0)], "above 0"),
    "retried on": ([code("a", retry_on=["bad luck"])], "'bad luck'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_and_seen(name):
    steps, text = FAULTS[name]
    flow = Flow("f", steps)
    with pytest.raises(FlowInvalid, match="cannot start") as caught:
        flow.check()
    assert text in caught.value.message
    assert any(text in fault["text"] for fault in caught.value.details["faults"])
    assert text in repr(flow)
    assert text.replace("'", "&#x27;") in flow._repr_html_()


def test_all_faults_are_told_at_once_with_who_waits_behind_them():
    flow = Flow("f", [code("a", "b"), code("b", "a"), code("c", "b"), code("d", "nobody"), code("e", "d"), code("ok")])
    told = {fault.text: set(fault.steps) for fault in faults_of(flow)}
    assert len(told) == 3
    assert {"a", "b"} in told.values()
    assert {"d"} in told.values()
    assert {"c", "e"} in told.values()


def test_a_good_flow_is_shown_without_faults_and_its_text_is_escaped():
    flow = Flow("<b>", [code("a"), code("b", "a")])
    flow.check()
    assert "b (code) after a" in repr(flow)
    assert "<b>" not in flow._repr_html_()
    assert "cannot start" not in repr(flow) + flow._repr_html_()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14))
def test_a_circle_is_found_exactly_where_there_is_one(edges):
    deps = {number: {one for other, one in edges if other == number} for number in range(8)}
    left = dict(deps)
    while free := [name for name, found in left.items() if not found & left.keys()]:
        for name in free:
            del left[name]
    flow = Flow("f", [code(f"s{name}", *(f"s{one}" for one in found)) for name, found in deps.items()])
    named = {name for fault in faults_of(flow) for name in fault.steps}
    assert named == {f"s{name}" for name in left}


@pytest.mark.parametrize("given", [{"kind": "magic"}, {"kind": "code", "trigger_rule": "some"}])
def test_an_unknown_kind_or_rule_is_refused_with_what_there_is(given):
    with pytest.raises(FlowInvalid, match="there are: "):
        Step(id="a", **given)
