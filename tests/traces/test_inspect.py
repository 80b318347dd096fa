"""Logs of Inspect: usage from the events, never again from the sums, and a zip a sample at a time."""

import io
import json
import tracemalloc
import zipfile
import zlib

import pyarrow as pa
import pytest

import jupyter_agent as ja
from jupyter_agent.exceptions import InvalidRequest, TooLarge
from tests.traces.counted import counts, imported, unmapped


def usage(given, out, read=None, write=None, **more):
    cached = (read or 0) + (write or 0)
    return {
        "input_tokens": given,
        "output_tokens": out,
        "total_tokens": given + out + cached,
        "input_tokens_cache_read": read,
        "input_tokens_cache_write": write,
        **more,
    }


def model_event(message, counted, at, **more):
    return {
        "event": "model",
        "timestamp": f"2026-05-04T12:00:{at:02d}+00:00",
        "completed": f"2026-05-04T12:00:{at + 1:02d}+00:00",
        "model": "openai/gpt-x",
        "input": [],
        "output": {
            "model": "gpt-x",
            "usage": counted,
            "choices": [{"message": message, "stop_reason": "tool_calls" if message.get("tool_calls") else "stop"}],
        },
        **more,
    }


def tool_event(call_id, name, result, at, **more):
    return {
        "event": "tool",
        "id": call_id,
        "function": name,
        "arguments": {"cmd": "attachment://abc"},
        "result": result,
        "timestamp": f"2026-05-04T12:00:{at:02d}+00:00",
        "completed": f"2026-05-04T12:00:{at + 1:02d}+00:00",
        "working_time": 0.25,
        **more,
    }


def asks(message_id, *call_ids):
    return {
        "id": message_id,
        "role": "assistant",
        "source": "generate",
        "content": [{"type": "reasoning", "reasoning": "Hm."}],
        "tool_calls": [
            {"id": found, "function": "bash", "arguments": {"cmd": "ls"}, "type": "function"} for found in call_ids
        ],
    }


A1, A2 = asks("m3", "c1", "c1"), {"id": "m6", "role": "assistant", "source": "generate", "content": "Done."}
SAMPLE = {
    "id": 1,
    "epoch": 1,
    "uuid": "sample-1",
    "input": "Go.",
    "target": "x",
    "messages": [
        {"id": "m1", "role": "system", "content": "You help."},
        {"id": "m2", "role": "user", "content": "attachment://abc"},
        A1,
        {"id": "m4", "role": "tool", "tool_call_id": "c1", "function": "bash", "content": "a.txt"},
        {
            "id": "m5",
            "role": "tool",
            "tool_call_id": "c1",
            "function": "bash",
            "content": "",
            "error": {"type": "timeout", "message": "Took too long."},
        },
        A2,
    ],
    "events": [
        {"event": "sample_init", "timestamp": "2026-05-04T12:00:00+00:00"},
        model_event(A1, usage(100, 10, 60, 5, total_cost=0.25), 1),
        tool_event("c1", "bash", "a.txt", 3),
        tool_event(
            "c1",
            "bash",
            "",
            5,
            error={"type": "timeout", "message": "Took too long."},
            events=[{"event": "info"}, model_event({"id": "sub", "role": "assistant", "content": "x"}, usage(7, 1), 5)],
        ),
        model_event(A2, usage(50, 5), 7, cache="read"),
        tool_event("c7", "search", "found", 8),
        model_event({"id": "grade", "role": "assistant", "content": "C"}, usage(30, 3, total_cost=0.5), 9),
        {"event": "score", "score": {"value": float("nan")}},
    ],
    "model_usage": {"openai/gpt-x": usage(137, 14, 60, 5, total_cost=0.75)},
    "attachments": {"abc": "List the files."},
}
LOG = {
    "version": 2,
    "status": "success",
    "eval": {"eval_id": "e1", "run_id": "r1", "task": "files", "model": "openai/gpt-x"},
    "stats": {"model_usage": {"openai/gpt-x": usage(137, 14, 60, 5, total_cost=0.75)}},
    "samples": [SAMPLE],
}
COUNTED = {
    "runs": 1,
    "turns": 4,
    "messages": 6,
    "calls": 3,
    "errors": 1,
    "in": 202,
    "out": 14,
    "read": 60,
    "write": 5,
    "reasoning": 0,
    "cost": 0.75,
}
HEADER = {key: item for key, item in LOG.items() if key != "samples"}


