"""Kills or stops one of two servers that share a PostgreSQL database, and counts what was done twice or written late.

python -m benchmarks.takeover [--rounds 100] [--ttl 10] [--seed 1]

Every third server is not killed but stopped for three times the length of its lease, and then goes on where it was.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.takeover import Account, Pair
from tests.postgres import Server

from .campaign import Rows, table


async def play(rounds: int, url: str, *, ttl_s: float, seed: int) -> Account:
    """Returns the account of so many rounds on one pair of servers."""
    with tempfile.TemporaryDirectory() as home:
        async with Pair(Path(home), url, ttl_s=ttl_s, seed=seed) as pair:
            for number in range(1, rounds + 1):
                await pair.round(kill=number % 3 != 0)
                print(f"\r{number} of {rounds}", end="", file=sys.stderr, flush=True)
    return pair.account


def rows(account: Account, ttl_s: float, seconds: float) -> Rows:
    """Returns what the account says."""
    times = account.seconds or [0.0]
    return [
        ("servers killed", f"{account.killed:,}"),
        (f"servers stopped for {3 * ttl_s:g} s", f"{account.stopped:,}"),
        ("runs taken over", f"{len(account.seconds):,}"),
        (f"until the other server went on (lease: {ttl_s:g} s), p50", f"{statistics.median(times):.1f} s"),
        ("… at most", f"{max(times):.1f} s"),
        ("executions", f"{account.starts:,}"),
        ("… more than were allowed", f"{account.double_starts:,}"),
        ("asked again, since it may have run", f"{account.asked_again:,}"),
        ("events, the same from both servers", f"{account.events:,}"),
        ("written by who had lost the run", f"{account.stale_writes:,}"),
        ("faults", f"{len(account.faults):,}"),
        ("minutes", f"{seconds / 60:.1f}"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--ttl", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    server = Server()
    try:
        server.make()
        with server.database() as url:
            account = asyncio.run(play(options.rounds, url, ttl_s=options.ttl, seed=options.seed))
    finally:
        server.remove()
    print(table(rows(account, options.ttl, time.monotonic() - began)))
    print("\n".join(account.faults))
    return bool(account.faults)


if __name__ == "__main__":
    sys.exit(main())
