"""Models of providers against a server on loopback: usage in every shape, cut streams, nonsense, errors, cancelling."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from jupyter_agent.exceptions import (
    BadCredentials,
    ContextOverflow,
    InvalidModelAnswer,
    InvalidModelRequest,
    ModelError,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    QuotaExhausted,
    StreamCut,
)
from jupyter_agent.models import Finished, Model, ModelCatalog, TextPiece, UsageSoFar
from jupyter_agent.records import Image, Message, Thinking, ToolCall, Usage
from tests.models import provider_server as wire
from tests.models.collected import answer_of, collect, finished, request, results, thinking_of, user
from tests.models.folder import TOOLS
from tests.models.provider_server import ProviderServer, Reply

CANARY = "sk-canary-0123456789abcdef"
KINDS = ("openai-chat", "openai-responses", "anthropic", "google")
SHAPES = {
    "openai-chat": wire.openai_chat,
    "openai-responses": wire.openai_responses,
    "anthropic": wire.anthropic,
    "google": wire.google,
}
NAMES = {
    "openai-chat": "some-model", "openai-responses": "gpt-6-luna", "anthropic": "claude-sonnet-5-5",
    "google": "gemini-4-argon",
}  # fmt: skip
CALLS = [("read_file", '{"path":"a.csv"}'), ("list_files", '{"pattern":"*.csv"}')]
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")


@asynccontextmanager
async def connected(kind: str, *replies: Reply, **entry: Any) -> AsyncIterator[tuple[Model, ProviderServer]]:
    """Gives a model of this kind and the server that it asks."""
    async with ProviderServer(*replies) as server:
        base = {"base_url": server.url, "kind": kind, "api_key_env": "KEY"}
        catalog = ModelCatalog(base_urls={"t": base | entry}, env={"KEY": CANARY})
        try:
            yield catalog.get(f"t:{NAMES[kind]}"), server
        finally:
            await catalog.close()


async def answer(kind: str, body: bytes, **fields: Any) -> list[Any]:
    async with connected(kind, Reply(body=body)) as (model, _):
        return await collect(model, request("Read a.csv", tools=TOOLS, **fields))


async def fault(kind: str, reply: Reply, **entry: Any) -> ModelError:
    async with connected(kind, reply, **entry) as (model, _):
        with pytest.raises(ModelError) as caught:
            await collect(model, request("Read a.csv", tools=TOOLS))
    assert CANARY not in caught.value.message + repr(caught.value.details)
    assert caught.value.message.endswith((".", "?")), "a whole sentence"
    return caught.value


def http(status: int, body: Any, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, body=data, content_type="application/json", headers=headers)


# --- what is streamed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_text_thinking_and_parallel_calls_with_their_raw_arguments(kind):
    pieces = await answer(kind, SHAPES[kind](thinking="Let me see.", text="I\nlook.", calls=CALLS))
    said = answer_of(pieces)
    assert said.text == "I\nlook."
    assert thinking_of(pieces).replace(" ", "") == "Letmesee."
    assert [call.name for call in said.tool_calls] == ["read_file", "list_files"]
    assert [json.loads(call.arguments) for call in said.tool_calls] == [json.loads(text) for _, text in CALLS]
    if kind != "google":
        assert [call.arguments for call in said.tool_calls] == [text for _, text in CALLS]
    assert finished(pieces).stop_reason == "tool_calls"
    assert finished(pieces).model in ("test-model-1", "claude-test-1", "gemini-test-1")


@pytest.mark.parametrize("kind", ["openai-chat", "openai-responses", "anthropic"])
async def test_arguments_that_are_no_json_are_the_models_own_text(kind):
    broken = '{"path": "a.csv",}'
    async with connected(kind, Reply(body=SHAPES[kind](calls=[("read_file", broken)]))) as (model, server):
        said = answer_of(await collect(model, request("x", tools=TOOLS)))
        assert said.tool_calls[0].arguments == broken
        await collect(model, request("x", said, results(said, "no JSON", is_error=True), tools=TOOLS))
        assert "a.csv" in json.dumps(server.asked[1].body)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_thought_goes_back_signed_to_its_provider_and_to_no_other(kind):
    reply = Reply(body=SHAPES[kind](thinking="Deep thought", text="Hm.", calls=CALLS))
    async with connected(kind, reply) as (model, server):
        said = answer_of(await collect(model, request("x", tools=TOOLS)))
        await collect(model, request("x", said, results(said), tools=TOOLS, turn=1))
        sent = json.dumps(server.asked[1].body)
        assert "Deep" in sent
        assert kind == "openai-chat" or "c2lnbmVk" in sent
        foreign = tuple(
            Thinking(text=part.text, signature=part.signature, provider="other") if isinstance(part, Thinking) else part
            for part in said.parts
        )
        await collect(model, request("x", Message(role="assistant", parts=foreign), results(said), tools=TOOLS))
        sent = json.dumps(server.asked[2].body)
        assert "Deep" not in sent
        assert "c2lnbmVk" not in sent


@pytest.mark.parametrize("kind", KINDS)
async def test_results_find_their_calls_even_where_runs_repeat_ids(kind):
    async with connected(kind, Reply(body=SHAPES[kind](text="ok"))) as (model, server):
        call = Message(role="assistant", parts=(ToolCall(tool_call_id="call_1", name="a b!", arguments=""),))
        thread = (user("x"), call, results(call, "one"), user("y"), call, results(call, "two", is_error=True))
        await collect(model, request(*thread, tools=TOOLS))
        sent = json.dumps(server.asked[0].body)
    assert sent.count('"call_1"') == 2
    assert sent.count('"call_1_2"') == 2
    assert "a_b_" in sent
    assert "one" in sent
    assert "two" in sent


@pytest.mark.parametrize("kind", KINDS)
async def test_pictures_are_sent_as_pictures(kind):
    async with connected(kind, Reply(body=SHAPES[kind](text="A dot."))) as (model, server):
        seen = user("What is this?", Image(blob="b1", mime="image/png"), Image(blob="gone", mime="image/png"))
        await collect(model, request(seen, images={"b1": PNG}))
        sent = json.dumps(server.asked[0].body)
    assert "iVBORw0KGgoAAAAN" in sent
    assert "no longer stored" in sent


@pytest.mark.filterwarnings("ignore:Sampling parameters")
@pytest.mark.parametrize("kind", KINDS)
async def test_instructions_tools_and_limit_are_sent_and_settings_only_from_the_list(kind):
    settings = {
        "temperature": 0.5,
        "extra_headers": {"x-evil": "1"},
        "extra_body": {"evil": 1},
        "base_url": "http://evil",
    }
    async with connected(kind, Reply(body=SHAPES[kind](text="ok")), models=[]) as (model, server):
        await collect(model, request("x", tools=TOOLS, instructions="Be kind.", max_tokens=77, settings=settings))
        asked = server.asked[0]
    sent = json.dumps(asked.body)
    assert "Be kind." in sent
    assert "search_files" in sent
    assert "77" in sent
    assert "evil" not in sent + repr(asked.headers)
    if kind == "openai-chat":
        assert asked.body["max_tokens"] == 77
        assert asked.body["temperature"] == 0.5


@pytest.mark.parametrize("kind", KINDS)
async def test_thinking_can_be_asked_for(kind):
    async with connected(kind, Reply(body=SHAPES[kind](text="ok"))) as (model, server):
        await collect(model, request("x", settings={"thinking": "high"}))
        sent = json.dumps(server.asked[0].body).lower()
    assert "high" in sent


@pytest.mark.parametrize("kind", KINDS)
async def test_the_key_goes_to_its_host_and_without_a_variable_none_goes(kind, monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, CANARY + "-env")
    async with connected(kind, Reply(body=SHAPES[kind](text="ok"))) as (model, server):
        await collect(model, request("x"))
        assert any(value.endswith(CANARY) for value in server.asked[0].headers.values())
    async with connected(kind, Reply(body=SHAPES[kind](text="ok")), api_key_env=None) as (model, server):
        await collect(model, request("x"))
        assert CANARY not in repr(server.asked[0].headers)


# --- usage ------------------------------------------------------------------------------------------------------

FULL = {"input_tokens": 100, "output_tokens": 20, "requests": 1}
USAGES = [
    (
        "openai-chat",
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
         "prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 7}},
        Usage(**FULL, cache_read_tokens=64, reasoning_tokens=7),
    ),
    (
        "openai-chat",
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_cache_hit_tokens": 64,
         "prompt_cache_miss_tokens": 36},
        Usage(**FULL, cache_read_tokens=64),
    ),
    (
        "openai-chat",
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "cached_tokens": 64},
        Usage(**FULL, cache_read_tokens=64),
    ),
    ("openai-chat", {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}, Usage(**FULL)),
    ("openai-chat", None, Usage(requests=1, unmeasured_requests=1)),
    (
        "openai-responses",
        {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120, "input_tokens_details": {"cached_tokens": 64},
         "output_tokens_details": {"reasoning_tokens": 7}},
        Usage(**FULL, cache_read_tokens=64, reasoning_tokens=7),
    ),
    ("openai-responses", None, Usage(requests=1, unmeasured_requests=1)),
    (
        "anthropic",
        {"input_tokens": 10, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 26, "output_tokens": 20},
        Usage(**FULL, cache_read_tokens=64, cache_write_tokens=26),
    ),
    ("anthropic", {"input_tokens": 100, "output_tokens": 20}, Usage(**FULL)),
    (
        "google",
        {"promptTokenCount": 100, "candidatesTokenCount": 13, "thoughtsTokenCount": 7, "totalTokenCount": 120,
         "cachedContentTokenCount": 64},
        Usage(**FULL, cache_read_tokens=64, reasoning_tokens=7),
    ),
    ("google", None, Usage(requests=1, unmeasured_requests=1)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "reported", "expected"), USAGES)
async def test_usage_is_right_in_every_shape(kind, reported, expected):
    pieces = await answer(kind, SHAPES[kind](text="ok", usage=reported))
    assert finished(pieces).usage == expected
    news = [piece.usage for piece in pieces if isinstance(piece, UsageSoFar)]
    assert not expected.unmeasured_requests <= bool(news) or news[-1] == expected


LIMITS = {
    "openai-chat": "length", "anthropic": "max_tokens", "google": "MAX_TOKENS", "openai-responses": "max_output_tokens",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "finish"), LIMITS.items())
async def test_an_answer_that_reached_its_limit_says_so(kind, finish):
    assert finished(await answer(kind, SHAPES[kind](text="I begin", finish=finish))).stop_reason == "length"


# --- streams that end badly -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clean", [True, False])
async def test_a_stream_cut_anywhere_is_never_a_whole_answer(kind, clean):
    usage = {} if kind in ("openai-responses", "google") else {"usage": None}
    body = SHAPES[kind](thinking="Hm hm", text="One\ntwo\nthree", **usage)
    end = {"openai-chat": b'"finish_reason": "stop"', "openai-responses": b'"type": "response.completed"',
           "anthropic": b'"stop_reason": "end_turn"', "google": b'"finishReason"'}[kind]  # fmt: skip
    closing = body.index(end)
    events = [place for place in range(closing) if body.startswith(b"\n\n", place)]
    # Before anything, within the first line, at an event's end, between its newlines, within a name, a value, the last.
    places = {0, 1, 5, events[0], events[0] + 1, events[0] + 2, events[1] + 3, events[2] + 9, events[-1] + 2, closing}
    for place in sorted(places):
        error = await fault(kind, Reply(body=body, cut_at=place, clean=clean))
        assert isinstance(error, StreamCut | InvalidModelAnswer | ModelUnavailable), (place, error)
        assert error.retryable


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_said_before_a_cut_was_yielded(kind):
    body = SHAPES[kind](text="One\ntwo\nthree")
    said = ""
    async with connected(kind, Reply(body=body, cut_at=body.index(b"three"))) as (model, _):
        stream = model.stream(request("x"))
        with pytest.raises(StreamCut):  # noqa: PT012 - what came before counts
            async for piece in stream:
                said += piece.content if isinstance(piece, TextPiece) else ""
    assert said == "One\ntwo\n"


NONSENSE = [
    b"", b"\x00\xff\xfe" * 100, b"<html><body>It works!</body></html>", b"data: {not json}\n\n", b"data: []\n\n",
    b"data: null\n\n", b'data: "text"\n\n', b'data: {"choices": "many"}\n\n', b'data: {"choices": [7]}\n\n',
    b'data: {"choices": [{"index": 0, "delta": {"content": 5}}]}\n\n', b'event: message_start\ndata: {"type": 5}\n\n',
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 9}\n\n',
    b"data: " + b"[" * 50_000 + b"\n\n",
    b'data: {"candidates": {"a": 1}}\n\n', b'event: response.completed\ndata: {"type": "response.completed"}\n\n',
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_nonsense_is_an_invalid_answer_and_never_a_crash(kind):
    for body in NONSENSE:
        error = await fault(kind, Reply(body=body))
        assert isinstance(error, InvalidModelAnswer | StreamCut), (body[:60], error)
        assert error.retryable
        html = await fault(kind, Reply(body=body, content_type="text/html"))
        assert html.retryable, (body[:60], html)


async def test_an_empty_answer_is_no_answer():
    assert isinstance(await fault("openai-chat", Reply(body=wire.openai_chat())), InvalidModelAnswer)


REFUSALS = [
    ("openai-chat", wire.openai_chat(text="I", finish="content_filter")),
    ("anthropic", wire.anthropic(text="I", finish="refusal")),
    ("google", wire.google(text="I", finish="SAFETY")),
    ("google", wire.sse({"promptFeedback": {"blockReason": "SAFETY"}})),
    (
        "openai-chat",
        wire.sse(
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"refusal": "I cannot help with that."}, "finish_reason": None}]},
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), REFUSALS)
async def test_a_refusal_has_its_own_code(kind, body):
    error = await fault(kind, Reply(body=body))
    assert isinstance(error, ModelRefused)
    assert not error.retryable


# --- errors -----------------------------------------------------------------------------------------------------


def claude(status: int, kind: str, message: str) -> Reply:
    return http(status, {"type": "error", "error": {"type": kind, "message": message}})


def gemini(status: int, kind: str, message: str, *details: dict[str, str]) -> Reply:
    error = {"code": status, "status": kind, "message": message, "details": list(details)}
    return http(status, {"error": error})


OVERFLOW = {"error": {"message": "This model's maximum context length is 8 tokens.", "code": "context_length_exceeded"}}
ERRORS = [
    ("openai-chat", http(401, {"error": {"message": f"Incorrect API key provided: {CANARY}"}}), BadCredentials, "KEY"),
    ("openai-chat", http(403, {"error": {"message": "no access"}}), BadCredentials, "KEY"),
    ("openai-chat", http(402, {"error": {"message": "Insufficient Balance"}}), QuotaExhausted, "Top it up"),
    ("openai-chat", http(429, {"error": {"code": "insufficient_quota", "message": "m"}}), QuotaExhausted, "Top it up"),
    ("openai-chat", http(400, OVERFLOW), ContextOverflow, "new thread"),
    ("openai-chat", http(400, {"error": {"message": "images are not supported"}}), InvalidModelRequest, "pictures"),
    ("openai-chat", http(400, {"error": {"code": "content_policy_violation", "message": "m"}}), ModelRefused, "other"),
    ("openai-chat", http(404, {"error": {"message": "no such model"}}), InvalidModelRequest, "name"),
    ("openai-chat", http(413, {"error": {"message": "too large"}}), InvalidModelRequest, "accept"),
    ("openai-chat", http(500, {"error": {"message": "oops"}}), ModelUnavailable, "oops"),
    ("openai-chat", http(502, b"<html>Bad Gateway</html>"), ModelUnavailable, "Bad Gateway"),
    ("openai-chat", http(503, b""), ModelUnavailable, "503"),
    ("openai-chat", http(302, b"", location="http://127.0.0.1:9/"), InvalidModelRequest, "redirect"),
    ("openai-responses", http(401, {"error": {"message": f"Bad key {CANARY}"}}), BadCredentials, "KEY"),
    ("openai-responses", http(400, OVERFLOW), ContextOverflow, "new thread"),
    ("openai-responses", http(500, {"error": {"message": "oops"}}), ModelUnavailable, "oops"),
    ("anthropic", claude(401, "authentication_error", CANARY), BadCredentials, "KEY"),
    ("anthropic", claude(400, "invalid_request_error", "prompt is too long: 9"), ContextOverflow, "new thread"),
    ("anthropic", claude(400, "invalid_request_error", "Your credit balance is too low"), QuotaExhausted, "Top"),
    ("anthropic", claude(529, "overloaded_error", "Overloaded"), ModelUnavailable, "Overloaded"),
    ("google", gemini(400, "INVALID_ARGUMENT", "not valid", {"reason": "API_KEY_INVALID"}), BadCredentials, "KEY"),
    ("google", gemini(400, "INVALID_ARGUMENT", "exceeds the maximum number of tokens allowed (8)."),
     ContextOverflow, "new thread"),
    ("google", gemini(503, "UNAVAILABLE", "overloaded"), ModelUnavailable, "overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "reply", "expected", "says"), ERRORS)
async def test_each_error_has_its_code_and_advice(kind, reply, expected, says):
    error = await fault(kind, reply)
    assert type(error) is expected
    assert says in error.message
    assert f"t:{NAMES[kind]}" in error.message


@pytest.mark.parametrize("kind", KINDS)
async def test_too_many_requests_says_when_to_come_back_and_is_not_retried_here(kind):
    body = {"error": {"message": "slow down", "type": "rate_limit_error", "status": "RESOURCE_EXHAUSTED", "code": 429}}
    async with connected(kind, http(429, body, **{"retry-after": "7"})) as (model, server):
        with pytest.raises(ModelRateLimited) as caught:
            await collect(model, request("x"))
        assert len(server.asked) == 1
    assert caught.value.retry_after_s == 7
    assert caught.value.retryable


@pytest.mark.parametrize("kind", KINDS)
async def test_server_faults_are_not_retried_here(kind):
    async with connected(kind, http(500, {"error": {"message": "oops"}})) as (model, server):
        with pytest.raises(ModelUnavailable):
            await collect(model, request("x"))
        await asyncio.sleep(0.1)
        assert len(server.asked) == 1


async def test_an_error_within_the_stream_has_its_code_too():
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    body = wire.anthropic(text="I begin")
    cut = body.index(b"event: message_delta")
    error = await fault("anthropic", Reply(body=body[:cut] + wire.sse(("error", event))))
    assert isinstance(error, ModelUnavailable)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_that_is_not_there(kind):
    base = {"base_url": "http://127.0.0.1:9", "kind": kind}
    catalog = ModelCatalog(base_urls={"t": base}, env={})
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1") as caught:
        await collect(catalog.get("t:m"), request("x"))
    assert caught.value.retryable
    await catalog.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_slow_headers_and_silent_streams_time_out(kind):
    error = await fault(kind, Reply(wait_s=30), timeout_s=0.5)
    assert isinstance(error, ModelTimeout)
    body = SHAPES[kind](text="One\ntwo\nthree")
    error = await fault(kind, Reply(body=body, hold_at=body.index(b"three")), timeout_s=0.5)
    assert isinstance(error, ModelTimeout)
    assert error.retryable


# --- interrupting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_closing_the_iterator_closes_the_socket(kind):
    body = SHAPES[kind](text="One\ntwo\nthree")
    async with connected(kind, Reply(body=body, hold_at=body.index(b"three"))) as (model, server):
        async with aclosing(model.stream(request("x"))) as stream:
            async for piece in stream:
                if isinstance(piece, TextPiece):
                    break
        async with asyncio.timeout(2):
            await server.hung_up.wait()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", ["headers", "stream"])
async def test_cancelling_the_task_closes_the_socket(kind, moment):
    body = SHAPES[kind](text="One\ntwo\nthree")
    reply = Reply(wait_s=60) if moment == "headers" else Reply(body=body, hold_at=body.index(b"three"))
    async with connected(kind, reply) as (model, server):
        task = asyncio.create_task(collect(model, request("x")))
        await (server.came if moment == "headers" else server.holding).wait()
        await asyncio.sleep(0.05)
        task.cancel()
        async with asyncio.timeout(2):
            await asyncio.gather(task, return_exceptions=True)
            await server.hung_up.wait()
        assert task.cancelled()


# --- secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_no_log_line_and_no_error_holds_the_key(kind, caplog):
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"the key {CANARY} is bad", "type": "authentication_error", "code": 401}}
    error = await fault(kind, http(401, echo))
    assert "[key]" in error.message
    assert error.__cause__ is None
    assert error.__suppress_context__
    await answer(kind, SHAPES[kind](text="ok"))
    assert CANARY not in caplog.text


def test_the_model_shows_no_key():
    model = ModelCatalog(env={"OPENAI_API_KEY": CANARY}).get("openai:gpt-6-luna")
    assert CANARY not in repr(model)


async def test_the_window_is_known_where_the_price_list_knows_the_model():
    async with connected("openai-chat", Reply(body=wire.openai_chat(text="ok")), context_max=4096) as (model, _):
        assert model.context_max == 4096
    async with connected("openai-chat", Reply(body=wire.openai_chat(text="ok"))) as (model, _):
        pieces = await collect(model, request("x"))
        assert isinstance(pieces[-1], Finished)
        assert model.context_max is None