def test_a_json_log_with_nan_reused_ids_nested_events_and_its_own_cache():
    found = imported(LOG)
    assert found.format == "inspect"
    assert counts(found) == COUNTED
    assert unmapped(found) == {
        "number that is none: NaN": 1,
        "model call outside of the conversation": 2,
        "event of the harness": 2,
        "event: score": 1,
    }
    calls = found.tool_calls.df
    assert calls["foreign_tool_call_id"].tolist() == ["c1", "c1", "c7"]
    assert calls["outcome"].astype("string").tolist() == ["success", "timed_out", "success"]
    assert calls["result"].tolist() == ["a.txt", "Took too long.", "found"]
    assert calls["latency"].dt.total_seconds().tolist() == [0.25] * 3
    assert calls["arguments"].tolist()[2] == '{"cmd": "List the files."}'
    messages = found.messages.df
    assert messages["text"].tolist()[1] == "List the files."
    assert messages["turn"].fillna(-1).tolist()[2] == 0
    run = found.runs.df.iloc[0]
    assert (run["foreign_run_id"], run["agent"], run["version"]) == ("sample-1", "files", "2")


def test_usage_in_sum_counts_where_there_are_no_events():
    sample = {key: item for key, item in SAMPLE.items() if key != "events"}
    found = imported({**LOG, "samples": [sample, {**sample, "epoch": 2, "uuid": "sample-2"}]})
    assert counts(found) == {
        **COUNTED,
        "runs": 2,
        "turns": 4,
        "messages": 12,
        "calls": 4,
        "errors": 2,
        "in": 404,
        "out": 28,
        "read": 120,
        "write": 10,
        "cost": 1.5,
    }


def test_input_that_holds_the_cached_tokens_already():
    counted = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110, "input_tokens_cache_read": 60}
    found = imported(
        {**LOG, "samples": [{"id": "x", "epoch": 1, "messages": [], "events": [model_event(A2, counted, 1)]}]}
    )
    assert (counts(found)["in"], counts(found)["read"]) == (100, 60)


def test_versions_to_come_are_named_and_read():
    found = imported({**LOG, "version": 7})
    assert counts(found) == COUNTED
    assert unmapped(found)["version 7 of Inspect's logs, not known here: read as 2"] == 1


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as made:
        for name, item in members.items():
            made.writestr(name, json.dumps(item))
    return packed.getvalue()


MEMBERS = {
    "_journal/start.json": HEADER,
    "samples/1_epoch_1.json": SAMPLE,
    "samples/2_epoch_1.json": {**SAMPLE, "id": 2},
    "summaries.json": [],
    "header.json": HEADER,
}


def test_a_zip(tmp_path):
    path = tmp_path / "log.eval"
    path.write_bytes(zipped(MEMBERS))
    found = ja.import_traces(path)
    assert counts(found) == {
        **COUNTED,
        "runs": 2,
        "turns": 8,
        "messages": 12,
        "calls": 6,
        "errors": 2,
        "in": 404,
        "out": 28,
        "read": 120,
        "write": 10,
        "cost": 1.5,
    }


def test_a_zip_of_an_evaluation_that_died():
    found = imported(zipped({name: item for name, item in MEMBERS.items() if name != "header.json"}))
    assert counts(found)["runs"] == 2
    assert unmapped(found)["log that was never finished"] == 1


def test_a_sample_in_chunks_is_put_together():
    """As Inspect keeps samples that are very large: a shell, and sequences that it names by ranges."""
    pool = [*SAMPLE["messages"], {"id": "other", "role": "user", "content": "to somebody else"}]
    pool[1] = {**pool[1], "content": "attachment://0"}
    events = json.loads(json.dumps(SAMPLE["events"]).replace("attachment://abc", "attachment://0"))
    shell = {key: item for key, item in SAMPLE.items() if key not in {"messages", "events", "attachments"}}
    folder = "samples/1_epoch_1"
    found = imported(
        zipped(
            {
                "header.json": HEADER,
                f"{folder}/sample.json": {**shell, "message_refs": [[0, 6]]},
                f"{folder}/messages/0.json": pool[:4],
                f"{folder}/messages/4.json": pool[4:],
                f"{folder}/events/0.json": events[:3],
                f"{folder}/events/3.json": events[3:],
                f"{folder}/events/stats.json": {},
                f"{folder}/calls/0.json": [],
                f"{folder}/attachments/0.json": ["List the files."],
            }
        )
    )
    assert counts(found) == COUNTED
    assert found.messages.df["text"].tolist()[1] == "List the files."


def test_ranges_that_name_the_same_messages_again_take_no_more_memory_than_these():
    folder = "samples/1_epoch_1"
    pool = [{"role": "user", "content": str(number)} for number in range(1_000)]
    shell = {"id": 1, "epoch": 1, "message_refs": [[0, 1_000]] * 20_000}
    found = imported(zipped({"header.json": HEADER, f"{folder}/sample.json": shell, f"{folder}/messages/0.json": pool}))
    assert len(found.messages) == 1_000


