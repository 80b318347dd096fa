"""Where a forked run comes from, and what it begins with."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("forked_from_run_id", TEXT))
    op.add_column("runs", sa.Column("forked_from_turn", sa.Integer))
    op.add_column("runs", sa.Column("past_blob", TEXT))
