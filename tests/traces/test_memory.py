"""Memory grows with what is found, not with the file."""

import json
import subprocess
import sys
import zipfile

import pytest

from tests.traces import test_inspect, test_otel
from tests.traces.test_inspect import A2

PROGRAM = """
import resource, sys
import jupyter_agent as ja
ja.import_traces(b'[{"role": "user", "content": "x"}]').runs.df

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = peak_mb()
found = ja.import_traces(sys.argv[1])
print(len(found.messages), len(found.tool_calls), peak_mb() - before)
"""
LONG = "0123456789abcdef" * 8_192  # 128 KiB, a tool's output


def talk(path, many=1_000):
    """A conversation of so many calls with long outputs, a message a line."""
    with path.open("w") as stream:
        for number in range(many):
            call = {"id": "c", "type": "function", "function": {"name": "cat", "arguments": "{}"}}
            stream.write(json.dumps({"role": "assistant", "content": "", "tool_calls": [call]}) + "\n")
            stream.write(json.dumps({"role": "tool", "tool_call_id": "c", "content": f"{number} {LONG}"}) + "\n")
    return 2 * many, many


def document(path):
    """A conversation as one JSON document."""
    counted = talk(path, 400)
    path.write_text('{"messages": [' + path.read_text().strip().replace("\n", ", ") + "]}")
    return counted


def samples(path):
    """A log of Inspect as one JSON document, of two samples with 25 megabytes each."""
    call = {**test_inspect.model_event(A2, None, 1), "input": [{"role": "user", "content": LONG}]}
    sample = {"id": 1, "epoch": 1, "messages": [A2], "events": []}
    with path.open("w") as stream:
        stream.write(json.dumps({**test_inspect.HEADER, "samples": []})[:-2])
        for number in range(2):
            stream.write(", " * number + json.dumps(sample)[:-2])
            stream.write(", ".join([json.dumps(call)] * 200) + "]}")
        stream.write("]}")
    return 2, 0


def log(path):
    """A log of Inspect with 100 samples of a megabyte each."""
    sample = {**test_inspect.SAMPLE, "store": {str(number): LONG for number in range(8)}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        made.writestr("header.json", json.dumps(test_inspect.HEADER))
        for number in range(100):
            made.writestr(f"samples/{number}_epoch_1.json", json.dumps({**sample, "id": number, "uuid": str(number)}))
    return 600, 300


def spans(path):
    """A trace of 120 model calls, each of which tells all messages before it again."""
    history = [test_otel.GO]
    with path.open("w") as stream:
        for number in range(120):
            answer = test_otel.says("assistant", test_otel.asks("c"), test_otel.text(str(number)))
            call = test_otel.chat(f"s{number}", number, history, [answer], 1, 1)
            stream.write(json.dumps(test_otel.otlp(call)) + "\n")
            history += [answer, test_otel.says("tool", test_otel.gives("c", f"{number} {LONG[:16_384]}"))]
    return 1 + 1 + 120 + 119, 120


@pytest.mark.parametrize(
    ("write", "name"),
    [(talk, "talk.jsonl"), (document, "talk.json"), (samples, "log.json"), (log, "log.eval"), (spans, "spans.jsonl")],
)
def test_many_megabytes_are_read_in_a_part_of_that(tmp_path, write, name):
    path = tmp_path / name
    expected = write(path)
    size_mb = path.stat().st_size / 2**20
    assert size_mb > 45
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, timeout=110, check=True
    )
    messages, calls, grown_mb = done.stdout.split()
    assert (int(messages), int(calls)) == expected
    assert float(grown_mb) < size_mb / 2
