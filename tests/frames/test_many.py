"""Frames over many runs, from a real server: every fact once, the same dtypes always, filtered where the facts are."""

import asyncio

import pandas as pd
import pyarrow as pa
import pytest

import jupyter_agent as ja
from jupyter_agent.client.session import session
from jupyter_agent.exceptions import InvalidRequest, RunNotFound
from tests.frames.schemas import MANY, agreed, schema
from tests.live_server import TOKEN, LiveServer

CALLS = [{"name": "list_files", "arguments": {"pattern": "*"}}, {"name": "no_such_tool", "arguments": {}}]
PRICED = {"input_tokens": 1_000, "output_tokens": 10, "cost": 0.25}
SCRIPT = [{"calls": CALLS, "usage": PRICED}, {"text": "Done.", "usage": PRICED}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that this process uses as a script does, with three runs."""
    live = LiveServer(tmp_path_factory.mktemp("many"))
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        yield live
        client.close()
        runner.run(live.stop())


@pytest.fixture(scope="module")
def runs(server):
    empty = {kind: getattr(ja, kind)() for kind in MANY}
    made = [ja.run(f"run {number}", model="scripted", script=SCRIPT, show=False) for number in range(3)]
    for run in made:
        run.result()
    return made, empty


@pytest.mark.parametrize("kind", MANY)
def test_the_dtypes_are_the_same_with_and_without_rows(runs, kind):
    made, empty = runs
    made[0].rate(1, "Good.")
    assert len(empty[kind]) == 0
    full = getattr(ja, kind)()
    assert len(full) > 0
    assert schema(full) == schema(empty[kind]) == agreed(MANY, kind)


@pytest.mark.parametrize("kind", ["events", "messages"])
def test_what_journals_hold_is_told_as_by_the_runs_themselves(runs, kind):
    made, _ = runs
    several = getattr(ja, kind)(run=made[:2])
    kept = pd.concat([getattr(run, kind).df.astype("object") for run in made[:2]], ignore_index=True)
    pd.testing.assert_frame_equal(several.astype("object"), kept)
    assert list(getattr(ja, kind)(columns=["run_id"], run=made[0])["run_id"].unique()) == [made[0].id]
    with pytest.raises(InvalidRequest, match=rf"{kind} have no column 'turn'\. They have: run_id, "):
        getattr(ja, kind)(columns=["turn"])


def test_other_forms_say_the_same(runs):
    made, _ = runs
    table = ja.tool_calls(arrow=True)
    assert isinstance(table, pa.Table)
    calls = ja.tool_calls()
    assert table.column("tool_call_id").to_pylist() == list(calls["tool_call_id"])
    parts = list(ja.tool_calls(batches=True))
    pd.testing.assert_frame_equal(pd.concat(parts).astype("object"), calls.astype("object"))
    assert pa.Table.from_batches(ja.events(batches=True, arrow=True)).num_rows == len(ja.events())
    assert [schema(part) for part in ja.turns(batches=True, run=made[0])] == [agreed(MANY, "turns")]
    parsed = ja.tool_calls(parse=True, run=made[0])["arguments"]
    assert list(parsed) == [{"pattern": "*"}, {}]
    with pytest.raises(InvalidRequest, match="leave parse=True out"):
        ja.turns(parse=True, arrow=True)


def test_twins_are_awaited(runs):
    made, _ = runs

    async def look():
        return await asyncio.gather(ja.aruns(), ja.aevents(run=made[0]), ja.amessages(run=made[0]), ja.ausage("tool"))

    found = asyncio.run(look())
    assert [len(one) for one in found] == [len(ja.runs()), len(made[0].events), len(made[0].messages), 2]


def test_every_tool_call_once_with_how_it_ended(runs):
    made, _ = runs
    calls = ja.tool_calls()
    assert list(calls["run_id"].unique()) == [run.id for run in made], "The oldest run comes first."
    assert calls[["name", "outcome"]].astype("string").value_counts().to_dict() == {
        ("list_files", "success"): 3,
        ("no_such_tool", "error"): 3,
    }
    executed = calls[calls["outcome"] == "success"]
    assert (executed["latency"] > pd.Timedelta(0)).all()
    # What a run's own frame says is what the frame of all says.
    own = made[0].tool_calls.df
    same = calls[calls["run_id"] == made[0].id].reset_index(drop=True)
    for name in ("tool_call_id", "name", "outcome", "result", "latency", "started_at"):
        kept = own[name].astype("string") if name in ("name", "outcome") else own[name]
        given = same[name].astype("string") if name in ("name", "outcome") else same[name]
        executed_rows = own["outcome"].notna()
        pd.testing.assert_series_equal(kept[executed_rows], given[executed_rows], check_dtype=False)


def test_filters_and_columns_go_to_the_server(runs):
    made, _ = runs
    assert len(ja.tool_calls(tool="list_files", run=made[1])) == 1
    assert list(ja.tool_calls(columns=["name", "latency"]).columns) == ["name", "latency"]
    assert len(ja.turns(run=made[0].id)) == 2
    assert len(ja.turns(thread=made[0].thread)) == 2
    assert len(ja.turns(status="error,interrupted")) == 0
    assert len(ja.turns(since=pd.Timestamp.now(tz="UTC") + pd.Timedelta(hours=1))) == 0
    with pytest.raises(InvalidRequest, match="They have: run_id"):
        ja.turns(columns=["price"])
    with pytest.raises(InvalidRequest, match=r"There is no status 'going'\. A run is pending, running"):
        ja.turns(status="completed,going")
    assert len(ja.turns(since="2026-01-01")) == len(ja.turns())
    for wrong in ("yesterday", 7):
        with pytest.raises(InvalidRequest, match="a text like '2026-11-01'"):
            ja.turns(since=wrong)
    with pytest.raises(InvalidRequest, match="tool is a text, not 5"):
        ja.tool_calls(tool=5)
    for wrong in ({"a": [1]}, "a", {1: "a"}):
        with pytest.raises(InvalidRequest, match="metadata"):
            ja.runs(metadata=wrong)
    with pytest.raises(InvalidRequest, match="turns are not chosen by 'tool', but by run, thread, model"):
        ja.turns(tool="list_files")
    with pytest.raises(InvalidRequest, match="run names no run"):
        ja.turns(run=[])
    assert len(ja.turns(run=[made[0], made[1].id])) == 4
    with pytest.raises(InvalidRequest, match="bytes long as an address"):
        ja.turns(run=[made[0].id] * 4_000)  # a server would hang up on it
    assert len(ja.turns(until="2026-01-01")) == 0


def test_usage_counts_each_turn_once(runs):
    made, _ = runs
    by_model = ja.usage()
    assert by_model["turns"].sum() == 6
    assert by_model["input_tokens"].sum() == sum(run.usage.input_tokens for run in made) == 6_000
    for by in ("run", "thread", "day", "turn", "stop_reason"):
        assert ja.usage(by)["output_tokens"].sum() == 60, by
    with pytest.raises(InvalidRequest, match="only by model"):
        ja.usage("colour")


def test_a_running_run_is_in_it(runs):
    slow = ja.run("slow", model="scripted", script=[{"calls": CALLS[:1]}, {"text": "word " * 200, "duration_s": 60}],
                  show=False)  # fmt: skip
    while not [call for call in slow.tool_calls if call.outcome]:
        pass
    found = ja.tool_calls(run=slow)
    assert list(found["outcome"]) == ["success"]
    assert len(ja.turns(run=slow)) == 1
    slow.interrupt()


def test_feedback_is_kept_and_replaced(runs):
    made, _ = runs
    made[1].rate(1)
    second = made[1].rate(-1, "It was wrong.")
    made[1].rate(1, message_id="m1")
    kept = ja.feedback(run=made[1])
    assert sorted(kept["rating"]) == [-1, 1]
    assert kept.set_index("feedback_id").loc[second.feedback_id, "comment"] == "It was wrong."
    assert repr(second) == f"<Feedback -1 on {made[1].id}: 'It was wrong.'>"
    with pytest.raises(InvalidRequest, match="-1, not 5"):
        made[1].rate(5)
    with pytest.raises(RunNotFound):
        session().client.wait(session().client.rate("run_00000000000000000000", 1))


def test_runs_are_listed_a_line_each(runs):
    made, _ = runs
    lines = repr(made[2].thread.runs).splitlines()
    line = next(line for line in lines if made[2].id in line)
    assert line.endswith("· completed · scripted · 'run 2'")
    with pytest.raises(RunNotFound, match=r"ja\.runs\(\) lists yours"):
        ja.open("nonsense")


def test_the_twins_say_the_same(runs):
    async def ask():
        return await ja.aturns(), await ja.atool_calls(), await ja.ausage("run")

    turns, calls, usage = asyncio.run(ask())
    pd.testing.assert_frame_equal(turns, ja.turns())
    pd.testing.assert_frame_equal(calls, ja.tool_calls())
    pd.testing.assert_frame_equal(usage, ja.usage("run"))


def test_the_runs_of_a_thread_are_told_as_by_the_frame_of_all(runs):
    made, _ = runs
    thread = made[0].thread
    later = thread.run("once more", model="scripted", script=SCRIPT, metadata={"round": 2}, show=False)
    later.result()
    own = thread.runs.df.iloc[::-1].reset_index(drop=True)
    several = ja.runs(thread=thread)
    assert schema(own) == schema(several) == agreed(MANY, "runs")
    told = own.drop(columns="metadata").astype("object")
    pd.testing.assert_frame_equal(told, several.drop(columns="metadata").astype("object"))
    assert list(ja.runs(metadata={"round": 2})["run_id"]) == [later.id]
    said = ja.runs(run=later, parse=True)["metadata"][0]
    assert said["round"] == 2
    assert list(ja.runs(status="completed")["status"].unique()) == ["completed"]
