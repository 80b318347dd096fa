"""Passes of workflows, the results of their calls, and who claimed which."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "workflow_runs",
        sa.Column("workflow_run_id", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("workflow", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("args", sa.JSON, nullable=False),
        sa.Column("kernel_id", TEXT),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_index("workflow_runs_of_user", "workflow_runs", ["user_id", "created_at", "workflow_run_id"])
    op.create_table(
        "call_results",
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
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=False),
        sa.Column("done_at", TIME),
        sa.Column("replaces", TEXT),
    )
    op.create_index("calls_by_key", "call_results", ["user_id", "project", "workflow", "key", "number"])
    op.create_index("calls_by_label", "call_results", ["user_id", "project", "workflow", "label", "number"])
    op.create_index("calls_by_number", "call_results", ["user_id", "project", "workflow", "number"])
    op.create_index("calls_by_use", "call_results", ["used_at"])
    is_in_flight = sa.text("NOT is_done")
    op.create_index(
        "calls_in_flight", "call_results", ["call_id"], sqlite_where=is_in_flight, postgresql_where=is_in_flight
    )
    op.create_table(
        "call_claims",
        sa.Column("workflow_run_id", TEXT, sa.ForeignKey("workflow_runs.workflow_run_id"), primary_key=True),
        sa.Column("call_id", TEXT, sa.ForeignKey("call_results.call_id"), primary_key=True),
        sa.Column("cell", TEXT),
        sa.Column("token", TEXT),
        sa.Column("claimed_at", TIME, nullable=False),
    )
    op.create_index("claims_of_call", "call_claims", ["call_id"])
