"""What a pass of a workflow may spend, and what each of its live calls reserved and took."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("workflow_runs", sa.Column("budget_tokens", sa.BigInteger))
    op.add_column("workflow_runs", sa.Column("budget_cost", sa.Float))
    op.create_table(
        "call_spending",
        sa.Column("call_id", TEXT, primary_key=True),
        sa.Column("workflow_run_id", TEXT, sa.ForeignKey("workflow_runs.workflow_run_id"), nullable=False),
        sa.Column("phase", TEXT),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger),
        sa.Column("reserved_cost", sa.Float),
        sa.Column("tokens", sa.BigInteger),
        sa.Column("cost", sa.Float),
        sa.Column("started_at", TIME, nullable=False),
    )
    op.create_index("spending_of_run", "call_spending", ["workflow_run_id"])
