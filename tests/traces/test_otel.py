"""Spans: leaves only, every message once although each request tells all before it again."""

import json

from tests.traces.counted import counts, imported, lines, unmapped


def value(said):
    if isinstance(said, bool):
        return {"boolValue": said}
    if isinstance(said, int):
        return {"intValue": str(said)}
    if isinstance(said, float):
        return {"doubleValue": said}
    return {"stringValue": said if isinstance(said, str) else json.dumps(said)}


def structured(said):
    """Attributes as newer SDKs may write them: not as JSON in a text."""
    if isinstance(said, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": structured(item)} for key, item in said.items()]}}
    return {"arrayValue": {"values": [structured(item) for item in said]}} if isinstance(said, list) else value(said)


def span(span_id, name, at, attributes, parent="", status=None, events=(), trace="t1"):
    listed = [{"key": key, "value": value(said)} for key, said in attributes.items()]
    told = [
        {"name": event, "attributes": [{"key": key, "value": value(said)} for key, said in more.items()]}
        for event, more in events
    ]
    return {
        "traceId": trace,
        "spanId": span_id,
        "parentSpanId": parent,
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(1_777_000_000_000_000_000 + at * 10**9),
        "endTimeUnixNano": str(1_777_000_000_500_000_000 + at * 10**9),
        "attributes": listed,
        "events": told,
        **({"status": status} if status else {}),
    }


def otlp(*spans):
    return {
        "resourceSpans": [
            {"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}
        ]
    }


def says(role, *parts, **more):
    return {"role": role, "parts": list(parts), **more}


def text(said):
    return {"type": "text", "content": said}


def asks(call_id, name="ls", arguments=None):
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments or {"path": "."}}


def gives(call_id, response):
    return {"type": "tool_call_response", "id": call_id, "response": response}


GO, MORE = says("user", text("Go.")), says("user", text("Go on."))
FIRST = says("assistant", asks("c1"), asks("c2"), finish_reason="tool_call")
RESULTS = [says("tool", gives("c1", "a.txt")), says("tool", gives("c2", "denied"))]
SECOND = says("assistant", text("Two files."), finish_reason="stop")
THIRD = says("assistant", asks("c1"), finish_reason="tool_call")


def chat(span_id, at, asked, answered, given, out, parent="agent", **more):
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.conversation.id": "talk",
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": out,
        "gen_ai.system_instructions": [text("You help.")],
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": answered,
        **more,
    }
    return span(span_id, "chat gpt-x", at, said, parent)


def tool(span_id, at, call_id, result, parent="agent", status=None):
    return span(
        span_id,
        "execute_tool ls",
        at,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "ls",
            "gen_ai.tool.call.id": call_id,
            "gen_ai.tool.call.result": result,
        },
        parent,
        status,
    )


AGENT = span(
    "agent",
    "invoke_agent helper",
    0,
    {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "helper",
        "gen_ai.usage.input_tokens": 600,
        "gen_ai.usage.output_tokens": 60,
    },
)
TRACE = [
    # Children end, and are exported, before their parents.
    chat("s1", 1, [GO], [FIRST], 100, 10, **{"gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cost": 0.125}),
    tool("s2", 2, "c1", "a.txt"),
    tool("s3", 3, "c2", "denied", status={"code": 2, "message": "PermissionError"}),
    chat("s4", 4, [GO, FIRST, *RESULTS], [SECOND], 200, 20, **{"gen_ai.usage.cost": 0.25}),
    # The same words again are another message, the same call id again is another call.
    chat("s5", 5, [GO, FIRST, *RESULTS, SECOND, MORE], [THIRD], 300, 30),
    tool("s6", 6, "c1", "b.txt"),
    span("s0", "request", 0, {"http.method": "POST"}),
    AGENT,
]
COUNTED = {
    "runs": 1,
    "turns": 3,
    "messages": 8,
    "calls": 3,
    "errors": 1,
    "in": 600,
    "out": 60,
    "read": 40,
    "write": 0,
    "reasoning": 0,
    "cost": 0.375,
}


