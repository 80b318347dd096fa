"""What a script's run waits for, how long it worked, and which call called it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("headless_runs", sa.Column("waits_for", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("headless_runs", sa.Column("active_s", sa.Float, nullable=False, server_default="0"))
    op.add_column("headless_runs", sa.Column("called_by", TEXT))
