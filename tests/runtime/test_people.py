"""Interrupts, approvals, questions and threads: what people do to runs."""

import asyncio
import time
from typing import Any

import pytest

from jupyter_agent import events as ev
from jupyter_agent.exceptions import (
    AlreadyResolved,
    ApprovalNotFound,
    Forbidden,
    InputNotFound,
    RunActive,
    RunFinished,
    RunNotFound,
    ThreadBusy,
)
from jupyter_agent.records import Decision, Multitask, Principal, Run, RunStatus
from tests.runtime.conftest import ALICE, KERNEL, World, kinds, result_of

BOB = Principal(user_id="bob")
SLOW = [{"text": "a long story " * 200, "delay_s": 0.05, "chunk": 4}]
WRITES = [{"calls": [{"name": "create_file", "arguments": {"path": "a.txt", "content": "x"}}]}, "ok"]
RUNS_CODE = [{"calls": [{"name": "run_cell", "arguments": {"code": "print(1)"}}]}, "ok"]
ASKS = [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Which?"}}]}, {"text": "You said {result}"}]


async def _interrupted(world: World, run: Run) -> list[Any]:
    began = time.monotonic()
    ended = await world.runner.interrupt(run.run_id, by=ALICE)
    assert time.monotonic() - began < 5
    assert ended.status is RunStatus.INTERRUPTED
    events = await world.events(run)
    assert (events[-2].status, events[-1].status) == (RunStatus.INTERRUPTED, RunStatus.INTERRUPTED)
    return events


async def test_interrupt_while_the_model_streams(world: World) -> None:
    run = await world.start(SLOW)
    await world.until(run, lambda one: kinds([one]) == ["TextDelta"])
    await _interrupted(world, run)


async def test_interrupt_while_a_tool_works(world: World) -> None:
    world.environment.gate.clear()
    run = await world.start(RUNS_CODE)
    await world.decide(run)
    await world.until(run, lambda one: kinds([one]) == ["ToolProgress"])
    events = await _interrupted(world, run)
    assert next(one for one in events if isinstance(one, ev.ToolTraceFinish)).outcome == "interrupted"
    assert result_of(events).is_error


async def test_interrupt_while_waiting_for_a_person(world: World) -> None:
    run = await world.start(WRITES)
    asked = await world.until_type(run, ev.ToolConfirmationRequest)
    await _interrupted(world, run)
    with pytest.raises(RunFinished):
        await world.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=Decision.APPROVE, by=ALICE)
    assert not (world.workspace / "a.txt").exists()


async def test_interrupt_before_the_first_turn_and_twice(world: World) -> None:
    run = await world.start([{"text": "late", "wait_s": 30}])
    await asyncio.gather(*(world.runner.interrupt(run.run_id, by=ALICE) for _ in range(3)))
    assert (await world.end(run)).status is RunStatus.INTERRUPTED
    with pytest.raises(RunFinished):
        await world.runner.interrupt(run.run_id, by=ALICE)


async def test_a_tool_that_ignores_its_cancellation_does_not_hold_the_run(world: World) -> None:
    async def stubborn() -> None:
        for _ in range(40):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue

    world.environment.run_cell = lambda *_, **__: stubborn()  # type: ignore[method-assign,assignment]
    run = await world.start(RUNS_CODE)
    await world.decide(run)
    await world.until_type(run, ev.ToolTraceStart)
    await _interrupted(world, run)
    await asyncio.sleep(0)


async def test_the_first_decision_wins(world: World) -> None:
    run = await world.start(WRITES)
    asked = await world.until_type(run, ev.ToolConfirmationRequest)

    async def decide(decision: Decision) -> object:
        try:
            return await world.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=decision, by=ALICE)
        except (AlreadyResolved, RunFinished) as fault:
            return fault

    outcomes = await asyncio.gather(*(decide(one) for one in [Decision.APPROVE, Decision.REJECT] * 10))
    events = await world.events(run)
    winners = [one for one in outcomes if not isinstance(one, Exception)]
    assert len(winners) == 1
    assert [one.decision for one in events if isinstance(one, ev.ApprovalResolved)] == [winners[0].decision]


async def test_who_may_decide(world: World) -> None:
    run = await world.start(WRITES)
    asked = await world.until_type(run, ev.ToolConfirmationRequest)
    resolve = world.runner.resolve
    with pytest.raises(Forbidden, match="Kernels may not approve"):
        await resolve(run.run_id, approval_id=asked.approval_id, decision=Decision.APPROVE, by=KERNEL)
    with pytest.raises(RunNotFound):
        await resolve(run.run_id, approval_id=asked.approval_id, decision=Decision.APPROVE, by=BOB)
    with pytest.raises(ApprovalNotFound):
        await resolve(run.run_id, approval_id="apr_other", decision=Decision.APPROVE, by=ALICE)
    with pytest.raises(ApprovalNotFound):
        await resolve(run.run_id, tool_call_id="call_other", decision=Decision.APPROVE, by=ALICE)
    await resolve(run.run_id, tool_call_id=asked.tool_call_id, decision=Decision.REJECT, by=ALICE)
    await world.end(run)
    assert not (world.workspace / "a.txt").exists()


