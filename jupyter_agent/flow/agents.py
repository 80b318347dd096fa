"""What a flow needs of the world around it: somebody who asks agents, and a clock."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from ..records import utc_now
from .decisions import Ended


class Agents(Protocol):
    """Asks agents on behalf of steps. A key names one attempt: the same one again is the same piece of work."""

    async def agent(self, prompt: str, *, key: str, options: Mapping[str, Any]) -> Any:
        """Returns the answer. What is under way or done under this key is waited for, not begun again. Cancelling it
        stops the agent."""

    async def find(self, key: str) -> Ended | bool:
        """Returns how the work under this key ended, True while it goes on, False where there is none."""

    def leave(self, flow_run_id: str) -> None:
        """Says that another process goes on with a run: cancelling what it asked stops no agent any more."""


class FunctionAgents:
    """Asks a coroutine function with a prompt and options, like `agent` of a workflow script. It remembers nothing."""

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        self._ask = ask

    async def agent(self, prompt: str, *, key: str, options: Mapping[str, Any]) -> Any:  # noqa: ARG002
        return await self._ask(prompt, **options)

    async def find(self, key: str) -> Ended | bool:  # noqa: ARG002
        return False

    def leave(self, flow_run_id: str) -> None:
        """What is asked ends with this process."""


class Clock:
    """The time of day, and waiting for it to pass."""

    def now(self) -> datetime:
        return utc_now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
