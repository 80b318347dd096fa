"""The model layer against servers that others wrote: aimock speaks OpenAI's and Anthropic's protocols."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from jupyter_agent.exceptions import (
    BadCredentials,
    InvalidModelAnswer,
    ModelError,
    ModelRateLimited,
    ModelTimeout,
    ModelUnavailable,
    StreamCut,
)
from jupyter_agent.models import Model, ModelCatalog, TextPiece
from tests.models.collected import answer_of, collect, finished, request, results, thinking_of
from tests.models.folder import TOOLS
from tests.requirements import lacking, require

HERE = Path(__file__).parent / "aimock"
CLI = HERE / "node_modules/@copilotkit/aimock/dist/cli.js"
KINDS = {"openai-chat": "gpt-6-luna", "openai-responses": "gpt-6-luna", "anthropic": "claude-sonnet-5-5"}


@pytest.fixture(scope="module")
def aimock() -> Iterator[str]:
    """Returns the address of a running aimock; it is installed at its first use."""
    npm, node = require("aimock"), shutil.which("node") or "node"
    if not CLI.exists():
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=HERE, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lacking("aimock", f"aimock could not be installed: {done.stderr.strip()[-300:]}")
    server = subprocess.Popen(
        [node, str(CLI), "--port", "0", "--fixtures", "fixtures.json", "--host", "127.0.0.1"],
        cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"PATH": os.environ.get("PATH", "")},
    )  # fmt: skip
    assert server.stdout is not None
    try:
        yield next(found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture(params=KINDS)
async def connect(request, aimock) -> AsyncIterator[Callable[..., Model]]:
    """Returns a function that gives a model of aimock in each protocol."""
    catalogs: list[ModelCatalog] = []

    def get(**entry: object) -> Model:
        base = aimock if request.param == "anthropic" else f"{aimock}/v1"
        server = {"base_url": base, "kind": request.param, "api_key_env": "KEY"} | entry
        catalogs.append(ModelCatalog(base_urls={"mock": server}, env={"KEY": "sk-mock-key"}))
        return catalogs[-1].get(f"mock:{KINDS[request.param]}")

    yield get
    for catalog in catalogs:
        await catalog.close()


async def test_an_answer_streams_in_pieces(connect):
    pieces = await collect(connect(), request("stream"))
    assert sum(isinstance(piece, TextPiece) for piece in pieces) > 3
    assert answer_of(pieces).text == "One two three four five six seven eight."
    assert finished(pieces).stop_reason == "stop"


async def test_thinking_comes_apart_from_text_and_goes_back(connect):
    model = connect()
    pieces = await collect(model, request("think"))
    answer = answer_of(pieces, "mock")
    assert thinking_of(pieces) == "Let me think about it."
    assert answer.text == "Thought."
    assert answer_of(await collect(model, request("think", answer, "stream", turn=1))).text.startswith("One two")


async def test_parallel_calls_and_their_results(connect):
    model = connect()
    answer = answer_of(await collect(model, request("parallel", tools=TOOLS)), "mock")
    assert [json.loads(call.arguments)["path"] for call in answer.tool_calls] == ["a.csv", "b.csv"]
    later = await collect(model, request("parallel", answer, results(answer), tools=TOOLS, turn=1))
    assert answer_of(later).text == "Both were read."


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        ("badkey", BadCredentials),
        ("busy", ModelRateLimited),
        ("broken", ModelUnavailable),
        ("garbled", InvalidModelAnswer),
        ("gone", ModelUnavailable),
        ("cut", StreamCut),
        ("dropped", StreamCut),
    ],
)
async def test_errors_have_their_codes(connect, ask, expected):
    with pytest.raises(ModelError) as caught:
        await collect(connect(), request(ask))
    assert type(caught.value) is expected
    if ask == "busy":
        assert caught.value.retry_after_s == 1


async def test_a_slow_server_times_out(connect):
    with pytest.raises(ModelTimeout):
        await collect(connect(timeout_s=0.5), request("slow"))


async def test_cancelling_and_closing_take_effect_at_once(connect):
    model = connect()
    task = asyncio.create_task(collect(model, request("slow")))
    await asyncio.sleep(0.3)
    task.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    async with asyncio.timeout(15), aclosing(model.stream(request("drip"))) as stream:
        async for piece in stream:
            if isinstance(piece, TextPiece):
                break
