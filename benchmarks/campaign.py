"""What the campaigns of kills share: their options, a server of their own, and their books as a table."""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.live_server import LiveServer

Rows = Iterable[tuple[str, str]]


def wage(
    said: str | None,
    campaign: Callable[..., Any],
    rows: Callable[[Any], Rows],
    *,
    kills: int,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Wages a campaign with the options of the command line, prints its books and what was wrong, and returns the exit
    code. `kills` is how many there are without an option, `said` the help."""
    parser = argparse.ArgumentParser(description=said)
    parser.add_argument("--kills", type=int, default=kills)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    books = asyncio.run(_waged(campaign, options.kills, options.seed, dict(environment or {})))
    ended = [("faults", f"{len(books.faults):,}"), ("minutes", f"{(time.monotonic() - began) / 60:.1f}")]
    print(table([*rows(books), *ended]))
    print("\n".join(books.faults))
    return bool(books.faults)


async def _waged(campaign: Callable[..., Any], kills: int, seed: int, environment: dict[str, str]) -> Any:
    with tempfile.TemporaryDirectory() as home:
        server = LiveServer(Path(home), environment=environment)
        try:
            return await campaign(server, seed=seed).wage(kills)
        finally:
            await server.stop()


def table(rows: Rows) -> str:
    """Returns the rows as a table in Markdown."""
    listed = list(rows)
    width = max(len(name) for name, _ in listed)
    return "\n".join(f"| {name.ljust(width)} | {value} |" for name, value in listed)
