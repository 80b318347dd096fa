"""Workflow scripts that the server carries out."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "headless_runs",
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
        sa.Column("result", sa.JSON),
        sa.Column("error_code", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
    )
    op.create_index("headless_runs_of_user", "headless_runs", ["user_id", "project", "created_at", "workflow_run_id"])
