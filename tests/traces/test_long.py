"""What is too long to be decoded at once is read in parts, with the same counts and faults."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_agent as ja
from jupyter_agent.exceptions import AgentError, InvalidRequest
from jupyter_agent.traces.decoding import decode
from jupyter_agent.traces.formats import swe_agent
from jupyter_agent.traces.importing import read
from jupyter_agent.traces.long import LongList
from jupyter_agent.traces.source import Source
from tests.traces import test_inspect, test_openhands_files, test_swe_agent
from tests.traces.counted import counts, lines, unmapped
from tests.traces.test_bad_input import ANYTHING, HELLO
from tests.traces.test_properties import STEPS, WRITERS, as_otel

ja.import_traces  # noqa: B018 - what is asked for of the package is attached to its tables


def both(data, at_once, kind="auto"):
    """What is read of bytes that are decoded whole, and in parts."""
    return read(Source(data), kind), read(Source(data, at_once=at_once), kind)


def same(whole, parts):
    assert counts(parts) == counts(whole)
    assert unmapped(parts) == unmapped(whole)
    for grain in ("runs", "turns", "messages", "tool_calls", "unmapped"):
        assert list(getattr(parts, grain)) == list(getattr(whole, grain))


@pytest.mark.parametrize("name", [*WRITERS, "otel"])
@settings(max_examples=20, deadline=None)
@given(steps=STEPS, at_once=st.sampled_from([1, 40, 300, 3_000]), indent=st.sampled_from([None, 1]))
def test_every_format_is_the_same_read_in_parts(name, steps, at_once, indent):
    made = {**WRITERS, "otel": as_otel}[name](steps)
    data = made if isinstance(made, bytes) else json.dumps(made, indent=indent).encode()
    same(*both(data, at_once))


@pytest.mark.parametrize("at_once", [1, 200])
def test_swe_agents_trajectory(at_once):
    same(*both(json.dumps(test_swe_agent.TRAJECTORY).encode(), at_once))


# --- any JSON, and what is nearly some ------------------------------------------------------------------------


def held(value):
    """A value with its long lists in memory."""
    if isinstance(value, LongList):
        return [held(item) for item in value]
    return {key: held(item) for key, item in value.items()} if isinstance(value, dict) else value


def decoded(data):
    missed = []
    try:
        return decode(data, "", lambda *miss: missed.append(miss)), missed
    except ValueError:
        return ValueError, None


def in_parts(data, at_once):
    source, missed = Source(b" " + data, at_once=at_once), []
    try:
        return held(source.value(0, source.size, "", lambda *miss: missed.append(miss))), missed
    except ValueError:
        return ValueError, None


ODD = st.sampled_from([
    '"', "\\", '\\"', "[", "]", "{", "}", ",", ":", " ", "NaN", "-Infinity", "9" * 30, "1e999", '"\\ud800"', "\x00",
    '{"a":1,"a":2}', '"\\\\"', "[]", "{}", "\N{EURO SIGN}",
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(value=ANYTHING, at_once=st.integers(1, 60), odd=st.lists(st.tuples(st.integers(0), ODD), max_size=2),
       cut=st.integers(0, 3))  # fmt: skip
def test_any_json_is_the_same_value_or_as_damaged(value, at_once, odd, cut):
    data = json.dumps(value)
    for place, what in odd:
        at = place % (len(data) + 1)
        data = data[:at] + what + data[at:]
    encoded = data.encode(errors="surrogatepass")[: -cut or None]
    whole, parts = decoded(encoded), in_parts(encoded, at_once)
    assert repr(parts[0]) == repr(whole[0])
    if whole[0] is not ValueError:
        assert sorted(parts[1]) == sorted(whole[1])


@settings(max_examples=100, deadline=None)
@given(
    items=st.lists(st.sampled_from(["1", "", " ", "[]", "NaN", '"a, b"', "{}", '{"a": [1, 2]}', "[1,]"]), max_size=6),
    at_once=st.integers(1, 12),
    ends=st.sampled_from(["[]", "[}", "{]", "["]),
)
def test_lists_with_nothing_between_commas_are_none(items, at_once, ends):
    data = (ends[0] + ",".join(items) + ends[1:]).encode()
    assert repr(in_parts(data, at_once)) == repr(decoded(data))


@pytest.mark.parametrize("levels", [50, 98, 99, 100, 101])
@pytest.mark.parametrize("inner", ["", "1", '{"a": 1}'])
def test_depth_is_the_same(levels, inner):
    data = ("[" * levels + inner + "]" * levels).encode()
    assert repr(in_parts(data, 5)) == repr(decoded(data))


def test_quotes_and_backslashes_at_the_ends_of_pieces():
    """The scanner takes a megabyte at a time: whatever stands across its end belongs together."""
    for shift in range(6):
        text = "x" * (1024 * 1024 - 8 - shift) + '\\"' * 7 + "],[" + "\\" * 9
        data = json.dumps([text, [text, 1], {"a": text}]).encode()
        assert in_parts(data, 100) == (json.loads(data), [])


def test_a_document_that_is_cut_is_refused_before_anything_is_told():
    data = json.dumps(HELLO * 100).encode()
    for cut in (1, 2, 30, 3_000):
        with pytest.raises(InvalidRequest, match="no JSON that can be read"):
            read(Source(data[:-cut], at_once=500))
    # Also where nobody looks: the same is refused when it is short.
    bad = json.dumps({"messages": HELLO, "other": [[1, 2]] * 100}).replace("1, 2]]", "1 2]]").encode()
    for at_once in (100, 10**6):
        with pytest.raises(InvalidRequest, match="no JSON that can be read"):
            read(Source(bad, at_once=at_once))


def test_a_file_that_changes_while_it_is_read_is_said(tmp_path):
    path = tmp_path / "talk.json"
    path.write_bytes(json.dumps(HELLO * 100).encode())
    source = Source(path, at_once=100)
    value = source.value(0, source.size, "", lambda *_: None)
    path.write_bytes(b"[1")
    with pytest.raises(InvalidRequest, match="was changed while it was read"):
        list(value)


def test_long_lines_are_read_in_parts():
    talks = [{"messages": HELLO * number} for number in (50, 1, 60)]
    data = lines(*talks)
    whole, parts = both(data, 500)
    same(whole, parts)
    assert len(parts.runs) == 3
    damaged = lines(talks[0])[:-10] + b"\n" + lines(*talks)
    same(*both(damaged, 500))
    assert unmapped(both(damaged, 500)[1]) == {"line that is no JSON": 1}


def test_a_text_that_is_too_long_for_itself_is_counted():
    talk = [{"role": "user", "content": "x" * 5_000}, {"role": "tool", "content": {"a" * 70_000: 1}}, HELLO[1]]
    found = read(Source(json.dumps(talk).encode(), limit=2_000))
    assert len(found.messages) == 3
    assert unmapped(found) == {"value over 2,000 bytes": 2, "tool result without a call": 1}


def test_a_name_of_its_own_does_not_take_the_format_for_another():
    long = {**test_swe_agent.TRAJECTORY, "trajectory": test_swe_agent.TRAJECTORY["trajectory"] * 50}
    assert read(Source(json.dumps(long).encode(), at_once=300)).format == swe_agent.NAME


def test_errors_are_the_packages_own_whatever_is_cut():
    data = json.dumps({"messages": HELLO * 3, "info": {"model_stats": {"api_calls": 1}}}).encode()
    for cut in range(1, len(data)):
        with pytest.raises(AgentError):
            read(Source(data[:cut], at_once=20))


@pytest.mark.parametrize("at_once", [1, 200, 2_000])
def test_members_of_a_log_and_of_an_exported_conversation_are_read_in_parts(at_once):
    same(*both(test_inspect.zipped(test_inspect.MEMBERS), at_once))
    events = {
        f"event_{number:06}_{event['id']}.json": event for number, event in enumerate(test_openhands_files.EVENTS)
    }
    same(*both(test_inspect.zipped(events), at_once))
    bad = test_inspect.zipped({**test_inspect.MEMBERS, "samples/3_epoch_1.json": [[1, 2]] * 100})
    same(*both(bad, at_once))
