"""Kills a real server at random instants of workflows of 40 calls with a fan-out, side effects and a gate, and counts
what was lost or done twice.

python -m benchmarks.workflow_crash [--kills 300] [--seed 1]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.workflows import CALLS, Books, Campaign
from tests.live_server import LiveServer


async def wage(kills: int, seed: int) -> Books:
    """Returns the books of one campaign on a server of its own."""
    with tempfile.TemporaryDirectory() as home:
        server = LiveServer(Path(home), environment={"JUPYTER_AGENT_DEMO_PACE": "0"})
        try:
            return await Campaign(server, seed=seed).wage(kills)
        finally:
            await server.stop()


def table(books: Books, seconds: float) -> str:
    """Returns the books as a table."""
    rows = [
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
        ("faults", f"{len(books.faults):,}"),
        ("minutes", f"{seconds / 60:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"| {name.ljust(width)} | {value} |" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    books = asyncio.run(wage(options.kills, options.seed))
    print(table(books, time.monotonic() - began))
    print("\n".join(books.faults))
    return bool(books.faults)


if __name__ == "__main__":
    sys.exit(main())
