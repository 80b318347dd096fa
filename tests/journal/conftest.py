"""A journal over real stores, with rows behind it."""

import pytest

from jupyter_agent.journal import Journal, Projection
from jupyter_agent.storage import open_storage


@pytest.fixture
async def storage(tmp_path):
    found = open_storage(tmp_path / "data")
    await found.rows.open()
    yield found
    await found.close()


@pytest.fixture
async def projection(storage):
    found = Projection(storage.rows)
    yield found
    await found.aclose()


@pytest.fixture
async def journal(storage, projection):
    found = Journal(storage.lines, storage.blobs, observer=projection)
    yield found
    await found.aclose()
