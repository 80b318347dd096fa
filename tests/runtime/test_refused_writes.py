"""A database that refuses what a run writes, for a while: the run waits for it and needs no restart."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from jupyter_agent.records import RunStatus
from jupyter_agent.testing import check_events
from tests.postgres import Server
from tests.runtime.conftest import ALICE, OpenWorld, World

TTL_S = 2.0
STREAMS = [{"text": "word " * 60, "delay_s": 0.02}]


@pytest.fixture
async def world(open_world: OpenWorld, database_url: str) -> World:
    return await open_world(ttl_s=TTL_S, database_url=database_url)


@pytest.fixture
def name(database_url: str) -> str:
    return str(sa.make_url(database_url).database)


@contextmanager
def full(postgres: Server, name: str, event: str = "%") -> Iterator[None]:
    """Has the database answer lines with this type of event as it does when its disk is full."""
    postgres.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$",
        name,
    )
    postgres.run(
        "CREATE TRIGGER full_disk BEFORE INSERT ON run_events FOR EACH ROW "
        f"WHEN (convert_from(NEW.line, 'UTF8') LIKE '{{\"type\":\"{event}%') EXECUTE FUNCTION full_disk()",
        name,
    )
    try:
        yield
    finally:
        postgres.run("DROP FUNCTION full_disk CASCADE", name)


async def until_refused(world: World, caplog: pytest.LogCaptureFixture, said: str) -> None:
    async with asyncio.timeout(30):
        while said not in caplog.text:
            await asyncio.sleep(0.02)


async def lines_of(world: World, run_id: str) -> list[bytes]:
    lines: list[bytes] = []
    async with asyncio.timeout(30):
        async for batch in world.journal.follow(run_id):
            lines += batch.lines
    check_events(lines, is_complete=True)
    return lines


async def test_a_run_whose_events_are_refused_goes_on_when_they_are_not(world, postgres, name, caplog):
    run = await world.start(STREAMS)
    hearing = asyncio.create_task(lines_of(world, run.run_id))
    await world.until(run, lambda event: "word" in repr(event) and type(event).__name__ == "AgentEvent")
    with full(postgres, name):
        await until_refused(world, caplog, "cannot be taken up yet: The disk of the database")
        assert (await world.storage.rows.get_run(run.run_id, by=ALICE)).status is RunStatus.RUNNING
    heard = await hearing
    assert (await world.end(run)).status is RunStatus.COMPLETED
    assert heard == await lines_of(world, run.run_id)


@pytest.mark.parametrize("event", ["status_change", "session_complete"])
async def test_a_run_whose_end_is_refused_ends_when_it_is_not(world, postgres, name, caplog, event):
    """What a person stopped stays stopped: it does not go on once it can be written down."""
    run = await world.start(STREAMS)
    await world.until(run, lambda found: type(found).__name__ == "AgentEvent")
    with full(postgres, name, event):
        interrupting = asyncio.create_task(world.runner.interrupt(run.run_id, by=ALICE))
        await until_refused(world, caplog, "cannot be ended yet: The disk of the database")
        await asyncio.sleep(1.5)
    ended = await interrupting
    assert ended.status is RunStatus.INTERRUPTED
    lines = await lines_of(world, run.run_id)
    assert sum(line.startswith(b'{"type":"session_complete"') for line in lines) == 1
