"""What runs of scripts tell, the model of their calls, and which run one takes up."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("headless_runs", sa.Column("model", TEXT))
    op.add_column("headless_runs", sa.Column("resumes", TEXT))
    op.create_table(
        "workflow_events",
        sa.Column("workflow_run_id", TEXT, sa.ForeignKey("headless_runs.workflow_run_id"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("told", sa.JSON, nullable=False),
    )
