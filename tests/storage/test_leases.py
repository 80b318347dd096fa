"""Leases of runs: one holder at a time, and nothing written by whoever was taken over."""

import asyncio
import time
from contextlib import nullcontext
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jupyter_agent.exceptions import LeaseLost, RunNotFound
from jupyter_agent.records import SYSTEM, RunStatus, Text
from jupyter_agent.storage.clock import machine_clock
from jupyter_agent.storage.contract import FIRST_LEASE_NO, Archived, Holder
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.tables import runs
from tests.storage.test_rows import BEGAN, a_run, a_thread, a_turn

LONG_S = 600.0
ALICES, BOBS = Holder("a:1:one", LONG_S), Holder("b:2:two", LONG_S)


def another(rows):
    """A second process's store of the same database, to be opened and closed."""
    return SqlRows(rows.backend)


@pytest.fixture
async def other(rows):
    found = another(rows)
    await found.open()
    yield found
    await found.close()


@pytest.fixture
async def thread(rows):
    return await rows.create_thread(a_thread())


@pytest.fixture
async def run(rows, thread):
    return await rows.create_run(a_run("r"))


async def let_pass(rows):
    """Lets all leases pass: as if time went by."""
    await rows._write(lambda db: db.execute(sa.update(runs).values(lease_expires_at=0.0)))


async def test_a_lease_is_one_processs_until_it_passes(rows, other, run):
    assert await rows.take_lease("r", ALICES) == 1
    assert await other.take_lease("r", BOBS) is None
    assert await rows.take_lease("r", ALICES) == 2
    await let_pass(rows)
    assert await other.take_lease("r", BOBS) == 3
    assert await rows.take_lease("r", ALICES) is None
    with pytest.raises(RunNotFound):
        await rows.take_lease("nothing", ALICES)


async def test_a_short_lease_passes_by_itself(rows, other, run):
    await rows.take_lease("r", ALICES._replace(ttl_s=0.3))
    async with asyncio.timeout(20):
        while (number := await other.take_lease("r", BOBS)) is None:
            await asyncio.sleep(0.02)
    assert number == 2


async def test_who_holds_a_run_can_be_asked(rows, other, run):
    assert await rows.lease_of("r") is None
    await rows.take_lease("r", ALICES)
    lease = await other.lease_of("r")
    assert (lease.owner, lease.lease_no) == (ALICES.owner, 1)
    assert 0 < lease.left_s <= LONG_S
    await let_pass(rows)
    assert (await other.lease_of("r")).left_s < 0


async def test_all_leases_of_a_process_are_renewed_at_once(rows, other, thread):
    await rows.create_run(a_run("mine"), holder=ALICES)
    await rows.create_run(a_run("queued", queued=True), holder=ALICES)
    await rows.create_run(a_run("lost", queued=True), holder=ALICES)
    await rows.create_run(a_run("theirs", queued=True), holder=BOBS)
    await let_pass(rows)
    await other.take_lease("lost", BOBS)
    # Passed and not taken by anybody: nothing happened meanwhile, so nothing is lost.
    assert await rows.renew_leases(ALICES, ["mine", "queued", "lost", "theirs", "gone"]) == {
        "mine": FIRST_LEASE_NO,
        "queued": FIRST_LEASE_NO,
    }
    assert await other.take_lease("mine", BOBS) is None
    assert (await rows.lease_of("lost")).owner == BOBS.owner
    assert await rows.renew_leases(ALICES, []) == {}
    await let_pass(rows)
    await rows.renew_leases(ALICES, ["mine"])
    assert (await rows.lease_of("queued")).left_s < 0


async def test_a_lease_that_is_given_back_is_free_at_once(rows, other, run):
    number = await rows.take_lease("r", ALICES)
    await rows.release_lease("r", number)
    assert await other.take_lease("r", BOBS) == number + 1
    await rows.release_lease("r", number)
    assert (await rows.lease_of("r")).owner == BOBS.owner


async def test_whoever_was_taken_over_writes_nothing(rows, other, run):
    stale = await rows.take_lease("r", ALICES)
    await let_pass(rows)
    current = await other.take_lease("r", BOBS)
    changed = replace(run, status=RunStatus.COMPLETED, last_ai_message="of the dead")
    for number in (stale, None, current + 1):
        numbers = {} if number is None else {"r": number}
        with pytest.raises(LeaseLost) as refused:
            await rows.save_run(changed, lease_no=number)
        assert refused.value.details == {"runId": "r"}
        with pytest.raises(LeaseLost):
            await rows.project([changed], [a_turn("r")], [("0" * 64, "r", "alice")], lease_nos=numbers)
    assert await rows.get_run("r", by=SYSTEM) == run
    assert (await rows.list_turns("r", by=SYSTEM)).items == ()
    assert not await rows.blob_is_referred_to("0" * 64, by=SYSTEM)
    await other.project([changed], [a_turn("r")], [], lease_nos={"r": current})
    assert (await rows.get_run("r", by=SYSTEM)).status is RunStatus.COMPLETED
    assert len((await rows.list_turns("r", by=SYSTEM)).items) == 1


async def test_what_is_written_of_a_run_leaves_its_lease_alone(rows, run):
    number = await rows.take_lease("r", ALICES)
    await rows.save_run(replace(run, status=RunStatus.RUNNING), lease_no=number)
    await rows.restore_run(replace(run, status=RunStatus.RUNNING, input=(Text(text="again"),)), [], [])
    lease = await rows.lease_of("r")
    assert (lease.owner, lease.lease_no) == (ALICES.owner, number)


