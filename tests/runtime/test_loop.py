"""The loop, end to end over a real journal: turns, tools, errors, budgets."""

from typing import Any

import pytest

from jupyter_agent import events as ev
from jupyter_agent.exceptions import InvalidRequest, ThreadNotFound, UnknownModel
from jupyter_agent.records import Budget, Decision, Effect, Outcome, RunStatus, ToolSpec
from jupyter_agent.runtime.history import load_turns
from jupyter_agent.tools import Toolbox, first_toolbox, tool
from jupyter_agent.tools.contract import ToolContext
from tests.runtime.conftest import ALICE, OpenWorld, World, kinds, result_of


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"calls": [{"name": name, "arguments": arguments}]}


async def test_a_text_run_tells_its_whole_story(world: World) -> None:
    run = await world.start([{"thinking": "Hm.", "text": "Hello there."}])
    events = await world.events(run)
    assert kinds(events)[0] == "RunStarted"
    assert kinds(events)[-2:] == ["StatusChange", "SessionComplete"]
    assert "".join(one.event.content for one in events if kinds([one]) == ["TextDelta"]) == "Hello there."
    assert [one.status for one in events if isinstance(one, ev.StatusChange)] == ["running", "completed"]
    row = await world.end(run)
    assert (row.status, row.last_ai_message, row.model_call_count) == (RunStatus.COMPLETED, "Hello there.", 1)
    assert row.detail_blob is not None
    assert not world.storage.lines.exists(run.run_id)


async def test_a_run_has_its_place_among_others_from_the_first_moment_on(world: World) -> None:
    started = [await world.start(["one"]) for _ in range(5)]
    for run in started:
        await world.end(run)
    found = await world.storage.rows.list_runs(by=ALICE)
    assert [(one.run_id, one.created_at) for one in found.items] == [
        (one.run_id, one.created_at) for one in reversed(started)
    ]


async def test_a_tool_reads_and_its_result_goes_back(world: World) -> None:
    (world.workspace / "a.txt").write_text("forty-two")
    run = await world.start([call("read_file", path="a.txt"), {"text": "It says {result}"}])
    events = await world.events(run)
    assert "forty-two" in result_of(events).result
    names = kinds(events)
    order = ["ToolCallStart", "ToolCallEnd", "TurnCommitted", "ToolTraceStart", "ToolTraceFinish", "ToolResultReady"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert "forty-two" in events[-1].summary


async def test_writing_asks_first_and_what_was_approved_is_what_happens(world: World) -> None:
    run = await world.start([call("create_file", path="new.txt", content="hi"), "done"])
    asked = await world.until_type(run, ev.ToolConfirmationRequest)
    assert not (world.workspace / "new.txt").exists()
    assert asked.effects == (Effect.WRITE,)
    await world.decide(run)
    row = await world.end(run)
    assert (world.workspace / "new.txt").read_text() == "hi"
    assert row.status is RunStatus.COMPLETED


async def test_a_rejected_call_does_nothing_and_the_model_hears_why(world: World) -> None:
    run = await world.start([call("create_file", path="new.txt", content="hi"), "I see."])
    await world.decide(run, Decision.REJECT, reason="not in this folder")
    events = await world.events(run)
    assert not (world.workspace / "new.txt").exists()
    assert result_of(events).is_error
    assert "not in this folder" in result_of(events).result
    assert "ToolTraceStart" not in kinds(events)


async def test_edited_arguments_are_the_ones_that_execute(world: World) -> None:
    run = await world.start([call("create_file", path="a.txt", content="theirs"), "ok"])
    await world.decide(run, Decision.EDIT, arguments='{"path": "b.txt", "content": "mine"}')
    events = await world.events(run)
    assert not (world.workspace / "a.txt").exists()
    assert (world.workspace / "b.txt").read_text() == "mine"
    started = next(one for one in events if isinstance(one, ev.ToolTraceStart))
    assert '"mine"' in started.tool_input


async def test_an_approval_that_nobody_gives_expires_to_a_rejection(open_world: OpenWorld) -> None:
    world = await open_world(approval_timeout_s=0.05)
    run = await world.start([call("create_file", path="a.txt", content="x"), "ok"])
    events = await world.events(run)
    assert [one.decision for one in events if isinstance(one, ev.ApprovalResolved)] == [Decision.EXPIRED]
    assert not (world.workspace / "a.txt").exists()


async def test_parallel_calls_are_asked_side_by_side_and_answered_in_any_order(world: World) -> None:
    calls = [{"name": "create_file", "arguments": {"path": f"{n}.txt", "content": n}} for n in "abc"]
    run = await world.start([{"calls": calls}, "ok"])
    await world.until(run, lambda _: len(world.journal.transcript(run.run_id).pending_approvals) == 3)
    pending = world.journal.transcript(run.run_id).pending_approvals
    assert len({one.approval_id for one in pending}) == 3
    for asked, decision in zip(reversed(pending), ["approve", "reject", "approve"], strict=True):
        await world.runner.resolve(run.run_id, approval_id=asked.approval_id, decision=Decision(decision), by=ALICE)
    await world.end(run)
    assert sorted(path.name for path in world.workspace.iterdir()) == ["a.txt", "c.txt"]


async def test_on_ask_reject_answers_by_itself_and_says_so(world: World) -> None:
    run = await world.start([call("create_file", path="a.txt", content="x"), "ok"], on_ask="reject")
    events = await world.events(run)
    assert "ToolConfirmationRequest" not in kinds(events)
    assert "Nobody can be asked" in result_of(events).result


async def test_remembered_for_the_run_the_same_tool_is_not_asked_again(world: World) -> None:
    script = [call("create_file", path="a.txt", content="x"), call("create_file", path="b.txt", content="y"), "ok"]
    run = await world.start(script)
    await world.decide(run, remember="run")
    events = await world.events(run)
    assert kinds(events).count("ToolConfirmationRequest") == 1
    assert (world.workspace / "b.txt").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "heard"),
    [
        ("read_fil", '{"path": "a"}', "read_file"),
        ("read_file", '{"pth": "a"}', "path"),
        ("read_file", "no json at all", "JSON"),
        ("read_file", '{"path": "../../etc/passwd"}', "workspace"),
    ],
)
async def test_what_is_wrong_with_a_call_is_told_to_the_model(
    world: World, name: str, arguments: str, heard: str
) -> None:
    run = await world.start([{"calls": [{"name": name, "arguments": arguments}]}, "sorry"])
    events = await world.events(run)
    assert result_of(events).is_error
    assert heard in result_of(events).result
    assert events[-1].status is RunStatus.COMPLETED


