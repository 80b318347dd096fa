"""Message lists: every message, call and error once, whatever the dialect."""

import time

import pandas as pd
import pytest

from tests.traces.counted import counts, imported, lines, unmapped


def call(name, call_id, arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


TALK = [
    {"role": "system", "content": "You help."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look at"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [call("ls", "call_1"), call("cat", "call_1", '{"a": 1}')]},
    {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"},
    {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
    },
    {"role": "assistant", "content": "Again.", "tool_calls": [call("ls", "call_1")], "reasoning_content": "Hm."},
    {"role": "tool", "tool_call_id": "call_1", "content": "no such folder", "is_error": True},
    {"role": "tool", "tool_call_id": "call_9", "content": "of nobody"},
    {"role": "assistant", "content": "Once more.", "tool_calls": [call("ls", "call_2")]},
    {"role": "critic", "content": "?"},
]
COUNTED = {
    "runs": 1,
    "turns": 3,
    "messages": 9,
    "calls": 4,
    "errors": 1,
    "in": 0,
    "out": 0,
    "read": 0,
    "write": 0,
    "reasoning": 0,
    "cost": None,
}


def test_a_bare_list_with_reused_ids_results_of_nobody_and_calls_without_results():
    found = imported(TALK)
    assert found.format == "openai"
    assert counts(found) == COUNTED
    assert unmapped(found) == {"tool result without a call": 1, "message of role critic": 1}
    calls = found.tool_calls.df
    assert calls["foreign_tool_call_id"].tolist() == ["call_1", "call_1", "call_1", "call_2"]
    assert calls["tool_call_id"].is_unique
    assert calls["result"].fillna("-").tolist() == ["a.txt", "one\ntwo", "no such folder", "-"]
    assert calls["outcome"].astype("string").fillna("-").tolist() == ["success", "success", "error", "-"]
    assert calls[["turn", "position"]].values.tolist() == [[0, 0], [0, 1], [1, 0], [2, 0]]
    assert calls["arguments"].tolist() == ["{}", '{"a": 1}', "{}", "{}"]
    messages = found.messages.df
    assert messages["role"].tolist() == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert messages["images"].sum() == 1
    assert messages["thinking"].tolist()[5] == "Hm."
    assert found.turns.df["input_tokens"].isna().all(), "Nobody reported tokens: they are unknown, not zero."
    assert found.turns.df["unmeasured_requests"].sum() == 3


def test_the_same_list_in_every_wrapping():
    for value in (
        {"messages": TALK},
        {"request": {"messages": TALK}},
        [{"messages": TALK}],
        [TALK],
        lines({"messages": TALK}, {"id": "b", "messages": TALK[:1]})[:-1],
        lines(*TALK),
    ):
        found = imported(value)
        expected = COUNTED if len(found.runs) == 1 else {**COUNTED, "runs": 2, "messages": 10}
        assert counts(found) == expected


def test_legacy_function_calls_are_put_together_by_name():
    found = imported(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"in": "Ulm"}'}},
            {"role": "function", "name": "weather", "content": "rain"},
            {"role": "function", "name": "weather", "content": "rain again"},
            {"role": "assistant", "content": "Rain."},
        ]
    )
    assert counts(found) == {**COUNTED, "turns": 2, "messages": 5, "calls": 1, "errors": 0}
    assert found.tool_calls.df.loc[0, "result"] == "rain"
    assert unmapped(found) == {"second result of a tool call": 1}


def test_usage_of_answers_and_of_responses_with_cached_tokens_inside_and_outside():
    openai = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    anthropic = {
        "input_tokens": 40,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 7,
        "output_tokens": 9,
    }
    found = imported(
        lines(
            {
                "id": "one",
                "messages": [{"role": "user", "content": "a"}],
                "model": "gpt-x",
                "response": {
                    "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "b"}}],
                    "usage": openai,
                },
                "cost": 0.25,
            },
            {
                "id": "two",
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "usage": anthropic, "cost": 0.5},
                ],
            },
        )
    )
    assert counts(found) == {
        "runs": 2,
        "turns": 2,
        "messages": 4,
        "calls": 0,
        "errors": 0,
        "in": 207,
        "out": 29,
        "read": 120,
        "write": 7,
        "reasoning": 5,
        "cost": 0.75,
    }
    runs = found.runs.df
    assert runs["foreign_run_id"].tolist() == ["one", "two"]
    assert found.turns.df["stop_reason"].astype("string").tolist()[0] == "stop"
    assert runs["total_tokens"].tolist() == [120, 116]


def test_items_of_the_responses_api():
    found = imported(
        {
            "model": "gpt-x",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Go."}]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Think."}]},
                {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "ls", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c2", "output": "2"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "Done."}]},
            ],
        }
    )
    assert counts(found) == {**COUNTED, "turns": 2, "messages": 5, "calls": 2, "errors": 0}
    assert found.tool_calls.df["result"].tolist() == ["1", "2"]


def test_anthropic_blocks_in_messages():
    found = imported(
        [
            {"role": "user", "content": "Go."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "ls", "input": {"path": "."}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "denied"}],
                    }
                ],
            },
        ]
    )
    assert counts(found) == {**COUNTED, "turns": 1, "messages": 3, "calls": 1, "errors": 1}
    assert found.messages.df["role"].tolist() == ["user", "assistant", "tool"]
    assert found.tool_calls.df.loc[0, "error"] == "denied"


def test_more_than_a_thousand_calls_of_a_hundred_ids():
    talk = [{"role": "user", "content": "Go."}]
    for number in range(1164):
        call_id = f"functions.bash:{number % 134}"
        talk.append({"role": "assistant", "content": "", "tool_calls": [call("bash", call_id)]})
        talk.append({"role": "tool", "tool_call_id": call_id, "content": str(number)})
    found = imported(talk)
    calls = found.tool_calls.df
    assert len(calls) == 1164
    assert calls["foreign_tool_call_id"].nunique() == 134
    assert calls["tool_call_id"].is_unique
    assert calls["result"].tolist() == [str(number) for number in range(1164)]


def test_ids_are_the_same_each_time_and_others_for_other_files():
    one, again, other = imported(TALK), imported(TALK), imported(TALK[:4])
    assert one.runs[0].run_id == again.runs[0].run_id != other.runs[0].run_id
    pd.testing.assert_frame_equal(one.tool_calls.df, again.tool_calls.df)


@pytest.mark.parametrize(("call_id", "name"), [("", ""), ("same", "named")])
def test_very_many_results_of_one_turn_each_find_their_call(call_id, name):
    """Looked for among all that wait, these take a minute, and those without an id were not found at all."""
    many = 20_000
    called = [{"id": call_id, "function": {"name": f"f{number}", "arguments": "{}"}} for number in range(many)]
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": str(number), **({"name": f"f{number}"} if name else {})}
        for number in range(many)
    ]
    began = time.perf_counter()
    found = imported([{"role": "assistant", "tool_calls": called}, *(reversed(results) if name else results)])
    assert time.perf_counter() - began < 30
    assert [call.result for call in found.tool_calls] == [str(number) for number in range(many)]
    assert unmapped(found) == {}
