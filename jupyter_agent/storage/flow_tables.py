"""The tables of flows: their runs, and where each step stands."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ..flow.state import FlowRun, StepState, StepStatus
from ..records import RunStatus
from .tables import LEASE, TEXT, Row, UtcTime, metadata

flow_runs = sa.Table(
    "flow_runs",
    metadata,
    sa.Column("flow_run_id", TEXT, primary_key=True),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("flow", TEXT, nullable=False),
    sa.Column("shape", TEXT, nullable=False),
    sa.Column("args", sa.JSON, nullable=False),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("output", TEXT),
    sa.Column("error", TEXT),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    # As of runs: only flows.py reads and writes these.
    sa.Column("lease_owner", TEXT),
    sa.Column("lease_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("lease_expires_at", sa.Double),
    sa.Index("flow_runs_of_user", "user_id", "created_at", "flow_run_id"),
)
IS_UNFINISHED: Final = flow_runs.c.ended_at.is_(None)
sa.Index(
    "unfinished_flow_runs",
    flow_runs.c.created_at,
    flow_runs.c.flow_run_id,
    sqlite_where=IS_UNFINISHED,
    postgresql_where=IS_UNFINISHED,
)

flow_steps = sa.Table(
    "flow_steps",
    metadata,
    sa.Column("flow_run_id", TEXT, sa.ForeignKey("flow_runs.flow_run_id"), primary_key=True),
    sa.Column("step_id", TEXT, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("excluded", sa.Boolean, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("restarts", sa.Integer, nullable=False),
    sa.Column("output", sa.JSON(none_as_null=True)),
    sa.Column("error", TEXT),
    sa.Column("actor", TEXT),
    sa.Column("started_at", UtcTime),
    sa.Column("ended_at", UtcTime),
)


def flow_run_values(run: FlowRun) -> dict[str, Any]:
    return msgspec.structs.asdict(run) | {"status": run.status.value}


def step_values(step: StepState) -> dict[str, Any]:
    return msgspec.structs.asdict(step) | {"status": step.status.value}


def flow_run_of(row: Row) -> FlowRun:
    values = {name: value for name, value in row.items() if name not in LEASE}
    return FlowRun(**values | {"status": RunStatus(values["status"])})


def step_of(row: Row) -> StepState:
    values = {name: row[name] for name in StepState.__struct_fields__}
    return StepState(**values | {"status": StepStatus(values["status"])})
