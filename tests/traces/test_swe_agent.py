"""Trajectories of SWE-agent and mini-swe-agent: costs that are sums of parts count once."""

import json

from tests.traces.counted import counts, imported, unmapped

STATS = {"instance_cost": 0.75, "tokens_sent": 900, "tokens_received": 90, "api_calls": 3}
STEPS = [
    {
        "action": "ls -a\n",
        "observation": "a.txt",
        "response": "I look.\n```\nls -a\n```",
        "state": {},
        "thought": "I look.",
        "execution_time": 0.25,
        "query": [],
        "extra_info": {},
    },
    {
        "action": "submit",
        "observation": "diff --git",
        "response": "Done. submit",
        "state": {},
        "thought": "Done.",
        "execution_time": 0.5,
        "query": [],
        "extra_info": {},
    },
]
HISTORY = [
    {"role": "system", "content": "You fix.", "agent": "main", "message_type": "system_prompt"},
    {"role": "user", "content": "A demonstration", "is_demo": True, "agent": "main"},
    {"role": "assistant", "content": "shown", "action": "shown", "is_demo": True, "agent": "main"},
    {"role": "user", "content": "The issue.", "agent": "main", "message_type": "observation"},
    {
        "role": "assistant",
        "content": "I look.\n```\nls -a\n```",
        "thought": "I look.",
        "action": "ls -a\n",
        "agent": "main",
        "message_type": "action",
    },
    {"role": "user", "content": [{"type": "text", "text": "a.txt"}], "agent": "main", "message_type": "observation"},
    {"role": "assistant", "content": "Done. submit", "action": "submit", "agent": "main", "message_type": "action"},
]
TRAJECTORY = {
    "environment": "main",
    "trajectory": STEPS,
    "history": HISTORY,
    "replay_config": json.dumps({"agent": {"model": {"name": "gpt-x"}}}),
    "info": {"exit_status": "submitted", "submission": "diff", "model_stats": STATS, "swe_agent_version": "1.1.0"},
}
COUNTED = {
    "runs": 1,
    "turns": 2,
    "messages": 7,
    "calls": 2,
    "errors": 0,
    "in": 900,
    "out": 90,
    "read": 0,
    "write": 0,
    "reasoning": 0,
    "cost": 0.75,
}


def test_a_trajectory_of_text_with_a_demonstration():
    found = imported(TRAJECTORY)
    assert found.format == "swe-agent"
    assert counts(found) == COUNTED
    assert unmapped(found) == {"model calls in sum that are not those of the turns": 1}
    calls = found.tool_calls.df
    assert calls["result"].tolist() == ["a.txt", "diff --git"]
    assert calls["arguments"].tolist() == ["ls -a", "submit"]
    assert calls["latency"].dt.total_seconds().tolist() == [0.25, 0.5]
    run = found.runs.df.iloc[0]
    assert (run["model"], run["status"], run["version"], run["model_call_count"]) == ("gpt-x", "completed", "1.1.0", 3)


def test_a_trajectory_with_tool_calls_of_the_same_ids_again():
    def asks(*ids):
        called = [{"id": found, "type": "function", "function": {"name": "bash", "arguments": "{}"}} for found in ids]
        return {
            "role": "assistant",
            "content": "",
            "thought": "",
            "action": "x",
            "tool_calls": called,
            "message_type": "action",
        }

    def sees(content, *ids):
        return {"role": "tool", "content": content, "tool_call_ids": list(ids), "message_type": "observation"}

    history = [HISTORY[0], HISTORY[3], asks("c"), sees("1", "c"), asks("c", "d"), sees("2", "c", "d"), sees("3", "e")]
    found = imported({**TRAJECTORY, "history": history, "trajectory": STEPS})
    assert counts(found) == {**COUNTED, "calls": 3, "messages": 7}
    assert found.tool_calls.df["result"].tolist() == ["1", "2", "2"]
    assert unmapped(found)["tool result without a call"] == 1


