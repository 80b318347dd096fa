"""Worlds without a server, and workflow files as people and strangers write them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from jupyter_agent.workflow.approvals import Approvals
from jupyter_agent.workflow.discovery import WORKSPACE_FOLDER, Listing, list_workflows, places
from jupyter_agent.workflow.sandbox import Sandbox
from tests.runtime.conftest import open_world

__all__ = ["open_world"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work" / WORKSPACE_FOLDER
    path.mkdir(parents=True)
    return path


@pytest.fixture
def approvals(tmp_path: Path) -> Approvals:
    return Approvals(tmp_path / "data")


@pytest.fixture
def listing(tmp_path: Path, approvals: Approvals) -> Callable[[], Listing]:
    where = places(tmp_path / "work", tmp_path / "config", tmp_path / "catalog")
    return lambda: list_workflows(where, approvals)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(workers=2) as sandbox:
        yield sandbox
