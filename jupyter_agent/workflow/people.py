"""`ask` and `gate` as calls: runs that no model carries out, so that all that questions and approvals have is there.

What a person said is read from the run's journal, where it was written before anything else heard of it.
"""

from typing import Any, Final

from ..exceptions import InvalidRequest, RunFailed
from ..models.person import PERSON
from ..records import Budget, Decision, RunRequest, Text, canonical_json
from ..script import gate_call, question_call
from ..script.key import CallFields
from ..script.placed import PlacedCall
from ..transcript import Transcript

MODEL: Final = PERSON


def check(call: PlacedCall) -> None:
    """Raises InvalidRequest for a question or a gate as no script can say it."""
    if call.kind == "ask":
        question_call(call.prompt, call.schema)
    elif more := call.given.keys() - {"detail"}:
        raise InvalidRequest(f"A gate has a detail, and not {', '.join(sorted(more))}.")
    else:
        gate_call(call.prompt, call.given.get("detail", ""))


def fields_of(call: PlacedCall) -> CallFields:
    """Returns what determines a person's answer: what they are asked. No model, tool or instruction counts."""
    settings = {"gate": dict(call.given)} if call.kind == "gate" else {}
    return CallFields(prompt=call.prompt, schema=call.schema, model=MODEL, settings=settings)


def request_of(call: PlacedCall, *, metadata: dict[str, Any]) -> RunRequest:
    """Returns the run that asks."""
    kwargs: dict[str, Any] = {}
    text = call.prompt
    if call.kind == "gate":
        kwargs["gate"] = {"title": call.prompt, **call.given}
        text = "\n\n".join(filter(None, (call.prompt, call.given.get("detail"))))
    elif call.schema is not None:
        kwargs["schema"] = call.schema
    # Without limits: it costs nothing, and how long people take is their own affair.
    return RunRequest(
        input=(Text(text=text),), model=MODEL, budget=Budget(), kwargs=kwargs, metadata=metadata, cell=call.origin
    )


def answer_of(call: PlacedCall, transcript: Transcript) -> str:
    """Returns what a person said, as the call keeps it. Raises RunFailed where nobody said anything."""
    if call.kind == "gate":
        decided = [one for one in transcript.approvals.values() if one.decision is not None]
        if decided:
            is_approved = decided[-1].decision in (Decision.APPROVE, Decision.EDIT)
            reason = decided[-1].reason
            return canonical_json({"approved": is_approved} | ({"reason": reason} if reason else {}))
    else:
        said = [content for content in transcript.answers.values() if content is not None]
        if said:
            return said[-1]
    raise RunFailed("It ended without a person's word.", details={"code": "run_failed"})
