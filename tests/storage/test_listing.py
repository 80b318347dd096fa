"""Lists of runs among many: whatever is asked for, only about as many rows are looked at as a page has."""

import itertools
import json
import random
from datetime import timedelta

import pytest
import sqlalchemy as sa

from jupyter_agent.records import RunStatus
from jupyter_agent.storage.cursors import Key, encode_cursor
from jupyter_agent.storage.tables import feedbacks, run_values, runs
from tests.storage.test_rows import ALICE, BEGAN, a_run, a_thread, every_page

MANY = 3_000
LIMIT = 20
THREADS = ("old", "new")
FAILED = (RunStatus.ERROR, RunStatus.INTERRUPTED)
STATUSES = ((), FAILED[:1], FAILED, (RunStatus.RUNNING,), (RunStatus.COMPLETED,))
STEPS_A_ROW = 5
"""About how many instructions SQLite takes to look at a row that it does not tell; one that it tells costs as much as
ten of these."""
FEW = MANY // 2


def many_runs():
    """Most are completed, of one model and with one parent, and of a new thread; of everything else there are few."""
    chance = random.Random(9)
    yield a_run("active", "old", status=RunStatus.RUNNING)
    for number in range(MANY):
        is_old = number < 60
        is_rare = chance.random() < 0.004
        yield a_run(
            f"r{chance.random()}",
            THREADS[not is_old],
            status=chance.choice(FAILED) if is_rare else RunStatus.COMPLETED,
            model="rare" if chance.random() < 0.004 else "usual",
            parent_run_id="few" if is_old and number % 3 == 0 else None if is_old else "many",
            created_at=BEGAN + timedelta(seconds=number // 3),
        )


@pytest.fixture
async def filled(rows, kind):
    for name in THREADS:
        await rows.create_thread(a_thread(name))

    async def fill(db):
        await db.execute(sa.insert(runs), [run_values(run) for run in many_runs()])
        if kind == "postgres":
            await db.exec_driver_sql("ANALYZE runs")

    await rows._write(fill)
    return rows


async def looked_at(rows, kind, ask):
    """Returns about how many rows the database looked at for what `ask` asked."""
    engine, asked = rows._engine.sync_engine, []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    await ask()
    sa.event.remove(engine, "before_cursor_execute", note)
    (statement, parameters) = next(one for one in asked if one[0].startswith("SELECT"))
    async with rows._reading() as db:
        if kind == "postgres":
            told = (await db.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)).scalar()
            return sum(_rows_of(json.loads(told) if isinstance(told, str) else told))
        steps = []
        driver = (await db.get_raw_connection()).driver_connection
        await driver.set_progress_handler(lambda: steps.append(1), 10)
        await db.exec_driver_sql(statement, parameters)
        await driver.set_progress_handler(None, 0)
        return 10 * len(steps) / STEPS_A_ROW


def _rows_of(plan):
    """Yields how many rows each part of a plan of PostgreSQL looked at."""
    if isinstance(plan, list):
        for part in plan:
            yield from _rows_of(part)
    elif isinstance(plan, dict):
        if "Scan" in plan.get("Node Type", "") and "Relation Name" in plan:
            yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
        for part in plan.values():
            yield from _rows_of(part)


async def test_every_list_of_runs_looks_at_little_more_than_it_tells(filled, kind):
    everything = sorted(many_runs(), key=lambda run: (run.created_at, run.run_id), reverse=True)
    threads_, parents, models = (None, *THREADS, "none"), (None, "few", "many"), (None, "usual", "rare", "none")
    for thread_id, parent, statuses, model in itertools.product(threads_, parents, STATUSES, models):
        wanted = {"thread_id": thread_id, "parent_run_id": parent, "statuses": statuses, "model": model}
        given = {"thread_id": thread_id, "parent_run_id": parent, "model": model}
        all_of_these = [
            run.run_id
            for run in everything
            if all(value is None or getattr(run, name) == value for name, value in given.items())
            and (not statuses or run.status in statuses)
        ]
        first = await filled.list_runs(by=ALICE, limit=LIMIT, **wanted)
        assert [run.run_id for run in first.items] == all_of_these[:LIMIT], wanted
        if thread_id == "new" or parent == "many":
            continue  # all of a thread's or a parent's own runs may be looked at
        seen = await looked_at(filled, kind, lambda wanted=wanted: filled.list_runs(by=ALICE, limit=LIMIT, **wanted))
        assert seen < FEW, wanted
    some = {*FAILED, RunStatus.RUNNING}
    pages = await every_page(filled.list_runs, by=ALICE, statuses=tuple(some), limit=2)
    assert [run.run_id for run in pages] == [run.run_id for run in everything if run.status in some]
    ended = everything[6 * MANY // 10 - 1]
    cursor = encode_cursor("runs", Key(ended.created_at, ended.run_id))
    later = await filled.list_runs(by=ALICE, limit=LIMIT, cursor=cursor)
    assert [run.run_id for run in later.items] == [run.run_id for run in everything[6 * MANY // 10 :][:LIMIT]]
    assert await looked_at(filled, kind, lambda: filled.list_runs(by=ALICE, limit=LIMIT, cursor=cursor)) < FEW


async def test_a_list_of_ones_feedback_looks_at_ones_own(rows, kind):
    await rows.create_thread(a_thread())
    await rows.create_run(a_run("r"))

    def ratings(user, prefix, number):
        return [
            {
                "feedback_id": f"{prefix}{at}", "run_id": "r", "thread_id": "t", "user_id": user,
                "message_id": f"m{at}", "rating": 1, "created_at": BEGAN + timedelta(seconds=at), "updated_at": BEGAN,
            }
            for at in range(number)
        ]  # fmt: skip

    async def fill(db):
        await db.execute(sa.insert(feedbacks), [*ratings("mallory", "m", MANY), *ratings("alice", "a", 3 * LIMIT)])
        if kind == "postgres":
            await db.exec_driver_sql("ANALYZE feedback")

    await rows._write(fill)
    page = await rows.list_feedback(by=ALICE, limit=LIMIT)
    assert [one.feedback_id for one in page.items] == [f"a{at}" for at in reversed(range(2 * LIMIT, 3 * LIMIT))]
    assert await looked_at(rows, kind, lambda: rows.list_feedback(by=ALICE, limit=LIMIT)) < FEW
