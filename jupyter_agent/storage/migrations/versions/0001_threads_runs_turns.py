"""Threads, runs, turns, and who refers to which blob."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ACTIVE = "status IN ('pending', 'running', 'waiting_confirmation', 'waiting_input')"


def usage_columns() -> list[sa.Column[object]]:
    counts = (
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "total_tokens",
        "requests", "unmeasured_requests",
    )  # fmt: skip
    return [*(sa.Column(name, sa.BigInteger, nullable=False) for name in counts), sa.Column("cost", sa.Float)]


def upgrade() -> None:
    create_threads()
    create_runs()
    create_turns()
    op.create_table(
        "blob_refs",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, primary_key=True),
    )
    op.create_index("blobs_of_run", "blob_refs", ["run_id"])


def create_threads() -> None:
    op.create_table(
        "threads",
        sa.Column("thread_id", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("title", TEXT),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_index("threads_of_user", "threads", ["user_id", "created_at", "thread_id"])
    op.create_index("threads_by_time", "threads", ["created_at", "thread_id"])


def create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("thread_id", TEXT, sa.ForeignKey("threads.thread_id"), nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("parent_run_id", TEXT),
        sa.Column("follow_up_to_run_id", TEXT),
        sa.Column("compare_group_id", TEXT),
        sa.Column("agent", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("queued", sa.Boolean, nullable=False),
        sa.Column("rolled_back", sa.Boolean, nullable=False),
        sa.Column("multitask", TEXT, nullable=False),
        sa.Column("input", sa.JSON, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("kwargs", sa.JSON, nullable=False),
        sa.Column("cell", sa.JSON),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("ended_at", TIME),
        *usage_columns(),
        sa.Column("model_call_count", sa.BigInteger, nullable=False),
        sa.Column("tool_call_count", sa.BigInteger, nullable=False),
        sa.Column("message_count", sa.BigInteger, nullable=False),
        sa.Column("first_human_message", TEXT),
        sa.Column("last_ai_message", TEXT),
        sa.Column("error_code", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("detail_blob", TEXT),
    )
    op.create_index("runs_of_user", "runs", ["user_id", "created_at", "run_id"])
    op.create_index("runs_by_time", "runs", ["created_at", "run_id"])
    op.create_index("runs_of_thread", "runs", ["thread_id", "created_at", "run_id"])
    op.create_index("runs_of_parent", "runs", ["parent_run_id", "created_at", "run_id"])
    op.create_index("runs_by_detail", "runs", ["detail_blob"])
    not_queued = sa.text(f"{ACTIVE} AND NOT queued")
    op.create_index(
        "one_active_run_a_thread",
        "runs",
        ["thread_id"],
        unique=True,
        sqlite_where=not_queued,
        postgresql_where=not_queued,
    )
    unfinished = {
        "unfinished_runs": ["created_at", "run_id"],
        "unfinished_runs_of_user": ["user_id", "created_at", "run_id"],
    }
    for name, columns in unfinished.items():
        op.create_index(name, "runs", columns, sqlite_where=sa.text(ACTIVE), postgresql_where=sa.text(ACTIVE))


def create_turns() -> None:
    op.create_table(
        "turns",
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("blob", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("stop_reason", TEXT, nullable=False),
        *usage_columns(),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=False),
    )
    op.create_index("turns_by_blob", "turns", ["blob"])
