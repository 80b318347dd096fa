"""Any conversation, written in any of the formats, is read with the same counts; and so are spans of what was read."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_agent as ja
from tests.traces import test_claude_code, test_inspect, test_openhands, test_otel
from tests.traces.counted import counts, imported, lines


@dataclass
class Call:
    call_id: str
    name: str
    result: str | None
    fails: bool


@dataclass
class Step:
    """One answer: what is said before it, and what it asks for."""

    asked: list[str]
    text: str
    calls: list[Call] = field(default_factory=list)
    given: int = 0
    out: int = 0
    read: int = 0
    cost: float = 0.0


CALLS = st.builds(
    Call,
    call_id=st.sampled_from(["a", "b", "c"]),  # ids are used again, within an answer too
    name=st.sampled_from(["ls", "cat"]),
    result=st.none() | st.sampled_from(["", "x", "yes"]),
    fails=st.booleans(),
)
STEPS = st.lists(
    st.builds(
        Step,
        asked=st.lists(st.sampled_from(["Go on.", "Why?"]), max_size=2),  # the same words are said again
        text=st.sampled_from(["", "Hm.", "Done."]),
        calls=st.lists(CALLS, max_size=3),
        given=st.integers(10, 1_000),
        out=st.integers(0, 100),
        read=st.integers(0, 10),
        cost=st.integers(0, 8).map(lambda eighths: eighths / 8),
    ),
    min_size=1,
    max_size=6,
)


def expected(steps):
    calls = [call for step in steps for call in step.calls]
    answered = [call for call in calls if call.result is not None]
    return {
        "runs": 1,
        "turns": len(steps),
        "messages": 1 + sum(len(step.asked) for step in steps) + len(steps) + len(answered),
        "calls": len(calls),
        "errors": sum(call.fails for call in answered),
        "in": sum(step.given for step in steps),
        "out": sum(step.out for step in steps),
        "read": sum(step.read for step in steps),
        "write": 0,
        "reasoning": 0,
        "cost": sum(step.cost for step in steps),
    }


# --- writers --------------------------------------------------------------------------------------------------


def as_openai(steps):
    talk = [{"role": "user", "content": "Go."}]
    for step in steps:
        talk += [{"role": "user", "content": said} for said in step.asked]
        usage = {
            "prompt_tokens": step.given,
            "completion_tokens": step.out,
            "prompt_tokens_details": {"cached_tokens": step.read},
        }
        called = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": "{}"}}
            for call in step.calls
        ]
        talk.append(
            {"role": "assistant", "content": step.text, "tool_calls": called, "usage": usage, "cost": step.cost}
        )
        talk += [
            {"role": "tool", "tool_call_id": call.call_id, "content": call.result, "is_error": call.fails}
            for call in step.calls
            if call.result is not None
        ]
    return talk


def as_claude(steps):
    written = [{"type": "user", "uuid": "0", "sessionId": "s", "message": {"role": "user", "content": "Go."}}]

    def add(kind, message, **more):
        written.append({"type": kind, "uuid": str(len(written)), "sessionId": "s", "message": message, **more})

    for index, step in enumerate(steps):
        for said in step.asked:
            add("user", {"role": "user", "content": said})
        usage = test_claude_code.usage(step.given - step.read, step.out, step.read)
        # Ids of calls are used again by other agents only: Anthropic's are unique.
        blocks = [{"type": "text", "text": step.text}]
        blocks += [
            {"type": "tool_use", "id": f"{index}-{at}", "name": call.name, "input": {}}
            for at, call in enumerate(step.calls)
        ]
        for block in blocks:
            add("assistant", test_claude_code.answer(f"m{index}", block, usage), costUSD=step.cost)
        for at, call in enumerate(step.calls):
            if call.result is not None:
                add("user", test_claude_code.tool_result(f"{index}-{at}", call.result, is_error=call.fails))
    return lines(*written)


def as_inspect(steps):
    messages, events = [{"id": "u", "role": "user", "content": "Go."}], []
    for index, step in enumerate(steps):
        messages += [{"role": "user", "content": said} for said in step.asked]
        called = [
            {"id": call.call_id, "function": call.name, "arguments": {}, "type": "function"} for call in step.calls
        ]
        answer = {
            "id": f"m{index}",
            "role": "assistant",
            "source": "generate",
            "content": step.text,
            "tool_calls": called,
        }
        messages.append(answer)
        usage = test_inspect.usage(step.given - step.read, step.out, step.read, total_cost=step.cost)
        events.append(test_inspect.model_event(answer, usage, index))
        for call in step.calls:
            error = {"type": "unknown", "message": "No."} if call.fails else None
            if call.result is not None:
                events.append(test_inspect.tool_event(call.call_id, call.name, call.result, index, error=error))
                messages.append(
                    {
                        "role": "tool",
                        "tool_call_id": call.call_id,
                        "function": call.name,
                        "content": call.result,
                        "error": error,
                    }
                )
    sums = [item["output"]["usage"] for item in events if item["event"] == "model"]
    whole = {key: sum(item[key] or 0 for item in sums) for key in sums[0]}
    sample = {"id": 1, "epoch": 1, "messages": messages, "events": events, "model_usage": {"m": whole}}
    return {**test_inspect.HEADER, "samples": [sample]}


def as_openhands(steps):
    events = [test_openhands.act(0, "message", {"content": "Go."}, "user")]
    cost = given = out = read = 0
    for index, step in enumerate(steps):
        events += [
            test_openhands.act(len(events) + at, "message", {"content": said}, "user")
            for at, said in enumerate(step.asked)
        ]
        cost, given, out, read = cost + step.cost, given + step.given, out + step.out, read + step.read
        grown = test_openhands.grown(cost, given, out, read)
        names = [call.call_id for call in step.calls]
        if not step.calls:
            events.append(test_openhands.act(len(events), "message", {"content": step.text}, llm_metrics=grown))
        causes = []
        for call in step.calls:
            asked = test_openhands.asked(call.call_id, f"r{index}", step.given, step.out, *names, read=step.read)
            causes.append(len(events))
            events.append(
                test_openhands.act(len(events), "run", {"command": "ls"}, tool_call_metadata=asked, llm_metrics=grown)
            )
        for call, cause in zip(step.calls, causes, strict=True):
            if call.result is not None:
                kind = "error" if call.fails else "run"
                events.append(test_openhands.observe(len(events), kind, call.result, cause))
    return events


def as_mini(steps):
    messages = [{"role": "user", "content": "Go."}]
    for message in as_openai(steps)[1:]:
        if message["role"] == "assistant":
            usage, cost = message.pop("usage"), message.pop("cost")
            actions = [{"command": "ls", "tool_call_id": call["id"]} for call in message["tool_calls"]]
            messages.append({**message, "extra": {"cost": cost, "response": {"usage": usage}, "actions": actions}})
        elif message["role"] == "tool":
            fault = "timed out" if message.pop("is_error") else None
            messages.append({**message, "extra": {"raw_output": message["content"], "exception_info": fault}})
        else:
            messages.append(message)
    stats = {"instance_cost": sum(step.cost for step in steps), "api_calls": len(steps)}
    info = {"model_stats": stats, "exit_status": "Submitted", "mini_version": "2"}
    return {"info": info, "messages": messages, "trajectory_format": "mini-swe-agent-1.1"}


def as_otel(steps):
    """With ids of calls that are used again, and the whole history told by every request."""
    spans, history = [], [test_otel.says("user", test_otel.text("Go."))]
    for index, step in enumerate(steps):
        history += [test_otel.says("user", test_otel.text(said)) for said in step.asked]
        parts = [test_otel.text(step.text)] + [test_otel.asks(call.call_id, call.name) for call in step.calls]
        answer = test_otel.says("assistant", *parts, finish_reason="stop")
        usage = {
            "gen_ai.usage.cache_read.input_tokens": step.read,
            "gen_ai.usage.cost": step.cost,
            "gen_ai.system_instructions": [],
        }
        spans.append(test_otel.chat(f"c{index}", 10 * index, list(history), [answer], step.given, step.out, **usage))
        history.append(answer)
        for at, call in enumerate(step.calls):
            if call.result is not None:
                history.append(test_otel.says("tool", test_otel.gives(call.call_id, call.result)))
                status = {"code": 2, "message": "No."} if call.fails else None
                spans.append(
                    test_otel.tool(f"t{index}-{at}", 10 * index + 1 + at, call.call_id, call.result, status=status)
                )
    # What was said last nobody was asked about: a last request tells it, and gets no answer.
    last = test_otel.chat("last", 10 * len(steps), history, [], 0, 0, **{"gen_ai.system_instructions": []})
    return test_otel.otlp(*spans, last)


WRITERS = {
    "openai": as_openai,
    "claude-code": as_claude,
    "inspect": as_inspect,
    "openhands": as_openhands,
    "mini": as_mini,
}


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_every_format_is_read_with_the_counts_that_were_written(name, steps):
    found = imported(WRITERS[name](steps))
    assert counts(found) == expected(steps)
    calls = [call for step in steps for call in step.calls]
    assert [call.outcome is not None for call in found.tool_calls] == [
        call.result is not None for call in calls
    ] or any(
        # An id that is there twice in an answer, with one result: it is put to the first.
        len({call.call_id for call in step.calls}) < len(step.calls)
        for step in steps
    )
    assert len({call.tool_call_id for call in found.tool_calls}) == len(calls)


@settings(max_examples=50, deadline=None)
@given(steps=STEPS)
def test_spans_that_tell_all_history_are_read_with_the_counts_that_were_written(steps):
    found = imported(as_otel(steps))
    assert counts(found) == {**expected(steps), "turns": len(steps) + 1}


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=15, deadline=None)
@given(steps=STEPS)
def test_spans_of_an_import_are_read_with_the_same_counts(name, steps):
    found = imported(WRITERS[name](steps))
    with tempfile.TemporaryDirectory() as folder:
        again = ja.import_traces(found.export(Path(folder, "spans.json")))
    assert counts(again) == counts(found)
    assert [call.tool_call_id for call in again.tool_calls] == [call.tool_call_id for call in found.tool_calls]
    assert [call.outcome for call in again.tool_calls] == [call.outcome for call in found.tool_calls]


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=4))
def test_several_runs_in_a_file_add_up(steps):
    found = imported(lines(*({"messages": as_openai(run)} for run in steps)))
    each = [expected(run) for run in steps]
    assert counts(found) == {key: sum(item[key] for item in each) for key in each[0]}
    assert [run.tool_call_count for run in found.runs] == [item["calls"] for item in each]
