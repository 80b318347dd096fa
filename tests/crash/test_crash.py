"""A server that is killed at random instants loses nothing, doubles nothing, and leaves nothing undone."""

from pathlib import Path

import pytest

from tests.crash.harness import Campaign
from tests.live_server import LiveServer

KILLS = 12
SEED = 20_261


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_done_twice_over_kills(tmp_path: Path) -> None:
    server = LiveServer(tmp_path)
    try:
        books = await Campaign(server, seed=SEED).wage(KILLS)
    finally:
        await server.stop()
    assert not books.faults, "\n".join(books.faults)
    assert books.runs_hit >= KILLS, "Too few runs were on their way when the server was killed."
    assert books.runs["completed"] >= 1
    assert sum(books.done.values()) >= KILLS
