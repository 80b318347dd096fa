"""What somebody asks of many runs, as it is said in Python, made what a source of facts understands."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..client.run import Run
from ..client.thread import Thread
from ..exceptions import InvalidRequest
from ..facts.query import Scalar, Wanted
from ..records import SYSTEM, RunStatus

Runs = Run | str | Iterable[Run | str] | None
Time = datetime | str | None
Metadata = Mapping[str, Scalar] | None


def wish(  # noqa: PLR0913 - the filters that all frames share
    kind: str,
    *,
    run: Runs = None,
    thread: Thread | str | None = None,
    model: str | None = None,
    tool: str | None = None,
    status: str | Iterable[str] | None = None,
    since: Time = None,
    until: Time = None,
    metadata: Metadata = None,
    columns: Iterable[str] | None = None,
) -> Wanted:
    """Returns what is wanted. Raises InvalidRequest for what is no such filter, naming what there is.

    It is asked for everybody: whoever answers knows who asks.
    """
    for name, value in (("model", model), ("tool", tool)):
        if value is not None and not isinstance(value, str):
            raise InvalidRequest(f"{name} is a text, not {value!r}.")
    return Wanted(
        kind=kind, by=SYSTEM, run_ids=_run_ids(run), thread_id=thread.id if isinstance(thread, Thread) else thread,
        model=model, tool=tool, statuses=_statuses(status), since=checked_time("since", since),
        until=checked_time("until", until),
        metadata=_metadata(metadata), columns=_columns(columns),
    )  # fmt: skip


def parameters(wanted: Wanted) -> dict[str, Any]:
    """Returns what is wanted as query parameters of the gateway."""
    from msgspec import json

    return {
        "runId": ",".join(wanted.run_ids) or None,
        "threadId": wanted.thread_id,
        "model": wanted.model,
        "tool": wanted.tool,
        "status": ",".join(wanted.statuses) or None,
        "since": wanted.since.isoformat() if wanted.since else None,
        "until": wanted.until.isoformat() if wanted.until else None,
        "metadata": json.encode(wanted.metadata).decode() if wanted.metadata else None,
        "after": wanted.after or None,
        "columns": ",".join(wanted.columns) or None,
    }


def _run_ids(run: Runs) -> tuple[str, ...]:
    if run is None:
        return ()
    named = [run] if isinstance(run, Run | str) else list(run)
    if not named:
        raise InvalidRequest("run names no run: give a run, an id or several of them, or leave it out for all.")
    return tuple(one.id if isinstance(one, Run) else str(one) for one in named)


def _columns(said: Iterable[str] | None) -> tuple[str, ...]:
    if said is None:
        return ()
    return (said,) if isinstance(said, str) else tuple(said)


def _statuses(said: str | Iterable[str] | None) -> tuple[RunStatus, ...]:
    names = said.split(",") if isinstance(said, str) else [*(said or ())]
    for name in names:
        if name not in set(RunStatus):
            raise InvalidRequest(f"There is no status {name!r}. A run is {', '.join(RunStatus)}.")
    return tuple(map(RunStatus, names))


def checked_time(name: str, said: Time) -> datetime | None:
    """Returns a time. Raises InvalidRequest for what is none, with the name of the filter."""
    try:
        found = datetime.fromisoformat(said) if isinstance(said, str) else said
        # It may be pandas' own: a datetime all the same.
        return None if found is None else datetime.fromisoformat(found.isoformat())
    except (ValueError, AttributeError):
        raise InvalidRequest(
            f"{name} is a time, not {said!r}: give a datetime, or a text like '2026-11-01' or '2026-11-01T09:30'."
        ) from None


def _metadata(said: Metadata) -> Mapping[str, Scalar]:
    if said is None:
        return {}
    keys: Any = said
    if not isinstance(keys, Mapping):
        raise InvalidRequest(f"metadata is a dictionary like {{'experiment': 'a'}}, not {said!r}.")
    for key, value in keys.items():
        if not isinstance(key, str) or not isinstance(value, str | int | float | bool | None):
            raise InvalidRequest(
                f"metadata[{key!r}] is looked for by a text, a number, True, False or None, not by {value!r}."
            )
    return dict(said)
