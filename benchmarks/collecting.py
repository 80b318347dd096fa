"""Refers to bytes again and again while what nobody refers to is collected, and counts what was lost: 10,000 times on
each database.

python -m benchmarks.collecting [--rounds 10000] [--seed 1]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from jupyter_agent.storage import open_storage
from tests.journal.collecting import Raced, race
from tests.postgres import Server


async def play(folder: Path, url: str, rounds: int, seed: int) -> Raced:
    """Returns what came of so many rounds in a store of its own."""
    storage = open_storage(folder, url)
    await storage.rows.open()
    try:
        return await race(storage, rounds, seed=seed)
    finally:
        await storage.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    server, faults = Server(), 0
    print("| store | referred to | collected | lost | wrong bytes | minutes |\n|---|---:|---:|---:|---:|---:|")
    try:
        server.make()
        with server.database() as url, tempfile.TemporaryDirectory() as folder:
            for name, where in {"SQLite and files": "", "PostgreSQL": url}.items():
                began = time.monotonic()
                raced = asyncio.run(play(Path(folder) / name, where, options.rounds, options.seed))
                told = (f"{value:,}" for value in (raced.attached, raced.gone, raced.lost, raced.wrong))
                print(f"| {name} | {' | '.join(told)} | {(time.monotonic() - began) / 60:.1f} |", flush=True)
                faults += raced.lost + raced.wrong
    finally:
        server.remove()
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
