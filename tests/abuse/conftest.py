"""One live server for each module of tests: starting it takes longer than most of them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.live_server import LiveServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path_factory.mktemp("server")) as server:
        yield server
        # Whatever was done to it: it still answers.
        status, health = await server.request("GET", "jupyter-agent/api/health")
        assert (status, health["status"]) == (200, "ok")
