"""Kills a real server at random instants of scripted runs with side effects, and counts what was lost or done twice.

python -m benchmarks.crash [--kills 500] [--seed 1]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.harness import Books, Campaign
from tests.live_server import LiveServer


async def wage(kills: int, seed: int) -> Books:
    """Returns the books of one campaign on a server of its own."""
    with tempfile.TemporaryDirectory() as home:
        server = LiveServer(Path(home))
        try:
            return await Campaign(server, seed=seed).wage(kills)
        finally:
            await server.stop()


def table(books: Books, seconds: float) -> str:
    """Returns the books as a table."""
    rows = [
        ("kills", f"{books.kills:,}"),
        ("… while the server started", f"{books.kills_while_starting:,}"),
        ("… in the middle of a durable transition", f"{books.kills_in_transition:,}"),
        (
            "runs",
            f"{books.runs.total():,}: " + ", ".join(f"{count:,} {status}" for status, count in books.runs.items()),
        ),
        ("runs on their way when the server was killed", f"{books.runs_hit:,}"),
        ("events told, compared byte for byte", f"{books.events:,}"),
        ("turns told and kept", f"{books.turns:,}"),
        ("side effects", f"{books.done.total():,}"),
        ("asked again, since it may have run", f"{books.asked_again:,}"),
        ("faults", f"{len(books.faults):,}"),
        ("minutes", f"{seconds / 60:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"| {name.ljust(width)} | {value} |" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    books = asyncio.run(wage(options.kills, options.seed))
    print(table(books, time.monotonic() - began))
    print("\n".join(books.faults))
    return bool(books.faults)


if __name__ == "__main__":
    sys.exit(main())
