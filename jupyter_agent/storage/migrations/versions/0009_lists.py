"""Indexes in whose order lists and frames are read: those of runs are unique, and there are some for rare choices."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, columns in {
        "runs_of_user": ["user_id", "created_at", "run_id"],
        "runs_by_time": ["created_at", "run_id"],
        "runs_of_thread": ["thread_id", "created_at", "run_id"],
    }.items():
        op.drop_index(name, "runs")
        op.create_index(name, "runs", columns, unique=True)
    # Those of a status are of one that is not terminal too.
    op.drop_index("unfinished_runs_of_user", "runs")
    op.create_index("runs_by_status", "runs", ["user_id", "status", "created_at", "run_id"], unique=True)
    op.create_index("runs_by_model", "runs", ["user_id", "model", "status", "created_at", "run_id"], unique=True)
    op.create_index("feedback_of_user", "feedback", ["user_id", "created_at", "feedback_id"])
