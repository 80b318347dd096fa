"""Kills a real server at random instants of workflows of 40 calls with a fan-out, side effects and a gate, and counts
what was lost or done twice.

python -m benchmarks.workflow_crash [--kills 300] [--seed 1]
"""

import sys

from tests.crash.workflows import CALLS, Books, Campaign

from .campaign import Rows, wage


def rows(books: Books) -> Rows:
    """Returns what the books say."""
    return [
        ("kills", f"{books.kills:,}"),
        ("… while the server started", f"{books.while_starting:,}"),
        ("… while the workflow waited at its gate", f"{books.at_the_gate:,}"),
        ("states of scripts that were lost with it", f"{books.dumps_lost:,}"),
        ("workflows that came to their end", f"{books.workflows:,}"),
        ("calls, each answered once", f"{books.workflows * CALLS:,}"),
        ("runs that answered", f"{books.answered:,}"),
        ("answers that were cut off, asked for again", f"{books.cut:,}"),
        ("side effects", f"{books.written.total():,}"),
        ("asked again, since it may have run", f"{books.asked_again:,}"),
    ]


if __name__ == "__main__":
    sys.exit(wage(__doc__, Campaign, rows, kills=300, environment={"JUPYTER_AGENT_DEMO_PACE": "0"}))
