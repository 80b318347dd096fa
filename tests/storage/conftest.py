"""Real SQLite, opened and migrated."""

import pytest

from jupyter_agent.storage import DATABASE
from jupyter_agent.storage.sql import SqlRows


@pytest.fixture
async def rows(tmp_path):
    found = SqlRows(tmp_path / DATABASE)
    await found.open()
    yield found
    await found.close()