def test_steps_without_a_history_and_a_bad_end():
    info = {
        "exit_status": "exit_cost",
        "model_stats": {
            "total_cost": 1.5,
            "instance_cost": 0.5,
            "tokens_sent": 1,
            "tokens_received": 2,
            "api_calls": 2,
        },
    }
    found = imported({"trajectory": STEPS, "info": info})
    assert counts(found) == {**COUNTED, "messages": 4, "in": 1, "out": 2, "cost": 0.5, "errors": 1}
    assert found.runs[0].error_code == "exit_cost"


def test_attempts_are_runs_and_their_sum_counts_once():
    first = {**TRAJECTORY, "info": {**TRAJECTORY["info"], "model_stats": {**STATS, "instance_cost": 0.25}}}
    whole = {
        **TRAJECTORY,
        "attempts": [first, TRAJECTORY],
        "info": {
            **TRAJECTORY["info"],
            "model_stats": {**STATS, "instance_cost": 1.125},
            "best_attempt_idx": 1,
            "rloop_model_stats": {"instance_cost": 0.125, "tokens_sent": 5, "tokens_received": 1, "api_calls": 1},
        },
    }
    found = imported(whole)
    assert counts(found) == {
        **COUNTED,
        "runs": 3,
        "turns": 4,
        "messages": 14,
        "calls": 4,
        "in": 1805,
        "out": 181,
        "cost": 1.125,
    }
    assert sum(run.parent_run_id is not None for run in found.runs) == 2


# --- mini-swe-agent -------------------------------------------------------------------------------------------


def answered(content, cost, given, out, actions, **more):
    response = {
        "id": "r",
        "model": "gpt-x",
        "choices": [{"finish_reason": "stop"}],
        "usage": {"prompt_tokens": given, "completion_tokens": out},
    }
    return {
        "role": "assistant",
        "content": content,
        **more,
        "extra": {"response": response, "cost": cost, "actions": actions, "timestamp": 1_777_000_000.5},
    }


def observed(content, **more):
    return {
        "content": content,
        "extra": {"raw_output": content, "returncode": 1, "timestamp": 1_777_000_001, "exception_info": None, **more},
    }


