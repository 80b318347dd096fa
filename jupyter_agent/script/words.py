"""The words themselves, bound to a host: what a cell of a workflow finds in its namespace."""

import inspect
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from ..exceptions import Conflict, InvalidRequest
from ..records import clean
from . import prelude
from .call import MAX_AT_ONCE, MAX_ITEMS, MAX_NAME_CHARS, MAX_RETRIES, MAX_TIMEOUT_S, AgentCall
from .content import attachments
from .host import BudgetView, Host
from .limits import checked_limits
from .people import gate_call, question_call, verdict, workflow_call
from .schema import schema_of

OnError = Literal["none", "raise"]


def prelude_source() -> str:
    """Returns the text of `parallel` and `pipeline`, for an interpreter that has no modules of ours."""
    return files(__package__).joinpath("prelude.py").read_text(encoding="utf-8")


class Pending:
    """A call that was made and has not started: it starts when it is awaited, or scheduled by `parallel` or
    `pipeline`."""

    __slots__ = ("_is_started", "_start", "call")

    def __init__(self, call: AgentCall, start: Callable[[AgentCall], Awaitable[Any]]) -> None:
        self.call = call
        self._start = start
        self._is_started = False

    def __await__(self) -> Generator[Any, None, Any]:
        if self._is_started:
            raise Conflict(f"The call {self.name!r} was awaited before. Keep its result, or call agent(…) again.")
        self._is_started = True
        return self._start(self.call).__await__()

    @property
    def name(self) -> str:
        return self.call.label or _shortened(self.call.prompt)

    def __repr__(self) -> str:
        return f"<call {self.name!r}, {'started' if self._is_started else 'not started: await it'}>"


