"""What a call says, resolved against this server: the fields that determine its answer, and the run that gives it."""

from typing import Any, Final

import msgspec

from ..exceptions import InvalidRequest, UnknownTool
from ..models.contract import Models
from ..models.form import form_of
from ..records import Budget, RunRequest, StoredCall, Text, canonical_json
from ..runtime import RunnerSettings
from ..script import PEOPLE
from ..script.key import CallFields, digest_of
from ..script.limits import checked_limits
from ..script.placed import PlacedCall
from ..tools import Toolbox
from ..tools.repair import parse_json, repair_json
from ..tools.schema import check_any_schema, schema_problems
from . import people

WRONG: Final = """\
That answer does not have the form that was asked for: {problems}.
Answer again, with JSON alone that satisfies the schema."""


class Resolver:
    """Reads calls as this server would carry them out now."""

    def __init__(self, *, models: Models, toolbox: Toolbox, settings: RunnerSettings) -> None:
        self._models = models
        self._toolbox = toolbox
        self._settings = settings
        self._hashes: dict[str, str] = {}

    @property
    def run_budget(self) -> Budget:
        """The budget of a run that names none."""
        return self._settings.budget

    def fields(self, call: PlacedCall, *, workflow: str | None = None) -> CallFields:
        """Returns what determines the call's answer; `workflow` is the digest of the one that is called. Raises
        InvalidRequest."""
        if call.kind in PEOPLE:
            return people.fields_of(call)
        if call.kind == "workflow":
            return CallFields(prompt=call.prompt, model="workflow", settings=dict(call.given), workflow=workflow)
        settings = dict(call.settings)
        if call.script is not None:
            settings["script"] = call.script
        told = "\n\n".join(filter(None, (self._settings.instructions, call.instructions)))
        return CallFields(
            prompt=call.prompt,
            schema=call.schema,
            model=call.model or self._models.default,
            settings=settings,
            tools=self._tools(call),
            agent=call.agent,
            instructions=digest_of(told),
            attachments=tuple(one.digest for one in call.attach),
        )

    def check_model(self, name: str) -> None:
        """Raises UnknownModel naming the closest ones, BadCredentials where a key is missing, and InvalidRequest for
        one that needs more than its name."""
        self._models.get(name)

    def _tools(self, call: PlacedCall) -> dict[str, str]:
        if not self._settings.tools_enabled:
            return {}
        try:
            specs = self._toolbox.specs(call.tools)
        except UnknownTool as fault:
            raise InvalidRequest(fault.message, details={"fields": {"tools": fault.message}}) from fault
        for spec in specs:
            if spec.name not in self._hashes:
                self._hashes[spec.name] = digest_of([spec.description, spec.parameters])[:16]
        return {spec.name: self._hashes[spec.name] for spec in specs}


def said_of(call: PlacedCall) -> dict[str, Any]:
    """Returns the call as it is kept. Raises InvalidRequest for a budget, a schema or a question that is none."""
    if call.kind in PEOPLE:
        people.check(call)
    if call.schema is not None:
        try:
            check_any_schema(call.schema)
        except ValueError as fault:
            raise InvalidRequest(f"{fault}.", details={"fields": {"schema": "is no JSON Schema"}}) from fault
    try:
        _budget(call.budget)
    except (TypeError, msgspec.ValidationError) as fault:
        raise InvalidRequest(
            f"A budget has {', '.join(Budget.__struct_fields__)}; this one is {call.budget}: {fault}."
        ) from fault
    if call.phase_budget is not None:
        checked_limits(call.phase_budget, what="A phase's budget")
    kept: dict[str, Any] = msgspec.to_builtins(call)
    return kept


def placed_of(stored: StoredCall) -> PlacedCall:
    """Returns a kept call."""
    return msgspec.convert(stored.said, PlacedCall)


def _budget(given: dict[str, Any] | None) -> Budget | None:
    return None if given is None else msgspec.convert(msgspec.to_builtins(Budget(**given)), Budget)


def request_for(call: PlacedCall, stored: StoredCall, *, workflow_run_id: str | None) -> RunRequest:
    """Returns the run that answers a call for the first time."""
    shown = tuple(Text(text=f"\n\n{one.name} ({one.kind}):\n{one.text}") for one in call.attach)
    metadata = {
        "workflow": stored.workflow, "workflowRunId": workflow_run_id, "callId": stored.call_id, "label": call.label,
        "phase": call.phase,
    }  # fmt: skip
    metadata = {name: value for name, value in metadata.items() if value is not None}
    if call.kind in PEOPLE:
        return people.request_of(call, metadata=metadata)
    form = form_of(call.schema) if call.schema is not None else None
    return RunRequest(
        input=(Text(text=call.prompt), *shown),
        model=call.model,
        agent=call.agent,
        tools=call.tools,
        budget=_budget(call.budget),
        instructions="\n\n".join(filter(None, (call.instructions, form))) or None,
        kwargs=call.settings,
        script=call.script,
        metadata=metadata,
        cell=call.origin,
    )


def request_again(before: RunRequest, thread_id: str, problems: str) -> RunRequest:
    """Returns the run that asks for another answer, and says what was wrong with the one before."""
    return msgspec.structs.replace(before, input=WRONG.format(problems=problems), thread_id=thread_id)


def checked_answer(text: str, schema: dict[str, Any] | None) -> tuple[str, str | None]:
    """Returns the answer to keep, JSON where there is a schema, and what is wrong with it, None where nothing is."""
    if schema is None:
        return text, None
    right = repair_json(text)
    if right is None:
        return text, f"it is no JSON: {_where(text)}"
    value = parse_json(right)
    problems = schema_problems(schema, value)
    return (canonical_json(value), None) if not problems else (text, "; ".join(problems[:8]))


def _where(text: str) -> str:
    try:
        parse_json(text)
    except ValueError as fault:
        return str(fault)
    return "it cannot be read"