async def test_a_question_is_answered_once(world: World) -> None:
    run = await world.start(ASKS)
    asked = await world.until_type(run, ev.InputRequest)
    await world.until(run, lambda one: isinstance(one, ev.StatusChange) and one.status == "waiting_input")
    with pytest.raises(InputNotFound):
        await world.runner.answer(run.run_id, "other", "x", by=ALICE)
    await world.runner.answer(run.run_id, asked.request_id, "the second", by=ALICE)
    events = await world.events(run)
    assert events[-1].summary == "You said the second"
    with pytest.raises(RunFinished):
        await world.runner.answer(run.run_id, asked.request_id, "again", by=ALICE)


async def test_no_answer_is_never_an_answer(open_world: Any) -> None:
    world = await open_world(input_timeout_s=0.05)
    events = await world.events(await world.start(ASKS))
    assert next(one for one in events if isinstance(one, ev.InputReceived)).content is None
    assert "No answer" in result_of(events).result


async def test_reject_is_the_default_on_a_busy_thread(world: World) -> None:
    run = await world.start(SLOW)
    with pytest.raises(ThreadBusy):
        await world.start(["x"], thread_id=run.thread_id)
    await _interrupted(world, run)


async def test_interrupt_makes_room(world: World) -> None:
    first = await world.start(SLOW)
    second = await world.start(["x"], thread_id=first.thread_id, multitask=Multitask.INTERRUPT)
    assert (await world.end(first)).status is RunStatus.INTERRUPTED
    assert (await world.end(second)).status is RunStatus.COMPLETED


async def test_rollback_takes_the_interrupted_run_out_of_the_thread(world: World) -> None:
    first = await world.start(SLOW)
    await world.until(first, lambda one: kinds([one]) == ["TextDelta"])
    second = await world.start(["x"], thread_id=first.thread_id, multitask=Multitask.ROLLBACK)
    await world.end(second)
    left = await world.storage.rows.thread_runs(first.thread_id)
    assert [run.run_id for run in left] == [second.run_id]


async def test_enqueued_runs_start_in_order_when_the_thread_is_free(world: World) -> None:
    first = await world.start(WRITES)
    later = [await world.start([f"n{n}"], thread_id=first.thread_id, multitask=Multitask.ENQUEUE) for n in range(3)]
    assert [run.queued for run in later] == [True] * 3
    await world.runner.interrupt(later[1].run_id, by=ALICE)
    await world.decide(first)
    ended = [await world.end(run) for run in later]
    assert [run.status for run in ended] == ["completed", "interrupted", "completed"]
    assert ended[0].ended_at <= ended[2].started_at


@pytest.mark.parametrize("later_ms", [0, 1, 2, 4, 8, 16, 32, 64])
async def test_a_queued_run_is_taken_back_or_begins_and_never_both(world: World, later_ms: int) -> None:
    first = await world.start(["x"])
    queued = await world.start(
        [{"text": "why " * 20, "delay_s": 0.01}], thread_id=first.thread_id, multitask=Multitask.ENQUEUE
    )
    await world.until_type(first, ev.SessionComplete)
    await asyncio.sleep(later_ms / 1000)  # somewhere on the way from the end of one to the end of the next
    try:
        await world.runner.interrupt(queued.run_id, by=ALICE, if_queued=True)
    except (RunActive, RunFinished):
        assert (await world.end(queued)).status is RunStatus.COMPLETED
        return
    run = await world.storage.rows.get_run(queued.run_id, by=ALICE)
    # It may have come to its end before it was looked at; then too nobody interrupted it.
    assert run.status is RunStatus.COMPLETED or (run.status, run.started_at) == (RunStatus.INTERRUPTED, None)


async def test_many_starts_at_once_leave_one_active(world: World) -> None:
    first = await world.start(["x"])
    await world.end(first)

    async def start() -> Run | None:
        try:
            return await world.start(SLOW, thread_id=first.thread_id)
        except ThreadBusy:
            return None

    started = [run for run in await asyncio.gather(*(start() for _ in range(12))) if run]
    assert len(started) == 1
    await world.runner.interrupt(started[0].run_id, by=ALICE)


async def test_whoever_sees_the_end_may_start_the_next_at_once(world: World) -> None:
    run = await world.start(["x"])
    for _ in range(5):
        await world.until_type(run, ev.SessionComplete)
        run = await world.start(["x"], thread_id=run.thread_id)


async def test_delete_takes_everything_along(world: World) -> None:
    run = await world.start(WRITES)
    with pytest.raises(RunActive):
        await world.runner.delete_run(run.run_id, by=ALICE)
    await world.decide(run)
    await world.end(run)
    with pytest.raises(RunNotFound):
        await world.runner.delete_run(run.run_id, by=BOB)
    with pytest.raises(Forbidden, match="Kernels may not delete"):
        await world.runner.delete_run(run.run_id, by=KERNEL)
    with pytest.raises(Forbidden, match="Kernels may not delete"):
        await world.runner.delete_thread(run.thread_id, by=KERNEL)
    await world.runner.delete_run(run.run_id, by=ALICE)
    with pytest.raises(RunNotFound):
        await world.storage.rows.get_run(run.run_id, by=ALICE)
    left = [key async for key in world.storage.blobs.keys()]  # noqa: SIM118 - it is not a dict
    assert left == []
