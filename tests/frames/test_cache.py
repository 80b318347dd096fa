"""The shape of the cache from a real server: rows that add up, causes across the runs of a thread, and predictions."""

import asyncio
import re
from datetime import timedelta

import pandas as pd
import pytest

import jupyter_agent as ja
from jupyter_agent.client.session import session
from jupyter_agent.exceptions import InvalidRequest, RunNotFound
from jupyter_agent.records import Usage
from tests.live_server import TOKEN, LiveServer

TEXT = "string"
TURNS = {
    "run_id": TEXT, "turn": "Int64", "model": "category", "input_tokens": "Int64", "cache_read_tokens": "Int64",
    "hit_rate": "Float64", "cause": "category", "region": "category", "before": TEXT, "after": TEXT,
    "idle": "timedelta64[us]",
}  # fmt: skip
SEGMENTS = {
    "run_id": TEXT, "turn": "Int64", "position": "Int64", "region": "category", "label": "category",
    "fingerprint": TEXT, "tokens": "Int64", "hit": "Int64", "miss": "Int64",
}  # fmt: skip
WHAT_IF = {
    "run_id": TEXT, "turn": "Int64", "model": "category", "input_tokens": "Int64", "cache_read_tokens": "Int64",
    "hit_rate": "Float64", "predicted_cache_read_tokens": "Int64", "predicted_hit_rate": "Float64", "cost": "Float64",
    "predicted_cost": "Float64",
}  # fmt: skip
QUICK = {"pace": 0}
TOOLS = ["list_files", "read_file", "search_files", "create_file"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    live = LiveServer(tmp_path_factory.mktemp("cache"))
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        yield live
        client.close()
        runner.run(live.stop())


def demo(text="hello", *, settings=QUICK, **options):
    run = ja.run(text, model="demo", settings=settings, show=False, **options)
    run.result()
    return run


@pytest.fixture(scope="module")
def runs(server):
    """A thread whose runs break the prefix in one way each."""
    empty = ja.cache()
    thread = ja.thread("the cache")
    made = [
        demo("List the files here.", thread=thread, tools=TOOLS),
        demo(thread=thread, tools=TOOLS),
        demo(thread=thread, tools=TOOLS[::-1]),
        demo(thread=thread, tools=TOOLS[::-1], instructions="Be brief."),
        demo(thread=thread, tools=TOOLS[::-1], instructions="Be brief.", settings=QUICK | {"cache_life_s": 0}),
    ]
    return made, empty


def dtypes(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def test_the_dtypes_are_the_same_with_and_without_rows(runs):
    made, empty = runs
    full = ja.cache()
    for shape, count in ((empty, 0), (full, 6), (made[0].cache, 2)):
        assert (len(shape.df), dtypes(shape.df), dtypes(shape.segments)) == (count, TURNS, SEGMENTS)
        assert dtypes(shape.what_if(sorted_tools=True)) == WHAT_IF


def test_each_run_says_why_it_missed_what_the_one_before_had_sent(runs):
    made, _ = runs
    causes = [run.cache.df["cause"].astype(TEXT).tolist() for run in made]
    assert causes == [["first_request", pd.NA], [pd.NA], ["tools_reordered"], ["prefix_changed"], ["expired"]]
    reordered, told = made[2].cache.df.iloc[0], made[3].cache.df.iloc[0]
    assert (reordered["before"], reordered["after"]) == (", ".join(TOOLS), ", ".join(TOOLS[::-1]))
    assert told["region"] == "system"
    assert told["before"].startswith("instructions ")
    assert told["before"] != told["after"]
    assert (ja.cache().df["idle"].dropna() > pd.Timedelta(0)).all()
    # Over all runs, or from a later time on, they say the same: none becomes a first one.
    everywhere = ja.cache(thread=made[0].thread).df
    assert everywhere["cause"].astype(TEXT).tolist() == [cause for one in causes for cause in one]
    since = session().client.wait(session().client.record(made[2].id)).created_at
    assert ja.cache(since=since).df["cause"].astype(TEXT).tolist() == ["tools_reordered", "prefix_changed", "expired"]


def test_the_segments_add_up_to_the_turns(runs):
    shape = ja.cache()
    sums = shape.segments.groupby(["run_id", "turn"], sort=False)[["tokens", "hit", "miss"]].sum()
    assert sums["tokens"].tolist() == shape.df["input_tokens"].tolist()
    assert sums["hit"].tolist() == shape.df["cache_read_tokens"].tolist()
    assert (sums["hit"] + sums["miss"]).tolist() == sums["tokens"].tolist()
    made, _ = runs
    assert ja.turns(run=made[0])["input_tokens"].tolist() == made[0].cache.df["input_tokens"].tolist()
    assert made[0].cache.segments["label"].astype(TEXT).tolist()[:6] == ["instructions", *TOOLS, "user"]


def test_it_reads_like_a_story(runs):
    made, empty = runs
    lines = repr(made[2].cache).splitlines()
    assert lines[0].startswith("<CacheShape of 1 turn: ")
    assert f"tools_reordered in tool: {', '.join(TOOLS)} → {', '.join(TOOLS[::-1])}" in lines[1]
    assert repr(empty) == "<CacheShape of 0 turns: nothing reported>"
    assert f"{made[4].id} · turn 0 · 0% of " in repr(ja.cache())
    assert re.search(r" · expired after \d+ s", repr(made[4].cache))


def test_what_another_order_would_have_read_and_cost(runs):
    made, _ = runs
    model = "anthropic:claude-sonnet-4-5"
    was, sorted_ = made[2].cache, made[2].cache.what_if(sorted_tools=True, priced_as=model).iloc[0]
    assert sorted_["cache_read_tokens"] == was.df["cache_read_tokens"].iloc[0]
    assert sorted_["predicted_cache_read_tokens"] > sorted_["cache_read_tokens"]
    assert 0 < sorted_["predicted_cost"] < sorted_["cost"]
    # By the prices of the model for what is read and what is not.
    client = session().client
    whole = Usage(input_tokens=int(sorted_["input_tokens"]), requests=1)
    read = Usage(input_tokens=whole.input_tokens, cache_read_tokens=whole.input_tokens, requests=1)
    dear, cheap = client.wait(client.costs([(model, whole), (model, read)]))
    assert cheap < dear
    unpriced = made[2].cache.what_if(sorted_tools=True)
    assert unpriced["predicted_cost"].isna().all(), "Nobody pays for demo."
    longer = made[4].cache.what_if(life=timedelta(hours=1)).iloc[0]
    assert longer["cache_read_tokens"] == 0 < longer["predicted_cache_read_tokens"]
    moved = made[3].cache.what_if(moved="system").iloc[0]
    assert moved["predicted_cache_read_tokens"] > moved["cache_read_tokens"]


def test_what_makes_no_sense_is_told(runs):
    made, _ = runs
    shape = made[0].cache
    for wrong, said in (
        ({}, "what would be otherwise"),
        ({"life": 5}, "a timedelta, not 5"),
        ({"moved": "sytem"}, "No prompt has 'sytem'"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            shape.what_if(**wrong)
    with pytest.raises(RunNotFound):
        ja.cache(run="run_00000000000000000000")
    with pytest.raises(InvalidRequest, match="is of the thread"):
        ja.cache(run=made[0], thread="thr_other")
    with pytest.raises(InvalidRequest, match="a text like '2026-11-01'"):
        ja.cache(since="yesterday")


def test_a_provider_that_reports_nothing_leaves_it_unknown(runs):
    run = ja.run("x", model="scripted", script=[{"text": "hi", "usage": None}], show=False)
    run.result()
    shape = run.cache
    assert shape.df["cause"].tolist() == ["unknown"]
    assert shape.df[["input_tokens", "cache_read_tokens", "hit_rate"]].isna().all(axis=None)
    assert shape.segments["hit"].isna().all()
    assert shape.segments["tokens"].sum() > 0
    assert shape.what_if(sorted_tools=True)["predicted_cache_read_tokens"].isna().all()
    assert "not reported · unknown" in repr(shape)


def test_the_twins_say_the_same(runs):
    made, _ = runs

    async def ask():
        shape = await ja.acache(run=made[2])
        return shape, await shape.awhat_if(sorted_tools=True)

    shape, predicted = asyncio.run(ask())
    pd.testing.assert_frame_equal(shape.df, made[2].cache.df)
    pd.testing.assert_frame_equal(predicted, made[2].cache.what_if(sorted_tools=True))
