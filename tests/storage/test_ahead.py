"""Calls taken in one transaction, and looked ahead of: what is told before it is asked for is what would be claimed."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import TooManyCalls, WorkflowRunNotFound
from jupyter_agent.records import SYSTEM, new_id
from jupyter_agent.storage.ahead import Use
from jupyter_agent.storage.calls import Claim
from jupyter_agent.storage.sql import SqlRows
from tests.storage.test_calls import KEYS, ME, OTHER, call, done, opened, play


async def test_what_has_no_result_is_started_in_the_same_transaction(rows):
    await play(rows, ["a"])
    run = (await opened(rows)).workflow_run_id
    wanted = [Claim(key, token=f"t{key}") for key in "ab"]
    taken = await rows.take_calls(run, wanted, by=ME, new=[call(key) for key in "ab"])
    assert [one.key for one in taken.calls] == ["a", "b"]
    assert (taken.started, taken.calls[0].is_done, taken.calls[1].number) == ({1}, True, 2)
    assert [one.key for one in taken.nearest[None]] == ["a"]
    again = await rows.take_calls(run, wanted, by=ME, new=[call(key) for key in "ab"])
    assert [one.call_id for one in again.calls] == [one.call_id for one in taken.calls]
    assert again.started == set(), "sent again it acts once"
    assert await rows.count_claims(run) == 2
    missed = await rows.take_calls(run, [Claim("c")], by=ME)
    assert (missed.calls, missed.started) == ([None], set())


async def test_where_it_may_not_hold_them_nothing_is_taken(rows):
    await play(rows, ["a"])
    run = (await opened(rows)).workflow_run_id

    def may(held):
        if held >= 1:
            raise TooManyCalls("Enough.")

    await rows.take_calls(run, [Claim("a")], by=ME, new=[call("a")], may=may)
    with pytest.raises(TooManyCalls):
        await rows.take_calls(run, [Claim("b")], by=ME, new=[call("b")], may=may)
    assert (await rows.count_claims(run), await rows.calls_in_flight()) == (1, [])


async def test_what_follows_is_told_in_its_order_and_only_ones_own(rows):
    await play(rows, list("abcd"))
    await play(rows, list("x"), workflow="another")
    run = (await opened(rows)).workflow_run_id
    (first,) = await rows.claim_calls(run, [Claim("a")], by=ME)
    told = await rows.calls_after(run, first.call_id, by=ME, most=2)
    assert [one.key for one in told] == ["b", "c"]
    assert await rows.calls_after(run, "call_none", by=ME, most=2) == []
    with pytest.raises(WorkflowRunNotFound):
        await rows.calls_after(run, first.call_id, by=OTHER, most=2)


async def test_what_was_used_is_claimed_once(rows):
    await play(rows, list("ab"))
    run = (await opened(rows)).workflow_run_id
    a, b = await rows.list_calls("review", "p", by=SYSTEM)
    used = [Use(a.call_id, "t1", "one"), Use("call_none", "t2"), Use(a.call_id, "t1", "one")]
    for _ in range(2):
        await rows.use_calls(run, used, by=ME)
    assert await rows.count_claims(run) == 1
    told = await rows.claim_calls(run, [Claim("a"), Claim("a", token="t1"), Claim("b")], by=ME)
    assert [one and one.call_id for one in told] == [None, a.call_id, b.call_id]
    assert await rows.release_claims(run, by=ME, cell="one") == 1


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=KEYS, second=KEYS, most=st.integers(1, 5))
def test_told_ahead_or_asked_for_a_pass_gets_the_same(backend, first, second, most):
    """A pass that uses what it was told, and asks for the rest, claims what one claims that asks for each."""

    async def looking(rows, workflow):
        run, ahead, got = (await opened(rows, workflow)).workflow_run_id, [], []
        for place, key in enumerate(second):
            known = next((one for one in ahead if one.key == key), None)
            if known is None:
                (known,) = await rows.claim_calls(run, [Claim(key)], by=ME)
                if known is not None:
                    ahead = await rows.calls_after(run, known.call_id, by=ME, most=most)
            else:
                ahead.remove(known)
                await rows.use_calls(run, [Use(known.call_id, f"t{place}")], by=ME)
            got.append(known and known.call_id)
        return got

    async def both():
        rows = SqlRows(backend)
        await rows.open()
        try:
            workflow = new_id("w")
            await play(rows, first, workflow=workflow)
            run = await opened(rows, workflow)
            asked = [(await rows.claim_calls(run.workflow_run_id, [Claim(key)], by=ME))[0] for key in second]
            assert await looking(rows, workflow) == [one and one.call_id for one in asked]
        finally:
            await rows.close()

    asyncio.run(both())


async def test_what_is_in_flight_is_not_told_ahead(rows):
    await play(rows, ["a"])
    run = await opened(rows)
    (flying,) = await rows.start_calls(run.workflow_run_id, [call("b")], by=ME)
    second = (await opened(rows)).workflow_run_id
    (a,) = await rows.claim_calls(second, [Claim("a")], by=ME)
    assert await rows.calls_after(second, a.call_id, by=ME, most=5) == []
    await rows.finish_call(done(flying))
    assert [one.key for one in await rows.calls_after(second, a.call_id, by=ME, most=5)] == ["b"]
