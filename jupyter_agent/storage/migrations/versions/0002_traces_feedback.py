"""Executions of tool calls, and what people think of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    create_tool_traces()
    create_feedback()


def create_tool_traces() -> None:
    op.create_table(
        "tool_traces",
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
        *(
            sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)
            for name in ("turn", "position", "attempt")
        ),
        sa.Column("thread_id", TEXT, nullable=False),
        sa.Column("trace_id", TEXT),
        *(sa.Column(name, TEXT, nullable=False) for name in ("tool_call_id", "tool_name", "tool_input")),
        *(sa.Column(name, TEXT) for name in ("tool_output", "blob", "decision", "outcome", "error")),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("latency_ms", sa.Float),
        *(sa.Column(name, sa.BigInteger) for name in ("tokens_used", "cache_tokens", "reasoning_tokens")),
    )
    op.create_index("traces_of_tool", "tool_traces", ["tool_name", "started_at"])


def create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("feedback_id", TEXT, primary_key=True),
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("thread_id", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("message_id", TEXT),
        sa.Column("rating", sa.SmallInteger, nullable=False),
        sa.Column("comment", TEXT),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint("rating IN (-1, 1)", name="rating_is_up_or_down"),
    )
    op.create_index("feedback_of_run", "feedback", ["run_id", "created_at", "feedback_id"])
    op.create_index("feedback_of_thread", "feedback", ["thread_id", "created_at", "feedback_id"])
    of_run = sa.text("message_id IS NULL")
    op.create_index(
        "one_feedback_a_user_and_run",
        "feedback",
        ["run_id", "user_id"],
        unique=True,
        sqlite_where=of_run,
        postgresql_where=of_run,
    )
