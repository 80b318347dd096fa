"""A journal over real stores of either kind, with rows behind it."""

import pytest

from jupyter_agent.journal import Journal, Projection
from jupyter_agent.storage import open_storage


@pytest.fixture
def database_url_or_none(kind, request):
    """The URL of a database, or nothing where files are the store."""
    return request.getfixturevalue("database_url") if kind == "postgres" else ""


@pytest.fixture
async def storage(tmp_path, database_url_or_none):
    found = open_storage(tmp_path / "data", database_url_or_none)
    await found.rows.open()
    yield found
    await found.close()


@pytest.fixture
async def projection(storage):
    found = Projection(storage.rows, storage.blobs)
    yield found
    await found.aclose()


@pytest.fixture
async def journal(storage, projection):
    found = Journal(storage.lines, storage.blobs, observer=projection)
    yield found
    await found.aclose()
