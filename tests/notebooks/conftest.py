import pytest

from tests.live_server import LiveServer
from tests.notebooks.kernel import SecondClient, ServerKernel


@pytest.fixture
async def server(tmp_path):
    async with LiveServer(tmp_path) as started:
        yield started


@pytest.fixture
async def second_client(server):
    async with SecondClient(server) as person:
        yield person


@pytest.fixture
async def kernel(server):
    async with ServerKernel(server, "notebook.ipynb") as started:
        yield started
