"""Attachments count by content: every change of a value, a type, a name or the order shows, and nothing else."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.script.content import attachment, attachments

BASE = {
    "n": [1, 2, 3],
    "x": [0.5, np.nan, 2.0],
    "t": ["a", None, "ü"],
    "at": pd.to_datetime(["2026-01-01", None, "2026-01-03"]),
    "zone": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"], utc=True),
    "kind": pd.Categorical(["p", "q", "p"]),
    "maybe": pd.array([1, None, 3], dtype="Int64"),
    "mixed": [1, "1", Decimal("1.0")],
    "day": [dt.date(2026, 1, 1), None, dt.date(2026, 1, 3)],
}


def digest(value):
    return attachment(value, name="df").digest


def frame(**changed):
    return pd.DataFrame({**BASE, **changed})


def test_equal_frames_are_equal():
    assert digest(frame()) == digest(frame())
    assert digest(frame()) == digest(frame().copy(deep=True))
    big = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    assert digest(big) == digest(pd.DataFrame({name: big[name].tolist() for name in big}))
    assert digest(big[::2].reset_index(drop=True)) == digest(big[::2].copy().reset_index(drop=True))


@pytest.mark.parametrize(
    "other",
    [
        frame(n=[1, 2, 4]),
        frame(n=[1.0, 2.0, 3.0]),
        frame(x=[0.5, 0.0, 2.0]),
        frame(t=["a", "", "ü"]),
        frame(t=["a", None, "u\u0308"]),
        frame(kind=pd.Categorical(["p", "q", "q"])),
        frame(maybe=pd.array([1, 2, 3], dtype="Int64")),
        frame(mixed=["1", "1", Decimal("1.0")]),
        frame(at=pd.to_datetime(["2026-01-01", None, "2026-01-04"])),
        frame(day=[dt.date(2026, 1, 1), None, dt.date(2026, 1, 4)]),
        frame().rename(columns={"n": "m"}),
        frame()[["x", "n", *list(BASE)[2:]]],
        frame().set_index("n", drop=False),
        frame().iloc[::-1],
        frame().iloc[:2],
    ],
)
def test_every_change_shows(other):
    assert digest(other) != digest(frame())


@settings(deadline=None)
@given(st.lists(st.floats(width=32) | st.integers(-5, 5), min_size=1, max_size=6), st.data())
def test_a_changed_value_shows(values, data):
    place = data.draw(st.integers(0, len(values) - 1))
    changed = [*values]
    changed[place] = 1e30
    assert digest(pd.DataFrame({"a": values})) == digest(pd.DataFrame({"a": list(values)}))
    assert digest(pd.DataFrame({"a": values})) != digest(pd.DataFrame({"a": changed}))


def test_arrays_by_values_type_and_shape():
    one = np.arange(6, dtype="int64")
    assert digest(one) == digest(np.arange(6, dtype="int64"))
    assert len({digest(it) for it in (one, one.reshape(2, 3), one.astype("int32"), one[::-1], one.astype(object))}) == 5
    assert digest(np.zeros((0, 3))) != digest(np.zeros((3, 0)))


def test_files_and_texts(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    one, other = attachments([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert (one.name, one.text, one.kind) == ("a.csv", "x,y\n1,2\n", "file")
    assert one.digest == other.digest
    named = attachments({"notes": "hello"})[0]
    assert (named.name, named.kind, named.text) == ("notes", "text", "hello")
    (tmp_path / "c.bin").write_bytes(b"\xff\x00")
    for wrong in (tmp_path / "none.csv", tmp_path / "c.bin", object(), pd.DataFrame({"a": [object()]})):
        with pytest.raises(InvalidRequest):
            attachments(wrong)


def test_the_model_is_told_the_head_and_not_the_data():
    told = attachment(pd.DataFrame({"a": range(1000), "b": ["x"] * 1000}), name="df").text
    assert "1,000 rows x 2 columns: a int64, b" in told
    assert "999" not in told


def test_texts_count_by_content_however_they_are_kept():
    table = pd.DataFrame({"w": ["a", None, "ü", "", "bc"] * 3})
    known = digest(table)
    assert known == digest(pd.concat([table[:4], table[4:]]))
    part = table.iloc[2:9].reset_index(drop=True)
    assert digest(part) == digest(pd.DataFrame({"w": list(table["w"][2:9])}))
    others = [table.fillna(""), table[::-1].reset_index(drop=True), table.iloc[:0], table.replace("bc", "cb")]
    assert len({known, *map(digest, others)}) == 5
    assert digest(pd.DataFrame({"w": ["ab", "c"]})) != digest(pd.DataFrame({"w": ["a", "bc"]}))
