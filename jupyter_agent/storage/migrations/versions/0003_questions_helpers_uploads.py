"""What people were asked, what model calls that are no turns took, and since when an upload waits to be used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("helper_tokens", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("helper_cost", sa.Float))
    op.add_column("blob_refs", sa.Column("created_at", TIME))
    create_approvals()
    create_inputs()


def create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("approval_id", TEXT, primary_key=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("tool_call_id", "tool_name", "arguments")),
        sa.Column("effects", sa.JSON, nullable=False),
        sa.Column("preview", sa.JSON, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        *(sa.Column(name, TEXT) for name in ("decision", "resolved_arguments", "reason", "actor", "policy")),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("resolved_at", TIME),
    )
    op.create_index("approvals_by_id", "approvals", ["approval_id"])


def create_inputs() -> None:
    op.create_table(
        "inputs",
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("prompt", TEXT, nullable=False),
        sa.Column("schema", sa.JSON),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("content", TEXT),
        sa.Column("actor", TEXT),
        sa.Column("asked_at", TIME),
        sa.Column("resolved_at", TIME),
    )
