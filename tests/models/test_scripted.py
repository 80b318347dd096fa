"""The scripted model plays what its script says, and refuses what it cannot play."""

import asyncio
import contextlib
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.exceptions import (
    InvalidModelRequest,
    InvalidRequest,
    ModelError,
    ModelRateLimited,
    ModelUnavailable,
    StreamCut,
)
from jupyter_agent.models import ModelCatalog, TextPiece, UsageSoFar
from jupyter_agent.models.script import Script, failures, parse_script
from jupyter_agent.models.scripted import ScriptedModel
from tests.models.collected import answer_of, collect, finished, request, results, thinking_of

YAML = """
delay_s: 0
turns:
  - thinking: I think.
    text: I look.
    calls:
      - name: read_file
        arguments: {path: data.csv}
      - name: list_files
        arguments: '{"path": ".",}'
        provider_id: own_1
  - text: "It says: {result}"
    usage: {input_tokens: 100, cache_read_tokens: 64, output_tokens: 7, cost: 0.5}
"""


async def test_yaml_json_and_python_play_alike():
    parsed = parse_script(YAML)
    for source in (msgspec.json.encode(parsed).decode(), msgspec.to_builtins(parsed), YAML.encode()):
        assert parse_script(source) == parsed


async def test_a_turn_plays_thinking_text_and_parallel_calls():
    model = ModelCatalog().get("scripted", script=YAML)
    pieces = await collect(model, request("go"))
    answer = answer_of(pieces)
    assert thinking_of(pieces) == "I think."
    assert answer.text == "I look."
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("read_file", '{"path":"data.csv"}'),
        ("list_files", '{"path": ".",}'),
    ]
    assert finished(pieces).stop_reason == "tool_calls"


async def test_the_turn_of_the_request_is_played_so_that_a_run_resumes():
    asked = request("go")
    answer = answer_of(await collect(ScriptedModel(YAML), asked))
    fresh = ScriptedModel(YAML)
    later = request(*asked.messages, answer, results(answer, "42 rows"), turn=1)
    pieces = await collect(fresh, later)
    assert answer_of(pieces).text == "It says: 42 rows"
    usage = finished(pieces).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.cost) == (100, 64, 7, 0.5)


async def test_the_result_fills_arguments_too():
    script = [{"calls": [{"name": "a"}]}, {"calls": [{"name": "b", "arguments": {"x": ["<{result}>"], "n": 1}}]}]
    model = ScriptedModel(script)
    answer = answer_of(await collect(model, request("go")))
    later = answer_of(await collect(model, request("go", answer, results(answer, 'a "quote"'), turn=1)))
    assert msgspec.json.decode(later.tool_calls[0].arguments) == {"x": ['<a "quote">'], "n": 1}


async def test_past_the_end_says_so():
    with pytest.raises(InvalidModelRequest, match="2 turns"):
        await collect(ScriptedModel(YAML), request("go", turn=2))


async def test_pieces_are_as_long_as_asked():
    pieces = await collect(ScriptedModel([{"text": "abcdefg", "chunk": 3}]), request("go"))
    assert [piece.content for piece in pieces if isinstance(piece, TextPiece)] == ["abc", "def", "g"]


async def test_duration_spreads_the_turn():
    model = ScriptedModel([{"text": "a b c d", "calls": [{"name": "x", "arguments": {"k": "v"}}], "duration_s": 0.3}])
    began = time.monotonic()
    await collect(model, request("go"))
    assert 0.25 < time.monotonic() - began < 5


async def test_what_one_piece_is_late_the_next_are_not(monkeypatch):
    now = 0.0

    async def ring_late(seconds: float) -> None:
        nonlocal now
        now += max(0.0, seconds) + 0.01

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", ring_late)
    await collect(ScriptedModel([{"text": "word " * 100, "delay_s": 0.1}]), request("go"))
    assert 10.0 < now < 10.1


async def test_waits_before_the_first_piece():
    began = time.monotonic()
    await collect(ScriptedModel([{"text": "a", "wait_s": 0.2}]), request("go"))
    assert time.monotonic() - began > 0.19


