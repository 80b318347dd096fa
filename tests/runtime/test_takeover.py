"""Several servers over one store: each run is carried out by one of them, and goes on when that one is gone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jupyter_agent import events as ev
from jupyter_agent.exceptions import (
    ApprovalNotFound,
    Forbidden,
    InputNotFound,
    LeaseLost,
    RunElsewhere,
    RunFinished,
    RunNotFound,
    StorageUnavailable,
)
from jupyter_agent.records import SYSTEM, Decision, Multitask, Outcome, Principal, RunStatus
from jupyter_agent.runtime import Leaseholder, errands
from jupyter_agent.storage.postgres_lines import PostgresLines
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.testing import check_events
from jupyter_agent.tools import first_toolbox
from tests.runtime.conftest import ALICE, KERNEL, OpenWorld, World, kinds, result_of

TTL_S = 5.0
MALLORY = Principal(user_id="mallory")
SOON_S = 60.0
WRITES = [{"calls": [{"name": "create_file", "arguments": {"path": "a.txt", "content": "x"}}]}, "ok"]
RUNS_CODE = [{"calls": [{"name": "run_cell", "arguments": {"code": "print(1)"}}]}, {"text": "{result}"}]


@pytest.fixture
async def two(open_world: OpenWorld, kind: str, request: pytest.FixtureRequest) -> tuple[World, World]:
    url = request.getfixturevalue("database_url") if kind == "postgres" else ""
    return await open_world(ttl_s=TTL_S, database_url=url), await open_world(ttl_s=TTL_S, database_url=url)


def stall(world: World) -> None:
    """As if its process were stopped: nothing is renewed, nothing is watched, nothing is looked for."""
    for task in (*world.leases._tasks, world.runner._takeover._looking):
        task.cancel()


async def until_it_is(world: World, run_id: str) -> None:
    """Waits until this world carries the run out."""
    async with asyncio.timeout(SOON_S):
        while run_id not in world.runner.active_run_ids:
            await asyncio.sleep(0.02)


async def until_it_lost(world: World, run_id: str) -> int:
    """Waits until another world took a run from this one, and returns the number under which it was leased here.

    In files the lock keeps the journal the stalled one's: the other one takes the lease for a moment only, again and
    again. So what is looked at is the number, not who has it.
    """
    number = world.leases.number(run_id)
    async with asyncio.timeout(SOON_S):
        while (lease := await world.storage.rows.lease_of(run_id)) and lease.lease_no == number:
            await asyncio.sleep(0.05)
    return number


async def all_of(world: World, run_id: str) -> list[Any]:
    lines: list[bytes] = []
    async with asyncio.timeout(SOON_S):
        async for batch in world.journal.follow(run_id):
            lines += batch.lines
    check_events(lines, is_complete=True)
    return [ev.decode_line(line) for line in lines]


async def test_what_a_server_leaves_another_takes_up(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start(WRITES)
    await first.pending(run)
    assert (await first.storage.rows.lease_of(run.run_id)).owner == first.leases.holder.owner
    await first.close()
    await until_it_is(second, run.run_id)
    await second.decide(run)
    events = await all_of(second, run.run_id)
    assert {ev.parse_cursor(event.id).epoch for event in events} == {1, 2}
    assert kinds(events).count("ToolConfirmationRequest") == 1
    assert (await second.end(run)).status is RunStatus.COMPLETED
    assert await second.storage.rows.lease_of(run.run_id) is None


async def test_a_run_whose_server_is_well_stays_there(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start(WRITES)
    await first.pending(run)
    await asyncio.sleep(2 * TTL_S)
    assert run.run_id not in second.runner.active_run_ids
    assert not await second.leases.take(run.run_id)
    await first.decide(run)
    assert (await first.end(run)).status is RunStatus.COMPLETED


async def test_other_servers_followers_see_it_all(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start(WRITES)
    follower = second.journal.follow(run.run_id)
    seen: list[bytes] = []
    async with asyncio.timeout(SOON_S):
        async for batch in follower:
            seen += batch.lines
            if any(b"tool_confirmation_request" in line for line in batch.lines):
                last = ev.line_cursor(seen[-1])
                assert follower.last_event_id == str(last)
                await first.decide(run)
    check_events(seen, is_complete=True)
    mine: list[bytes] = []
    async for batch in first.journal.follow(run.run_id):
        mine += batch.lines
    assert seen == mine


async def test_a_stalled_server_starts_no_tool_and_writes_nothing(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start(RUNS_CODE)
    asked = (await first.pending(run))[0]
    stall(first)
    number = await until_it_lost(first, run.run_id)
    with pytest.raises(LeaseLost):
        await first.decide(run)
    row = await first.storage.rows.get_run(run.run_id, by=SYSTEM)
    with pytest.raises(LeaseLost):
        await first.storage.rows.save_run(row, lease_no=number)
    first.projection.opened(first.journal.transcript(run.run_id), ())
    await first.projection.settle_all()  # it holds up nobody who asks for other runs
    assert first.environment.executed == []
    first.runner._carried.let_go(run.run_id)
    await until_it_is(second, run.run_id)
    assert (await second.decide(run)).approval_id == asked.approval_id
    events = await all_of(second, run.run_id)
    assert first.environment.executed + second.environment.executed == ["print(1)"]
    assert kinds(events).count("ToolTraceStart") == 1


async def test_a_tool_that_was_running_is_not_run_again_silently(two: tuple[World, World]) -> None:
    first, second = two
    first.environment.gate.clear()
    run = await first.start(RUNS_CODE)
    await first.decide(run)
    await first.until_type(run, ev.ToolTraceStart)
    stall(first)
    await until_it_lost(first, run.run_id)
    first.environment.gate.set()  # the tool ends; what it gave comes too late
    await until_it_is(second, run.run_id)
    assert run.run_id not in first.runner.active_run_ids
    await second.pending(run)
    asked = await second.decide(run, Decision.REJECT)
    assert "may have run" in asked.preview["warning"]
    events = await all_of(second, run.run_id)
    assert [one.outcome for one in events if isinstance(one, ev.ToolTraceFinish)] == [Outcome.UNKNOWN]
    assert result_of(events).is_error
    assert second.environment.executed == []


async def test_who_waits_here_for_a_run_of_another_server_is_started_here(two: tuple[World, World]) -> None:
    first, second = two
    before = await first.start(WRITES)
    await first.pending(before)
    after = await second.start(["done"], thread_id=before.thread_id, multitask=Multitask.ENQUEUE)
    assert after.queued
    await first.decide(before)
    events = await all_of(second, after.run_id)
    assert {ev.parse_cursor(event.id).epoch for event in events} == {1}
    assert (await second.end(after)).status is RunStatus.COMPLETED


async def test_who_waits_is_not_lost_with_its_server(two: tuple[World, World]) -> None:
    first, second = two
    before = await first.start(WRITES)
    await first.pending(before)
    after = await second.start(["done"], thread_id=before.thread_id, multitask=Multitask.ENQUEUE)
    await second.close()
    await first.decide(before)
    await all_of(first, after.run_id)
    assert (await first.end(after)).status is RunStatus.COMPLETED


async def test_who_loses_its_lease_while_it_waits_for_room_goes_on_elsewhere(
    two: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    monkeypatch.setattr(errands, "PATIENCE_S", 0.5)
    before = await first.start(WRITES)
    await first.pending(before)
    first.runner._people._errands._looking.cancel()  # nobody ends it
    starting = asyncio.create_task(second.start(["done"], thread_id=before.thread_id, multitask=Multitask.INTERRUPT))
    async with asyncio.timeout(SOON_S):
        while not any(map(second.journal.transcript, second.leases.run_ids)):
            await asyncio.sleep(0.02)
    await asyncio.sleep(1.0)
    stall(second)
    second.leases._lose(second.leases.run_ids)
    after = await asyncio.wait_for(starting, SOON_S)
    assert after.queued
    await first.decide(before)
    await all_of(first, after.run_id)
    assert (await first.end(after)).status is RunStatus.COMPLETED


async def test_what_cannot_be_gone_on_with_is_given_up_in_the_end_and_holds_nobody_up(
    open_world: OpenWorld, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database_url") if kind == "postgres" else ""
    first = await open_world(ttl_s=TTL_S, database_url=url)
    second = await open_world(
        ttl_s=TTL_S, database_url=url, toolbox=first_toolbox().only(["run_cell"]), max_fruitless_restarts=2
    )
    other = await second.start([{"text": "word " * 1000, "delay_s": 0.1}])
    await second.until(other, lambda one: kinds([one]) == ["TextDelta"])
    run = await first.start(WRITES, tools=["create_file"])
    await first.pending(run)
    session = _session(second)
    await first.close()
    assert (await second.end(run)).status is RunStatus.ERROR  # it has no such tool
    assert _session(second) == session, "its journals were written through the same session all the time"
    assert other.run_id in second.runner.active_run_ids


def _session(world: World) -> Any:
    """Returns by what PostgreSQL knows the session of a world's journals."""
    lines = world.storage.lines
    return lines._session._known if isinstance(lines, PostgresLines) else None


