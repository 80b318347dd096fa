"""Rows of tool calls: in the order asked, each once, whatever their ids say."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import InvalidRequest, RunNotFound
from jupyter_agent.records import SYSTEM, Outcome, ToolTrace
from tests.storage.test_rows import ALICE, BEGAN, MALLORY, a_thread, ended, every_page


def a_trace(run="r", turn=0, position=0, **fields):
    known = {"tool_call_id": "same", "tool_name": "read_file", "thread_id": "t", "tool_input": "{}"}
    return ToolTrace(run_id=run, turn=turn, position=position, **known | fields)


@pytest.fixture
async def kept(rows):
    await rows.create_thread(a_thread())
    for name in ("r", "other"):
        await ended(rows, name)
    return rows


async def test_one_id_used_again_is_many_calls(kept):
    traces = [a_trace(turn=turn, position=position) for turn in range(12) for position in range(3)]
    await kept.project([], [], [], traces=traces)
    assert (await kept.list_traces("r", by=ALICE, limit=200)).items == ()
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], traces=traces)
    for limit in (1, 5, 200):
        assert await every_page(lambda **page: kept.list_traces("r", by=ALICE, **page), limit=limit) == traces
    of_turn = await every_page(lambda **page: kept.list_traces("r", by=ALICE, turn=11, **page), limit=2)
    assert of_turn == traces[-3:]


async def test_what_is_written_again_stands_once(kept):
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], traces=[a_trace(started_at=BEGAN)])
    again = [a_trace(outcome=Outcome.UNKNOWN), a_trace(attempt=1, outcome=Outcome.SUCCESS, latency_ms=2.0)]
    await kept.project([run], [], [], traces=again)
    assert list((await kept.list_traces("r", by=ALICE)).items) == again


async def test_another_run_or_user_sees_nothing(kept):
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], traces=[a_trace(turn=turn) for turn in range(3)])
    page = await kept.list_traces("r", by=ALICE, limit=1)
    assert (await kept.list_traces("other", by=ALICE)).items == ()
    with pytest.raises(RunNotFound):
        await kept.list_traces("r", by=MALLORY)
    for cursor in (page.next_cursor, "nonsense", page.next_cursor[:-4]):
        with pytest.raises(InvalidRequest):
            await kept.list_traces("other", by=SYSTEM, cursor=cursor)


async def test_they_go_with_their_run(kept):
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], traces=[a_trace()])
    await kept.delete_run("r", by=ALICE)
    await ended(kept, "r")
    assert (await kept.list_traces("r", by=ALICE)).items == ()


PLACES = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(places=st.sets(PLACES, max_size=30), limit=st.integers(1, 7))
async def test_pages_hold_each_row_once_in_order(kept, places, limit):
    run = await kept.get_run("r", by=ALICE)
    traces = [a_trace(turn=turn, position=at, attempt=attempt) for turn, at, attempt in sorted(places)]
    await kept.restore_run(run, [], [], traces=traces)
    assert await every_page(lambda **page: kept.list_traces("r", by=ALICE, **page), limit=limit) == traces
