"""Conversations of OpenHands of which each event is a file: as they are kept, and as they are exported."""

import io
import json
import zipfile

import pytest

import jupyter_agent as ja
from jupyter_agent.exceptions import InvalidRequest
from tests.traces.counted import counts, imported, lines, unmapped
from tests.traces.test_openhands import COUNTED, action, grown, v1

EVENTS = [
    v1("SystemPromptEvent", "e0", system_prompt={"type": "text", "text": "You help."}, tools=[]),
    v1("MessageEvent", "e1", source="user", llm_message={"role": "user", "content": [{"type": "text", "text": "Go."}]}),
    action("e2", "c1", "r1"),
    v1(
        "ObservationEvent",
        "e3",
        action_id="e2",
        tool_name="terminal",
        tool_call_id="c1",
        source="environment",
        observation={"kind": "TerminalObservation", "content": [{"type": "text", "text": "a.txt"}], "is_error": True},
        extended_content=[{"type": "text", "text": "A rule."}],
    ),
]
USAGES = [{"prompt_tokens": 100, "completion_tokens": 10, "cache_read_tokens": 40, "response_id": "r1"}]
STATE = {
    "id": "conversation-1",
    "agent": {"llm": {"model": "m-1"}},
    "stats": {"usage_to_metrics": {"agent": {**grown(0.25, 100, 10, 40), "token_usages": USAGES}}},
}
EXPECTED = {
    **COUNTED, "turns": 1, "messages": 4, "calls": 1, "errors": 1, "in": 100, "out": 10, "read": 40, "cost": 0.25,
}  # fmt: skip


def kept(folder, events=EVENTS, state=STATE):
    (folder / "events").mkdir(parents=True)
    for number, event in enumerate(events):
        (folder / "events" / f"event-{number:05}-{event['id']}.json").write_text(json.dumps(event))
    (folder / "base_state.json").write_text(json.dumps(state))
    return folder


def test_a_folder_is_a_run_with_its_state(tmp_path):
    found = ja.import_traces(kept(tmp_path / "talk"))
    assert counts(found) == EXPECTED
    assert unmapped(found) == {}
    run = found.runs.df.iloc[0]
    assert (found.format, run["foreign_run_id"], run["model"]) == ("openhands", "conversation-1", "m-1")
    assert found.tool_calls[0].result == "a.txt\nA rule."
    assert found.tool_calls[0].place == "events/event-00002-e2.json"
    again = ja.import_traces(kept(tmp_path / "copy"))
    assert [run.run_id for run in again.runs] == [run.run_id for run in found.runs]
    assert counts(ja.import_traces(tmp_path / "talk" / "events")) == {**EXPECTED, "in": 0, "out": 0, "read": 0,
                                                                      "cost": None}  # fmt: skip


def test_a_folder_of_conversations_and_of_other_things(tmp_path):
    kept(tmp_path / "one")
    two = kept(tmp_path / "two", [*EVENTS, *({**EVENTS[1], "id": f"x{number}"} for number in range(9))])
    (two / "events" / "event-00005-x1.json").write_bytes(b'{"kind": "Mess')
    (two / "events" / "event-00006-x2.json").write_bytes(b"")
    (two / "events" / "event-00007-x3.json").write_bytes(b"[]")
    (two / "events" / ".eventlog.lock").write_bytes(b"")
    (tmp_path / "passwords").write_text("secret")
    (two / "events" / "event-00099-ff.json").symlink_to(tmp_path / "passwords")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = ja.import_traces(tmp_path)
    assert counts(found) == {
        **EXPECTED, "runs": 2, "turns": 2, "messages": 4 + 10, "calls": 2, "errors": 2, "in": 200, "out": 20,
        "read": 80, "cost": 0.5,
    }  # fmt: skip
    assert unmapped(found) == {"file that is no event": 2, "file that is no JSON": 2, "file that holds no object": 1}


def test_a_folder_of_other_things_is_said(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(InvalidRequest, match="is a folder, and no conversation of OpenHands is kept in it"):
        ja.import_traces(tmp_path)
    with pytest.raises(InvalidRequest, match="Is a directory"):
        ja.import_traces(tmp_path, "openai")


@pytest.mark.parametrize("pattern", ["talk/events/event-{:05}-{}.json", "event_{:06}_{}.json"])
def test_exports(pattern):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("talk/", b"")
        beside = "talk/base_state.json" if pattern.startswith("talk") else "meta.json"
        metrics = STATE["stats"]["usage_to_metrics"]["agent"]
        meta = {"id": "conversation-1", "llm_model": "m-1", "metrics": metrics}
        # In any order: the number in a name is the order.
        for number, event in reversed(list(enumerate(EVENTS))):
            made.writestr(pattern.format(number, event["id"]), json.dumps(event, indent=2))
        made.writestr(beside, json.dumps(STATE if beside.startswith("talk") else meta))
    found = imported(out.getvalue())
    assert counts(found) == EXPECTED
    assert unmapped(found) == {}
    assert found.runs.df["foreign_run_id"].tolist() == ["conversation-1"]


def test_calls_of_another_agent_are_told_in_several_events():
    def told(event_id, call_id, status, **more):
        return v1("ACPToolCallEvent", event_id, tool_call_id=call_id, title="`ls`", status=status, **more)

    found = imported(
        lines(
            EVENTS[1],
            told("a0", "c1", "pending", tool_kind="execute"),
            told("a1", "c1", "in_progress", tool_kind="execute", raw_input={"command": "ls"}),
            told("a2", "c2", "failed", raw_output="No.", is_error=True),
            told("a3", "c1", "completed", tool_kind="execute", content=[{"type": "text", "text": "a.txt"}]),
            told("a4", "c3", "pending"),
        )
    )
    assert (counts(found)["calls"], counts(found)["errors"], unmapped(found)) == (3, 1, {})
    assert [(call.name, call.arguments, call.result, call.outcome) for call in found.tool_calls] == [
        ("execute", '{"command": "ls"}', "a.txt", "success"),
        ("`ls`", "", "No.", "error"),
        ("`ls`", "", None, None),
    ]
