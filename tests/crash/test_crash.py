"""A server that is killed at random instants loses nothing, doubles nothing, and leaves nothing undone."""

from pathlib import Path

import pytest

from jupyter_agent.storage import DATABASE_URL
from tests.crash.harness import Campaign
from tests.live_server import LiveServer

KILLS = {"sqlite": 12, "postgres": 6}
TTL_S = 1.0
"""On a database a new server waits until the leases of the killed one have passed."""
SEED = 20_261


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_done_twice_over_kills(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database_url") if kind == "postgres" else ""
    server = LiveServer(
        tmp_path, environment={DATABASE_URL: url}, options=(f"--AgentGateway.lease_ttl_s={TTL_S}",) if url else ()
    )
    try:
        books = await Campaign(server, seed=SEED).wage(KILLS[kind])
    finally:
        await server.stop()
    assert not books.faults, "\n".join(books.faults)
    assert books.runs_hit >= KILLS[kind], "Too few runs were on their way when the server was killed."
    assert books.runs["completed"] >= 1
    assert sum(books.done.values()) >= KILLS[kind]
