"""The frames of workflows on the server: which there are, their runs, and what a run told."""

import json
from datetime import timedelta
from typing import Any

from ..facts.columns import Column, Type
from ..facts.kinds import STATUSES


def _said(name: str, type_: Type, names: tuple[str, ...] = ()) -> Column:
    return Column(name, type_, lambda row: getattr(row, name), names)


def _as_json(name: str) -> Column:
    def value(row: Any) -> str | None:
        found = getattr(row, name)
        return None if found is None else json.dumps(found, ensure_ascii=False)

    return Column(name, Type.JSON, value)


def _length(run: Any) -> timedelta | None:
    return None if run.ended_at is None else run.ended_at - run.created_at


WORKFLOWS = (
    _said("name", Type.TEXT),
    _said("place", Type.NAME),
    _said("state", Type.NAME, ("ready", "not approved", "shadowed", "broken")),
    _said("description", Type.TEXT),
    _said("takes", Type.TEXT),
    Column("phases", Type.TEXT, lambda row: row.titles),
    _said("approved", Type.BOOL),
    _said("shadowed_by", Type.NAME),
    _said("error", Type.TEXT),
    _said("file", Type.TEXT),
    _said("digest", Type.TEXT),
)
RUNS = (
    _said("workflow_run_id", Type.TEXT),
    _said("workflow", Type.NAME),
    Column("status", Type.NAME, lambda run: str(run.status), STATUSES),
    _said("phase", Type.TEXT),
    _said("calls", Type.INT),
    Column("from_store", Type.INT, lambda run: run.hits),
    _said("created_at", Type.TIME),
    _said("ended_at", Type.TIME),
    Column("duration", Type.LENGTH, _length),
    _as_json("args"),
    _said("model", Type.NAME),
    _said("resumes", Type.TEXT),
    _said("error_code", Type.NAME),
    _said("error_message", Type.TEXT),
)
EVENTS = (
    _said("number", Type.INT),
    _said("type", Type.NAME, ("status", "phase", "log", "call")),
    _said("text", Type.TEXT),
    _said("at", Type.TIME),
    _said("call_id", Type.TEXT),
    _said("status", Type.NAME),
    _said("phase", Type.TEXT),
    _said("model", Type.NAME),
    _said("run_id", Type.TEXT),
    _said("tokens", Type.INT),
    _said("cost", Type.FLOAT),
    _said("seconds", Type.FLOAT),
    _said("message", Type.TEXT),
)
KINDS = {"workflows": WORKFLOWS, "workflow_runs": RUNS, "workflow_events": EVENTS}