def zstandard(members):
    """A zip as newer versions of Inspect write it, which Python's own module cannot read everywhere."""
    plain = zipped(members, zipfile.ZIP_STORED)
    out, entries = io.BytesIO(), []
    with zipfile.ZipFile(io.BytesIO(plain)) as source:
        for info in source.infolist():
            data = source.read(info)
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(data)
            packed = sink.getvalue().to_pybytes()
            name = info.filename.encode()
            fields = (
                zlib.crc32(data).to_bytes(4, "little")
                + len(packed).to_bytes(4, "little")
                + len(data).to_bytes(4, "little")
                + len(name).to_bytes(2, "little")
            )
            entries.append((out.tell(), fields, name))
            out.write(b"PK\x03\x04" + b"\x3f\0" + b"\0\0" + b"\x5d\0" + b"\0\0\0\0" + fields + b"\0\0" + name + packed)
    start = out.tell()
    for offset, fields, name in entries:
        out.write(
            b"PK\x01\x02\x3f\0\x3f\0\0\0\x5d\0\0\0\0\0" + fields + b"\0" * 12 + offset.to_bytes(4, "little") + name
        )
    size = out.tell() - start
    count = len(entries).to_bytes(2, "little")
    out.write(
        b"PK\x05\x06" + b"\0" * 4 + count * 2 + size.to_bytes(4, "little") + start.to_bytes(4, "little") + b"\0\0"
    )
    return out.getvalue()


def test_a_zip_compressed_with_zstandard():
    assert counts(imported(zstandard(MEMBERS))) == counts(imported(zipped(MEMBERS)))


@pytest.mark.parametrize("cut", [10, 200, -30])
def test_a_damaged_zip_is_said(cut):
    with pytest.raises(InvalidRequest, match="cut off while it was copied or written"):
        imported(zipped(MEMBERS)[:cut])


def test_a_member_that_is_damaged_is_named():
    whole = bytearray(zipped(MEMBERS, zipfile.ZIP_STORED))
    at = whole.index(b"List the files.")
    whole[at] ^= 1
    with pytest.raises(InvalidRequest, match=r"samples/1_epoch_1\.json in the bytes is damaged"):
        imported(bytes(whole))


def test_a_member_that_lies_of_its_size_takes_no_memory(tmp_path):
    """It says to have 2**62 bytes as it is packed."""
    log = bytearray(zstandard({"header.json": HEADER}))
    at, end = log.index(b"PK\x01\x02"), log.index(b"PK\x05\x06")
    log[at + 20 : at + 24] = b"\xff" * 4
    log[at + 30 : at + 32] = b"\x0c\0"
    log[end + 12 : end + 16] = (end - at + 12).to_bytes(4, "little")
    log[end:end] = b"\1\0\x08\0" + (2**62).to_bytes(8, "little")
    path = tmp_path / "log.eval"
    path.write_bytes(log)
    with pytest.raises(InvalidRequest, match=r"header\.json in .* is damaged"):
        ja.import_traces(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_that_inspect_does_not_write_are_refused(compression):
    with pytest.raises(InvalidRequest, match=r"compressed in a way that is not known here \(1[24]\)"):
        imported(zipped(MEMBERS, compression))


def test_a_member_that_is_too_large_is_not_unpacked():
    bomb = zipped({**MEMBERS, "samples/9_epoch_1.json": {"id": 9, "messages": [], "metadata": {"x": "0" * 5_000_000}}})
    with pytest.raises(TooLarge, match=r"samples/9_epoch_1\.json in the bytes holds more than the 1,000,000 bytes"):
        ja.import_traces(bomb, limit=1_000_000)


def test_a_long_attachment_in_many_places_is_kept_once():
    long = "x" * 1_000_000
    said = {"role": "user", "content": "attachment://a"}
    tools = [
        test_tool | {"id": f"c{number}"} for number, test_tool in enumerate([tool_event("c", "f", "tc://a", 1)] * 400)
    ]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sample = {"id": 1, "epoch": 1, "messages": [said] * 400, "events": tools, "attachments": {"a": long}}
    found = imported({**HEADER, "samples": [sample]})
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert (len(found.messages), len(found.tool_calls)) == (400, 400)
    assert {message.message.text for message in found.messages} == {"x" * 65_536}
    assert {call.result for call in found.tool_calls} == {"x" * 8_192}
    assert unmapped(found)["text longer than 65,536 characters, cut"] == 400
    assert grown < 5 * 2**20
