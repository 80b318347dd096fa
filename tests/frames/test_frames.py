"""Frames of one run: the same columns whatever there is, and numbers that add up."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

import jupyter_agent as ja
from jupyter_agent import events as ev
from jupyter_agent.client.feed import Feed
from jupyter_agent.client.rows import Rows
from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.facts.messages import messages_of
from jupyter_agent.frames.tables import KINDS
from jupyter_agent.records import Decision, Effect, InputNeeded, Outcome, Run, RunStatus, Text, Usage
from jupyter_agent.widgets.items import items_of
from tests.frames.schemas import ONE, agreed, schema

ja.run  # noqa: B018 - opening the front door attaches the frames
START = datetime(2026, 5, 4, 12, tzinfo=UTC)


def fed() -> Feed:
    """A run with two turns, an approved call and one that failed."""
    feed = Feed("run_1")
    tag = ev.run_tag("run_1")
    events = [
        ev.RunStarted(thread_id="thr_1", user_id="owner", agent="main", model="demo", input=(Text(text="Go."),)),
        ev.StatusChange(status=RunStatus.RUNNING),
        ev.AgentEvent(event=ev.ThinkingDelta(content="Hm.")),
        ev.AgentEvent(event=ev.TextDelta(content="I look.")),
        ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="a", name="run_cell", arguments='{"code": "1"}')),
        ev.AgentEvent(event=ev.ToolCallEnd(tool_call_id="a")),
        ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="b", name="read_file", arguments="{}")),
        ev.AgentEvent(event=ev.ToolCallEnd(tool_call_id="b")),
        commit(0, Usage(input_tokens=10, output_tokens=5, requests=1, cost=0.25)),
        ev.ToolConfirmationRequest(
            tool_call_id="a", approval_id="apr_1", expires_at=START, effects=(Effect.EXEC,),
            tool=ev.ToolDescription(identifier="x", api_name="x", name="run_cell", arguments="{}"),
        ),
        ev.ApprovalResolved(approval_id="apr_1", tool_call_id="a", decision=Decision.APPROVE),
        ev.ToolTraceStart(trace_id="t1", tool_call_id="a", tool_name="run_cell", tool_input="{}", turn=0,
                          started_at=START),
        ev.ToolTraceFinish(trace_id="t1", tool_call_id="a", outcome=Outcome.SUCCESS, latency_ms=1500.0,
                           finished_at=START + timedelta(seconds=1.5)),
        ev.AgentEvent(event=ev.ToolResultReady(tool_call_id="a", result="1")),
        ev.AgentEvent(event=ev.ToolResultReady(tool_call_id="b", result="no such file", is_error=True)),
        ev.AgentEvent(event=ev.StepComplete(step_index=0)),
        ev.AgentEvent(event=ev.TextDelta(content="Done.")),
        commit(1, Usage(requests=1, unmeasured_requests=1)),
        ev.AgentEvent(event=ev.StepComplete(step_index=1)),
    ]  # fmt: skip
    for number, event in enumerate(events, start=1):
        line = ev.encode_line(
            type(event)(**{**{f: getattr(event, f) for f in event.__struct_fields__}, "id": f"{tag}-1-{number}",
                           "run_id": "run_1", "at": START + timedelta(seconds=number)})
        )  # fmt: skip
        feed.take_event(ev.decode_line(line))
    return feed


def commit(turn: int, usage: Usage) -> ev.TurnCommitted:
    return ev.TurnCommitted(
        turn=turn, blob="0" * 64, model="demo", usage=usage, stop_reason="stop",
        started_at=START + timedelta(seconds=10 * turn), finished_at=START + timedelta(seconds=10 * turn + 2),
    )  # fmt: skip


def asked() -> InputNeeded:
    return InputNeeded(request_id="inp_1", run_id="run_2", prompt="Which sheet?")


def record() -> Run:
    known = {"run_id": "run_1", "thread_id": "thr_1", "user_id": "owner", "agent": "main", "model": "demo"}
    return Run(status=RunStatus.RUNNING, created_at=START, updated_at=START, **known)


def rows_of(feed: Feed) -> dict[str, Rows]:
    seen = feed.transcript
    items = {"turns": seen.turns, "tool_calls": seen.tool_calls.values()}
    items |= {"messages": messages_of(seen), "events": feed.events}
    items |= {"items": items_of(seen), "approvals": seen.approvals.values()}
    items |= {"waiting": [*seen.approvals.values(), asked()], "runs": [record()]}
    return {kind: Rows.of(kind, found, run_id="run_1") for kind, found in items.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_frame_has_the_same_columns_and_types(kind):
    empty, full = Rows.of(kind, (), run_id="run_1").df, rows_of(fed())[kind].df
    assert len(empty) == 0
    assert len(full) > 0
    assert schema(empty) == schema(full) == agreed(ONE, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_arrow_says_the_same_without_pandas(kind):
    rows = rows_of(fed())[kind]
    table, frame = rows.arrow(), rows.df
    assert table.column_names == list(frame.columns)
    assert table.num_rows == len(frame)
    assert table.schema == Rows.of(kind, (), run_id="run_1").arrow().schema
    for name in table.column_names:
        assert table.column(name).null_count == frame[name].isna().sum(), name


def test_turns_sum_to_the_totals_and_unknown_is_not_zero():
    feed = fed()
    turns = rows_of(feed)["turns"].df
    assert turns.input_tokens.sum() == feed.transcript.usage.input_tokens == 10
    assert turns.input_tokens.isna().tolist() == [False, True]
    assert turns.duration.tolist() == [pd.Timedelta(seconds=2)] * 2
    assert str(turns.started_at.dtype) == "datetime64[us, UTC]"
    assert str(turns.duration.dtype) == "timedelta64[us]"
    assert turns.model.dtype == "category"
    assert turns.tool_calls.tolist() == [2, 0]
    assert turns.text.tolist() == ["I look.", "Done."]


def test_tool_calls_tell_who_decided_and_how_it_ended():
    calls = rows_of(fed())["tool_calls"].df.set_index("tool_call_id")
    assert calls.loc["a", "decision"] == "approve"
    assert calls.loc["a", "outcome"] == "success"
    assert calls.loc["a", "latency"] == pd.Timedelta(seconds=1.5)
    assert not calls.loc["a", "is_error"]
    assert calls.loc["b", "is_error"]
    assert pd.isna(calls.loc["b", "latency"])
    assert pd.isna(calls.loc["b", "decision"])
    assert set(calls.outcome.cat.categories) == {str(outcome) for outcome in Outcome}


def test_messages_are_the_conversation():
    messages = rows_of(fed())["messages"].df
    assert messages.role.tolist() == ["user", "assistant", "tool", "assistant"]
    assert messages.text.tolist() == ["Go.", "I look.", "1\nno such file", "Done."]
    assert messages.thinking.tolist()[1] == "Hm."
    assert messages.tool_calls.tolist() == [0, 2, 0, 0]


def test_events_are_all_there_in_order():
    events = rows_of(fed())["events"].df
    assert events.seq.tolist() == list(range(1, 20))
    assert events["at"].is_monotonic_increasing
    assert events.loc[events.kind == "text_delta", "content"].tolist() == ["I look.", "Done."]
    assert events["type"].iloc[0] == "run_started"


def test_events_of_types_unknown_here_have_a_row():
    strange = ev.decode_line('{"type": "later", "id": "x-1-4", "runId": "run_1", "more": 1}')
    frame = Rows.of("events", [strange], run_id="run_1").df
    assert frame["type"].tolist() == ["later"]
    assert frame["at"].isna().all()


def test_items_are_what_a_view_shows_in_order():
    items = rows_of(fed())["items"].df
    assert items.kind.tolist() == ["thinking", "text", "tool_call", "tool_call", "text"]
    assert items.turn.tolist() == [0, 0, 0, 0, 1]
    assert items.text.tolist()[:2] == ["Hm.", "I look."]
    assert items.name.tolist()[2:4] == ["run_cell", "read_file"]
    assert items.latency[2] == pd.Timedelta(seconds=1.5)
    assert items.result[3] == "no such file"


def test_whatever_waits_is_a_row_that_says_what_it_is():
    frame = Rows.of("waiting", [*rows_of(fed())["approvals"], asked()]).df
    assert frame.run_id.tolist() == ["run_1", "run_2"]
    assert frame.kind.tolist() == ["approval", "question"]
    assert frame.name.tolist()[0] == "run_cell"
    assert frame.prompt.tolist()[1] == "Which sheet?"
    assert frame.request_id.tolist()[1] == "inp_1"
    of_approvals = frame[["approval_id", "tool_call_id", "name", "arguments", "effects", "expires_at"]].isna()
    assert of_approvals.all(axis=1).tolist() == [False, True]
    assert frame[["request_id", "prompt"]].isna().all(axis=1).tolist() == [True, False]


def test_approvals_of_several_runs_each_name_their_own():
    approvals = rows_of(fed())["approvals"]
    frame = Rows.of("approvals", approvals).df
    assert frame.run_id.tolist() == [approval.run_id for approval in approvals] == ["run_1"]
    assert frame.effects.tolist() == ["exec"]


def test_a_kind_without_a_frame_says_so():
    with pytest.raises(InvalidRequest, match="no frame of inputs"):
        _ = Rows.of("inputs", ()).df
