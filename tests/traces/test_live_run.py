"""A run of a real server, written for others and read again."""

import asyncio

import pytest

import jupyter_agent as ja
from tests.live_server import TOKEN, LiveServer
from tests.traces.counted import counts

CALLS = [{"name": "list_files", "arguments": {"pattern": "*"}}, {"name": "no_such_tool", "arguments": {}}]
SCRIPT = [
    {"text": "I look.", "calls": CALLS, "usage": {"input_tokens": 1_000, "output_tokens": 10, "cost": 0.25}},
    {"text": "Done.", "usage": {"input_tokens": 1_100, "output_tokens": 5, "cost": 0.5}},
]


@pytest.fixture
def run(tmp_path):
    live = LiveServer(tmp_path / "server")
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        done = ja.run("Which files?", model="scripted", script=SCRIPT, show=False)
        done.result()
        yield done
        client.close()
        runner.run(live.stop())


def test_a_run_is_exported_in_every_format(run, tmp_path):
    spans = ja.import_traces(run.export(tmp_path / "run.json"))
    assert counts(spans) == {
        "runs": 1,
        "turns": len(run.turns),
        "messages": len(run.messages),
        "calls": len(run.tool_calls),
        "errors": 1,
        "in": 2_100,
        "out": 15,
        "read": 0,
        "write": 0,
        "reasoning": 0,
        "cost": 0.75,
    }
    assert spans.runs[0].foreign_thread_id == run.thread.id
    own, theirs = ja.tool_calls(run=run), spans.tool_calls.df
    assert theirs["tool_call_id"].tolist() == own["tool_call_id"].tolist()
    assert theirs["outcome"].tolist() == own["outcome"].tolist()
    page = run.export(tmp_path / "run.html").read_text()
    assert "Which files?" in page
    assert "I look." in page
    assert len(run.export(tmp_path / "run.jsonl").read_text().splitlines()) == len(run.events)
    assert ja.export(ja.turns(run=run), tmp_path / "turns.parquet").stat().st_size > 0
