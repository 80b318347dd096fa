"""Who asks is part of every query: nobody asks without a context, and what is another's reads as absent in each."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jupyter_agent.exceptions import NotFound
from jupyter_agent.flow import FlowRun, StepState
from jupyter_agent.records import (
    SYSTEM,
    Approval,
    AskStatus,
    Feedback,
    HeadlessRun,
    InputNeeded,
    Page,
    Principal,
    RunStatus,
    WorkflowBudget,
    WorkflowEvent,
    WorkflowRun,
)
from jupyter_agent.storage.ahead import Use
from jupyter_agent.storage.calls import Claim
from jupyter_agent.storage.sql import SqlRows
from tests.storage.test_calls import call, done
from tests.storage.test_rows import ALICE, BEGAN, KEYS, MALLORY, a_run, a_thread, a_turn, ended
from tests.storage.test_traces import a_trace

Call = Callable[[SqlRows, Principal], Awaitable[Any]]

READS: dict[str, Call] = {
    "get_thread": lambda rows, by: rows.get_thread("t", by=by),
    "list_threads": lambda rows, by: rows.list_threads(by=by, search="title", metadata={"a": "1"}),
    "get_run": lambda rows, by: rows.get_run("r", by=by),
    "list_runs": lambda rows, by: rows.list_runs(by=by, thread_id="t"),
    "list_turns": lambda rows, by: rows.list_turns("r", by=by),
    "list_traces": lambda rows, by: rows.list_traces("r", by=by),
    "list_approvals": lambda rows, by: rows.list_approvals("r", by=by),
    "list_inputs": lambda rows, by: rows.list_inputs("r", by=by),
    "get_approval": lambda rows, by: rows.get_approval("apr", by=by),
    "run_totals": lambda rows, by: rows.run_totals("r", by=by),
    "get_feedback": lambda rows, by: rows.get_feedback("f", by=by),
    "list_feedback": lambda rows, by: rows.list_feedback(by=by, thread_id="t"),
    "feedback_summary": lambda rows, by: rows.feedback_summary("r", by=by),
    "blob_is_referred_to": lambda rows, by: rows.blob_is_referred_to(KEYS[0], by=by),
    "idle_threads": lambda rows, by: rows.idle_threads(by=by),
    "run_ids": lambda rows, by: rows.run_ids("t", by=by),
    "get_flow_run": lambda rows, by: rows.get_flow_run("flow", by=by),
    "list_flow_runs": lambda rows, by: rows.list_flow_runs(by=by),
    "list_flow_steps": lambda rows, by: rows.list_flow_steps("flow", by=by),
    "get_workflow_run": lambda rows, by: rows.get_workflow_run("wfr", by=by),
    "get_headless_run": lambda rows, by: rows.get_headless_run("wfr", by=by),
    "list_headless_runs": lambda rows, by: rows.list_headless_runs("review", "p", by=by, limit=5),
    "get_calls": lambda rows, by: rows.get_calls(["call"], by=by),
    "list_calls": lambda rows, by: rows.list_calls("review", "p", by=by),
    "last_pass": lambda rows, by: rows.last_pass("review", "p", by=by),
    "ledger": lambda rows, by: rows.ledger("wfr", by=by),
    "list_workflow_events": lambda rows, by: rows.list_workflow_events("wfr", by=by),
}
NOTHING: dict[str, Call] = {
    "thread_feedback": lambda rows, by: rows.thread_feedback("t", by=by),
    "list_segments": lambda rows, by: rows.list_segments("r", by=by),
    "withdraw_feedback": lambda rows, by: rows.withdraw_feedback("r", by=by),
    "start_calls": lambda rows, by: rows.start_calls("wfr", [], by=by),
    "claim_calls": lambda rows, by: rows.claim_calls("wfr", [Claim("none")], by=by),
    "take_calls": lambda rows, by: rows.take_calls("wfr", [Claim("none")], by=by),
    "use_calls": lambda rows, by: rows.use_calls("wfr", [Use("none")], by=by),
    "calls_after": lambda rows, by: rows.calls_after("wfr", "call", by=by, most=5),
    "step_keys": lambda rows, by: rows.step_keys("wfr", by=by),
    "steps_left": lambda rows, by: rows.steps_left("wfr", by=by, most=5),
    "record_calls": lambda rows, by: rows.record_calls("wfr", [], tokens=[], most=5, by=by),
}
"""What there is nothing of here for the system: it has said nothing of its own, and the run has no prompts."""
CHANGES: dict[str, Call] = {
    "update_thread": lambda rows, by: rows.update_thread("t", by=by, title="mine"),
    "delete_feedback": lambda rows, by: rows.delete_feedback("f", by=by),
    "delete_run": lambda rows, by: rows.delete_run("r", by=by),
    "delete_thread": lambda rows, by: rows.delete_thread("t", by=by),
    "release_claims": lambda rows, by: rows.release_claims("wfr", by=by),
    "forget_calls": lambda rows, by: rows.forget_calls("review", "p", by=by),
    "set_workflow_budget": lambda rows, by: rows.set_workflow_budget("wfr", WorkflowBudget(tokens=1), by=by),
}
AGAIN = ("release_claims", "forget_calls")
"""What may be done again: nothing is left the second time, and that is no fault."""
ALL = READS | NOTHING | CHANGES


@pytest.fixture
async def kept(rows):
    """A thread of Alice's with one of everything."""
    await rows.create_thread(a_thread(title="Title", metadata={"a": 1}))
    run = await ended(rows, "r")
    await rows.save_turn(a_turn("r"))
    asked = Approval(
        approval_id="apr", run_id="r", tool_call_id="c", tool_name="x", arguments="{}", effects=(), preview={},
        asked_at=BEGAN, expires_at=BEGAN, status=AskStatus.LAPSED,
    )  # fmt: skip
    question = InputNeeded(request_id="q", run_id="r", prompt="?", asked_at=BEGAN)
    await rows.project([run], [], [], traces=[a_trace()], asked=[asked, question])
    await rows.save_feedback(
        Feedback(feedback_id="f", run_id="r", thread_id="t", user_id="alice", rating=1, created_at=BEGAN,
                 updated_at=BEGAN)
    )  # fmt: skip
    flow = FlowRun(flow_run_id="flow", user_id="alice", flow="f", shape="", args={}, created_at=BEGAN, updated_at=BEGAN)
    await rows.create_flow_run(flow, [StepState(step_id="a")], owner="me", ttl_s=60)
    await rows.create_workflow_run(
        WorkflowRun(workflow_run_id="wfr", user_id="alice", workflow="review", project="p", created_at=BEGAN,
                    updated_at=BEGAN)
    )  # fmt: skip
    await rows.create_headless_run(
        HeadlessRun(workflow_run_id="wfr", user_id="alice", workflow="review", project="p", digest="d",
                    status=RunStatus.RUNNING, created_at=BEGAN, updated_at=BEGAN),
        {"name": "review"},
    )  # fmt: skip
    await rows.tell_headless_run("wfr", [WorkflowEvent(type="log", text="It reads.", at=BEGAN)])
    (started,) = await rows.start_calls("wfr", [call("key", call_id="call")], by=ALICE)
    await rows.finish_call(done(started))
    return rows


