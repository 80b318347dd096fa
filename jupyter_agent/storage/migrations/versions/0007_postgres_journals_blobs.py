"""Journals and blobs as tables, where PostgreSQL keeps them; beside SQLite they are files."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text(collation="C")


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "journals",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("top_epoch", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "run_events",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("line", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("put_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("put_again_at", TIME),
    )
