"""Rows over a real database of either kind. Migrated once: every test gets a copy."""

import pytest

from jupyter_agent.storage.sql import SqlRows


@pytest.fixture
async def rows(backend):
    found = SqlRows(backend)
    await found.open()
    yield found
    await found.close()
