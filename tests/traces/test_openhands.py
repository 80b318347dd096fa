"""Event logs of OpenHands: counters that grow from event to event count once."""

from tests.traces.counted import counts, imported, lines, unmapped

COUNTED = {
    "runs": 1,
    "turns": 3,
    "messages": 9,
    "calls": 4,
    "errors": 1,
    "in": 600,
    "out": 60,
    "read": 40,
    "write": 0,
    "reasoning": 0,
    "cost": 0.875,
}


def grown(cost, given, out, read=0):
    return {
        "accumulated_cost": cost,
        "accumulated_token_usage": {
            "model": "m",
            "prompt_tokens": given,
            "completion_tokens": out,
            "cache_read_tokens": read,
            "cache_write_tokens": 0,
        },
        "costs": [],
        "token_usages": [],
        "response_latencies": [],
    }


def asked(call_id, response_id, given, out, *names, read=0):
    calls = [
        {"id": found, "type": "function", "function": {"name": "execute_bash", "arguments": '{"command": "ls"}'}}
        for found in names
    ]
    return {
        "function_name": "execute_bash",
        "tool_call_id": call_id,
        "total_calls_in_response": len(names),
        "model_response": {
            "id": response_id,
            "model": "m",
            "choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": calls}}],
            "usage": {
                "prompt_tokens": given,
                "completion_tokens": out,
                "prompt_tokens_details": {"cached_tokens": read},
            },
        },
    }


def act(number, action, args, source="agent", **more):
    return {
        "id": number,
        "timestamp": f"2026-05-04T12:00:{number:02d}.000000",
        "source": source,
        "message": "",
        "action": action,
        "args": args,
        **more,
    }


def observe(number, kind, content, cause, **more):
    return {
        "id": number,
        "timestamp": f"2026-05-04T12:00:{number:02d}.000000",
        "source": "agent",
        "message": "",
        "cause": cause,
        "observation": kind,
        "content": content,
        "extras": {},
        **more,
    }


FIRST = [asked("c1", "r1", 100, 10, "c1", "c2", read=40), asked("c2", "r1", 100, 10, "c1", "c2", read=40)]
EVENTS = [
    act(0, "system", {"content": "You help.", "tools": []}),
    act(1, "message", {"content": "Go.", "image_urls": None}, "user"),
    act(2, "recall", {"query": "Go."}, "user"),
    observe(3, "recall", "", 2),
    act(
        4,
        "run",
        {"command": "ls", "thought": "I look."},
        tool_call_metadata=FIRST[0],
        llm_metrics=grown(0.25, 100, 10, 40),
    ),
    act(5, "run", {"command": "ls", "thought": ""}, tool_call_metadata=FIRST[1], llm_metrics=grown(0.25, 100, 10, 40)),
    observe(6, "run", "grep found nothing", 4, success=False, tool_call_metadata=FIRST[0]),
    observe(7, "error", "No such tool.", 5, tool_call_metadata=FIRST[1]),
    act(
        8,
        "run",
        {"command": "x"},
        tool_call_metadata=asked("c1", "r2", 200, 20, "c1"),
        llm_metrics=grown(0.75, 300, 30, 40),
    ),
    observe(9, "run", "done", 8, tool_call_metadata=asked("c1", "r2", 200, 20, "c1")),
    observe(10, "agent_state_changed", "", None),
    act(11, "finish", {"final_thought": "Done.", "thought": ""}, llm_metrics=grown(0.875, 600, 60, 40)),
    observe(12, "run", "of nobody", 99),
]


def test_a_list_of_actions_and_observations():
    found = imported(EVENTS)
    assert found.format == "openhands"
    assert counts(found) == COUNTED
    assert unmapped(found) == {"event: recall": 2, "event: agent_state_changed": 1, "tool result without a call": 1}
    calls = found.tool_calls.df
    assert calls["foreign_tool_call_id"].fillna("-").tolist() == ["c1", "c2", "c1", "-"]
    assert calls["name"].astype("string").tolist() == ["execute_bash"] * 3 + ["finish"]
    assert calls["outcome"].astype("string").fillna("-").tolist() == ["success", "error", "success", "-"]
    turns = found.turns.df
    assert turns["cost"].tolist() == [0.25, 0.5, 0.125]
    assert turns["input_tokens"].tolist() == [100, 200, 300]


def test_the_same_as_lines_pairs_and_with_the_metrics_of_an_evaluation():
    assert counts(imported(lines(*EVENTS))) == COUNTED
    metrics = {
        **grown(0.875, 600, 60, 40),
        "costs": [{"model": "m", "cost": cost, "timestamp": 1} for cost in (0.25, 0.5, 0.125)],
    }
    whole = {
        "instance_id": "i1",
        "instruction": "Go.",
        "metadata": {"agent_class": "CodeActAgent"},
        "history": EVENTS,
        "metrics": metrics,
    }
    found = imported(lines(whole, {**whole, "instance_id": "i2", "error": "It broke."}))
    assert counts(found) == {
        **COUNTED,
        "runs": 2,
        "turns": 6,
        "messages": 18,
        "calls": 8,
        "errors": 3,
        "in": 1200,
        "out": 120,
        "read": 80,
        "cost": 1.75,
    }
    assert found.runs.df["foreign_run_id"].tolist() == ["i1", "i2"]
    pairs = [[EVENTS[4], EVENTS[6]], [EVENTS[8], EVENTS[9]]]
    assert counts(imported({"instance_id": "i", "history": pairs}))["calls"] == 2