async def test_nearly_right_json_is_repaired_and_recorded(world: World) -> None:
    (world.workspace / "a.txt").write_text("x")
    run = await world.start([{"calls": [{"name": "read_file", "arguments": '{"path": "a.txt",}'}]}, "ok"])
    events = await world.events(run)
    repaired = next(one for one in events if isinstance(one, ev.ArgumentsRepaired))
    assert (repaired.before, repaired.after) == ('{"path": "a.txt",}', '{"path": "a.txt"}')
    assert not result_of(events).is_error


@tool(effects=("read",))
async def explode(context: ToolContext) -> str:
    """Fails in an unexpected way."""
    raise RuntimeError("boom")


@tool(effects=("read",), timeout_s=0.05)
async def dawdle(context: ToolContext) -> str:
    """Never ends."""
    import asyncio

    await asyncio.Event().wait()
    return ""


@tool(effects=("read",), output_cap=100)
async def shout(context: ToolContext) -> str:
    """Says a lot."""
    return "x" * 1000


@pytest.mark.parametrize(("name", "outcome"), [("explode", Outcome.ERROR), ("dawdle", Outcome.TIMED_OUT)])
async def test_a_tool_that_raises_or_never_ends_is_a_result_not_a_crash(
    open_world: OpenWorld, name: str, outcome: Outcome
) -> None:
    world = await open_world(toolbox=Toolbox([explode, dawdle]))
    run = await world.start([call(name), "I see"])
    events = await world.events(run)
    assert next(one for one in events if isinstance(one, ev.ToolTraceFinish)).outcome is outcome
    assert result_of(events).is_error
    assert events[-1].status is RunStatus.COMPLETED


async def test_long_output_is_cut_with_the_whole_in_a_blob(open_world: OpenWorld) -> None:
    world = await open_world(toolbox=Toolbox([shout]))
    events = await world.events(await world.start([call("shout"), "ok"]))
    result = result_of(events)
    assert result.truncated
    assert len(result.result) < 300
    assert await world.storage.blobs.get(result.blob) == b"x" * 1000


async def test_progress_streams_before_the_result(world: World) -> None:
    run = await world.start([call("run_cell", code="print(6 * 7)"), "ok"])
    await world.decide(run)
    events = await world.events(run)
    names = kinds(events)
    assert names.index("ToolTraceStart") < names.index("ToolProgress") < names.index("ToolResultReady")
    assert "42" in result_of(events).result


async def test_client_tools_go_to_the_client(world: World) -> None:
    spec = ToolSpec(name="mine", description="Mine.", parameters={"type": "object"}, effects=(Effect.READ,))
    events = await world.events(await world.start([call("mine", a=1), "ok"], client_tools=(spec,)))
    assert result_of(events).result.startswith('mine got {"a":1} for run_')


async def test_three_same_calls_with_the_same_result_stop_the_run(world: World) -> None:
    script = [call("list_files")] * 5 + ["never"]
    events = await world.events(await world.start(script))
    fault = next(one for one in events if isinstance(one, ev.ErrorRaised))
    assert fault.code == "loop_detected"
    assert kinds(events).count("ToolTraceStart") == 3
    assert events[-1].status is RunStatus.ERROR


async def test_a_spent_budget_ends_with_words_where_a_turn_is_left(world: World) -> None:
    script = [call("list_files"), call("list_files", path="."), "Summing up."]
    events = await world.events(await world.start(script, budget=Budget(tool_calls=1)))
    fault = next(one for one in events if isinstance(one, ev.ErrorRaised))
    assert fault.code == "budget_exceeded"
    assert "1 tool calls" in fault.message
    assert events[-1].summary == "Summing up."


