"""Carries out what carries the same client id once, however often it is sent.

Results are remembered in memory, the last thousands of each principal; a start is also found again in the run's own
metadata, so that resending it after a restart of the server starts nothing twice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..exceptions import AgentError, RateLimited, StorageError
from ..records import Principal

KEPT: Final = 4_096
MAX_CLIENT_ID_CHARS: Final = 200


class Once:
    """The outcomes of commands by principal and client id; the oldest are forgotten."""

    def __init__(self) -> None:
        self._outcomes: dict[str, OrderedDict[str, asyncio.Future[Any]]] = {}

    async def do(self, by: Principal, client_id: str | None, deed: Callable[[], Awaitable[Any]]) -> Any:
        """Returns the deed's result, of the first time. A refusal is remembered like a result, unless it is one that
        passes."""
        if client_id is None:
            return await deed()
        outcomes = self._outcomes.setdefault(by.user_id, OrderedDict())
        if (outcome := outcomes.get(client_id)) is not None:
            outcomes.move_to_end(client_id)
            return await asyncio.shield(outcome)
        outcome = outcomes[client_id] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(_retrieved)
        while len(outcomes) > KEPT:
            outcomes.popitem(last=False)
        try:
            outcome.set_result(await deed())
        except AgentError as fault:
            outcome.set_exception(fault)
            if isinstance(fault, StorageError | RateLimited):
                outcomes.pop(client_id, None)
        except BaseException:
            # Nobody knows what came of it: the next one with this id tries again.
            outcome.set_exception(AgentError("The command was broken off on the server. Send it again."))
            outcomes.pop(client_id, None)
            raise
        return await outcome


def _retrieved(outcome: asyncio.Future[Any]) -> None:
    if not outcome.cancelled():
        outcome.exception()