class Words:
    """`agent`, `ask`, `gate`, `workflow`, `parallel`, `pipeline`, `phase`, `log`, `args` and `budget` over one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._phase: str | None = None
        self.phase_budgets: dict[str, dict[str, Any]] = {}

    def namespace(self) -> dict[str, Any]:
        """Returns the words by their names. `args` and `budget` are read when this is called."""
        return {
            "agent": self.agent,
            "ask": self.ask,
            "gate": self.gate,
            "workflow": self.workflow,
            "parallel": self.parallel,
            "pipeline": self.pipeline,
            "phase": self.phase,
            "log": self.log,
            "args": self.args,
            "budget": self.budget,
        }

    @property
    def phase_now(self) -> str | None:
        """The phase that calls belong to which name none."""
        return self._phase

    @property
    def args(self) -> Mapping[str, Any]:
        return MappingProxyType(dict(self._host.args))

    @property
    def budget(self) -> BudgetView:
        return self._host.budget

    def agent(  # noqa: PLR0913 - the word has these options
        self,
        prompt: str,
        *,
        label: str | None = None,
        phase: str | None = None,
        schema: Any = None,
        model: str | None = None,
        tools: Iterable[str] | None = None,
        agent: str | None = None,
        budget: Mapping[str, Any] | None = None,
        attach: Any = None,
        fresh: bool = False,
        side_effects: bool = False,
        retries: int = 0,
        timeout: float | None = None,
    ) -> Pending:
        """Returns a call: `await` it for its answer, as text, or as the validated object where `schema` is given.

        `schema` is a JSON Schema, or a dict of name: type. `timeout` is in seconds, 300 by default. Awaiting raises the
        call's failure. Raises InvalidRequest.
        """
        said: Any = prompt
        if not isinstance(said, str) or not said.strip():
            raise InvalidRequest(f"agent() needs a prompt with some text; it got {prompt!r}.")
        if not 0 <= retries <= MAX_RETRIES or (timeout is not None and not 0 < timeout <= MAX_TIMEOUT_S):
            raise InvalidRequest(
                f"agent() takes 0 to {MAX_RETRIES} retries and a timeout in seconds above 0, of a week at most; it got "
                f"{retries} and {timeout}."
            )
        if isinstance(tools, str):
            raise InvalidRequest(f"tools is a list of names: write [{tools!r}].")
        phase = clean(phase or self._phase)
        for what, name in (("label", label), ("phase", phase)):
            if name is not None and len(name) > MAX_NAME_CHARS:
                raise InvalidRequest(
                    f"The {what} of agent() has {len(name):,} characters, {MAX_NAME_CHARS:,} are the most: be brief."
                )
        call = AgentCall(
            prompt=clean(prompt), label=clean(label), phase=phase, phase_budget=self.phase_budgets.get(phase or ""),
            schema=schema_of(schema), model=model, tools=None if tools is None else tuple(tools), agent=agent,
            budget=_checked_budget(budget), attach=attachments(attach) if attach is not None else (),
            fresh=fresh, side_effects=side_effects, retries=retries, timeout_s=timeout,
        )  # fmt: skip
        return Pending(call, self._host.agent)

    def ask(self, question: str, schema: Any = None) -> Pending:
        """Returns a call that a person answers: `await` it for their text, or the object that `schema` describes.

        It waits as long as they take. Raises InvalidRequest.
        """
        return Pending(question_call(question, schema, phase=self._phase), self._host.agent)

    def gate(self, title: str, detail: str = "") -> Pending:
        """Returns a call by which a person lets the workflow go on: `await` it for True or False. A rejection is told
        with its reason. Raises InvalidRequest."""

        async def decided(call: AgentCall) -> bool:
            return verdict(call, await self._host.agent(call), self._host.log)

        return Pending(gate_call(title, detail, phase=self._phase), decided)

    def workflow(self, name: str, /, **args: Any) -> Pending:
        """Returns a call of another workflow, of the server's: `await` it for its result. Raises InvalidRequest."""
        return Pending(workflow_call(name, args, phase=self._phase), self._host.agent)

    async def parallel(
        self, calls: Iterable[Awaitable[Any]], *, limit: int | None = None, on_error: OnError = "none"
    ) -> list[Any]:
        """Runs the calls at the same time and returns their results in order once all are done.

        A failed one is None and its error is recorded; `on_error="raise"` raises the first. Raises InvalidRequest
        for more than 4,096, before anything starts.
        """
        listed = list(calls)
        for index, call in enumerate(listed):
            if not inspect.isawaitable(call):
                raise InvalidRequest(f"parallel() takes calls like agent(…); item {index} is {call!r}.")
        return await prelude.parallel(listed, self._width(limit, listed), on_error, self._check, self._note)

    async def pipeline(
        self, items: Iterable[Any], *stages: Callable[..., Any], limit: int | None = None, on_error: OnError = "none"
    ) -> list[Any]:
        """Sends each item through the stages on its own, without waiting for the others, and returns the results in
        order.

        A stage gets `(previous, item, index)` and returns a value or a call. A failed item is None and skips its
        later stages. Raises InvalidRequest for more than 4,096 items, before anything starts.
        """
        listed = list(items)
        for index, stage in enumerate(stages):
            if not callable(stage):
                raise InvalidRequest(f"pipeline() takes functions behind the items; stage {index} is {stage!r}.")
        return await prelude.pipeline(
            listed, stages, self._width(limit, listed), on_error, self._check, self._note, _settle
        )

    def phase(self, title: str, *, budget: Mapping[str, float] | None = None) -> None:
        """Says that a named stretch begins; later calls belong to it. `budget` is what all of its live calls may take
        together: `{"tokens": …, "cost": …}`. Raises InvalidRequest."""
        if budget is not None:
            checked_limits(dict(budget), what=f"The budget of the phase {title!r}")
            self.phase_budgets[title] = dict(budget)
        self._phase = clean(title)
        self._host.phase(clean(title))

    def log(self, message: str) -> None:
        """Tells people how far it is."""
        self._host.log(clean(str(message)))

    def _width(self, limit: int | None, items: list[Any]) -> int:
        # Without a limit all are scheduled: what is in the store needs no turn, and the host lets 16 work at once.
        return len(items) if limit is None else limit

    def _check(self, count: int, limit: int, on_error: str) -> None:
        if count > MAX_ITEMS:
            raise InvalidRequest(
                f"{count:,} items are more than the {MAX_ITEMS:,} of one parallel or pipeline; nothing was started. "
                "Work in batches."
            )
        if limit < 1 and count:
            raise InvalidRequest(f"limit must be at least 1, not {limit}; {MAX_AT_ONCE} agents work at once anyway.")
        if on_error not in ("none", "raise"):
            raise InvalidRequest(f"on_error is 'none' or 'raise', not {on_error!r}.")

    def _note(self, word: str, index: int, fault: Exception) -> None:
        self._host.log(f"{word}: item {index} failed: {type(fault).__name__}: {fault}")


def _checked_budget(given: Any) -> dict[str, Any] | None:
    """Returns what one call may take. Raises InvalidRequest for what would be no limit, or one that nothing fits."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(limit is None or _is_limit(limit) for limit in given.values()):
        raise InvalidRequest(
            f"agent() takes its budget as a dict like {{'tokens': 5000}}, of numbers from 0; it got {given!r}."
        )
    return dict(given) or None


def _is_limit(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and given >= 0


async def _settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _shortened(text: str, chars: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else f"{line[: chars - 1]}…"