def call(call_id):
    return {"id": call_id, "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}


OPENING = [{"role": "system", "content": "You fix."}, {"role": "user", "content": "The issue."}]
EXIT = {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted", "submission": "diff"}}
MINI = {
    "info": {
        "model_stats": {"instance_cost": 0.875, "api_calls": 3},
        "mini_version": "2.1.0",
        "exit_status": "Submitted",
        "submission": "diff",
        "config": {"model": {"model_name": "openai/gpt-x"}},
    },
    "trajectory_format": "mini-swe-agent-1.1",
    "messages": [
        *OPENING,
        answered("", 0.25, 100, 10, [{"command": "ls", "tool_call_id": "c"}], tool_calls=[call("c")]),
        {"role": "tool", "tool_call_id": "c", **observed("a.txt")},
        # What could not be read as an action was charged all the same, and its answer is kept with the complaint.
        {
            "role": "user",
            "content": "No tool calls found.",
            "extra": {
                "interrupt_type": "FormatError",
                "cost": 0.125,
                "response": {"id": "r2", "model": "gpt-x", "usage": {"prompt_tokens": 150, "completion_tokens": 15}},
            },
        },
        answered("", 0.5, 200, 20, [{"command": "x", "tool_call_id": "c"}], tool_calls=[call("c")]),
        {"role": "tool", "tool_call_id": "c", **observed("", exception_info="timed out")},
        EXIT,
    ],
}


def test_mini_with_tool_calls_and_an_answer_that_was_no_action():
    found = imported(MINI)
    assert found.format == "swe-agent"
    assert counts(found) == {
        **COUNTED,
        "turns": 3,
        "messages": 8,
        "calls": 2,
        "errors": 2,
        "in": 450,
        "out": 45,
        "cost": 0.875,
    }
    assert unmapped(found) == {}
    assert found.tool_calls.df["outcome"].astype("string").tolist() == ["success", "error"]
    assert found.turns.df["cost"].tolist() == [0.25, 0.125, 0.5]
    assert found.turns.df["stop_reason"].astype("string").tolist() == ["stop", "error", "stop"]


def test_mini_of_text_only():
    messages = [
        *OPENING,
        answered("```mswea_bash_command\nls\n```", 0.25, 100, 10, [{"command": "ls"}]),
        {"role": "user", **observed("a.txt")},
        {"role": "user", "content": "Exactly one action!", "extra": {"interrupt_type": "FormatError"}},
        answered("```mswea_bash_command\nsubmit\n```", 0.5, 200, 20, [{"command": "submit"}]),
        EXIT,
    ]
    found = imported({**MINI, "messages": messages, "trajectory_format": "mini-swe-agent-9"})
    assert counts(found) == {**COUNTED, "turns": 2, "messages": 7, "calls": 2, "in": 300, "out": 30, "cost": 0.875}
    assert unmapped(found) == {
        "version mini-swe-agent-9, not known here: read as mini-swe-agent-1.1": 1,
        "cost in sum that are not those of the turns": 1,
        "model calls in sum that are not those of the turns": 1,
    }
    assert found.tool_calls.df["result"].fillna("-").tolist() == ["a.txt", "-"]


def test_the_first_mini_whose_actions_stand_in_the_text():
    messages = [
        *OPENING,
        {"role": "assistant", "content": "Look.\n```bash  \n\n  ls\nls -l\n```\nYes."},
        {"role": "user", "content": "<output>a.txt"},
        {"role": "assistant", "content": "no block"},
        {"role": "user", "content": "Please give an action."},
    ]
    found = imported(
        {
            "info": {"model_stats": {"instance_cost": 0.5, "api_calls": 2}, "exit_status": "LimitsExceeded"},
            "messages": messages,
            "trajectory_format": "mini-swe-agent-1",
        }
    )
    assert counts(found) == {
        **COUNTED,
        "turns": 2,
        "messages": 6,
        "calls": 1,
        "in": 0,
        "out": 0,
        "cost": 0.5,
        "errors": 1,
    }
    assert found.runs.df["input_tokens"].isna().all()
    assert found.tool_calls[0].arguments == "  ls\nls -l"


def test_mini_over_the_responses_api():
    answer = {
        "object": "response",
        "id": "resp_1",
        "model": "gpt-x",
        "usage": {"input_tokens": 100, "output_tokens": 10, "input_tokens_details": {"cached_tokens": 30}},
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Look."}]},
            {"type": "function_call", "call_id": "c", "name": "bash", "arguments": '{"command": "ls"}'},
        ],
        "extra": {"cost": 0.875, "actions": [{"command": "ls", "tool_call_id": "c"}]},
    }
    given = {
        "type": "function_call_output",
        "call_id": "c",
        "output": "a.txt",
        "extra": {"raw_output": "a.txt", "exception_info": None},
    }
    found = imported({**MINI, "messages": [*OPENING, answer, given]})
    assert counts(found) == {
        **COUNTED,
        "turns": 1,
        "messages": 4,
        "calls": 1,
        "in": 100,
        "out": 10,
        "read": 30,
        "cost": 0.875,
    }
    assert found.tool_calls.df["result"].tolist() == ["a.txt"]


def test_a_demonstration_of_messages_alone():
    shown = [{key: item for key, item in message.items() if key != "is_demo"} for message in HISTORY]
    found = imported({"history": shown})
    assert found.format == "swe-agent"
    assert counts(found) == {**COUNTED, "turns": 3, "calls": 3, "in": 0, "out": 0, "cost": None}
    assert [call.outcome for call in found.tool_calls] == ["success", "success", None]
