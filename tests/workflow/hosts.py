"""A host of our own making: answers in capital letters, and keeps what it was asked."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jupyter_agent.exceptions import ModelUnavailable
from jupyter_agent.script import AgentCall
from jupyter_agent.workflow.carrying import Carrying
from jupyter_agent.workflow.sandbox import Sandbox
from jupyter_agent.workflow.script_file import Script, read_scripts

BEGAN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


class Spent:
    def __init__(self) -> None:
        self.total: int | None = 1000
        self.cost: float | None = 0.5
        self.used = 0

    def spent(self) -> int:
        return self.used

    def remaining(self) -> float:
        return 1000 - self.used


class LoudHost:
    """ "bad" fails; whatever begins with "wait" waits until `let_go` is set: by the test, once `together` of them
    work, or by the call of the prompt `frees`."""

    def __init__(self, **args: Any) -> None:
        self.args: Mapping[str, Any] = args
        self.budget = Spent()
        self.calls: list[AgentCall] = []
        self.said: list[str] = []
        self.asked: list[tuple[str, Any]] = []
        self.let_go = asyncio.Event()
        self.together: int | None = None
        self.frees: str | None = None
        self.working = self.most = self.stopped = 0

    async def agent(self, call: AgentCall) -> Any:
        if call.kind != "agent":
            return await self._other(call)
        self.calls.append(call)
        self.working += 1
        self.most = max(self.most, self.working)
        self.budget.used += 10
        try:
            if self.working == self.together or call.prompt == self.frees:
                self.let_go.set()
            if call.prompt.startswith("wait"):
                await self.let_go.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self.working -= 1
        if call.prompt == "bad":
            raise ModelUnavailable("It is out.")
        return {"answer": call.prompt.upper()} if call.schema else call.prompt.upper()

    async def _other(self, call: AgentCall) -> Any:
        match call.kind:
            case "workflow":
                return [call.prompt, call.given]
            case "ask":
                self.asked.append((call.prompt, call.schema))
                await self.let_go.wait()
                return "blue"
        self.asked.append((call.prompt, call.given.get("detail", "")))
        return {"approved": call.prompt != "Never?", "reason": "No."}

    def phase(self, title: str) -> None:
        self.said.append(f"# {title}")

    def log(self, message: str) -> None:
        self.said.append(message)


def script_of(text: str) -> Script:
    """Returns a script of a text without meta."""
    return read_scripts(f'meta = {{"name": "tried"}}\n# %%\n{text}'.encode(), "tried.py")[0]


async def carry(sandbox: Sandbox, text: str, host: LoudHost | None = None, **options: Any) -> Any:
    """Carries a text out and returns its result."""
    return await carrying(sandbox, text, host, **options).run()


def carrying(sandbox: Sandbox, text: str, host: LoudHost | None = None, **options: Any) -> Carrying:
    run = {"run_id": "run_1", "began_at": BEGAN, **options}
    return Carrying(sandbox, script_of(text), host or LoudHost(), **run)