def test_a_trace_whose_agent_repeats_its_childrens_sums():
    found = imported(otlp(*TRACE))
    assert found.format == "otel"
    assert counts(found) == COUNTED
    assert unmapped(found) == {"span: request": 1}
    calls = found.tool_calls.df
    assert calls["foreign_tool_call_id"].tolist() == ["c1", "c2", "c1"]
    assert calls["result"].tolist() == ["a.txt", "denied", "b.txt"]
    assert calls["outcome"].astype("string").tolist() == ["success", "error", "success"]
    assert calls["turn"].tolist() == [0, 0, 2]
    assert calls["latency"].dt.total_seconds().tolist() == [0.5] * 3
    run = found.runs.df.iloc[0]
    assert (run["agent"], run["foreign_run_id"], run["foreign_thread_id"]) == ("helper", "t1", "talk")
    assert found.messages.df["role"].tolist() == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]


def test_messages_that_are_structured_or_lists_of_json():
    for write in (structured, lambda said: {"arrayValue": {"values": [value(item) for item in said]}}):
        trace = json.loads(json.dumps(TRACE))
        for item in trace:
            for attribute in item["attributes"]:
                if attribute["key"].endswith(".messages"):
                    attribute["value"] = write(json.loads(attribute["value"]["stringValue"]))
        assert counts(imported(otlp(*trace))) == COUNTED


def test_lines_of_it_in_any_order_and_spans_that_come_twice():
    found = imported(lines(*(otlp(item) for item in reversed(TRACE)), otlp(TRACE[0])))
    assert counts(found) == COUNTED
    assert unmapped(found) == {"span: request": 1, "span that is there twice": 1}


def test_a_model_call_around_a_model_call_counts_once():
    outer = chat("outer", 1, [GO], [SECOND], 100, 10)
    inner = chat("inner", 1, [GO], [SECOND], 100, 10, parent="outer")
    found = imported(otlp(outer, inner, AGENT))
    assert counts(found) | {"cost": 0} == {
        **COUNTED,
        "turns": 1,
        "messages": 3,
        "calls": 0,
        "errors": 0,
        "in": 100,
        "out": 10,
        "read": 0,
        "cost": 0,
    }
    assert unmapped(found)["model call's span around another one"] == 1
    assert unmapped(found)["input tokens in sum that are not those of the turns"] == 1


def test_an_agent_whose_calls_were_not_recorded_counts_itself():
    found = imported(otlp(AGENT))
    assert counts(found) == {**COUNTED, "turns": 0, "messages": 0, "calls": 0, "errors": 0, "read": 0, "cost": None}


def test_agents_within_a_trace_have_conversations_of_their_own():
    inner = span(
        "inner", "invoke_agent sub", 2, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "sub"}, "agent"
    )
    found = imported(
        otlp(chat("a", 1, [GO], [SECOND], 1, 1), chat("b", 3, [GO], [SECOND], 1, 1, parent="inner"), inner, AGENT)
    )
    assert counts(found)["messages"] == 6
    assert found.runs[0].agent == "helper"


def test_older_names_and_places_of_messages():
    old = {
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-3",
        "gen_ai.usage.prompt_tokens": 7,
        "gen_ai.usage.completion_tokens": 3,
    }
    indexed = {
        **old,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "Go.",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.tool_calls.0.id": "c1",
        "gen_ai.completion.0.tool_calls.0.name": "ls",
        "gen_ai.completion.0.tool_calls.0.arguments": "{}",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "llm.usage.total_tokens": 10,
    }
    contents = [
        ("gen_ai.content.prompt", {"gen_ai.prompt": [{"role": "user", "content": "Go."}]}),
        ("gen_ai.content.completion", {"gen_ai.completion": [{"role": "assistant", "content": "Gone."}]}),
    ]
    choices = [
        ("gen_ai.user.message", {"content": "Go."}),
        ("gen_ai.tool.message", {"id": "c0", "content": "x"}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "Gone."}}),
    ]
    found = imported(
        otlp(
            span("a", "openai.chat", 1, indexed, trace="a"),
            span("b", "chat", 1, old, events=contents, trace="b"),
            span("c", "chat", 1, old, events=choices, trace="c"),
        )
    )
    assert counts(found) == {
        "runs": 3,
        "turns": 3,
        "messages": 7,
        "calls": 1,
        "errors": 0,
        "in": 21,
        "out": 9,
        "read": 0,
        "write": 0,
        "reasoning": 0,
        "cost": None,
    }
    assert found.turns.df["stop_reason"].astype("string").fillna("-").tolist() == ["tool_calls", "-", "stop"]
    assert unmapped(found) == {"tool result without a call": 1}


