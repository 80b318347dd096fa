"""Kills a real server at random instants of scripted runs with side effects, and counts what was lost or done twice.

python -m benchmarks.crash [--kills 500] [--seed 1]
"""

import sys

from tests.crash.harness import Books, Campaign

from .campaign import Rows, wage


def rows(books: Books) -> Rows:
    """Returns what the books say."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in books.runs.items())
    return [
        ("kills", f"{books.kills:,}"),
        ("… while the server started", f"{books.kills_while_starting:,}"),
        ("… in the middle of a durable transition", f"{books.kills_in_transition:,}"),
        ("runs", f"{books.runs.total():,}: {statuses}"),
        ("runs on their way when the server was killed", f"{books.runs_hit:,}"),
        ("events told, compared byte for byte", f"{books.events:,}"),
        ("turns told and kept", f"{books.turns:,}"),
        ("side effects", f"{books.done.total():,}"),
        ("asked again, since it may have run", f"{books.asked_again:,}"),
    ]


if __name__ == "__main__":
    sys.exit(wage(__doc__, Campaign, rows, kills=500))
