"""What several rooms' tests stand on: a PostgreSQL server where there is one, and an empty database on either kind.

Files that take long begin first, so that none of them is left alone at the end.
"""

import shutil

import pytest

from jupyter_agent.storage import DATABASE
from jupyter_agent.storage.backends import backend_of
from jupyter_agent.storage.migrations import migrate
from tests.postgres import Server

LONG = ("tests/browser", "tests/wire", "tests/notebooks", "tests/crash", "tests/abuse", "tests/gateway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((number for number, room in enumerate(LONG) if item.nodeid.startswith(f"{room}/")), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def postgres():
    """A server of the session's own."""
    server = Server()
    try:
        server.make()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database_url(postgres):
    """The URL of a migrated database."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / DATABASE
    migrate(path)
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request):
    """Which database a test is about: it runs once on each."""
    return request.param


@pytest.fixture
def backend(kind, request, tmp_path):
    """A migrated database of either kind."""
    if kind == "postgres":
        return backend_of(request.getfixturevalue("database_url"))
    shutil.copy(request.getfixturevalue("migrated"), tmp_path / DATABASE)
    return backend_of(tmp_path / DATABASE)


@pytest.fixture
def empty(kind, request, tmp_path):
    """A database of either kind without any schema."""
    if kind == "sqlite":
        yield backend_of(tmp_path / DATABASE)
        return
    with request.getfixturevalue("postgres").new_database() as url:
        yield backend_of(url)
