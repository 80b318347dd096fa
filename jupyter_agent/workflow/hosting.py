"""What a word that a script said in the sandbox does on the server. Words come as JSON and are judged as strangers'."""

import json
from typing import Any

import msgspec

from ..exceptions import AgentError, InvalidRequest
from ..script import AgentCall, Host, Words, gate_call, question_call, verdict, workflow_call
from ..script.limits import checked_limits


class _Said(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`agent(…)` as it comes out of the sandbox. Attachments are texts: there is nothing else inside."""

    prompt: str
    label: str | None = None
    phase: str | None = None
    phase_budget: dict[str, int | float] | None = None
    schema: Any = None
    model: str | None = None
    tools: list[str] | None = None
    agent: str | None = None
    budget: dict[str, int | float] | None = None
    attach: str | list[str] | dict[str, str] | None = None
    fresh: bool = False
    side_effects: bool = False
    retries: int = 0
    timeout: float | None = None


class _Workflow(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    args: dict[str, Any]
    phase: str | None = None


class _Question(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    question: str
    schema: Any = None
    phase: str | None = None


class _Gate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    title: str
    detail: str = ""
    phase: str | None = None


class HostWords:
    """The words over a host."""

    def __init__(self, host: Host) -> None:
        self._host: Any = host
        self._words = Words(host)

    async def call(self, word: str, said: str, *, place: int = 0) -> str:
        """Does what a word says and returns its answer as JSON text. Raises what it raises.

        `place` numbers the calls of a run: the same one in a replay, for hosts that ask for it (`agent_at`).
        """
        match word:
            case "agent":
                options = msgspec.structs.asdict(_read(said, _Said, word))
                of_phase = options.pop("phase_budget")
                call = self._words.agent(options.pop("prompt"), **options).call
                if of_phase is not None:
                    checked_limits(of_phase, what="A phase's budget")
                    call = msgspec.structs.replace(call, phase_budget=of_phase)
                answer = await self._answer(call, place)
            case "workflow":
                nested = _read(said, _Workflow, word)
                answer = await self._answer(workflow_call(nested.name, nested.args, phase=nested.phase), place)
            case "ask":
                asked = _read(said, _Question, word)
                answer = await self._answer(question_call(asked.question, asked.schema, phase=asked.phase), place)
            case "gate":
                gate = _read(said, _Gate, word)
                call = gate_call(gate.title, gate.detail, phase=gate.phase)
                answer = verdict(call, await self._answer(call, place), self._host.log)
            case _:
                raise InvalidRequest(f"There is no word {word[:40]!r} in workflows.")
        return json.dumps(msgspec.to_builtins(answer), allow_nan=False)

    def tell(self, word: str, said: str) -> None:
        """Tells people what `phase` or `log` says."""
        text = _read(said, str, word)
        match word:
            case "phase":
                self._host.phase(text)
            case "log":
                self._host.log(text)
            case _:
                raise InvalidRequest(f"There is no word {word[:40]!r} in workflows.")

    def printed(self, text: str) -> None:
        """Tells people what a script printed, line by line."""
        for line in text.splitlines():
            self._host.log(line)

    def budget(self, name: str) -> Any:
        """Returns `total`, `cost`, `spent` or `remaining` as they are now. Raises AttributeError."""
        match name:
            case "total" | "cost":
                return getattr(self._host.budget, name)
            case "spent" | "remaining":
                return getattr(self._host.budget, name)()
        raise AttributeError(f"budget has no {name[:40]!r}")

    async def _answer(self, call: AgentCall, place: int) -> Any:
        at = getattr(self._host, "agent_at", None)
        return await (self._host.agent(call) if at is None else at(call, place))


def _read(said: str, kind: Any, word: str) -> Any:
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as fault:
        raise InvalidRequest(f"{word}(…) was not said as it has to be: {fault}.") from fault


def raised_inside(fault: Exception) -> dict[str, str]:
    """Returns a failure as the exception that the script sees: a type known inside, and the whole sentence."""
    match fault:
        case InvalidRequest():
            kind = "ValueError"
        case TimeoutError():
            kind = "TimeoutError"
        case _:
            kind = "RuntimeError"
    name = type(fault).__name__
    text = fault.message if isinstance(fault, AgentError) else str(fault)
    return {"exc_type": kind, "message": text if isinstance(fault, InvalidRequest) else f"{name}: {text}"}
