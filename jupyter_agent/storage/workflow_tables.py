"""The tables of workflows: passes, results of calls, claims of them."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ..records import HeadlessRun, RunStatus, StoredCall, WorkflowRun, clean
from .tables import TEXT, Row, UtcTime, metadata

workflow_runs = sa.Table(
    "workflow_runs",
    metadata,
    sa.Column("workflow_run_id", TEXT, primary_key=True),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("workflow", TEXT, nullable=False),
    sa.Column("project", TEXT, nullable=False),
    sa.Column("args", sa.JSON, nullable=False),
    sa.Column("kernel_id", TEXT),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("budget_tokens", sa.BigInteger),
    sa.Column("budget_cost", sa.Float),
    sa.Index("workflow_runs_of_user", "user_id", "created_at", "workflow_run_id"),
)

headless_runs = sa.Table(
    "headless_runs",
    metadata,
    sa.Column("workflow_run_id", TEXT, sa.ForeignKey("workflow_runs.workflow_run_id"), primary_key=True),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("workflow", TEXT, nullable=False),
    sa.Column("project", TEXT, nullable=False),
    sa.Column("digest", TEXT, nullable=False),
    sa.Column("script", sa.JSON, nullable=False),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("args", sa.JSON, nullable=False),
    sa.Column("phase", TEXT),
    sa.Column("said", sa.JSON, nullable=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("waits_for", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("active_s", sa.Float, nullable=False, server_default="0"),
    sa.Column("called_by", TEXT),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("error_code", TEXT),
    sa.Column("error_message", TEXT),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Column("model", TEXT),
    sa.Column("resumes", TEXT),
    # As of runs: who carries it out. Only leases.py and what names its number writes these; alone, nobody does.
    sa.Column("lease_owner", TEXT),
    sa.Column("lease_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("lease_expires_at", sa.Double),
    sa.Index("headless_runs_of_user", "user_id", "project", "created_at", "workflow_run_id"),
)

IS_UNFINISHED: Final = headless_runs.c.ended_at.is_(None)
sa.Index(
    "unfinished_headless_runs", headless_runs.c.created_at, sqlite_where=IS_UNFINISHED, postgresql_where=IS_UNFINISHED
)

workflow_events = sa.Table(
    "workflow_events",
    metadata,
    sa.Column("workflow_run_id", TEXT, sa.ForeignKey("headless_runs.workflow_run_id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("type", TEXT, nullable=False),
    sa.Column("told", sa.JSON, nullable=False),
)

call_results = sa.Table(
    "call_results",
    metadata,
    sa.Column("call_id", TEXT, primary_key=True),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("workflow", TEXT, nullable=False),
    sa.Column("project", TEXT, nullable=False),
    sa.Column("key", TEXT, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
    sa.Column("label", TEXT),
    sa.Column("cell", TEXT),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("is_done", sa.Boolean, nullable=False),
    sa.Column("run_id", TEXT),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("answer", TEXT),
    sa.Column("tokens", sa.BigInteger),
    sa.Column("cost", sa.Float),
    sa.Column("seconds", sa.Float),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("used_at", UtcTime, nullable=False),
    sa.Column("done_at", UtcTime),
    sa.Column("replaces", TEXT),
    sa.Column("lease_owner", TEXT),
    sa.Column("lease_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("lease_expires_at", sa.Double),
    sa.Index("calls_by_key", "user_id", "project", "workflow", "key", "number"),
    sa.Index("calls_by_label", "user_id", "project", "workflow", "label", "number"),
    sa.Index("calls_by_number", "user_id", "project", "workflow", "number"),
    sa.Index("calls_by_use", "used_at"),
)
"""`size` is in bytes: what the limits of the store count."""
_IS_IN_FLIGHT = sa.not_(call_results.c.is_done)
sa.Index("calls_in_flight", call_results.c.call_id, sqlite_where=_IS_IN_FLIGHT, postgresql_where=_IS_IN_FLIGHT)


def is_in_flight(table: sa.FromClause = call_results) -> sa.ColumnElement[bool]:
    """Returns the condition of the index of what is in flight in the index's own words: SQLite does not find it by
    others, and `is_done = 0`, as a column of it is negated in a query, are others."""
    return sa.not_(sa.literal_column(f"{table.description}.is_done"))


call_claims = sa.Table(
    "call_claims",
    metadata,
    sa.Column("workflow_run_id", TEXT, sa.ForeignKey("workflow_runs.workflow_run_id"), primary_key=True),
    sa.Column("call_id", TEXT, sa.ForeignKey("call_results.call_id"), primary_key=True),
    sa.Column("cell", TEXT),
    sa.Column("token", TEXT),
    sa.Column("claimed_at", UtcTime, nullable=False),
    sa.Index("claims_of_call", "call_id"),
)

call_spending = sa.Table(
    "call_spending",
    metadata,
    sa.Column("call_id", TEXT, primary_key=True),
    sa.Column("workflow_run_id", TEXT, sa.ForeignKey("workflow_runs.workflow_run_id"), nullable=False),
    sa.Column("phase", TEXT),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("reserved_tokens", sa.BigInteger),
    sa.Column("reserved_cost", sa.Float),
    sa.Column("tokens", sa.BigInteger),
    sa.Column("cost", sa.Float),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("fault", sa.JSON(none_as_null=True)),
    sa.Index("spending_of_run", "workflow_run_id"),
)
"""What each call that a pass started reserved and took: it stays when the call fails, or its answer is forgotten.
`fault` says why one failed."""


def call_values(call: StoredCall) -> dict[str, Any]:
    values = {name: clean(value) for name, value in msgspec.structs.asdict(call).items()}
    size = len((values["answer"] or "").encode()) + len(msgspec.json.encode([values["fields"], values["said"]]))
    return values | {"size": size}


def call_of(row: Row) -> StoredCall:
    return StoredCall(**{name: row[name] for name in StoredCall.__struct_fields__})


def is_of_workflow() -> sa.ColumnElement[bool]:
    """The condition that a call is of the workflow that `workflow_named` names, for statements that are built once."""
    names = ("user_id", "project", "workflow")
    return sa.and_(*(call_results.c[name] == sa.bindparam(f"the_{name}") for name in names))


def workflow_named(run: WorkflowRun) -> dict[str, Any]:
    """Returns the workflow of a pass as parameters."""
    return {"the_user_id": run.user_id, "the_project": run.project, "the_workflow": run.workflow}


def workflow_run_of(row: Row) -> WorkflowRun:
    return WorkflowRun(**row)


def headless_values(changed: dict[str, Any]) -> dict[str, Any]:
    values = {name: clean(value) for name, value in changed.items()}
    return values | {name: list(values[name]) for name in ("said", "waits_for") if name in values}


def headless_of(row: Row) -> HeadlessRun:
    told = {name: row[name] for name in HeadlessRun.__struct_fields__}
    lists = {name: tuple(row[name]) for name in ("said", "waits_for")}
    return HeadlessRun(**told | lists | {"status": RunStatus(row["status"])})
