"""What is written for others: whole or not at all, and the same counts when it is read again."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

import jupyter_agent as ja
from jupyter_agent.client.run import Run
from jupyter_agent.exceptions import Conflict, InvalidRequest, StorageError
from jupyter_agent.records import Outcome, RunStatus
from jupyter_agent.traces.otlp import otlp
from jupyter_agent.traces.story import stories_of
from tests.frames.test_frames import fed
from tests.traces import test_claude_code, test_inspect, test_openai, test_openhands, test_otel, test_swe_agent
from tests.traces.counted import counts, imported, lines

SAMPLES = {
    "openai": test_openai.TALK,
    "claude-code": test_claude_code.SESSION,
    "inspect": test_inspect.LOG,
    "swe-agent": test_swe_agent.TRAJECTORY,
    "mini": test_swe_agent.MINI,
    "openhands": test_openhands.EVENTS,
    "otel": test_otel.otlp(*test_otel.TRACE),
}


class Thread:
    id = "thr_1"


class OwnRun(Run):
    """A run of ours as the client knows it, from events and without a gateway."""

    def __init__(self) -> None:
        self._feed = fed()

    id, model, thread = "run_1", "demo", Thread()


def listed(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def own():
    ja.run  # noqa: B018 - opening the front door attaches the frames
    return OwnRun()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_spans_read_again_count_the_same(tmp_path, name, ending):
    found = imported(SAMPLES[name])
    path = found.export(tmp_path / f"spans{ending}", format="otel")
    again = ja.import_traces(path)
    assert again.format == "otel"
    assert counts(again) == counts(found)
    one, two = found.tool_calls.df, again.tool_calls.df
    for said in ("tool_call_id", "name", "arguments", "turn", "outcome", "result"):
        assert one[said].astype("string").fillna("-").tolist() == two[said].astype("string").fillna("-").tolist()
    assert [run.status for run in found.runs] == [run.status for run in again.runs]
    assert again.messages.df["role"].tolist() == found.messages.df["role"].tolist()
    assert again.messages.df["text"].tolist() == found.messages.df["text"].tolist()


def test_names_are_those_of_the_conventions(own):
    found = imported(test_otel.otlp(*test_otel.TRACE))
    [story] = stories_of(found)
    spans = otlp(story)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    said = {key["key"] for span in spans for key in span["attributes"]}
    assert {name for name in said if not name.startswith(("gen_ai.", "jupyter_agent.", "error."))} == set()
    assert {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.usage.input_tokens",
        "gen_ai.input.messages",
    } <= said
    assert [span["name"] for span in spans] == [
        "chat gpt-x", "execute_tool ls", "execute_tool ls", "chat gpt-x", "chat gpt-x", "execute_tool ls",
        "invoke_agent helper",
    ]  # fmt: skip
    assert len({span["traceId"] for span in spans}) == 1
    assert all(len(span["spanId"]) == 16 and len(span["traceId"]) == 32 for span in spans)
    root = spans[-1]
    assert all(span["parentSpanId"] == root["spanId"] for span in spans[:-1])
    # A parent that would repeat its children's sums says none.
    assert not [key for key in root["attributes"] if key["key"].startswith("gen_ai.usage")]


def test_a_run_of_ours_as_spans(tmp_path, own):
    again = ja.import_traces(own.export(tmp_path / "run.json"))
    usage = own.usage
    assert counts(again) == {
        "runs": 1, "turns": 2, "messages": 4, "calls": 2, "errors": 1, "in": usage.input_tokens,
        "out": usage.output_tokens, "read": 0, "write": 0, "reasoning": 0, "cost": 0.25,
    }  # fmt: skip
    assert again.turns.df["input_tokens"].isna().tolist() == [False, True], "Unknown stays unknown."
    assert [call.outcome for call in again.tool_calls] == [Outcome.SUCCESS, Outcome.ERROR]
    assert again.runs[0].status is RunStatus.RUNNING


def test_long_histories_are_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr("jupyter_agent.traces.otlp.HISTORY_BYTES", 0)
    for name, sample in SAMPLES.items():
        found = imported(sample)
        path = found.export(tmp_path / f"{name}.json")
        assert counts(ja.import_traces(path)) == counts(found), name


# --- pages ----------------------------------------------------------------------------------------------------


def test_a_page_has_all_of_a_run_and_nothing_that_acts(tmp_path):
    evil = "<script>alert(1)</script><img src='https://example.org/x' onerror=alert(1)>"
    talk = [{"role": "user", "content": evil}, {"role": "assistant", "content": "long " * 10_000 + "END"}]
    page = imported([*talk, *test_openai.TALK[2:8]]).export(tmp_path / "run.html").read_text()
    assert page.startswith("<!doctype html>")
    for part in ("<script", "<img", "src=", "href=", "url(", "<link", "<iframe"):
        assert part not in page.replace("src='https", "").replace("src=&", ""), part
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "END" in page
    assert "left out" not in page
    assert "Not all of the run is here" not in page
    assert "no such folder" in page
    assert "default-src 'none'" in page


def test_a_page_of_a_run_of_ours(tmp_path, own):
    page = own.export(tmp_path / "run.html").read_text()
    for part in ("I look.", "run_cell", "no such file", "Done."):
        assert part in page


# --- frames ---------------------------------------------------------------------------------------------------


def test_frames_as_parquet_and_lines(tmp_path):
    for kind in ("runs", "turns", "messages", "tool_calls", "unmapped"):
        frame = getattr(imported(SAMPLES["inspect"]), kind).df
        path = ja.export(frame, tmp_path / f"{kind}.parquet")
        again = pq.read_table(path).to_pandas()
        assert len(again) == len(frame)
        assert list(again.columns) == list(frame.columns)
        said = [json.loads(line) for line in ja.export(frame, tmp_path / f"{kind}.jsonl").read_text().splitlines()]
        assert len(said) == len(frame)
        assert not said or list(said[0]) == list(frame.columns)
    calls = [json.loads(line) for line in (tmp_path / "tool_calls.jsonl").read_text().splitlines()]
    assert calls[0]["latency"] == "P0DT0H0M0.250S"
    assert calls[0]["started_at"].startswith("2026-05-04T12:00:03.000000")
    assert calls[0]["tokens_used"] is None


def test_of_a_run_its_events_are_written(tmp_path, own):
    events = own.events.df
    path = ja.export(own, tmp_path / "run.jsonl")
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == events["seq"].tolist()
    assert len(pq.read_table(ja.export(own, tmp_path / "run.parquet"))) == len(events)


# --- the file -------------------------------------------------------------------------------------------------


def test_paths_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "log.json").write_text(json.dumps(test_openai.TALK))
    found = ja.import_traces("~/log.json")
    assert found.export("~/out.json") == tmp_path / "out.json"
    assert len(ja.import_traces(tmp_path / "out.json").runs) == len(found.runs)


def test_what_sums_are_by_is_written_too(tmp_path):
    frame = imported(test_openai.TALK).turns.df.groupby("run_id")[["input_tokens"]].sum()
    [line] = ja.export(frame, tmp_path / "sums.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == ["run_id", "input_tokens"]


def test_frames_that_a_format_does_not_take_are_said(tmp_path):
    parsed = pd.DataFrame({"arguments": [{"path": "."}, "no JSON"]})
    with pytest.raises(InvalidRequest, match="leave parse=True out"):
        ja.export(parsed, tmp_path / "parsed.parquet")
    assert len(ja.export(parsed, tmp_path / "parsed.jsonl").read_text().splitlines()) == 2
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    for name in ("twice.parquet", "twice.jsonl"):
        with pytest.raises(InvalidRequest, match="cannot be written as"):
            ja.export(twice, tmp_path / name)


def test_paths_that_no_file_can_have_are_said(tmp_path):
    frame = pd.DataFrame({"a": [1]})
    (tmp_path / "file").touch()
    for path in ("x" * 300 + ".jsonl", "file/in.jsonl", "no folder/in.jsonl"):
        with pytest.raises(StorageError, match="could not be written"):
            ja.export(frame, tmp_path / path)
    with pytest.raises(InvalidRequest, match="is no path"):
        ja.export(frame, "a\0.jsonl")


def test_nothing_is_overwritten_unasked(tmp_path):
    frame, path = imported(SAMPLES["openai"]).turns.df, tmp_path / "turns.jsonl"
    path.write_text("mine")
    with pytest.raises(Conflict, match="overwrite=True"):
        ja.export(frame, path)
    assert path.read_text() == "mine"
    ja.export(frame, path, overwrite=True)
    assert len(path.read_text().splitlines()) == len(frame)
    assert listed(tmp_path) == ["turns.jsonl"]


class Breaks(pd.DataFrame):
    """A frame that breaks off while it is written."""

    def to_json(self, stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")


def test_what_breaks_off_leaves_what_was(tmp_path):
    path = tmp_path / "frame.jsonl"
    for before in (None, "mine"):
        if before:
            path.write_text(before)
        with pytest.raises(StorageError, match="No space left on device"):
            ja.export(Breaks(), path, overwrite=True)
        assert listed(tmp_path) == (["frame.jsonl"] if before else [])
    assert path.read_text() == "mine"


def test_what_cannot_be_exported_is_said(tmp_path):
    two = imported(lines(*[{"messages": test_openai.TALK}] * 2))
    for what, name, sentence in (
        (two.turns.df, "x.csv", "The ending of 'x.csv' names no format"),
        (two.turns.df, "x.html", "of one run, not of a DataFrame"),
        (two.turns.df, "x.json", "of a run or an import, not of a DataFrame"),
        (two, "x.html", "not of an import of 2 runs"),
        (two, "x.parquet", r"export one, such as imported\.tool_calls\.df"),
        (7, "x.parquet", "A int cannot be exported"),
    ):
        with pytest.raises(InvalidRequest, match=sentence):
            ja.export(what, tmp_path / name)
    with pytest.raises(InvalidRequest, match="There is no format 'csv'"):
        ja.export(two, tmp_path / "x.json", format="csv")
    with pytest.raises(InvalidRequest, match="is a folder"):
        ja.export(two.turns.df, tmp_path, format="jsonl")
    with pytest.raises(StorageError, match="could not be written"):
        ja.export(two.turns.df, tmp_path / "no" / "such.jsonl")
    assert listed(tmp_path) == []
