"""Rows of the regions of prompts: in order, each once, gone with their run."""

import runpy

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from jupyter_agent.exceptions import RunNotFound
from jupyter_agent.records import TurnSegment
from jupyter_agent.storage.migrations import FOLDER
from jupyter_agent.storage.sql import SqlRows
from tests.storage.test_migrations import connected
from tests.storage.test_rows import ALICE, MALLORY, a_thread, a_turn, ended


def a_segment(run="r", turn=0, position=0, **fields):
    known = {"region": "message", "label": "user", "fingerprint": "f" * 16, "tokens": 10, "hit": 4, "miss": 6}
    return TurnSegment(run_id=run, turn=turn, position=position, **known | fields)


@pytest.fixture
async def kept(rows):
    await rows.create_thread(a_thread())
    for name in ("r", "other"):
        await ended(rows, name)
    return rows


async def test_they_come_turn_by_turn_in_their_order(kept):
    segments = [a_segment(turn=turn, position=position) for turn in range(12) for position in range(turn + 1)]
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], segments=segments[::-1])
    assert await kept.list_segments("r", by=ALICE) == segments
    assert await kept.list_segments("other", by=ALICE) == []
    with pytest.raises(RunNotFound):
        await kept.list_segments("r", by=MALLORY)


async def test_a_turn_that_is_written_again_has_only_what_was_written_last(kept):
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], segments=[a_segment(position=position) for position in range(5)])
    unmeasured = [a_segment(hit=None, miss=None, tokens=2**62), a_segment(position=1, label="a\U0001f600")]
    await kept.project([run], [], [], segments=unmeasured)
    assert await kept.list_segments("r", by=ALICE) == unmeasured
    await kept.restore_run(run, [], [], segments=unmeasured[:1])
    assert await kept.list_segments("r", by=ALICE) == unmeasured[:1]


async def test_they_go_with_their_run(kept):
    run = await kept.get_run("r", by=ALICE)
    await kept.project([run], [], [], segments=[a_segment()])
    await kept.delete_run("r", by=ALICE)
    await kept.project([run], [], [], segments=[a_segment()])
    await ended(kept, "r")
    assert await kept.list_segments("r", by=ALICE) == []


async def test_runs_from_before_have_none_and_stay_as_they_are(rows, backend):
    await rows.create_thread(a_thread())
    run = await ended(rows, "old")
    await rows.project([run], [a_turn("old")], [])
    await rows.close()
    script = next((FOLDER / "versions").glob("*_turn_segments.py"))
    with connected(backend) as connection, Operations.context(MigrationContext.configure(connection)):
        connection.execute(sa.text("DROP TABLE turn_segments"))
        connection.execute(sa.text("ALTER TABLE turns DROP COLUMN cache_life_s"))
        runpy.run_path(str(script))["upgrade"]()
    again = SqlRows(backend)
    await again.open()
    assert await again.list_segments("old", by=ALICE) == []
    assert [turn.cache_life_s for turn in (await again.list_turns("old", by=ALICE)).items] == [None]
    await again.project([run], [], [], segments=[a_segment("old")])
    assert await again.list_segments("old", by=ALICE) == [a_segment("old")]
    await again.close()