async def test_turns_and_seconds_are_limits(world: World) -> None:
    events = await world.events(await world.start([call("list_files"), "no"], budget=Budget(turns=1)))
    assert "1 model calls" in next(one for one in events if isinstance(one, ev.ErrorRaised)).message
    events = await world.events(await world.start([{"text": "a b", "delay_s": 5}], budget=Budget(seconds=0.1)))
    assert "seconds" in next(one for one in events if isinstance(one, ev.ErrorRaised)).message


async def test_a_retryable_fault_is_tried_again_visibly(world: World) -> None:
    script = [{"text": "there", "fail": {"code": "model_unavailable", "times": 2}}]
    events = await world.events(await world.start(script))
    assert [one.attempt for one in events if isinstance(one, ev.ModelRetry)] == [1, 2]
    assert events[-1].status is RunStatus.COMPLETED


async def test_after_the_first_word_a_fault_ends_the_turn_and_the_run_goes_on(world: World) -> None:
    script = [{"text": "Half of", "fail": {"code": "stream_cut", "at": "text", "times": 1}}]
    run = await world.start(script)
    events = await world.events(run)
    assert "ModelRetry" not in kinds(events)
    assert [one.stop_reason for one in events if isinstance(one, ev.TurnCommitted)] == ["cut", "stop"]
    turns = await load_turns(world.storage.blobs, await world.journal.load(run.run_id))
    assert [turn.complete for turn in turns] == [False, True]
    assert "cut off" in turns[1].request[-1].text


async def test_a_final_fault_ends_the_run_with_its_code(world: World) -> None:
    events = await world.events(await world.start([{"text": "x", "fail": {"code": "bad_credentials"}}]))
    assert kinds(events)[-3:] == ["ErrorRaised", "StatusChange", "SessionComplete"]
    assert events[-3].code == "bad_credentials"


async def test_the_next_run_of_a_thread_remembers(world: World) -> None:
    first = await world.start([{"text": "I am Ada."}], input="Who are you?")
    await world.end(first)
    second = await world.start([{"text": "As I said."}], input="And?", thread_id=first.thread_id)
    await world.end(second)
    later = await world.storage.rows.thread_runs(first.thread_id)
    from jupyter_agent.runtime.history import thread_messages

    assert [run.run_id for run in later] == [first.run_id, second.run_id]
    messages = await thread_messages(second, rows=world.storage.rows, journal=world.journal, blobs=world.storage.blobs)
    assert [message.text for message in messages] == ["Who are you?", "I am Ada."]


async def test_a_full_window_is_compacted_and_nothing_is_deleted(world: World) -> None:
    (world.workspace / "long.txt").write_text("word " * 2000)
    turns = [call("read_file", path="long.txt", start_line=n + 1) for n in range(1)]
    script = {"context_max": 2500, "turns": [*turns, call("list_files"), "A summary.", "the end"]}
    run = await world.start(script)
    events = await world.events(run)
    assert events[-1].status is RunStatus.COMPLETED


async def test_bad_requests_start_nothing(world: World) -> None:
    with pytest.raises(UnknownModel):
        await world.start(model="nobody")
    with pytest.raises(InvalidRequest, match="read_fil"):
        await world.start(tools=("read_fil",))
    with pytest.raises(InvalidRequest, match="policy"):
        await world.start(policy="nobody's")
    with pytest.raises(InvalidRequest, match="empty"):
        await world.start(input="  ")
    with pytest.raises(ThreadNotFound):
        await world.start(thread_id="thr_none")
    assert not (await world.storage.rows.list_runs(by=ALICE)).items


async def test_hostile_text_is_cleaned_at_the_door(world: World) -> None:
    run = await world.start([{"text": "nul \x00 and \ud800."}], input="\x00\udfff?", metadata={"k\x00": "v\ud800"})
    row = await world.end(run)
    assert row.metadata == {"k\N{REPLACEMENT CHARACTER}": "v\N{REPLACEMENT CHARACTER}"}
    assert row.last_ai_message == "nul \N{REPLACEMENT CHARACTER} and \N{REPLACEMENT CHARACTER}."


async def test_an_input_too_long_for_an_event_reaches_the_model_whole(world: World) -> None:
    text = "".join(f"{n} " for n in range(40_000))
    run = await world.start(input=text)
    await world.end(run)
    turns = await load_turns(world.storage.blobs, await world.journal.load(run.run_id))
    assert turns[0].request[0].text == text
    assert first_toolbox().names


async def test_a_provider_that_asks_for_long_patience_is_not_waited_for(world: World) -> None:
    script = [{"text": "x", "fail": {"code": "model_rate_limited", "retry_after_s": 3000}}]
    events = await world.events(await world.start(script))
    assert "ModelRetry" not in kinds(events)
    assert next(one for one in events if isinstance(one, ev.ErrorRaised)).code == "model_rate_limited"


async def test_settings_of_the_model_reach_it(world: World) -> None:
    run = await world.start(model="demo", script=None, input="hello", kwargs={"pace": 0})
    assert (await world.events(run))[-1].status is RunStatus.COMPLETED
