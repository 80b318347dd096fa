"""Tab completion of `%agent`, `%%agent` and `%%workflow`: options, words, models and names of workflows."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from ..client.session import session
from ..exceptions import AgentError
from .options import FLAGS, WITH_VALUE, WORDS

KEPT_S = 60.0
PATIENCE_S = 2.0
OFFLINE = ("demo", "scripted", "replay", "echo")


class _Models:
    """The names of the server's models, asked for at most once a minute."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = OFFLINE
        self._asked_at = float("-inf")

    def names(self) -> tuple[str, ...]:
        if time.monotonic() - self._asked_at > KEPT_S:
            self._asked_at = time.monotonic()
            client = session().client
            try:
                listed = client.wait(asyncio.wait_for(client.list_models(), PATIENCE_S))
            except (AgentError, TimeoutError):
                return self._names
            self._names = tuple(model.name for model in listed) or OFFLINE
        return self._names


_models = _Models()


def complete(_shell: Any, event: Any) -> list[str]:
    """Returns what may stand at the cursor."""
    before = event.text_until_cursor.split()
    typed = "" if event.text_until_cursor.endswith(" ") else before.pop()
    last = before[-1] if before else ""
    if last in {"-m", "--model"}:
        choices = _models.names()
    elif last in WITH_VALUE:
        return []
    else:
        choices = (*WITH_VALUE, *FLAGS, *(WORDS if len(before) == 1 and last == "%agent" else ()))
    return _rest_of(choices, typed, event.symbol)


def complete_workflow(_shell: Any, event: Any) -> list[str]:
    """Returns what may stand at the cursor of a cell's first line that names a workflow."""
    before = event.text_until_cursor.split()
    typed = "" if event.text_until_cursor.endswith(" ") else before.pop()
    last = before[-1] if before else ""
    if last in {"-m", "--model"}:
        choices = _models.names()
    elif last == "--budget":
        choices = ("50_000", "100_000", "500_000")
    elif len(before) == 1:
        choices = (*session().workflows, "help")
    else:
        choices = ("-m", "--model", "--budget")
    return _rest_of(choices, typed, event.symbol)


def _rest_of(choices: Iterable[str], typed: str, symbol: str) -> list[str]:
    # The completer cuts words at colons and the like: it wants only the rest.
    cut = typed[: len(typed) - len(symbol)] if typed.endswith(symbol) else ""
    return [choice.removeprefix(cut) for choice in choices if choice.startswith(typed)]
