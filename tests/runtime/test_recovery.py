"""A server that stops and starts again: runs go on, nothing is doubled, nothing is run again silently."""

import asyncio
from typing import Any

import pytest

from jupyter_agent import events as ev
from jupyter_agent.records import Decision, Multitask, RunStatus
from jupyter_agent.runtime.history import load_turns
from tests.runtime.conftest import ALICE, OpenWorld, World, kinds, result_of

WRITES = [{"calls": [{"name": "create_file", "arguments": {"path": "a.txt", "content": "x"}}]}, "ok"]
RUNS_CODE = [{"calls": [{"name": "run_cell", "arguments": {"code": "print(1)"}}]}, {"text": "{result}"}]


def _ids(events: list[Any]) -> list[str]:
    return [event.id for event in events]


async def test_a_pending_approval_survives_and_its_answer_counts_once(open_world: OpenWorld) -> None:
    world = await open_world()
    run = await world.start(WRITES)
    asked = await world.until_type(run, ev.ToolConfirmationRequest)
    await world.close()
    world = await open_world()
    assert world.recovered == 1
    approved = await world.decide(run)
    assert approved.approval_id == asked.approval_id
    events = await world.events(run)
    assert kinds(events).count("ToolConfirmationRequest") == 1
    assert (await world.end(run)).status is RunStatus.COMPLETED


