"""One suite over every model: the contract of jupyter_agent.models.contract."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta

import pytest

from jupyter_agent.models import Model, ModelCatalog, ModelRequest
from jupyter_agent.records import Message, Text, Thinking, ToolCall, TurnRecord, Usage
from tests.models import provider_server as wire
from tests.models.collected import answer_of, collect, request, results, user
from tests.models.folder import TOOLS
from tests.models.provider_server import ProviderServer, Reply

MODELS = ("demo", "scripted", "replay", "echo", "openai-chat", "openai-responses", "anthropic", "google")
SHAPES = {
    "openai-chat": wire.openai_chat,
    "openai-responses": wire.openai_responses,
    "anthropic": wire.anthropic,
    "google": wire.google,
}
CALLS = [("read_file", '{"path":"a.csv"}'), ("read_file", '{"path":"b.csv"}')]
SCRIPT = [
    {"thinking": "Look first.", "text": "I look.", "calls": [{"name": "read_file", "arguments": {"path": "a.csv"}}]},
    {"text": "Done."},
]


def recorded_turns() -> Sequence[TurnRecord]:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    call = ToolCall(tool_call_id="c1", name="read_file", arguments='{"path":"a.csv"}')
    answer = (Thinking(text="Look first.", signature="s"), Text(text="I look."), call)
    shared = {"run_id": "run_0", "model": "demo", "usage": Usage(input_tokens=9, output_tokens=3, requests=1)}
    times = {"started_at": started, "finished_at": started + timedelta(milliseconds=20)}
    first = TurnRecord(
        turn=0, request=(user("Read a.csv"),), response=Message(role="assistant", parts=answer),
        stop_reason="tool_calls", **shared, **times,
    )  # fmt: skip
    second = TurnRecord(
        turn=1, request=(results(first.response),), response=Message(role="assistant", parts=(Text(text="Done."),)),
        stop_reason="stop", **shared, **times,
    )  # fmt: skip
    return (first, second)


async def load_recorded(run: str) -> Sequence[TurnRecord]:
    assert run == "run_0"
    return recorded_turns()


Make = Callable[[str], Model]


@pytest.fixture
async def make() -> AsyncIterator[Callable[[str], object]]:
    """Returns a coroutine function that gives a model by the names above."""
    async with AsyncExitStack() as stack:

        async def make_model(name: str) -> Model:
            if name not in SHAPES:
                catalog = ModelCatalog(replay=load_recorded, env={"JUPYTER_AGENT_DEMO_PACE": "0"})
                return catalog.get("replay:run_0" if name == "replay" else name, script=SCRIPT)
            body = SHAPES[name](thinking="Look first.", text="I\nlook.", calls=CALLS)
            server = await stack.enter_async_context(ProviderServer(Reply(body=body)))
            catalog = ModelCatalog(base_urls={"t": {"base_url": server.url, "kind": name}}, env={})
            stack.push_async_callback(catalog.close)
            return catalog.get("t:some-model")

        yield make_model


@pytest.mark.parametrize("name", MODELS)
async def test_an_answer_is_well_formed_and_finishes_once(name, make):
    model = await make(name)
    asked = request("Read a.csv", tools=TOOLS, run_id="run_1")
    pieces = await collect(model, asked)
    answer = answer_of(pieces)
    assert answer.text or answer.tool_calls
    if name != "echo":
        call = answer.tool_calls[0]
        assert (call.name, "a.csv" in call.arguments) == ("read_file", True)
        again = request(*asked.messages, answer, results(answer), tools=TOOLS, run_id="run_1", turn=1)
        await collect(model, again)


@pytest.mark.parametrize("name", MODELS)
async def test_a_model_says_who_it_is(name, make):
    model = await make(name)
    assert model.name
    assert model.context_max is None or model.context_max > 0
    assert isinstance(model.sees_images, bool)
    assert isinstance(model.tools_first, bool)
    assert isinstance(model.cache_life_s({}), float | None)


@pytest.mark.parametrize("name", MODELS)
async def test_closing_early_closes_at_once(name, make):
    model = await make(name)
    stream = model.stream(request("Read a.csv " * 50, tools=TOOLS))
    await anext(stream)
    async with asyncio.timeout(2):
        await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize("name", MODELS)
async def test_a_model_answers_several_at_once(name, make):
    model = await make(name)
    asked = [request("Read a.csv", tools=TOOLS, run_id=f"run_{number}") for number in range(4)]
    answers = await asyncio.gather(*(collect(model, one) for one in asked))
    assert len({tuple(part for part in answer_of(pieces).parts) for pieces in answers}) == 1


@pytest.mark.parametrize("name", MODELS)
async def test_an_empty_thread_is_no_crash(name, make):
    model = await make(name)
    await collect(model, ModelRequest(messages=()))


@pytest.mark.parametrize("name", ["demo", "scripted", "replay"])
async def test_cancelling_the_task_stops_a_slow_answer(name):
    slow = [{"text": "word " * 1000, "delay_s": 0.05}]
    turns = recorded_turns()
    long = TurnRecord(
        run_id="run_0", turn=0, model="demo", request=turns[0].request, stop_reason="stop", usage=Usage(requests=1),
        response=Message(role="assistant", parts=(Text(text="word " * 1000),)),
        started_at=turns[0].started_at, finished_at=turns[0].started_at + timedelta(minutes=1),
    )  # fmt: skip

    async def load(_: str) -> Sequence[TurnRecord]:
        return (long,)

    model = ModelCatalog(replay=load, env={}).get("replay:x" if name == "replay" else name, script=slow)
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(model.stream(request("Read a.csv", tools=TOOLS))) as stream:
            async for _ in stream:
                begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


def test_importing_the_room_loads_no_provider_library():
    code = (
        "import sys, jupyter_agent.models as m; m.ModelCatalog().list(); "
        "heavy = {'pydantic_ai', 'openai', 'anthropic', 'google.genai', 'genai_prices', 'httpx', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
