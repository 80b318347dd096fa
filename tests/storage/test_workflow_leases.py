"""Leases of scripts' runs and of calls in flight: nothing is written, told or claimed by whoever was taken over."""

import pytest
import sqlalchemy as sa

from jupyter_agent.exceptions import LeaseLost
from jupyter_agent.records import HeadlessRun, RunStatus, WorkflowEvent
from jupyter_agent.storage.ahead import Use
from jupyter_agent.storage.calls import Claim
from jupyter_agent.storage.contract import FIRST_LEASE_NO, Holder
from tests.storage.test_calls import ME, NOW, call, done, opened
from tests.storage.test_spending import decide

LONG_S = 600.0
ALICES, BOBS = Holder("a:1:one", LONG_S), Holder("b:2:two", LONG_S)
SAID = [WorkflowEvent(type="log", text="x", at=NOW)]


async def let_pass(rows, leases):
    """Lets all leases of a table pass: as if time went by."""
    await rows._write(lambda db: db.execute(sa.update(leases._table).values(lease_expires_at=0.0)))


async def scripted(rows, *, holder=ALICES):
    """Returns the id of a script's run."""
    its = await opened(rows)
    run = HeadlessRun(
        workflow_run_id=its.workflow_run_id, user_id="me", workflow="review", project="p", digest="d",
        status=RunStatus.PENDING, created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    await rows.create_headless_run(run, {}, holder=holder)
    return its.workflow_run_id


async def started(rows, key="a", *, holder=ALICES, run=None, lease_no=None):
    run = run or (await opened(rows)).workflow_run_id
    taken = await rows.take_calls(
        run, [Claim(key)], by=ME, new=[call(key)], decide=decide, holder=holder, lease_no=lease_no
    )
    return taken.calls[0]


async def test_a_script_s_run_is_one_server_s_until_its_lease_passes(rows):
    run, leases = await scripted(rows), rows.headless_leases
    assert (await leases.lease_of(run)).owner == ALICES.owner
    assert await rows.unattended_headless_runs("p") == []
    assert await leases.take_leases(BOBS, [run, "none"]) == {}
    await let_pass(rows, leases)
    assert await rows.unattended_headless_runs("p") == [run]
    assert await rows.unattended_headless_runs("q") == []
    assert await leases.take_leases(BOBS, [run, "none"]) == {run: FIRST_LEASE_NO + 1}
    assert await leases.renew_leases(ALICES, [run]) == {}
    await leases.release_leases(BOBS, [run])
    assert await leases.lease_of(run) is None
    assert await leases.take_lease(run, BOBS) == FIRST_LEASE_NO + 2
    await rows.tell_headless_run(run, [], lease_no=FIRST_LEASE_NO + 2, status=RunStatus.COMPLETED)
    await leases.release_lease(run, FIRST_LEASE_NO + 2)
    assert await leases.take_leases(ALICES, [run]) == {}, "what has ended is nobody's"
    assert await rows.unattended_headless_runs("p") == []


async def test_a_server_that_was_taken_over_tells_and_claims_nothing_of_a_run(rows):
    run = await scripted(rows)
    stored = await started(rows)
    await rows.finish_call(done(stored), lease_no=FIRST_LEASE_NO)
    await let_pass(rows, rows.headless_leases)
    new = await rows.headless_leases.take_lease(run, BOBS)
    old = {"lease_no": FIRST_LEASE_NO}
    for deed in (
        lambda: rows.tell_headless_run(run, SAID, **old, status=RunStatus.COMPLETED),
        lambda: rows.update_headless_run(run, **old, status=RunStatus.INTERRUPTED),
        lambda: started(rows, run=run, **old),
        lambda: rows.use_calls(run, [Use(stored.call_id)], by=ME, **old),
    ):
        with pytest.raises(LeaseLost):
            await deed()
    assert (await rows.get_headless_run(run, by=ME)).status is RunStatus.PENDING
    assert await rows.list_workflow_events(run, by=ME) == []
    assert await rows.held_calls(run) == []
    assert await rows.tell_headless_run(run, SAID, lease_no=new, phase="One")
    assert (await started(rows, run=run, lease_no=new)).call_id == stored.call_id


async def test_what_became_of_a_call_is_written_by_the_server_that_has_it(rows):
    one, other = await started(rows), await started(rows, "b")
    ids = [one.call_id, other.call_id]
    assert {call_id: seen.is_free for call_id, seen in (await rows.watched_calls([*ids, "none"])).items()} == {
        one.call_id: False, other.call_id: False,
    }  # fmt: skip
    await let_pass(rows, rows.call_leases)
    assert {seen.is_free for seen in (await rows.watched_calls(ids)).values()} == {True}
    assert set(await rows.unattended_calls("p")) == set(ids)
    assert await rows.unattended_calls("q") == []
    assert await rows.call_leases.take_leases(BOBS, ids) == dict.fromkeys(ids, 2)
    with pytest.raises(LeaseLost):
        await rows.finish_call(done(one), lease_no=FIRST_LEASE_NO)
    await rows.finish_call(done(other, "right"), lease_no=2)
    for call_id in ids:
        with pytest.raises(LeaseLost):
            await rows.fail_call(call_id, took=(5, 0.1), fault={"code": "x"}, lease_no=FIRST_LEASE_NO)
    there = {seen.call_id: seen.answer for seen in await rows.get_calls(ids, by=ME)}
    assert there == {one.call_id: None, other.call_id: "right"}
    assert await rows.call_leases.lease_of(other.call_id) is None
    assert await rows.call_leases.take_leases(ALICES, [other.call_id]) == {}, "what is done is nobody's"
    assert await rows.faults_of_calls(ids) == {}
    await rows.fail_call(one.call_id, took=(5, 0.1), fault={"code": "x", "message": "no"}, lease_no=2)
    assert await rows.faults_of_calls(ids) == {one.call_id: {"code": "x", "message": "no"}}
    assert [seen.call_id for seen in await rows.get_calls(ids, by=ME)] == [other.call_id]


async def test_a_call_that_was_stopped_meanwhile_is_not_another_server_s(rows):
    """Its row is gone: whoever carried it out settles it, and says that it was stopped."""
    one = await started(rows)
    await rows.drop_calls([one.call_id])
    assert await rows.call_leases.renew_leases(ALICES, [one.call_id]) == {}
    await rows.fail_call(one.call_id, took=(3, 0.0), fault={"code": "interrupted", "message": "m"}, lease_no=1)
    assert (await rows.faults_of_calls([one.call_id]))[one.call_id]["code"] == "interrupted"


async def test_who_is_alone_leases_nothing(rows):
    run = await scripted(rows, holder=None)
    one = await started(rows, holder=None)
    assert await rows.headless_leases.lease_of(run) is None
    assert await rows.call_leases.lease_of(one.call_id) is None
    assert await rows.tell_headless_run(run, SAID, status=RunStatus.COMPLETED)
    await rows.finish_call(done(one))
    assert [seen.is_done for seen in await rows.get_calls([one.call_id], by=ME)] == [True]
