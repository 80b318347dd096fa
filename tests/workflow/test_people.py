"""Questions and gates of workflows as calls, over a real runner, journal and store; a second world is a restart."""

import asyncio

import pytest

from jupyter_agent.exceptions import AlreadyResolved, Forbidden, InvalidRequest, RunFinished
from jupyter_agent.records import Decision, WorkflowRun, utc_now
from jupyter_agent.runtime.policy import POLICIES
from jupyter_agent.script import gate_call, question_call
from jupyter_agent.script.placed import CallState, PlacedCall
from jupyter_agent.workflow.calls import Calls
from jupyter_agent.workflow.resolving import Resolver
from tests.runtime.conftest import ALICE, KERNEL, World

FORM = {"colour": str, "n": int}


def calls_of(world: World) -> Calls:
    return Calls(
        storage=world.storage, journal=world.journal, runner=world.runner, project="p",
        resolver=Resolver(models=world.models, toolbox=world.toolbox, settings=world.settings),
    )  # fmt: skip


async def begin(calls: Calls, name: str = "wfr") -> None:
    now = utc_now()
    await calls.open(
        WorkflowRun(workflow_run_id=name, user_id="alice", workflow="w", project="p", created_at=now, updated_at=now)
    )


def placed(call) -> PlacedCall:
    return PlacedCall(**{name: getattr(call, name) for name in call.__struct_fields__})


async def until(calls: Calls, cursor: str, found) -> CallState:
    async with asyncio.timeout(20):
        while True:
            cursor, news, _ = await calls.feeds.after("wfr", cursor, wait_s=5)
            for state in news:
                if found(state):
                    return state


async def claimed(calls: Calls, call) -> tuple[str, CallState]:
    cursor = calls.feeds.cursor("wfr")
    (state,) = await calls.claim("wfr", [placed(call)], start=True, by=ALICE)
    return cursor, state


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    return request.getfixturevalue("database_url") if request.param == "postgres" else ""


async def test_a_question_outlives_the_server_and_takes_what_fits_its_form(open_world, url):
    world = await open_world(database_url=url)
    calls = calls_of(world)
    await begin(calls)
    cursor, _ = await claimed(calls, question_call("Which?", FORM))
    asking = await until(calls, cursor, lambda state: state.waits_for)
    assert asking.waits_for == "waiting_input"
    await calls.close()
    await world.close()

    world = await open_world(database_url=url, input_timeout_s=0.01, approval_timeout_s=0.01)
    calls = calls_of(world)
    assert await calls.recover() == 1
    run_id = asking.run_id
    (asked,) = (await world.journal.load(run_id)).pending_inputs
    cursor = calls.feeds.cursor("wfr")
    (state,) = await calls.look("wfr", [asking.call_id], by=ALICE)
    assert state.status == "running"
    for bad in ("red", '{"colour": 1, "n": 1}', '{"colour": "red"}', "[]", "NaN"):
        with pytest.raises(InvalidRequest):
            await world.runner.answer(run_id, asked.request_id, bad, by=ALICE)
    assert (await world.journal.load(run_id)).pending_inputs == (asked,)
    await world.runner.answer(run_id, asked.request_id, '{"colour": "red", "n": 2}', by=ALICE)
    done = await until(calls, cursor, lambda state: state.status == "done")
    assert (done.answer, done.tokens, done.cost, done.model) == ('{"colour": "red", "n": 2}', 0, 0.0, "person")
    with pytest.raises((RunFinished, AlreadyResolved)):
        await world.runner.answer(run_id, asked.request_id, '{"colour": "red", "n": 2}', by=ALICE)

    await begin(calls, "again")
    (state,) = await calls.claim("again", [placed(question_call("Which?", FORM))], start=False, by=ALICE)
    assert (state.status, state.answer) == ("hit", done.answer)
    for other in (question_call("Which?"), question_call("Who?", FORM), gate_call("Which?")):
        (state,) = await calls.claim("again", [placed(other)], start=False, by=ALICE)
        assert state.status == "missed"
    await calls.close()


