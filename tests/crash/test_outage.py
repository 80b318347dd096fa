"""PostgreSQL crashes and connections are cut under runs that stream: nobody who follows one notices."""

import asyncio
import random
import time

import pytest
import sqlalchemy as sa

from jupyter_agent.storage import DATABASE_URL
from tests.crash.outage import Onlooker
from tests.live_server import LiveServer

SEED = 20_261
AWAY_S = 0.5
CUT_FOR_S = 1.5
SLOWEST_S = 5.0
"""Far below the ten seconds after which clients give up; usually it is a hundredth of one."""


@pytest.mark.timeout(240)
async def test_runs_stream_on_over_a_crash_of_the_database_and_cut_connections(postgres, database_url, tmp_path):
    chance = random.Random(SEED)
    async with LiveServer(tmp_path, environment={DATABASE_URL: database_url}) as server:
        onlooker = Onlooker(server, seed=SEED)
        async with onlooker.beating():
            for name in ("first", "second"):
                await onlooker.start(name)
            await onlooker.have_begun()
            await asyncio.sleep(chance.random())
            await asyncio.to_thread(postgres.stop, at_once=True)
            late = asyncio.create_task(onlooker.start("late"))
            await asyncio.sleep(AWAY_S)
            assert not late.done(), "whoever starts a run waits for the database"
            await asyncio.to_thread(postgres.start)
            await late
            until = time.monotonic() + CUT_FOR_S
            cut = 0
            while time.monotonic() < until:
                cut += await asyncio.to_thread(postgres.end_connections, sa.make_url(database_url).database)
                await asyncio.sleep(chance.random() * 0.2)
            books = await onlooker.come_to_an_end()
        status, page = await server.request("GET", "jupyter-agent/api/runs")
        assert (status, len(page["items"])) == (200, 3), "each was started once"
    assert not books.faults, f"seed {SEED}: " + "\n".join(books.faults)
    assert books.runs["completed"] == 3
    assert cut > 5
    assert onlooker.slowest_s < SLOWEST_S
