"""A frame as a table shows it: what is listed, in which order, and what of it is on a line."""

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.frames.traces import FAULTY, MOST_COLUMNS, TEXT, Look, Traces, usable

NAMES = ["run_cell", "read_file", "<img src=x onerror=alert(1)>"]
OUTCOMES = ["success", "error", "rejected", None]


def calls(rows):
    """A frame of tool calls: run, turn, name, outcome, latency in ms and result of each."""
    runs, turns, names, outcomes, latencies, results = zip(*rows, strict=True) if rows else [()] * 6
    return pd.DataFrame(
        {
            "run_id": pd.array(runs, dtype=TEXT),
            "turn": pd.array(turns, dtype="Int64"),
            "name": pd.Categorical(names, categories=NAMES),
            "outcome": pd.Categorical(outcomes, categories=OUTCOMES[:3]),
            "latency": pd.to_timedelta(pd.Series(latencies, dtype="float64"), unit="ms"),
            "result": pd.array(results, dtype=TEXT),
            "tool_call_id": pd.array([f"call_{at}" for at in range(len(rows))], dtype=TEXT),
        }
    )


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["run_a", "run_b"]),
        st.integers(0, 4),
        st.sampled_from(NAMES),
        st.sampled_from(OUTCOMES),
        st.one_of(st.none(), st.floats(0, 10_000)),
        st.one_of(st.none(), st.text("aB.*c(\x00\u202e", max_size=4)),
    ),
    max_size=30,
)
LOOKS = st.builds(
    Look,
    sort=st.sampled_from([None, "turn", "name", "latency", "result"]),
    descending=st.booleans(),
    search=st.sampled_from(["", "b", ".*", "(", "IMG"]),
    tool=st.sampled_from([None, *NAMES]),
    outcome=st.sampled_from([None, "faults", "success"]),
    group=st.sampled_from([None, "turn", "tool"]),
)


def passes(row, look):
    """Whether a row is listed, said plainly."""
    run_id, _, name, outcome, _, result = row
    texts = [text for text in (run_id, name, outcome, result) if text is not None]
    is_found = any(look.search.lower() in text.lower() for text in texts)
    is_outcome = look.outcome is None or (outcome in FAULTY if look.outcome == "faults" else outcome == look.outcome)
    return (not look.search or is_found) and look.tool in (None, name) and is_outcome


@given(ROWS, LOOKS)
def test_what_is_listed_is_what_passes_each_row_once_in_order_and_its_groups_sum_up_to_it(rows, look):
    traces = Traces(calls(rows), look)
    order = traces.order.tolist()
    assert sorted(order) == [at for at, row in enumerate(rows) if passes(row, look)]
    assert traces.df.index.tolist() == order
    listed = traces.rows(0, len(order))
    assert len(listed) == len(order)
    msgspec.json.encode(listed)
    spans = [(0, len(order))]
    if traces.groups is not None:
        groups = traces.group_rows(0, len(rows))
        spans = [(start, start + count) for _, start, count, *_ in groups]
        assert [0, *(stop for _, stop in spans)] == [*(start for start, _ in spans), len(order)]
        for start, stop in spans:
            key = {(rows[at][2],) if look.group == "tool" else rows[at][:2] for at in order[start:stop]}
            assert len(key) == 1
        assert sum(errors for _, _, _, errors, *_ in groups) == sum(rows[at][3] in FAULTY for at in order)
        assert len({label for label, *_ in groups}) == len(groups)
    if look.sort is not None:
        place = {"turn": 1, "name": 2, "latency": 4, "result": 5}[look.sort]
        for start, stop in spans:
            values = [rows[at][place] for at in order[start:stop]]
            known = [value for value in values if value is not None]
            assert values[len(known) :] == [None] * (len(values) - len(known)), "What is missing comes last."
            if look.sort == "latency":
                known = [round(value * 1e6) for value in known]
            assert known == sorted(known, reverse=look.descending)


def test_a_line_has_the_beginning_of_a_text_and_an_opened_row_all_of_it():
    long = "word\n" * 1_000 + "\u202e\x1b[31m"
    traces = Traces(calls([("run_a", 0, NAMES[0], "success", 1_500.0, long)]), Look())
    [row] = traces.rows(0, 10)
    assert [name for name, _ in traces.columns] == ["turn", "name", "outcome", "latency", "result"]
    assert row[:4] == [0, "run_cell", "success", 1_500.0]
    assert row[4].startswith("word word")
    assert len(row[4]) == 160
    whole = traces.row(0)
    assert whole["result"] == long
    assert whole["tool_call_id"] == "call_0"
    with pytest.raises(InvalidRequest, match="no row 1"):
        traces.row(1)


def test_frames_of_other_facts_are_shown_too():
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-01-01", None], utc=True),
            "ok": [True, False],
            "n": [1.5, np.nan],
            "s": ["a", None],
        }
    )
    traces = Traces(usable(frame), Look(search="A"))
    assert traces.columns == [("when", "time"), ("ok", "bool"), ("n", "number"), ("s", "text")]
    assert traces.rows(0, 9) == [["2026-01-01T00:00:00+00:00", True, 1.5, "a"]]
    assert Traces(frame, Look()).rows(1, 2) == [[None, False, None, None]]
    for look in (Look(sort="name"), Look(group="tool"), Look(outcome="error")):
        with pytest.raises(InvalidRequest, match="has no column"):
            Traces(frame, look)


@pytest.mark.parametrize("frame", [pd.DataFrame({0: [1]}), pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.Series([1])])
def test_columns_must_be_named(frame):
    with pytest.raises(InvalidRequest, match="different texts"):
        usable(frame)


def test_too_many_choices_are_no_choices():
    frame = pd.DataFrame({"name": [f"tool_{number}" for number in range(300)]})
    assert Traces(frame, Look()).choices("name") == []
    assert Traces(frame.head(3), Look()).choices("name") == ["tool_0", "tool_1", "tool_2"]
    assert Traces(frame, Look()).choices("outcome") == []


def test_what_a_page_is_told_of_a_frame_is_little_however_wide_it_is_and_whatever_its_tools_are_called():
    wide = Traces(pd.DataFrame([range(3_000)], columns=[f"c{at}" for at in range(3_000)]), Look())
    assert len(wide.columns) == len(wide.rows(0, 1)[0]) == MOST_COLUMNS
    assert len(wide.row(0)) == 3_000
    called = Traces(pd.DataFrame({"name": ["a", "b" * 50_000]}), Look())
    assert called.choices("name") == []