async def test_what_is_deleted_meanwhile_is_not_there(rows, run):
    with pytest.raises(RunNotFound):
        await rows.save_run(a_run("gone"), lease_no=1)
    await rows.project([a_run("gone")], [], [], lease_nos={"gone": 1})


async def test_what_nobody_attends_to_is_found(rows, other, thread):
    for number, name in enumerate(("free", "held", "dead", "ending", "over")):
        await rows.create_thread(a_thread(name))
        await rows.create_run(a_run(name, name, created_at=BEGAN.replace(minute=number)))
    await other.take_lease("dead", BOBS)
    ending = await other.take_lease("ending", BOBS)
    await other.save_run(replace(await rows.get_run("ending", by=SYSTEM), status=RunStatus.ERROR), lease_no=ending)
    await rows.save_run(replace(await rows.get_run("over", by=SYSTEM), status=RunStatus.COMPLETED))
    assert [run.run_id for run in await rows.unattended_runs()] == ["free", "held"]
    await let_pass(rows)
    await rows.take_lease("held", ALICES)
    assert [run.run_id for run in await rows.unattended_runs()] == ["free", "dead", "ending"]
    await rows.end_leases()
    assert [run.run_id for run in await rows.unattended_runs()] == ["free", "held", "dead"]


async def test_a_run_that_waits_in_anothers_queue_is_theirs(rows, other, thread):
    await rows.create_run(a_run("r", queued=True), holder=ALICES)
    assert await other.next_queued("t", owner=BOBS.owner) is None
    assert (await rows.next_queued("t", owner=ALICES.owner)).run_id == "r"


async def test_of_many_who_take_at_once_one_has_it(rows, other, run):
    stores = (rows, other) * 4
    for number in range(1, 21):
        await let_pass(rows)
        taken = await asyncio.gather(
            *(store.take_lease("r", Holder(f"o{at}", LONG_S)) for at, store in enumerate(stores))
        )
        assert [got for got in taken if got is not None] == [number]


def test_the_machines_clock_is_not_the_wall_clock(monkeypatch):
    before = machine_clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= machine_clock() - before < 60


# --- whatever happens, in whatever order ------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "renew", "release", "save", "project", "pass", "write unleased"]), st.booleans()
    ),
    min_size=1,
    max_size=30,
)
_names = (f"r{number}" for number in count())


async def play(stores, steps):
    """Takes the steps on a new run and compares each answer with what a lease on paper says."""
    name = next(_names)
    await stores[0].create_thread(a_thread(name))
    run = await stores[0].create_run(a_run(name, name))
    owner, top, has_passed = None, 0, False
    numbers = [None, None]
    for step, who in steps:
        store, holder = stores[who], (ALICES, BOBS)[who]
        match step:
            case "take":
                got = await store.take_lease(name, holder)
                if owner in (None, who) or has_passed:
                    top += 1
                    assert got == top
                    owner, has_passed, numbers[who] = who, False, top
                else:
                    assert got is None
            case "renew":
                assert (await store.renew_leases(holder, [name])).get(name) == (top if owner == who else None)
                has_passed = has_passed and owner != who
            case "release" if numbers[who]:
                await store.release_lease(name, numbers[who])
                if numbers[who] == top:
                    owner = None
            case "pass":
                await store._write(
                    lambda db: db.execute(
                        sa.update(runs)
                        .where(runs.c.run_id == name, runs.c.lease_owner.is_not(None))
                        .values(lease_expires_at=0.0)
                    )
                )
                has_passed = owner is not None
            case "save" | "project" | "write unleased":
                number = None if step == "write unleased" else numbers[who]
                run = replace(run, model_call_count=run.model_call_count + 1)
                numbered = {} if number is None else {name: number}
                writing = (
                    store.project([run], [], [], lease_nos=numbered)
                    if step == "project"
                    else store.save_run(run, lease_no=number)
                )
                is_allowed = owner is None if number is None else number == top
                if is_allowed:
                    await writing
                else:
                    with pytest.raises(LeaseLost):
                        await writing
                    run = replace(run, model_call_count=run.model_call_count - 1)
        assert (await store.get_run(name, by=SYSTEM)).model_call_count == run.model_call_count
        assert [numbers[0], numbers[1]].count(top) <= 1 or top == 0, "two hold one lease"
        lease = await store.lease_of(name)
        assert (lease and lease.owner) == (None if owner is None else (ALICES, BOBS)[owner].owner)


async def test_never_two_holders_and_no_stale_write(rows, other):
    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def whatever_happens(steps):
        asyncio.run_coroutine_threadsafe(play((rows, other), steps), loop).result(120)

    await asyncio.to_thread(whatever_happens)


async def test_a_lease_ends_together_with_its_run_and_what_is_done_again_is_not_refused(rows, thread):
    for name, is_given_back in (("kept", False), ("given", True)):
        run = await rows.create_run(a_run(name, status=RunStatus.COMPLETED), holder=ALICES)
        archived = {name: Archived("a" * 64, is_given_back=is_given_back)}
        for lease_no in (FIRST_LEASE_NO + 1, FIRST_LEASE_NO):
            stale = lease_no != FIRST_LEASE_NO
            with pytest.raises(LeaseLost) if stale else nullcontext():
                await rows.project([run], (), (), lease_nos={name: lease_no}, archived=archived)
            found = await rows.get_run(name, by=SYSTEM)
            assert found.detail_blob == (None if stale else "a" * 64)
            assert (await rows.lease_of(name) is None) == (is_given_back and not stale)
        # Done again after a fault behind it, it changes nothing and is refused nobody.
        await rows.project([run], (), (), lease_nos={name: FIRST_LEASE_NO}, archived=archived)