async def test_what_was_deleted_meanwhile_is_not_taken_up(world: World) -> None:
    run = await world.end(await world.start(["done"]))
    await world.runner.delete_run(run.run_id, by=ALICE)
    assert not await world.runner._takeover.take_up(run)


# --- what clients ask of the other server -----------------------------------------------------------------------


async def test_a_decision_reaches_the_server_that_waits_for_it(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start(WRITES)
    asked = (await first.pending(run))[0]
    await first.projection.settle(run.run_id)
    assert (await second.runner.find_approval(asked.approval_id, by=ALICE)).run_id == run.run_id
    with pytest.raises(ApprovalNotFound):
        await second.runner.find_approval(asked.approval_id, by=MALLORY)
    with pytest.raises(Forbidden):
        await second.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=Decision.APPROVE, by=KERNEL)
    decided = await second.runner.resolve(
        run.run_id, tool_call_id=asked.tool_call_id, decision=Decision.APPROVE, by=ALICE
    )
    assert (decided.approval_id, decided.decision, decided.actor) == (asked.approval_id, Decision.APPROVE, "Alice")
    assert (await first.end(run)).status is RunStatus.COMPLETED
    assert (first.workspace / "a.txt").read_text() == "x"
    with pytest.raises(RunFinished):
        await second.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=Decision.APPROVE, by=ALICE)


