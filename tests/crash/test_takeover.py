"""A small dose of servers that die or stop beside another one; benchmarks/takeover.py takes the full one."""

import pytest

from tests.crash.takeover import Pair

TTL_S = 4.0
SEED = 20261128


@pytest.mark.timeout(300)
async def test_another_server_goes_on_with_a_run(postgres, tmp_path):
    """Killed: its run goes on elsewhere. Stopped and woken up: it finds that it lost the run, and does nothing more."""
    with postgres.database() as url:
        async with Pair(tmp_path, url, ttl_s=TTL_S, seed=SEED) as pair:
            for kill in (True, False):
                await pair.round(kill=kill)
    account = pair.account
    assert account.faults == [], f"seed {SEED}"
    assert len(account.seconds) == 2
    assert max(account.seconds) < 5 * TTL_S
    assert account.starts >= 4