@pytest.mark.parametrize("code", sorted(failures()))
async def test_every_failure_can_be_played(code):
    model = ScriptedModel([{"text": "x", "fail": {"code": code, "message": "Because."}}])
    with pytest.raises(ModelError, match="Because") as caught:
        await collect(model, request("go"))
    assert caught.value.code == code


@pytest.mark.parametrize(("at", "said"), [("start", ""), ("thinking", "t"), ("text", "tx"), ("calls", "tx")])
async def test_a_failure_comes_at_its_place(at, said):
    turn = {"thinking": "t", "text": "x", "calls": [{"name": "f"}], "fail": {"code": "stream_cut", "at": at}}
    pieces = []
    stream = ScriptedModel([turn]).stream(request("go"))
    with contextlib.suppress(StopAsyncIteration), pytest.raises(StreamCut):  # noqa: PT012 - what came before counts
        while True:
            pieces.append(await anext(stream))
    assert "".join(getattr(piece, "content", "") for piece in pieces) == said
    assert any(type(piece).__name__ == "CallEnded" for piece in pieces) == (at == "calls")


async def test_a_failure_may_pass_after_some_attempts_of_the_run():
    turn = {"text": "x", "fail": {"code": "model_rate_limited", "times": 2, "retry_after_s": 1.5}}
    model = ScriptedModel([turn])
    for _ in range(2):
        with pytest.raises(ModelRateLimited) as caught:
            await collect(model, request("go", run_id="r"))
        assert caught.value.retry_after_s == 1.5
    await collect(model, request("go", run_id="r"))
    with pytest.raises(ModelRateLimited):
        await collect(model, request("go", run_id="other"))


async def test_usage_is_estimated_given_or_unmeasured():
    estimated = finished(await collect(ScriptedModel(["word " * 40]), request("go"))).usage
    assert estimated.output_tokens == 50
    unmeasured = finished(await collect(ScriptedModel([{"text": "x", "usage": None}]), request("go"))).usage
    assert (unmeasured.requests, unmeasured.unmeasured_requests, unmeasured.total_tokens) == (1, 1, 0)
    assert not any(isinstance(p, UsageSoFar) for p in await collect(ScriptedModel(["x"]), request("go")))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "missing"),
        (7, "int"),
        ([], "length >= 1"),
        ({}, "turns"),
        ({"turns": [{"text": "a"}, {"txet": "b"}]}, "turn 1: Object contains unknown field `txet`"),
        ([{"text": 5}], "turn 0, field `text`"),
        ([{"calls": [{"name": "a"}, {"nmae": "b"}]}], "turn 0, field `calls[1]`"),
        ([{"calls": [{"name": "a", "arguments": 3}]}], "turn 0, field `calls[0].arguments`"),
        ([{"calls": [{"name": "a", "arguments": {"x": object()}}]}], "turn 0, field `calls[0].arguments`"),
        (["a", {"fail": {"code": "boom"}}], "turn 1, field `fail.code`: there is no model error 'boom'"),
        (["a", {"fail": {"code": "stream_cut", "at": "lunch"}}], "turn 1, field `fail.at`"),
        ([{"delay_s": -1}], "turn 0, field `delay_s`"),
        ([{"delay_s": 1, "duration_s": 1}], "turn 0 has both"),
        ([{"stop_reason": "bored"}], "turn 0, field `stop_reason`"),
        ("turns: [", "neither YAML nor JSON"),
        ("turns: !!python/object:os.system [x]", "neither YAML nor JSON"),
        ("a: &x [1]\nb: *x", "alias"),
        ("[" * 100_000, "nested too deeply"),
        ("x" * 300_000, "limit for YAML"),
    ],
)
def test_a_wrong_script_names_turn_and_field(script, says):
    with pytest.raises(InvalidRequest) as caught:
        ModelCatalog().get("scripted", script=script) if script is not None else parse_script(script)
    assert says in caught.value.message
    assert len(caught.value.message) < 2_000
    assert caught.value.details["fields"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_plain_data_is_a_script_or_an_invalid_request(data):
    try:
        script = parse_script(data)
    except InvalidRequest:
        return
    assert isinstance(script, Script)


async def test_a_server_fault_is_retryable_as_a_real_one():
    with pytest.raises(ModelUnavailable) as caught:
        await collect(ScriptedModel([{"fail": {"code": "model_unavailable"}}]), request("go"))
    assert caught.value.retryable
