"""Real SQLite. Migrated once: every test gets a copy."""

import shutil

import pytest

from jupyter_agent.storage import DATABASE
from jupyter_agent.storage.migrations import migrate
from jupyter_agent.storage.sql import SqlRows


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    path = tmp_path_factory.mktemp("migrated") / DATABASE
    migrate(path)
    return path


@pytest.fixture
async def rows(tmp_path, migrated):
    found = SqlRows(tmp_path / DATABASE)
    shutil.copy(migrated, found.path)
    await found.open()
    yield found
    await found.close()
