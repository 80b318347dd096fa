"""Runs of flows, and where each of their steps stands."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "flow_runs",
        sa.Column("flow_run_id", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("flow", TEXT, nullable=False),
        sa.Column("shape", TEXT, nullable=False),
        sa.Column("args", sa.JSON, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("output", TEXT),
        sa.Column("error", TEXT),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("lease_owner", TEXT),
        sa.Column("lease_no", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_expires_at", sa.Double),
    )
    op.create_index("flow_runs_of_user", "flow_runs", ["user_id", "created_at", "flow_run_id"])
    is_unfinished = sa.text("ended_at IS NULL")
    op.create_index(
        "unfinished_flow_runs",
        "flow_runs",
        ["created_at", "flow_run_id"],
        sqlite_where=is_unfinished,
        postgresql_where=is_unfinished,
    )
    op.create_table(
        "flow_steps",
        sa.Column("flow_run_id", TEXT, sa.ForeignKey("flow_runs.flow_run_id"), primary_key=True),
        sa.Column("step_id", TEXT, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("excluded", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("restarts", sa.Integer, nullable=False),
        sa.Column("output", sa.JSON),
        sa.Column("error", TEXT),
        sa.Column("actor", TEXT),
        sa.Column("started_at", TIME),
        sa.Column("ended_at", TIME),
    )
