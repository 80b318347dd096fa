"""What one process asks of the one that carries a run out."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "errands",
        sa.Column("errand_id", TEXT, primary_key=True),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("deed", TEXT, nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("by", sa.JSON, nullable=False),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("is_taken", sa.Boolean, nullable=False),
        sa.Column("reply", sa.JSON),
    )
