"""One live server for each module of tests: starting it takes longer than most of them."""

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import pytest_asyncio

from jupyter_agent.storage import DATABASE_URL
from tests.live_server import LiveServer


@pytest.fixture(scope="module")
def store() -> str:
    """Where servers of the module keep everything. A module in which that matters gives both kinds of database."""
    return "sqlite"


@pytest.fixture
def storing(store: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of a server of the test's own, by which it keeps everything there."""
    return {DATABASE_URL: request.getfixturevalue("database_url")} if store == "postgres" else {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    store: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveServer]:
    with ExitStack() as stack:
        environment = {}
        if store == "postgres":
            environment[DATABASE_URL] = stack.enter_context(request.getfixturevalue("postgres").database())
        async with LiveServer(tmp_path_factory.mktemp("server"), environment=environment) as server:
            yield server