def methods_with_context() -> dict[str, inspect.Parameter]:
    public = inspect.getmembers(
        SqlRows, lambda one: inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
    )
    signatures = {name: inspect.signature(one).parameters for name, one in public if not name.startswith("_")}
    return {name: parameters["by"] for name, parameters in signatures.items() if "by" in parameters}


def test_every_query_of_users_is_tried_here():
    assert methods_with_context().keys() == ALL.keys()


def test_no_query_has_a_context_by_itself():
    for name, by in methods_with_context().items():
        assert by.default is inspect.Parameter.empty, name
        assert by.kind is inspect.Parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize("name", ALL)
async def test_an_absent_context_raises(kept, name):
    with pytest.raises((TypeError, AttributeError)):
        await ALL[name](kept, None)
    assert await kept.get_run("r", by=ALICE)


def is_empty(found: Any) -> bool:
    return not (found.items if isinstance(found, Page) else found)


@pytest.mark.parametrize("name", ALL)
async def test_what_is_anothers_reads_as_absent(kept, name):
    before = [is_empty(await READS[one](kept, SYSTEM)) for one in READS]
    for stranger in (MALLORY, Principal(user_id=""), Principal(user_id="alice "), Principal(user_id="ALICE")):
        try:
            assert is_empty(await ALL[name](kept, stranger)), stranger
        except NotFound:
            continue
    assert [is_empty(await READS[one](kept, SYSTEM)) for one in READS] == before


@pytest.mark.parametrize("name", READS)
async def test_its_owner_and_the_system_see_it(kept, name):
    assert not is_empty(await READS[name](kept, ALICE))
    assert not is_empty(await READS[name](kept, SYSTEM))


@pytest.mark.parametrize("name", CHANGES)
async def test_the_system_may_change_it(kept, name):
    await CHANGES[name](kept, SYSTEM)
    if name == "update_thread":
        assert (await kept.get_thread("t", by=SYSTEM)).title == "mine"
        return
    if name == "set_workflow_budget":
        assert (await kept.get_workflow_run("wfr", by=SYSTEM)).budget_tokens == 1
        return
    if name in AGAIN:
        assert await CHANGES[name](kept, SYSTEM) == 0
        return
    with pytest.raises(NotFound):
        await CHANGES[name](kept, SYSTEM)


async def test_totals_never_add_up_what_is_anothers(kept):
    await kept.create_thread(a_thread("m", user="mallory"))
    await ended(kept, "stranger", thread="m", user="mallory", parent_run_id="r")
    assert (await kept.run_totals("r", by=ALICE)).runs == 1
    await kept.create_run(a_run("child", parent_run_id="r"))
    assert (await kept.run_totals("r", by=ALICE)).runs == 2