@pytest.mark.parametrize("policy", sorted(POLICIES))
async def test_a_gate_is_for_a_person_whatever_the_policy(open_world, policy):
    world = await open_world(policy=policy, tools_enabled=policy != "tools-off")
    calls = calls_of(world)
    await begin(calls)
    for title, decision, answer in (
        ("Yes?", Decision.APPROVE, '{"approved":true,"reason":"Because."}'),
        ("No?", Decision.REJECT, '{"approved":false,"reason":"Because."}'),
    ):
        cursor, _ = await claimed(calls, gate_call(title, "All of it."))
        asking = await until(calls, cursor, lambda state: state.waits_for)
        (asked,) = await world.runner.approvals(asking.run_id, by=ALICE)
        assert asked.preview["arguments"] == {"title": title, "detail": "All of it."}
        given = {"decision": decision, "approval_id": asked.approval_id, "reason": "Because.", "remember": "thread"}
        with pytest.raises(Forbidden):
            await world.runner.resolve(asking.run_id, by=KERNEL, **given)
        await world.runner.resolve(asking.run_id, by=ALICE, **given)
        done = await until(calls, cursor, lambda state: state.status == "done")
        assert (done.answer, done.tokens, done.cost) == (answer, 0, 0.0)
        with pytest.raises((RunFinished, AlreadyResolved)):
            await world.runner.resolve(asking.run_id, by=ALICE, **given)
    await calls.close()


@pytest.mark.parametrize("call", [question_call("Why?"), gate_call("Go on?")], ids=["ask", "gate"])
async def test_what_waits_for_a_person_is_no_run_that_is_stuck(open_world, call):
    """However often the server stops meanwhile."""
    world = await open_world(max_fruitless_restarts=2)
    calls = calls_of(world)
    await begin(calls)
    cursor, _ = await claimed(calls, call)
    asking = await until(calls, cursor, lambda state: state.waits_for)
    for _ in range(4):
        await calls.close()
        await world.close()
        world = await open_world(max_fruitless_restarts=2)
        calls = calls_of(world)
        await calls.recover()
    transcript = await world.journal.load(asking.run_id)
    cursor = calls.feeds.cursor("wfr")
    await calls.look("wfr", [asking.call_id], by=ALICE)
    for asked in transcript.pending_inputs:
        await world.runner.answer(asking.run_id, asked.request_id, "Porto", by=ALICE)
    for asked in transcript.pending_approvals:
        await world.runner.resolve(asking.run_id, decision=Decision.APPROVE, approval_id=asked.approval_id, by=ALICE)
    done = await until(calls, cursor, lambda state: state.status in ("done", "failed"))
    assert done.answer == ("Porto" if call.kind == "ask" else '{"approved":true}')
    await calls.close()


async def test_many_questions_are_in_no_agents_way(open_world):
    world = await open_world()
    calls = calls_of(world)
    await begin(calls)
    cursor = calls.feeds.cursor("wfr")
    asks = [placed(question_call(f"Which {n}?")) for n in range(20)]
    agent = PlacedCall(prompt="hello", model="echo", tools=())
    states = await calls.claim("wfr", [*asks, agent], start=True, by=ALICE)
    done = await until(calls, cursor, lambda state: state.status == "done")
    assert (done.call_id, done.answer) == (states[-1].call_id, "hello")
    assert await calls.stop("wfr", [state.call_id for state in states], by=ALICE) == 20
    await calls.close()


async def test_what_no_script_can_say_is_refused_before_anybody_is_asked(open_world):
    world = await open_world()
    calls = calls_of(world)
    await begin(calls)
    for wrong in (
        PlacedCall(kind="ask", prompt=" "), PlacedCall(kind="ask", prompt="x", schema={"type": "string"}),
        PlacedCall(kind="gate", prompt="x", given={"detail": 3}),
        PlacedCall(kind="gate", prompt="x", given={"more": "y"}),
    ):  # fmt: skip
        with pytest.raises(InvalidRequest):
            await calls.claim("wfr", [wrong], start=True, by=ALICE)
    assert not await calls.recover()
    await calls.close()


def test_nobody_chooses_the_policy_that_questions_have():
    assert "for-people" not in POLICIES
