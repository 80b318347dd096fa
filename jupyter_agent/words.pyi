"""The words of a workflow script, for editors and type checkers. There is no such module to run: a script has them.

In a script, `if TYPE_CHECKING: from jupyter_agent.words import agent, parallel` shows them to whoever reads it as
Python; the sandbox checks every script against this very file.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

def agent(
    prompt: str,
    *,
    label: str | None = None,
    phase: str | None = None,
    schema: Any = None,
    model: str | None = None,
    tools: Iterable[str] | None = None,
    agent: str | None = None,
    budget: Mapping[str, float] | None = None,
    attach: Any = None,
    fresh: bool = False,
    side_effects: bool = False,
    retries: int = 0,
    timeout: float | None = None,
) -> Awaitable[Any]:
    """Returns a call of an agent: `await` it for its answer, as text, or as the validated object where `schema` is
    given. Awaiting it raises its failure.

    It starts when it is awaited, or scheduled by `parallel` or `pipeline`, never when it is made. An answer is reused
    while all that determines it is the same: prompt, schema, model, tools, attachments.

    - `label`, `phase`: for people; they do not count for what is reused.
    - `schema`: a JSON Schema, or a dict of name: type. Up to 5 answers, each told what was wrong with the one before.
    - `model`, `agent`, `tools`: who answers, and the names of the tools that it may use, all of them where None.
    - `budget`: the most that it may take: `turns`, `tool_calls`, `tokens`, `cost` (US dollars), `seconds`.
    - `attach`: text, known by its content; in notebooks files, tables and arrays too.
    - `fresh`: runs live, and its answer takes the place of a recorded one.
    - `side_effects`: it changes the world: a recorded answer is not used without a word to a person who can be asked.
    - `retries`: how often a failed call is tried again, 10 at most.
    - `timeout`: seconds, 300 where None; waiting for people does not count.
    """

async def parallel(
    calls: Iterable[Awaitable[Any]], *, limit: int | None = None, on_error: Literal["none", "raise"] = "none"
) -> list[Any]:
    """Runs the calls at the same time, at most `limit` of them, and returns their results in order once all are done.

    A failed one is None and its error is logged; `on_error="raise"` raises the first, and starts no more. 4,096 calls
    at most.
    """

async def pipeline(
    items: Iterable[Any],
    *stages: Callable[[Any, Any, int], Any],
    limit: int | None = None,
    on_error: Literal["none", "raise"] = "none",
) -> list[Any]:
    """Sends each item through the stages on its own, without waiting for the others, and returns what the last stage
    gives for each, in order.

    A stage gets `(previous, item, index)` and returns a value or a call. A failed item is None and skips its later
    stages. 4,096 items at most.
    """

def ask(question: str, schema: Any = None) -> Awaitable[Any]:
    """Returns a question to a person: `await` it for their text, or the object that `schema` (a dict of name: type)
    describes, shown to them as a form. It waits as long as they take, and is asked once."""

def gate(title: str, detail: str = "") -> Awaitable[bool]:
    """Returns a decision of a person whether the workflow goes on: `await` it for True or False. A rejection is logged
    with its reason."""

def workflow(name: str, /, **args: Any) -> Awaitable[Any]:
    """Returns a call of another workflow of the server's: `await` it for its result. One level deep."""

async def step(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Returns what `fn(*args, **kwargs)` returns, from the store where the same code was given the same before. In
    notebooks only: a script on the server calls the function itself."""

def phase(title: str, *, budget: Mapping[str, float] | None = None) -> None:
    """Says that a named stretch begins; later calls belong to it. `budget` is what all of its live calls may take
    together: `tokens` and `cost` (US dollars)."""

def log(message: object) -> None:
    """Tells people how far it is."""

args: Mapping[str, Any]
"""The arguments of the run, read-only."""

class _Budget:
    """Tokens: what the live calls of this run may take together, and have taken."""

    @property
    def total(self) -> int | None:
        """The limit in tokens, None where there is none."""
    @property
    def cost(self) -> float | None:
        """US dollars spent until now, None where a price is unknown."""
    def spent(self) -> int:
        """Returns the tokens spent until now. Calls from the store spend nothing."""
    def remaining(self) -> float:
        """Returns the tokens left; infinite where there is no limit."""

budget: _Budget
