"""Runs as they are told to be compared: what each turn was asked with, and what it answered."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..client.run import Run
from ..exceptions import InvalidRequest
from ..facts.query import Wanted
from ..records import SYSTEM, Message, Past, TurnRecord

if TYPE_CHECKING:
    from .many import Source


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `past` is what a forked one began with, `before` (run id, turn) is where it was forked from."""

    run_id: str
    turns: tuple[TurnRecord, ...]
    model: str = ""
    instructions: str = ""
    settings: Mapping[str, Any] = {}
    before: tuple[str, int] | None = None
    past: tuple[Message, ...] = ()


class Tellable(Protocol):
    """What tells a run by itself, as an import does."""

    def told(self) -> Told:
        """Returns its one run. Raises InvalidRequest where there are several."""


def tell(source: "Source", run: "Run | str | Tellable") -> Told:
    """Returns a run as its source has it now. Blocking. Raises RunNotFound, BlobNotFound, InvalidRequest."""
    if not isinstance(run, Run | str):
        if not callable(getattr(run, "told", None)):
            raise InvalidRequest(f"{run!r} is no run: give a run, its id, or an import of one run.")
        return run.told()
    run_id = run.id if isinstance(run, Run) else run
    started = source.begun(run_id)
    asked = Wanted(kind="turns", by=SYSTEM, run_ids=(run_id,), columns=("blob",))
    keys = source.table(asked).column("blob").to_pylist()
    past = [started.fork.past] if started.fork else []
    *turns, begun = [*source.blobs([*keys, *past]), *([] if past else [b"{}"])]
    own = started.kwargs.get("kwargs") if "input" in started.kwargs else started.kwargs
    return Told(
        run_id=run_id,
        turns=tuple(msgspec.json.decode(turn, type=TurnRecord) for turn in turns),
        model=started.model,
        instructions=str(started.kwargs.get("instructions") or ""),
        settings=json.loads(json.dumps(own or {})),
        before=(started.fork.run_id, started.fork.turn) if started.fork else None,
        past=msgspec.json.decode(begun, type=Past).messages,
    )
