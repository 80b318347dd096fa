import pytest

from tests.live_server import LiveServer
from tests.notebooks.kernel import ServerKernel


@pytest.fixture
async def server(tmp_path, request):
    """A server, with the options that a test names as the parameter of this fixture."""
    async with LiveServer(tmp_path, options=getattr(request, "param", ())) as started:
        yield started


@pytest.fixture
async def kernel(server):
    async with ServerKernel(server, "notebook.ipynb") as started:
        yield started
