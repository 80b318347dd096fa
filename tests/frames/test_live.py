"""Frames that stay current while runs go on: nothing is missed, nothing twice, and how far they are is told."""

import asyncio
import time

import pandas as pd
import pytest

import jupyter_agent as ja
from jupyter_agent.client.rows import Rows
from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.records import RunStatus
from jupyter_agent.storage import DATABASE
from tests.live_server import TOKEN, LiveServer

CALL = {"calls": [{"name": "list_files", "arguments": {"pattern": "*"}}]}
DONE = {"text": "Done.", "usage": {"input_tokens": 10, "output_tokens": 1}}
ASK = {"calls": [{"name": "ask_user", "arguments": {"prompt": "Which?"}}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    live = LiveServer(tmp_path_factory.mktemp("live"))
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        yield live
        client.close()
        runner.run(live.stop())


def waiting(thread=None):
    """A run that has called a tool and waits for an answer: it stands still until the test says so."""
    run = ja.run("Ask me.", model="scripted", script=[CALL, ASK, DONE], thread=thread, show=False)
    # The question is told before the status: only then does nothing come any more.
    while run.status is not RunStatus.WAITING_INPUT and not run.is_done:
        time.sleep(0.01)
    return run


def finish(run):
    run.answer(run.inputs[0].request_id, "That one.")
    run.result()


def same(live, frame):
    pd.testing.assert_frame_equal(live.df.astype("object"), frame.astype("object"))


@pytest.mark.parametrize("kind", ["events", "turns", "tool_calls", "messages"])
def test_a_frame_of_one_run_grows_with_it(server, kind):
    run = waiting()
    live = getattr(run, kind).live()
    before = live.df
    assert live.seq == len(run.events)
    assert not live.is_done
    finish(run)
    assert live.wait(30)
    while live.wait():
        last = live.df
    assert live.is_done
    assert live.seq == len(run.events)
    same(live, getattr(run, kind).df)
    assert not last.equals(before)
    assert repr(live) == f"<LiveFrame {len(last):,} {kind.replace('_', ' ')} of {run.id} to event {live.seq}, whole>"


@pytest.mark.parametrize("kind", ["runs", "events", "turns", "tool_calls", "messages"])
def test_frames_of_many_runs_grow_with_them(server, kind):
    told = getattr(ja, kind)
    first = waiting()
    live = told(live=True)
    same(live, told())
    second = waiting()
    assert live.wait(30)
    same(live, told())
    finish(second)
    finish(first)
    assert live.wait(30)
    live.wait(2)
    same(live, told())
    if kind == "events":
        assert live.seq[first.id] == len(first.events)
    assert repr(live).endswith(" UTC, live>")
    live.stop()
    kept = len(live.df)
    ja.run("later", model="scripted", script=[DONE], show=False).result()
    assert not live.wait(5)
    assert len(live.df) == kept
    assert repr(live).endswith("stopped>")


def test_what_is_chosen_stays_chosen(server):
    run = waiting()
    live = ja.tool_calls(live=True, run=run, columns=["name", "arguments"], parse=True)
    ended = ja.runs(live=True, status="completed", thread=run.thread)
    assert (list(live.df["name"]), len(ended.df)) == (["list_files", "ask_user"], 0)
    assert list(live.df.columns) == ["name", "arguments"]
    finish(run)
    assert ended.wait(30)
    assert list(ended.df["run_id"]) == [run.id]
    while live.wait(30):
        _ = live.df
    assert live.is_done


def test_states_are_awaited_one_after_the_other(server):
    async def look():
        run = waiting()
        sizes = []
        async for frame in ja.events(run=run, live=True):
            sizes.append(len(frame))
            if len(sizes) == 1:
                await asyncio.to_thread(finish, run)
        return run, sizes

    run, sizes = asyncio.run(look())
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(run.events)


def test_a_folder_is_followed_without_its_server(server):
    folder = next(server.home.rglob(DATABASE)).parent
    run = waiting()
    live = ja.open_store(folder).events(run=run.id, live=True)
    assert live.seq[run.id] > 0
    finish(run)
    while not live.is_done:
        live.wait(30)
    assert live.seq[run.id] == len(run.events)


def test_what_cannot_stay_current_says_so(server):
    with pytest.raises(InvalidRequest, match=r"ja\.runs\(live=True\)"):
        Rows.of("turns", ()).live()
    with pytest.raises(InvalidRequest, match="leave arrow=True"):
        ja.turns(live=True, arrow=True)