async def test_a_pending_question_survives(open_world: OpenWorld) -> None:
    world = await open_world()
    run = await world.start(
        [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Which?"}}]}, {"text": "{result}"}]
    )
    asked = await world.until_type(run, ev.InputRequest)
    await world.close()
    world = await open_world()
    await world.until(run, lambda one: isinstance(one, ev.Log))
    await world.runner.answer(run.run_id, asked.request_id, "blue", by=ALICE)
    events = await world.events(run)
    assert kinds(events).count("InputRequest") == 1
    assert events[-1].summary == "blue"


async def test_an_answer_that_was_cut_off_is_kept_as_cut_and_the_run_goes_on(open_world: OpenWorld) -> None:
    world = await open_world()
    run = await world.start([{"text": "one two three four", "delay_s": 0.1}])
    seen = [await world.until(run, lambda one: kinds([one]) == ["TextDelta"])]
    await world.close()
    world = await open_world()
    events = await world.events(run)
    assert seen[0].id in _ids(events)
    assert [one.stop_reason for one in events if isinstance(one, ev.TurnCommitted)] == ["cut", "stop"]
    epochs = [ev.parse_cursor(one.id).epoch for one in events]
    assert epochs == sorted(epochs)
    assert set(epochs) == {1, 2}


async def _started_and_lost(open_world: OpenWorld) -> tuple[World, Any]:
    """Returns a restarted world whose run had its tool started and never finished."""
    world = await open_world()
    world.environment.gate.clear()
    run = await world.start(RUNS_CODE)
    await world.decide(run)
    await world.until_type(run, ev.ToolTraceStart)
    await world.close()
    return await open_world(), run


async def test_what_may_have_run_is_not_run_again_without_a_word(open_world: OpenWorld) -> None:
    world, run = await _started_and_lost(open_world)
    await world.until(run, lambda one: isinstance(one, ev.ToolTraceFinish) and one.outcome == "unknown")
    await world.pending(run)
    assert world.environment.executed == []
    asked = await world.decide(run)
    assert "may have run" in asked.preview["warning"]
    events = await world.events(run)
    assert world.environment.executed == ["print(1)"]
    assert events[-1].summary == "1\n"


async def test_what_may_have_run_can_be_taken_as_failed(open_world: OpenWorld) -> None:
    world, run = await _started_and_lost(open_world)
    await world.decide(run, Decision.REJECT)
    events = await world.events(run)
    assert world.environment.executed == []
    assert result_of(events).is_error


async def test_a_second_restart_asks_the_same_question_again_not_another(open_world: OpenWorld) -> None:
    world, run = await _started_and_lost(open_world)
    pending = await world.pending(run)
    await world.close()
    world = await open_world()
    again = await world.decide(run)
    assert again.approval_id == pending[0].approval_id
    await world.end(run)
    assert world.environment.executed == ["print(1)"]


async def test_an_idempotent_tool_runs_again_by_itself(open_world: OpenWorld) -> None:
    world = await open_world()
    run = await world.start([{"calls": [{"name": "list_files", "arguments": {}}], "text": "x"}, "ok"])
    await world.end(run)
    assert result_of(await world.events(run)).is_error is False


async def test_queued_runs_start_after_a_restart(open_world: OpenWorld) -> None:
    world = await open_world()
    first = await world.start(WRITES)
    second = await world.start(["later"], thread_id=first.thread_id, multitask=Multitask.ENQUEUE)
    await world.until_type(first, ev.ToolConfirmationRequest)
    await world.close()
    world = await open_world()
    await world.decide(first)
    assert (await world.end(first)).status is RunStatus.COMPLETED
    assert (await world.end(second)).status is RunStatus.COMPLETED


@pytest.mark.parametrize("last", ["StatusChange", "SessionComplete"])
async def test_an_end_that_was_cut_anywhere_is_finished(open_world: OpenWorld, last: str) -> None:
    """Cuts the journal of a finished run after one of its last events and starts again."""
    world = await open_world()
    run = await world.start(["hello"])
    events = await world.events(run)
    await world.end(run)
    lines: list[bytes] = []
    async for batch in world.journal.follow(run.run_id):
        lines += batch.lines
    kept = next(
        n for n, one in enumerate(events) if kinds([one]) == [last] and getattr(one, "status", "") == "completed"
    )
    await world.close()
    (world.folder / "data" / "journals" / f"{run.run_id}.jsonl").write_bytes(
        b"".join(line + b"\n" for line in lines[: kept + 1])
    )
    world = await open_world()
    again = await world.events(run)
    assert again[-1].status is RunStatus.COMPLETED
    assert kinds(again).count("SessionComplete") == 1
    assert not world.storage.lines.exists(run.run_id)


async def test_every_cut_of_a_tool_run_comes_to_a_whole_end(open_world: OpenWorld) -> None:
    """The property behind the crash tests: from any prefix of its journal a run ends once, with no call run twice."""
    world = await open_world()
    run = await world.start(RUNS_CODE)
    await world.decide(run)
    await world.end(run)
    lines: list[bytes] = []
    async for batch in world.journal.follow(run.run_id):
        lines += batch.lines
    await world.close()
    for kept in range(1, len(lines)):
        path = world.folder / "data" / "journals" / f"{run.run_id}.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines[:kept]))
        started = any(isinstance(ev.decode_line(line), ev.ToolTraceStart) for line in lines[:kept])
        world = await open_world()
        executed, asked = await _carry_on(world, run)
        assert executed == [] or not started or asked, f"run again without a word after {kept} lines"
        events = await world.events(run)
        assert [one.id for one in events[:kept]] == [ev.decode_line(line).id for line in lines[:kept]]
        turns = await load_turns(world.storage.blobs, await world.journal.load(run.run_id))
        assert turns[-1].complete
        await world.close()


async def _carry_on(world: World, run: Any) -> tuple[list[str], bool]:
    """Approves whatever is asked until the run is over; tells what was executed and whether it was asked again."""
    asked = False
    async with asyncio.timeout(15):
        while run.run_id in world.runner.active_run_ids:
            transcript = world.journal.transcript(run.run_id)
            for approval in transcript.pending_approvals if transcript else ():
                asked = True
                await world.runner.resolve(
                    run.run_id, approval_id=approval.approval_id, decision=Decision.APPROVE, by=ALICE
                )
            await asyncio.sleep(0.002)
    return world.environment.executed, asked
