"""What `ask`, `gate` and `workflow` say, as calls like any other: claimed, kept and explained by what was said."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..exceptions import InvalidRequest
from ..records import clean
from .call import AgentCall
from .schema import schema_of

MAX_QUESTION_CHARS: Final = 32_000
MAX_TITLE_CHARS: Final = 1_000
VERDICT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}
"""What a gate is answered; `verdict` makes True or False of it."""


def question_call(question: Any, schema: Any = None, *, phase: str | None = None) -> AgentCall:
    """Returns the call that asks a person. Raises InvalidRequest."""
    form = _hoisted(schema_of(schema))
    if form is not None and form.get("type") != "object":
        raise InvalidRequest(
            f"ask() shows its schema as a form, so it has to describe an object; it got {schema!r}. "
            "Name what is asked for, like schema={'score': int}."
        )
    question = _text("ask", "question", question, MAX_QUESTION_CHARS)
    return AgentCall(kind="ask", prompt=question, schema=form, phase=phase)


def gate_call(title: Any, detail: Any = "", *, phase: str | None = None) -> AgentCall:
    """Returns the call that has a person decide. Raises InvalidRequest."""
    given = {}
    if detail != "":
        given["detail"] = _text("gate", "detail", detail, MAX_QUESTION_CHARS)
    title = _text("gate", "title", title, MAX_TITLE_CHARS)
    return AgentCall(kind="gate", prompt=title, given=given, schema=VERDICT, phase=phase)


def workflow_call(name: Any, args: Mapping[str, Any], *, phase: str | None = None) -> AgentCall:
    """Returns the call that carries out another workflow, its result as plain data. Raises InvalidRequest."""
    name = _text("workflow", "name", name, MAX_TITLE_CHARS)
    return AgentCall(kind="workflow", prompt=name, given=dict(args), schema={}, phase=phase)


def verdict(call: AgentCall, answer: Mapping[str, Any], log: Callable[[str], None]) -> bool:
    """Returns what a gate was answered; a rejection is told, with its reason."""
    if not answer["approved"]:
        reason = answer.get("reason")
        log(f"Gate {call.prompt!r} was rejected{f': {reason}' if reason else '.'}")
    return bool(answer["approved"])


def _text(word: str, what: str, given: Any, most: int) -> str:
    if not isinstance(given, str) or not given.strip():
        raise InvalidRequest(f"{word}() needs a {what} with some text; it got {given!r}.")
    if len(given) > most:
        raise InvalidRequest(f"The {what} of {word}() has {len(given):,} characters, {most:,} are the most: be brief.")
    return clean(given)


def _hoisted(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns the schema of a class with the object itself at the top."""
    if schema is None or not str(schema.get("$ref", "")).startswith("#/$defs/"):
        return schema
    rest = dict(schema.get("$defs", {}))
    top = rest.pop(schema["$ref"].removeprefix("#/$defs/"), None)
    if top is None:
        return schema
    return {**top, "$defs": rest} if rest else dict(top)