def test_failed_calls_cached_tokens_beside_the_input_and_snake_case():
    failed = span(
        "f",
        "chat",
        2,
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "error.type": "timeout"},
        status={"code": "STATUS_CODE_ERROR", "message": "timed out"},
    )
    beside = chat(
        "g",
        1,
        [GO],
        [SECOND],
        5,
        10,
        parent="",
        **{"gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_creation.input_tokens": 3},
    )
    batch = {"resource_spans": [{"scope_spans": [{"spans": [failed, beside]}]}]}
    found = imported(batch)
    assert counts(found) == {
        **COUNTED,
        "turns": 2,
        "messages": 3,
        "calls": 0,
        "in": 48,
        "out": 10,
        "read": 40,
        "write": 3,
        "cost": None,
    }
    assert found.turns[1].error == "timed out"
    assert found.turns.df["input_tokens"].isna().tolist() == [False, True]


def test_spans_of_the_console_exporter():
    printed = {
        "name": "chat",
        "context": {"trace_id": "0x1", "span_id": "0x2"},
        "parent_id": None,
        "start_time": "2026-05-04T12:00:00.000000Z",
        "end_time": "2026-05-04T12:00:01.000000Z",
        "status": {"status_code": "UNSET"},
        "events": [],
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 4,
            "gen_ai.usage.output_tokens": 2,
        },
    }
    found = imported(printed)
    assert (counts(found)["turns"], counts(found)["in"], counts(found)["out"]) == (1, 4, 2)
    assert unmapped(found) == {"model call whose messages were not recorded": 1}


# --- OpenInference --------------------------------------------------------------------------------------------

ASKED = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "You help.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "Go.",
}
SAID = {
    "message.role": "assistant",
    "message.tool_calls.0.tool_call.id": "c1",
    "message.tool_calls.0.tool_call.function.name": "ls",
    "message.tool_calls.0.tool_call.function.arguments": '{"path": "."}',
}
RESULT = {"message.role": "tool", "message.tool_call_id": "c1", "message.content": "a.txt"}


def numbered(which, index, fields):
    return {f"llm.{which}_messages.{index}.{name}": item for name, item in fields.items()}


def test_spans_of_openinference():
    tokens = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m-1",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 10,
        "llm.token_count.total": 110,
        "llm.token_count.prompt_details.cache_read": 40,
        "llm.token_count.completion_details.reasoning": 4,
        "llm.cost.total": 0.25,
        "session.id": "talk",
    }
    done = {"message.role": "assistant", "message.content": "Done."}
    again = {**ASKED, **numbered("input", 2, SAID), **numbered("input", 3, RESULT), **numbered("output", 0, done)}
    ran = {"openinference.span.kind": "TOOL", "tool.name": "ls", "tool.id": "c1", "output.value": "a.txt"}
    found = imported(
        otlp(
            span("a", "agent", 0, {"openinference.span.kind": "AGENT", "agent.name": "finder"}),
            span("r", "chain", 0, {"openinference.span.kind": "CHAIN"}, "a"),
            span("s1", "llm", 1, {**tokens, **ASKED, **numbered("output", 0, SAID)}, "r"),
            span("t", "ls", 2, ran, "r", {"code": 2, "message": "No."}),
            span("s2", "llm", 3, {**tokens, **again}, "r"),
        )
    )
    assert counts(found) == {
        **COUNTED, "turns": 2, "messages": 5, "calls": 1, "errors": 1, "in": 200, "out": 20, "read": 80, "write": 0,
        "reasoning": 8, "cost": 0.5,
    }  # fmt: skip
    assert unmapped(found) == {"span: chain": 1}
    run, call = found.runs.df.iloc[0], found.tool_calls[0]
    assert (run["agent"], run["model"], run["foreign_thread_id"]) == ("finder", "m-1", "talk")
    assert (call.name, call.arguments, call.error) == ("ls", '{"path": "."}', "No.")


def test_names_of_the_conventions_are_believed_before_those_of_openinference():
    both = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 1, "gen_ai.usage.input_tokens": 7}
    assert counts(imported(otlp(span("s", "llm", 1, both))))["in"] == 7