def test_counters_that_begin_anew():
    taken_up = [act(20, "run", {"command": "ls"}, llm_metrics=grown(0.5, 50, 5)), observe(21, "run", "x", 20)]
    found = imported([*EVENTS, *taken_up])
    assert counts(found) == {**COUNTED, "turns": 4, "messages": 11, "calls": 5, "in": 650, "out": 65, "cost": 1.375}


def test_what_was_asked_on_the_side_counts_too():
    listed = [
        {
            "model": "m",
            "prompt_tokens": given,
            "completion_tokens": out,
            "cache_read_tokens": read,
            "cache_write_tokens": 0,
            "response_id": name,
        }
        for name, given, out, read in (("r1", 100, 10, 40), ("side", 40, 4, 0), ("r2", 200, 20, 0))
    ]
    costs = [{"model": "m", "cost": cost, "timestamp": 1} for cost in (0.25, 0.0625, 0.5)]
    metrics = {**grown(0.8125, 340, 34, 40), "token_usages": listed, "costs": costs}
    found = imported({"history": EVENTS[:10], "metrics": metrics})
    assert counts(found) == {
        **COUNTED,
        "turns": 3,
        "messages": 7,
        "calls": 3,
        "in": 340,
        "out": 34,
        "read": 40,
        "cost": 0.8125,
    }
    assert unmapped(found)["model call without a message"] == 1


def v1(kind, event_id, **more):
    return {"kind": kind, "id": event_id, "timestamp": "2026-05-04T12:00:00", "source": "agent", **more}


def action(event_id, call_id, response_id):
    return v1(
        "ActionEvent",
        event_id,
        thought=[{"type": "text", "text": "I look."}],
        reasoning_content="Hm.",
        tool_name="terminal",
        tool_call_id=call_id,
        tool_call={"id": call_id, "name": "terminal", "arguments": '{"command": "ls"}', "origin": "completion"},
        llm_response_id=response_id,
        action={"kind": "TerminalAction", "command": "ls"},
    )


def test_events_of_the_sdk():
    usages = {
        "agent": {
            **grown(0.75, 300, 30),
            "token_usages": [
                {"prompt_tokens": 100, "completion_tokens": 10, "reasoning_tokens": 4, "response_id": "r1"},
                {"prompt_tokens": 200, "completion_tokens": 20, "response_id": "r2"},
            ],
        },
        "condenser": grown(0.125, 50, 5),
    }
    found = imported(
        lines(
            v1("SystemPromptEvent", "e0", system_prompt={"type": "text", "text": "You help."}, tools=[]),
            v1(
                "MessageEvent",
                "e1",
                source="user",
                llm_message={"role": "user", "content": [{"type": "text", "text": "Go."}]},
            ),
            action("e2", "c1", "r1"),
            action("e3", "c2", "r1"),
            v1(
                "ObservationEvent",
                "e4",
                action_id="e3",
                tool_name="terminal",
                tool_call_id="c2",
                source="environment",
                observation={
                    "kind": "TerminalObservation",
                    "content": [{"type": "text", "text": "2"}],
                    "is_error": False,
                    "exit_code": 1,
                },
            ),
            v1("AgentErrorEvent", "e5", tool_name="terminal", tool_call_id="c1", error="It broke."),
            v1(
                "ConversationStateUpdateEvent",
                "e6",
                key="stats",
                value={"usage_to_metrics": {"agent": grown(0.25, 100, 10)}},
            ),
            v1(
                "MessageEvent",
                "e7",
                llm_message={"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
                llm_response_id="r2",
            ),
            v1(
                "UserRejectObservation",
                "e8",
                action_id="e9",
                tool_name="terminal",
                tool_call_id="c9",
                rejection_reason="No.",
            ),
            v1("Condensation", "e10", forgotten_event_ids=[], llm_response_id="r3"),
            v1("ConversationStateUpdateEvent", "e11", key="full_state", value={"stats": {"usage_to_metrics": usages}}),
        )
    )
    assert counts(found) == {
        **COUNTED,
        "turns": 2,
        "messages": 7,
        "calls": 2,
        "errors": 1,
        "in": 350,
        "out": 35,
        "read": 0,
        "reasoning": 4,
        "cost": 0.875,
    }
    assert found.tool_calls.df["result"].tolist() == ["It broke.", "2"]
    assert unmapped(found) == {
        "tool result without a call": 1,
        "event: Condensation": 1,
        "input tokens in sum that are not those of the turns": 1,
        "output tokens in sum that are not those of the turns": 1,
    }
