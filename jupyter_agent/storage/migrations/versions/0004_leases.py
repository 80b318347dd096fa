"""Which process carries a run out, and until when it may."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("lease_owner", TEXT))
    op.add_column("runs", sa.Column("lease_no", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("runs", sa.Column("lease_expires_at", sa.Double))
    is_leased = sa.text("lease_owner IS NOT NULL")
    op.create_index("leased_runs", "runs", ["lease_owner"], sqlite_where=is_leased, postgresql_where=is_leased)
