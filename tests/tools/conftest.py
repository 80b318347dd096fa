"""A workspace with files around it that no tool may reach, and a call as the runtime makes it."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jupyter_agent.tools import Toolbox, first_toolbox, validate
from jupyter_agent.tools.contract import ToolAnswer, ToolContext

CANARY = "CANARY-outside-5f1c"


@dataclass
class Folder:
    """An environment that is a folder: what is executed in it is written down."""

    workspace: Path
    cells: list[tuple[str, float]] = field(default_factory=list)
    client_calls: list[tuple[str, str, float]] = field(default_factory=list)

    async def run_cell(self, code: str, *, context: ToolContext, timeout_s: float) -> ToolAnswer:
        self.cells.append((code, timeout_s))
        context.progress("working")
        return ToolAnswer(content=f"ran {len(code)} characters")

    async def call_client(self, name: str, arguments: str, *, context: ToolContext, timeout_s: float) -> ToolAnswer:
        context.progress("calling")
        self.client_calls.append((name, arguments, timeout_s))
        return ToolAnswer(content="from the client")


@dataclass
class Call:
    """The context of one call; `reply` is what the person says, None when nobody answers."""

    environment: Folder
    run_id: str = "run_0"
    tool_call_id: str = "call_0"
    kernel_id: str | None = None
    reply: str | None = None
    shown: list[str] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def progress(self, content: str) -> None:
        self.shown.append(content)

    async def keep(self, data: bytes) -> str:
        raise AssertionError(f"no tool here keeps blobs: {data[:20]!r}")

    async def ask(self, prompt: str, schema: dict[str, Any] | None = None) -> str | None:
        self.asked.append((prompt, schema))
        return self.reply


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the workspace whose name begins with the workspace's, with a secret in it."""
    folder = tmp_path / "root-secret"
    folder.mkdir()
    (folder / "secret.txt").write_text(CANARY)
    (tmp_path / "above.txt").write_text(CANARY)
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    """The workspace."""
    folder = tmp_path / "root"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "sales.csv").write_text("city,amount\nBerlin,3\nParis,\n")
    (folder / "data" / "deep" / "more.csv").write_text("a\n1\n")
    (folder / "notes.txt").write_text("first line\nsecond line\n")
    return folder


@pytest.fixture
def call(root: Path) -> Call:
    return Call(environment=Folder(workspace=root))


Use = Callable[..., Awaitable[str]]


@pytest.fixture
def use(call: Call) -> Use:
    """Calls a tool as the runtime does: arguments as JSON text, validated, then executed."""
    tools: Toolbox = first_toolbox()

    async def use_tool(name: str, /, **arguments: Any) -> str:
        tool = tools.get(name)
        answer = await tool.call(call, validate(tool.spec, json.dumps(arguments)))
        return answer.content

    return use_tool
