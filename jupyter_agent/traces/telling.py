"""An imported run, told turn by turn, so that it can be laid beside another one (see frames.diff)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..exceptions import InvalidRequest
from ..frames.told import Told
from ..records import Message, TurnRecord, Usage
from .facts import ImportedMessage, ImportedRun, ImportedTurn

if TYPE_CHECKING:
    from .imported import ImportedTraces

UNKNOWN_AT = datetime.min.replace(tzinfo=UTC)
SHOWN = 5


def tell(traces: "ImportedTraces", run: str | None) -> Told:
    """Returns the run with this id, ours or the log's; the only one without. Raises InvalidRequest."""
    found = [one for one in traces.runs if run is None or run in (one.run_id, one.foreign_run_id)]
    if len(found) != 1:
        named = ", ".join(one.run_id for one in traces.runs[:SHOWN])
        what = "There is not exactly one run" if run is None else f"There is not exactly one run {run!r}"
        raise InvalidRequest(f"{what} in {traces.source}: it has {len(traces.runs)} ({named} …). Name one of them.")
    of_run = found[0]
    messages = [one for one in traces.messages if one.run_id == of_run.run_id]
    turns = [one for one in traces.turns if one.run_id == of_run.run_id]
    return Told(run_id=of_run.run_id, turns=tuple(_turns(of_run, messages, turns)), model=of_run.model or "")


def _turns(
    run: ImportedRun, messages: Sequence[ImportedMessage], turns: Sequence[ImportedTurn]
) -> Sequence[TurnRecord]:
    """A turn is what was said since the last answer, and the answer; several messages of the model without anything
    between them are one."""
    known = {turn.turn: turn for turn in turns}
    told: list[TurnRecord] = []
    asked: list[Message] = []
    for one in messages:
        if one.message.role != "assistant":
            asked.append(one.message)
        elif told and not asked:
            told[-1] = _with_more(told[-1], one.message)
        else:
            told.append(_turn(run, len(told), tuple(asked), one.message, known.get(one.turn or 0)))
            asked = []
    return told


def _with_more(turn: TurnRecord, message: Message) -> TurnRecord:
    return replace(turn, response=replace(turn.response, parts=turn.response.parts + message.parts))


def _turn(
    run: ImportedRun, number: int, asked: tuple[Message, ...], answer: Message, said: ImportedTurn | None
) -> TurnRecord:
    usage = said.usage if said and said.usage else Usage(requests=1, unmeasured_requests=1)
    return TurnRecord(
        run_id=run.run_id,
        turn=number,
        model=(said.model if said else None) or run.model or "",
        request=asked,
        response=answer,
        stop_reason=(said.stop_reason if said else None) or "",
        usage=usage,
        started_at=(said.started_at if said else None) or UNKNOWN_AT,
        finished_at=(said.finished_at if said else None) or UNKNOWN_AT,
    )
