"""Results of calls and claims of them: reused in any order, once a pass, and only by who owns them."""

import asyncio
from collections import Counter
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from jupyter_agent.exceptions import Conflict, WorkflowRunNotFound
from jupyter_agent.records import SYSTEM, Principal, StoredCall, WorkflowRun, new_id, utc_now
from jupyter_agent.storage.calls import Claim
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.workflow_tables import call_results, is_in_flight

ME, OTHER = Principal(user_id="me"), Principal(user_id="other")
NOW = utc_now()


async def opened(rows, workflow="review", by=ME):
    return await rows.create_workflow_run(
        WorkflowRun(
            workflow_run_id=new_id("wfr"), user_id=by.user_id, workflow=workflow, project="p", created_at=NOW,
            updated_at=NOW,
        )
    )  # fmt: skip


def call(key, **more):
    values = {
        "call_id": new_id("call"), "user_id": "", "workflow": "", "project": "", "key": key, "fields": {"prompt": key},
        "said": {"prompt": key}, "created_at": NOW, "used_at": NOW,
    }  # fmt: skip
    return StoredCall(**values | more)


async def play(rows, keys, *, finish=None, workflow="review", cell=None):
    """One pass: claims what there is, starts the rest, finishes those whose place `finish` names. Returns the answers
    that came from the store, and the keys that ran live."""
    run = await opened(rows, workflow)
    found = []
    for some in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
        found += await rows.claim_calls(run.workflow_run_id, [Claim(key, cell) for key in some], by=ME)
    missed = [key for key, hit in zip(keys, found, strict=True) if hit is None]
    started = await rows.start_calls(run.workflow_run_id, [call(key, cell=cell) for key in missed], by=ME)
    for place, one in enumerate(started):
        if finish is None or place in finish:
            await rows.finish_call(done(one))
        else:
            await rows.drop_calls([one.call_id])
    return run, [hit for hit in found if hit is not None], missed


def done(one, answer=None, **more):
    more = {"tokens": 7, "cost": 0.5, "done_at": NOW, "run_id": "run_1"} | more
    return msgspec.structs.replace(one, is_done=True, answer=answer or f"{one.key} {one.call_id}", **more)


KEYS = st.lists(st.sampled_from("abcdef"), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=KEYS, data=st.data())
def test_exactly_what_changed_or_was_not_finished_runs_live(backend, first, data):
    """Any order, any subset of finished calls, identical calls, edits and moves: a multiset says what is left."""
    finish = set(data.draw(st.lists(st.integers(0, 11))))
    second = data.draw(st.permutations(first))
    for place in data.draw(st.lists(st.integers(0, 11), max_size=3)):
        if place < len(second):
            second[place] = "edited"

    async def both():
        rows = SqlRows(backend)
        await rows.open()
        try:
            workflow = new_id("w")
            _, hits, missed = await play(rows, first, finish=finish, workflow=workflow)
            assert (hits, missed) == ([], first)
            stored = Counter(key for place, key in enumerate(first) if place in finish)
            _, hits, missed = await play(rows, second, workflow=workflow)
            assert Counter(missed) == Counter(second) - stored
            assert Counter(hit.key for hit in hits) == Counter(second) & stored
            assert len({hit.call_id for hit in hits}) == len(hits), "identical calls have results of their own"
            _, hits, missed = await play(rows, second[::-1], workflow=workflow)
            assert missed == []
        finally:
            await rows.close()

    asyncio.run(both())


async def test_the_oldest_result_of_a_key_comes_first(rows):
    await play(rows, ["a", "b", "a", "a"])
    _, hits, _ = await play(rows, ["a", "a"])
    assert [hit.number for hit in hits] == [1, 3]
    assert (hits[0].answer, hits[0].tokens, hits[0].cost) == (f"a {hits[0].call_id}", 7, 0.5)


async def test_passes_do_not_compete(rows):
    await play(rows, ["a"])
    first, second = await opened(rows), await opened(rows)
    found = [(await rows.claim_calls(run.workflow_run_id, [Claim("a")], by=ME))[0] for run in (first, second)]
    assert found[0].call_id == found[1].call_id
    assert await rows.claim_calls(first.workflow_run_id, [Claim("a")], by=ME) == [None]


async def test_a_cell_that_runs_again_lets_go_of_its_own_claims(rows):
    await play(rows, ["a", "b"])
    run = await opened(rows)
    await rows.claim_calls(run.workflow_run_id, [Claim("a", "one"), Claim("b", "two")], by=ME)
    assert await rows.release_claims(run.workflow_run_id, cell="one", by=ME) == 1
    found = await rows.claim_calls(run.workflow_run_id, [Claim("a", "one"), Claim("b", "one")], by=ME)
    assert [one is not None for one in found] == [True, False]
    assert await rows.count_claims(run.workflow_run_id) == 2


async def test_a_call_in_flight_is_claimed_by_the_next_pass(rows):
    run = await opened(rows)
    (flying,) = await rows.start_calls(run.workflow_run_id, [call("a")], by=ME)
    await rows.update_call(flying.call_id, run_id="run_9", tries=1)
    later = await opened(rows)
    (found,) = await rows.claim_calls(later.workflow_run_id, [Claim("a")], by=ME)
    assert (found.call_id, found.is_done, found.run_id) == (flying.call_id, False, "run_9")
    assert [one.call_id for one in await rows.calls_in_flight()] == [flying.call_id]
    await rows.finish_call(done(found, "answer"))
    assert (await rows.get_calls([flying.call_id], by=ME))[0].answer == "answer"
    await rows.finish_call(done(found, "too late"))
    assert (await rows.get_calls([flying.call_id], by=ME))[0].answer == "answer", "the first answer stands"


