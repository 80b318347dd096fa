"""The regions of prompts, and how long providers keep them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("turns", sa.Column("cache_life_s", sa.Float))
    op.create_table(
        "turn_segments",
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
        *(sa.Column(name, sa.Integer, primary_key=True, autoincrement=False) for name in ("turn", "position")),
        *(sa.Column(name, TEXT, nullable=False) for name in ("region", "label", "fingerprint")),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("hit", "miss")),
    )
