"""What runs of scripts tell, as rows: numbered on, kept when the run has ended, and seen by nobody else."""

from datetime import UTC, datetime, timedelta

import pytest

from jupyter_agent.exceptions import FlowRunNotFound, WorkflowRunNotFound
from jupyter_agent.flow import FlowRun, StepState
from jupyter_agent.records import SYSTEM, HeadlessRun, Principal, RunStatus, WorkflowEvent, WorkflowRun

AT = datetime(2026, 1, 1, tzinfo=UTC)
ALICE, BOB = Principal(user_id="alice"), Principal(user_id="bob")


def told(text: str, kind: str = "log") -> WorkflowEvent:
    return WorkflowEvent(type=kind, text=text, at=AT)


async def test_events_are_numbered_on_and_outlive_the_end_of_their_run(rows):
    its = {"workflow_run_id": "wfr_1", "user_id": "alice", "workflow": "w", "project": "p"}
    await rows.create_workflow_run(WorkflowRun(**its, created_at=AT, updated_at=AT))
    run = HeadlessRun(
        **its, digest="d", status=RunStatus.PENDING, created_at=AT, updated_at=AT, model="echo", resumes="x"
    )
    await rows.create_headless_run(run, {"name": "w"})
    assert await rows.tell_headless_run("wfr_1", [told("running", "status"), told("a\0b")], status=RunStatus.RUNNING)
    assert await rows.tell_headless_run("wfr_1", [], phase="One")
    assert await rows.tell_headless_run("wfr_1", [told("c")], status=RunStatus.COMPLETED, ended_at=AT)
    assert not await rows.tell_headless_run("wfr_1", [told("late")], phase="Two")
    events = await rows.list_workflow_events("wfr_1", by=ALICE)
    assert [(one.number, one.text) for one in events] == [(1, "running"), (2, "a\ufffdb"), (3, "c"), (4, "late")]
    assert [one.number for one in await rows.list_workflow_events("wfr_1", by=ALICE, after=1, limit=2)] == [2, 3]
    kept = await rows.get_headless_run("wfr_1", by=ALICE)
    assert (kept.status, kept.phase, kept.model, kept.resumes) == (RunStatus.COMPLETED, "One", "echo", "x")
    assert [one.workflow_run_id for one in await rows.list_headless_runs(None, "p", by=ALICE, limit=5)] == ["wfr_1"]
    assert await rows.list_headless_runs(None, "p", by=BOB, limit=5) == []
    with pytest.raises(WorkflowRunNotFound):
        await rows.list_workflow_events("wfr_1", by=BOB)


async def test_runs_of_flows_that_ended_long_ago_are_dropped_with_their_steps(rows):
    for name, ended_at in {"old": AT, "new": AT + timedelta(days=2), "open": None}.items():
        run = FlowRun(
            flow_run_id=name, user_id="alice", flow="f", shape="s", args={}, created_at=AT, updated_at=AT,
            ended_at=ended_at, status=RunStatus.RUNNING if ended_at is None else RunStatus.COMPLETED,
        )  # fmt: skip
        await rows.create_flow_run(run, [StepState(step_id="a")], owner="o", ttl_s=10)
    assert await rows.drop_flow_runs(ended_before=AT + timedelta(days=1)) == 1
    with pytest.raises(FlowRunNotFound):
        await rows.list_flow_steps("old", by=ALICE)
    for name in ("new", "open"):
        assert len(await rows.list_flow_steps(name, by=SYSTEM)) == 1
