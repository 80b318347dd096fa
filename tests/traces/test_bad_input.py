"""Whatever is in a file: a clear sentence or what could be read, and everything else counted."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import math
import time
import zipfile

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_agent as ja
from jupyter_agent.exceptions import AgentError, InvalidRequest, NotFound, TooLarge
from jupyter_agent.facts.columns import schema
from jupyter_agent.facts.journal import MESSAGES
from jupyter_agent.facts.kinds import KINDS
from jupyter_agent.frames import foreign
from jupyter_agent.frames.columns import to_frame
from jupyter_agent.traces.importing import FORMATS, read
from jupyter_agent.traces.source import Source
from tests.traces.counted import counts, imported, lines, unmapped
from tests.traces.test_otel import otlp, span

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
HELLO = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello yourself."}]


def packed(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02\xffrubbish", "neither JSON nor a zip"),
        (b"\xff\xfe\xfa rubbish", "begins like text in UTF-16; byte 10 is none"),
        (b"PK\x03\x04 and nothing more", "none that can be read"),
        (b'[{"role": "user", "content": "Hello."}', "no JSON that can be read"),
        (b"Hello.\nHow are you?\n", "no JSON that can be read"),
        (b"17", "none of the formats"),
        (b'{"a": 1, "b": 2}', r"none of the formats .* the fields 'a', 'b'"),
        (b"[]", "none of the formats"),
        (b"[" * 5_000 + b"]" * 5_000, "nested deeper than 100"),
        (b"[" * 200_000, "nested deeper than 100|no JSON"),
        (b'{"resourceSpans": []}', "No run was found"),
        (b'{"eval": {}, "version": 2, "samples": []}', r"No run was found .* log without samples \(1\)"),
    ],
)
def test_what_cannot_be_read_is_said(data, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        ja.import_traces(data)


def test_paths_that_are_none(tmp_path):
    with pytest.raises(NotFound, match="There is no file"):
        ja.import_traces(tmp_path / "nothing.jsonl")
    with pytest.raises(InvalidRequest, match="is a folder"):
        ja.import_traces(tmp_path)
    with pytest.raises(InvalidRequest, match="not from a int"):
        ja.import_traces(7)
    with pytest.raises(InvalidRequest, match=r"There is no format 'csv': give 'auto', 'otel', 'inspect'"):
        ja.import_traces(b"{}", "csv")


def test_what_is_over_the_limit_is_read_in_parts_and_a_single_text_is_counted():
    document = json.dumps(HELLO * 100).encode()
    assert len(ja.import_traces(document, limit=1_000).messages) == 200
    assert len(ja.import_traces(lines(*HELLO * 100), limit=1_000).messages) == 200
    long = {"role": "user", "content": "x" * 2_000}
    for data in (lines(HELLO[0], long, HELLO[1]), json.dumps([HELLO[0], long, HELLO[1]]).encode()):
        found = ja.import_traces(data, limit=1_000)
        assert len(found.messages) == 3
        assert unmapped(found) == {"value over 1,000 bytes": 1}
    wide = {"messages": HELLO, **{str(number): "x" * 500 for number in range(5)}}
    found = ja.import_traces(json.dumps(wide).encode(), limit=1_000)
    assert len(found.messages) == 2
    assert unmapped(found) == {"value over 1,000 bytes": 4}


def test_json_in_json_and_in_zips_is_not_nested_deeper_either():
    """What stands in a text or in a member is read like a document: it must not recurse without an end."""
    deep = "[" * 600 + '"x"' + "]" * 600
    told = '[{"role": "user", "parts": ' + deep + "}]"
    trace = otlp(span("chat", "chat", 1, {**CHAT, "gen_ai.input.messages": told}))
    found = imported(trace)
    assert found.messages.df["text"].tolist() == [told]
    sample = b'{"id": 1, "messages": [{"role": "user", "content": ' + deep.encode() + b"}]}"
    members = {"header.json": b'{"eval": {}}', "samples/1_epoch_1.json": sample}
    with pytest.raises(InvalidRequest, match=r"sample that is no JSON \(1\)"):
        ja.import_traces(packed(members))
    assert unmapped(ja.import_traces(lines(*HELLO) + deep.encode())) == {"line nested deeper than 100 levels": 1}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("header.json", r"header\.json is no JSON that can be read"),
        ("samples/1_epoch_1.json", r"sample that is no JSON \(1\)"),
        ("samples/1_epoch_1/sample.json", r"sample that is no JSON \(1\)"),
    ],
)
def test_a_member_of_a_zip_that_is_no_json_is_named_or_counted(name, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        ja.import_traces(packed({"header.json": b'{"eval": {}}', name: b"{nothing"}))


@pytest.mark.parametrize("number", ["9" * 5_000, "²", "--5", "5e9", "", int("9" * 400)])
def test_numbers_that_are_none_are_left_out(number):
    """Digits beyond any count, of other alphabets, and none at all, wherever a log has whole numbers."""
    chat = span("chat", "chat", 1, {**CHAT, f"gen_ai.prompt.{number}.content": "x"})
    chat["attributes"].append({"key": "gen_ai.usage.input_tokens", "value": {"intValue": number}})
    calls = {f"gen_ai.completion.0.tool_calls.{number}.name": "f", "gen_ai.completion.0.role": "assistant"}
    odd = {**span("other", "chat", 2, {**CHAT, **calls}), "startTimeUnixNano": number, "endTimeUnixNano": number}
    found = imported(otlp(chat, odd))
    assert len(found.turns) == 2
    assert found.usage.input_tokens == 0
    chunks = f"samples/1_epoch_1/messages/{number}.json"
    members = {"header.json": b'{"eval": {}}', "samples/1_epoch_1/sample.json": json.dumps({"messages": HELLO})}
    assert len(ja.import_traces(packed({**members, chunks: b"[]"})).messages) == 2


def test_a_list_of_long_facts_is_a_line_each():
    found = imported([{"role": "user", "content": "x" * 60_000}, HELLO[1]])
    lines_of = repr(found.messages).splitlines()
    assert lines_of[0] == "2 imported messages"
    assert [len(line) <= 202 for line in lines_of] == [True] * 3


def test_sums_of_tokens_stay_whole_numbers_of_64_bits():
    told = {"role": "assistant", "content": "a", "usage": {"prompt_tokens": 10**15, "completion_tokens": 10**12}}
    found = imported([HELLO[0], *[told] * 10_000])
    assert found.runs.df["total_tokens"].tolist() == [10**16]


@pytest.mark.parametrize("said", ["```bash" + "\n" * 100_000, "```bash\n" + " ```bash\n" * 60_000])
def test_blocks_that_do_not_end_are_looked_through_once(said):
    """Looked through again for each beginning, these take minutes and hours."""
    messages = [*HELLO, {"role": "assistant", "content": said}]
    began = time.perf_counter()
    found = imported({"trajectory_format": "mini-swe-agent-1", "info": {}, "messages": messages})
    assert time.perf_counter() - began < 30
    assert not found.tool_calls
    assert len(found.turns) == 2


def test_damaged_lines_are_counted_wherever_they_are():
    bad = [b'{"role": "us', b'{"role": "user", "content": "\xff"}', b'{"rol']
    data = b"\xef\xbb\xbf" + b"\n".join([bad[0], *lines(*HELLO).splitlines(), b"", *bad[1:]])
    found = imported(data)
    assert counts(found)["messages"] == 2
    assert unmapped(found) == {"line that is no JSON": 3}
    assert found.unmapped.df.loc[0, "first_place"] == "line 1"


def test_texts_that_no_store_takes():
    found = imported(b'[{"role": "user", "content": "a\\u0000b\\ud800c"}, {"role": "assistant", "content": NaN, '
                     b'"usage": {"prompt_tokens": Infinity, "completion_tokens": 5, "cost": -Infinity}}]')  # fmt: skip
    assert found.messages.df["text"].tolist() == ["a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c", ""]
    assert counts(found)["out"] == 5
    assert unmapped(found) == {
        "number that is none: NaN": 1,
        "number that is none: Infinity": 1,
        "number that is none: -Infinity": 1,
    }


ODD = [{"kind": "\ud800\0Event", "source": "x"}, {"action": "\ud800", "args": {}, "source": "user"}]


@pytest.mark.parametrize("odd", ODD)
def test_kinds_that_no_frame_takes(odd):
    found = imported([{"action": "message", "args": {"content": "Go."}, "source": "user"}, odd])
    assert found.unmapped.df["count"].tolist() == [1]


def test_thoughts_that_no_frame_takes():
    thoughts = [{"type": "thinking", "thinking": "a\ud800"}, {"type": "reasoning", "summary": [{"text": "\0b"}]}]
    found = imported([HELLO[0], {"role": "assistant", "content": thoughts}])
    assert found.messages.df["role"].tolist() == ["user", "assistant"]


def test_a_pretty_printed_document_is_no_lines():
    assert counts(imported(json.dumps(HELLO, indent=2).encode()))["messages"] == 2
    almost = b"[\n" + b",\n".join(json.dumps(message).encode() for message in HELLO) + b"\n]\n"
    assert counts(imported(almost))["messages"] == 2


def test_the_summary_says_all_and_nothing_else_acts(tmp_path):
    name = "<script>alert(1).json"
    (tmp_path / name).write_text(json.dumps([*HELLO, {"role": "<img src=x onerror=alert(1)>", "content": "x"}]))
    found = ja.import_traces(tmp_path / name)
    html = found._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "unmapped: 1 thing" in html
    said = repr(found)
    for part in ("runs:       1", "messages:   2", "tokens:     not reported", "1 times: message of role <img"):
        assert part in said


# --- columns --------------------------------------------------------------------------------------------------


def test_columns_begin_with_those_of_our_own_frames():
    for kind in ("runs", "turns", "tool_calls"):
        own = [column.name for column in KINDS[kind].columns]
        theirs = [column.name for column in foreign.KINDS[f"imported_{kind}"]]
        assert theirs[: len(own)] == own
    names = [column.name for column in foreign.IMPORTED_MESSAGES]
    assert names[: len(MESSAGES) + 1] == ["run_id", *(column.name for column in MESSAGES)]


@pytest.mark.parametrize("kind", ["runs", "turns", "tool_calls"])
def test_dtypes_are_those_of_our_own_frames(kind):
    columns = KINDS[kind].columns
    own = to_frame(schema(columns).empty_table(), columns)
    found = imported(HELLO)
    theirs = getattr(found, kind).df
    assert {name: str(theirs.dtypes[name]) for name in own.columns} == {
        name: str(own.dtypes[name]) for name in own.columns
    }
    assert list(theirs.dtypes) == list(getattr(ja.import_traces(lines(*HELLO[:1])), kind).df.dtypes)


# --- anything at all ------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from([
    "role", "content", "messages", "type", "message", "usage", "id", "tool_calls", "user", "assistant", "tool", "text",
    "resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "traceId", "spanId", "eval", "samples",
    "events",
    "model_usage", "trajectory", "history", "info", "model_stats", "action", "observation", "source", "args", "kind",
    "ActionEvent", "uuid", "sessionId", "input_tokens", "output_tokens", "tool_use", "tool_result", "tool_use_id",
    "function", "name", "arguments", "model", "output", "choices", "run", "agent", "llm_metrics", "accumulated_cost",
])  # fmt: skip
ANYTHING = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=6),
    max_leaves=40,
)


@settings(max_examples=150, deadline=None)
@given(value=ANYTHING, kind=st.sampled_from(list(FORMATS)))
def test_no_json_whatever_breaks_a_reader(value, kind):
    """Read as every format: a sentence or an import, and frames of it."""
    data = json.dumps(value).encode()
    for wrapped in (data, data.replace(b"\n", b"") + b"\n" + data):
        try:
            found = ja.import_traces(wrapped, kind)
        except AgentError:
            continue
        for grain in ("runs", "turns", "messages", "tool_calls", "unmapped"):
            assert isinstance(getattr(found, grain).df, pd.DataFrame)
        assert found.usage.cost is None or math.isfinite(found.usage.cost)
        assert repr(found)
        assert found._repr_html_()


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"PK\x03\x04" + data))
def test_no_bytes_whatever_break_it(data):
    with pytest.raises(AgentError):
        ja.import_traces(data)


# --- encodings, wrappings -------------------------------------------------------------------------------------

SAID = [{"role": "user", "content": "Caf\N{LATIN SMALL LETTER E WITH ACUTE} 10 \N{EURO SIGN}"}, HELLO[1]]
WRITTEN = json.dumps(SAID, ensure_ascii=False)
LINES = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in SAID)


@pytest.mark.parametrize("said", [WRITTEN, LINES, LINES.replace("\n", "\r\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_text_as_shells_write_it(tmp_path, said, encoding):
    path = tmp_path / "talk"
    path.write_bytes((codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b"") + said.encode(encoding))
    found = ja.import_traces(path)
    assert found.messages.df["text"].tolist() == [SAID[0]["content"], "Hello yourself."]
    assert unmapped(found) == {}


def test_text_in_utf_16_that_is_none_or_too_large():
    with pytest.raises(InvalidRequest, match="begins like text in UTF-16; byte 8"):
        ja.import_traces(WRITTEN.encode("utf-16")[:9])
    with pytest.raises(TooLarge, match="Write it as UTF-8; or allow more"):
        ja.import_traces(WRITTEN.encode("utf-16"), limit=50)
    for encoding in ("utf-16-le", "utf-32"):  # without a mark, and what nobody writes
        with pytest.raises(InvalidRequest, match=r"neither JSON nor a zip|no JSON that can|begins like text in UTF-16"):
            ja.import_traces(WRITTEN.encode(encoding))


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_compressed_files_are_named(pack, name):
    with pytest.raises(InvalidRequest, match=f"is compressed with {name}: unpack it first"):
        ja.import_traces(pack(LINES.encode()))


def test_nuls_where_a_machine_crashed_are_damaged_lines():
    data = LINES.encode()
    for damaged in (data + b"\0" * 4_096, data + b"\0" * 100 + b"\n" + data, data + b"\0" * 100_000):
        found = ja.import_traces(damaged)
        assert unmapped(found) == {"line that is no JSON": 1}
        assert len(found.messages) in {2, 4}


@pytest.mark.parametrize("at_once", [100, 10**7])
def test_a_list_of_commas_is_no_json(at_once):
    with pytest.raises(InvalidRequest, match="is no JSON that can be read"):
        read(Source(b"[" + b"," * 5_000 + b"]", at_once=at_once))


def test_a_line_of_many_megabytes_that_is_none_is_counted():
    found = ja.import_traces(LINES.encode() + b"x" * 20_000_000 + b"\n" + LINES.encode())
    assert len(found.messages) == 4
    assert unmapped(found) == {"line that is no JSON": 1}
