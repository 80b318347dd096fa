"""Which server carries a script's run or a call of a workflow out, and why a call failed."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for table in ("headless_runs", "call_results"):
        op.add_column(table, sa.Column("lease_owner", TEXT))
        op.add_column(table, sa.Column("lease_no", sa.BigInteger, nullable=False, server_default="0"))
        op.add_column(table, sa.Column("lease_expires_at", sa.Double))
    is_unfinished = sa.text("ended_at IS NULL")
    op.create_index(
        "unfinished_headless_runs",
        "headless_runs",
        ["created_at"],
        sqlite_where=is_unfinished,
        postgresql_where=is_unfinished,
    )
    op.add_column("call_spending", sa.Column("fault", sa.JSON))