async def test_an_answer_reaches_it(two: tuple[World, World]) -> None:
    first, second = two
    question = {"calls": [{"name": "ask_user", "arguments": {"prompt": "Which?"}}]}
    run = await first.start([question, {"text": "{result}"}])
    asked = await first.until_type(run, ev.InputRequest)
    with pytest.raises(RunNotFound):
        await second.runner.answer(run.run_id, asked.request_id, "no", by=MALLORY)
    with pytest.raises(InputNotFound):
        await second.runner.answer(run.run_id, "another", "no", by=ALICE)
    await second.runner.answer(run.run_id, asked.request_id, "blue", by=ALICE)
    assert (await all_of(first, run.run_id))[-1].summary == "blue"


async def test_an_interrupt_reaches_it(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start([{"text": "word " * 1000, "delay_s": 0.1}])
    await first.until(run, lambda one: kinds([one]) == ["TextDelta"])
    assert (await second.runner.interrupt(run.run_id, by=ALICE)).status is RunStatus.INTERRUPTED
    after = await first.start(WRITES, thread_id=run.thread_id)
    await first.pending(after)
    instead = await second.start(["done"], thread_id=run.thread_id, multitask=Multitask.INTERRUPT)
    assert (await second.end(instead)).status is RunStatus.COMPLETED
    assert (await first.end(after)).status is RunStatus.INTERRUPTED


async def test_what_no_server_does_is_said_and_not_done_later(
    two: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    run = await first.start(WRITES)
    asked = (await first.pending(run))[0]
    monkeypatch.setattr(errands, "PATIENCE_S", 1.0)
    first.runner._people._errands._looking.cancel()
    with pytest.raises(RunElsewhere) as refused:
        await second.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=Decision.APPROVE, by=ALICE)
    assert refused.value.details == {"runId": run.run_id}
    assert await first.storage.rows.take_errands([run.run_id]) == []


async def test_what_was_asked_of_a_server_that_died_is_done_by_the_next(two: tuple[World, World]) -> None:
    first, second = two
    run = await first.start(WRITES)
    await first.pending(run)
    first.runner._people._errands._looking.cancel()
    asking = asyncio.create_task(second.runner.interrupt(run.run_id, by=ALICE))
    await asyncio.sleep(1.0)
    await first.close()
    assert (await asyncio.wait_for(asking, SOON_S)).status is RunStatus.INTERRUPTED


# --- the leaseholder alone --------------------------------------------------------------------------------------


class Unreachable(SqlRows):
    """Rows of a database that can be away."""

    is_away = False

    async def renew_leases(self, *args: Any) -> dict[str, int]:
        if self.is_away:
            raise StorageUnavailable("It is away.")
        return await super().renew_leases(*args)


@pytest.fixture
async def away(world: World) -> AsyncIterator[Unreachable]:
    found = Unreachable(world.storage.rows.backend)
    await found.open()
    yield found
    await found.close()


async def _run(world: World) -> str:
    run = await world.start(WRITES)
    await world.pending(run)
    await world.leases.release(run.run_id)
    return run.run_id


async def test_runs_stop_before_their_lease_passes(world: World, away: Unreachable) -> None:
    run_id = await _run(world)
    leases = Leaseholder(away, ttl_s=4.0)
    lost = asyncio.get_running_loop().create_future()
    leases.on_lost = lost.set_result
    await leases.open()
    assert await leases.take(run_id)
    away.is_away = True
    assert await asyncio.wait_for(lost, SOON_S) == run_id
    with pytest.raises(LeaseLost):
        leases.check(run_id)
    lease = await away.lease_of(run_id)
    assert lease.left_s > -SOON_S
    assert lease.owner == leases.holder.owner
    away.is_away = False
    await leases.renew()
    assert (await away.lease_of(run_id)).left_s <= lease.left_s, "what was given up is not renewed"
    await leases.close()


async def test_who_is_renewed_is_not_lost(world: World, away: Unreachable) -> None:
    run_id = await _run(world)
    leases = Leaseholder(away, ttl_s=3.0)
    await leases.open()
    assert await leases.take(run_id)
    await asyncio.sleep(6.0)
    leases.check(run_id)
    assert (await away.lease_of(run_id)).left_s > 0
    await leases.close()
    assert await away.lease_of(run_id) is None


async def test_who_is_alone_needs_no_renewal_and_takes_all(world: World) -> None:
    run_id = await _run(world)
    other = Leaseholder(world.storage.rows, ttl_s=600.0)
    assert await other.take(run_id)
    alone = Leaseholder(world.storage.rows)
    await alone.open()
    assert await alone.take(run_id)
    assert (await world.storage.rows.lease_of(run_id)).left_s > 10**6
    alone.check(run_id)
    await other.renew()
    with pytest.raises(LeaseLost):
        other.check(run_id)
    await alone.close()