async def test_fresh_takes_the_place_of_what_it_replaces(rows):
    await play(rows, ["a", "a"])
    run = await opened(rows)
    assert await rows.claim_calls(run.workflow_run_id, [Claim("a", fresh=True)], by=ME) == [None]
    (new,) = await rows.start_calls(run.workflow_run_id, [call("a", said={"prompt": "a", "fresh": True})], by=ME)
    assert len(await rows.list_calls("review", "p", by=ME)) == 2, "until it is done the old one stays"
    await rows.finish_call(done(new, "new"))
    found = await rows.list_calls("review", "p", by=ME)
    assert [(one.number, one.answer == "new") for one in found] == [(1, True), (2, False)]


async def test_what_is_being_replaced_is_no_one_elses_in_the_pass(rows):
    """Two fresh calls replace two results, whichever ends first; none of them is claimed meanwhile."""
    await play(rows, ["a", "a"])
    run = await opened(rows)
    new = []
    for _ in range(2):
        new += await rows.start_calls(run.workflow_run_id, [call("a", said={"prompt": "a", "fresh": True})], by=ME)
    assert await rows.claim_calls(run.workflow_run_id, [Claim("a")], by=ME) == [None]
    other = await opened(rows)
    assert None not in await rows.claim_calls(other.workflow_run_id, [Claim("a"), Claim("a")], by=ME)
    for one in reversed(new):
        await rows.finish_call(done(one))
    kept = await rows.list_calls("review", "p", by=ME)
    assert [(one.number, one.call_id) for one in kept] == [(1, new[0].call_id), (2, new[1].call_id)]


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_what_is_in_flight_is_found_by_its_index(rows):
    """However many results there are: a server looks for it whenever it starts, and each claim does."""
    query = sa.select(call_results.c.call_id).where(is_in_flight()).compile(dialect=sqlite.dialect())
    async with rows._reading() as db:
        plan = (await db.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")).all()
    assert "calls_in_flight" in str(plan)


async def test_what_is_anothers_does_not_exist(rows):
    run, _, _ = await play(rows, ["a"])
    (mine,) = await rows.list_calls("review", "p", by=ME)
    with pytest.raises(WorkflowRunNotFound):
        await rows.get_workflow_run(run.workflow_run_id, by=OTHER)
    for deed in (
        rows.claim_calls(run.workflow_run_id, [Claim("a")], by=OTHER),
        rows.start_calls(run.workflow_run_id, [call("a")], by=OTHER),
        rows.release_claims(run.workflow_run_id, by=OTHER),
    ):
        with pytest.raises(WorkflowRunNotFound):
            await deed
    theirs = await opened(rows, by=OTHER)
    assert await rows.claim_calls(theirs.workflow_run_id, [Claim("a")], by=OTHER) == [None]
    assert await rows.get_calls([mine.call_id], by=OTHER) == []
    assert await rows.list_calls("review", "p", by=OTHER) == []
    assert await rows.forget_calls("review", "p", by=OTHER) == 0
    assert await rows.nearest_calls(theirs, [None]) == {None: []}
    with pytest.raises(Conflict):
        await rows.create_workflow_run(msgspec.structs.replace(run, user_id="other"))
    for deed in (rows.get_calls([mine.call_id], by=None), rows.list_calls("review", "p", by=None)):
        with pytest.raises(TypeError):
            await deed
    assert len(await rows.list_calls("review", "p", by=SYSTEM)) == 1


async def test_forgetting_and_limits(rows):
    await play(rows, ["a", "b"], workflow="one")
    await play(rows, ["c"], workflow="two")
    assert await rows.trim_calls(unused_since=NOW - timedelta(days=1)) == 0
    assert await rows.trim_calls(larger_than=10**6) == 0
    run = await opened(rows, "one")
    await rows.claim_calls(run.workflow_run_id, [Claim("b")], by=ME)
    one = sum(len(msgspec.json.encode([it.fields, it.said])) + len(it.answer) for it in
              await rows.list_calls("two", "p", by=ME))  # fmt: skip
    assert await rows.trim_calls(larger_than=one) == 2, "least recently used first"
    assert [it.key for it in await rows.list_calls("one", "p", by=ME)] == ["b"]
    assert await rows.forget_calls("one", "p", by=ME) == 1
    assert await rows.claim_calls(run.workflow_run_id, [Claim("b")], by=ME) == [None]
    await play(rows, ["d"], workflow="one")
    assert await rows.trim_calls(unused_since=utc_now() + timedelta(days=1)) == 1


async def test_text_that_databases_refuse_is_made_clean(rows):
    run = await opened(rows)
    (one,) = await rows.start_calls(run.workflow_run_id, [call("a", label="x\0y", cell="c\ud800")], by=ME)
    await rows.finish_call(done(one, "nul \0 and \ud800"))
    (kept,) = await rows.list_calls("review", "p", by=ME)
    assert (kept.label, kept.answer) == ("x\ufffdy", "nul \ufffd and \ufffd")
    assert [it.call_id for it in (await rows.nearest_calls(run, ["x\0y"]))["x\0y"]] == [kept.call_id]
    assert await rows.release_claims(run.workflow_run_id, cell="c\ud800", by=ME) == 1


async def test_a_thousand_hits_in_one_claim(rows):
    keys = [f"k{n}" for n in range(1000)]
    run = await opened(rows)
    started = await rows.start_calls(run.workflow_run_id, [call(key) for key in keys], by=ME)
    assert [one.number for one in started] == list(range(1, 1001))
    later = await opened(rows)
    found = await rows.claim_calls(later.workflow_run_id, [Claim(key) for key in reversed(keys)], by=ME)
    assert [one.key for one in found] == keys[::-1]
