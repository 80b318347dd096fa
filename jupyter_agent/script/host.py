"""What carries the words out. Two implement it: the client in a kernel, the sandbox host on the server."""

from collections.abc import Mapping
from typing import Any, Protocol

from .call import AgentCall


class BudgetView(Protocol):
    """What a workflow may spend, and what it has spent: tokens, of all calls that ran live in this run."""

    @property
    def total(self) -> int | None:
        """The limit in tokens, None where there is none."""

    def spent(self) -> int:
        """Tokens spent until now. Calls from the store spend nothing."""

    def remaining(self) -> float:
        """Tokens left; infinite where there is no limit."""

    @property
    def cost(self) -> float | None:
        """US dollars spent until now, None where a price is unknown."""


class Host(Protocol):
    """What there is beneath the words."""

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments of the run, read-only."""

    @property
    def budget(self) -> BudgetView: ...

    async def agent(self, call: AgentCall) -> Any:
        """Returns the call's answer: text, or the validated object where it has a schema. Raises its failure.

        By its kind it is an agent, a person or another workflow that answers.
        """

    def phase(self, title: str) -> None: ...

    def log(self, message: str) -> None: ...
