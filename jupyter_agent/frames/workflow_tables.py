"""The frames of workflows on the server: which there are, their runs, and what a run told."""

import json
from datetime import timedelta
from typing import Any

from ..facts.columns import Column, Type, said
from ..facts.kinds import STATUSES


def _as_json(name: str) -> Column:
    def value(row: Any) -> str | None:
        found = getattr(row, name)
        return None if found is None else json.dumps(found, ensure_ascii=False)

    return Column(name, Type.JSON, value)


def _length(run: Any) -> timedelta | None:
    return None if run.ended_at is None else run.ended_at - run.created_at


WORKFLOWS = (
    said("name", Type.TEXT),
    said("place", Type.NAME),
    said("state", Type.NAME, ("ready", "not approved", "shadowed", "broken")),
    said("description", Type.TEXT),
    said("takes", Type.TEXT),
    Column("phases", Type.TEXT, lambda row: row.titles),
    said("approved", Type.BOOL),
    said("shadowed_by", Type.NAME),
    said("error", Type.TEXT),
    said("file", Type.TEXT),
    said("digest", Type.TEXT),
)
RUNS = (
    said("workflow_run_id", Type.TEXT),
    said("workflow", Type.NAME),
    Column("status", Type.NAME, lambda run: str(run.status), STATUSES),
    said("phase", Type.TEXT),
    said("calls", Type.INT),
    Column("from_store", Type.INT, lambda run: run.hits),
    said("created_at", Type.TIME),
    said("ended_at", Type.TIME),
    Column("duration", Type.LENGTH, _length),
    _as_json("args"),
    said("model", Type.NAME),
    said("resumes", Type.TEXT),
    said("error_code", Type.NAME),
    said("error_message", Type.TEXT),
)
EVENTS = (
    said("number", Type.INT),
    said("type", Type.NAME, ("status", "phase", "log", "call")),
    said("text", Type.TEXT),
    said("at", Type.TIME),
    said("call_id", Type.TEXT),
    said("status", Type.NAME),
    said("phase", Type.TEXT),
    said("model", Type.NAME),
    said("run_id", Type.TEXT),
    said("tokens", Type.INT),
    said("cost", Type.FLOAT),
    said("seconds", Type.FLOAT),
    said("message", Type.TEXT),
)
KINDS = {"workflows": WORKFLOWS, "workflow_runs": RUNS, "workflow_events": EVENTS}
