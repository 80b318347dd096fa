"""The regions of every prompt are kept with its turn, whatever the model, and a rebuild finds the same."""

import sqlalchemy as sa

from jupyter_agent.cache_shape import Cause, Request, cause_of
from jupyter_agent.journal.check import check
from jupyter_agent.journal.rebuild import rebuild
from jupyter_agent.records import SYSTEM, Segment
from jupyter_agent.runtime.settings import INSTRUCTIONS
from tests.runtime.conftest import ALICE

QUICK = {"pace": 0}


async def demo(world, text="hello", **fields):
    kwargs = QUICK | fields.pop("kwargs", {})
    return await world.end(await world.start(model="demo", input=text, kwargs=kwargs, **fields))


async def kept(world, run):
    """Returns the requests of a run, from its rows."""
    rows = world.storage.rows
    segments = await rows.list_segments(run.run_id, by=ALICE)
    return [
        Request(
            run_id=run.run_id, turn=turn.turn, model=turn.model, started_at=turn.started_at,
            input_tokens=turn.usage.input_tokens, cache_read_tokens=turn.usage.cache_read_tokens,
            cache_write_tokens=turn.usage.cache_write_tokens, cache_life_s=turn.cache_life_s,
            segments=tuple(
                Segment(one.region, one.label, one.fingerprint, one.tokens) for one in segments if one.turn == turn.turn
            ),
        )
        for turn in (await rows.list_turns(run.run_id, by=ALICE)).items
    ]  # fmt: skip


async def cause(world, before, after):
    return cause_of((await kept(world, after))[0], (await kept(world, before))[-1])


async def test_what_was_read_is_laid_over_the_prompt(world):
    (world.workspace / "a.txt").write_text("x")
    run = await demo(world, "List the files here.")
    rows = world.storage.rows
    segments = await rows.list_segments(run.run_id, by=ALICE)
    turns = (await rows.list_turns(run.run_id, by=ALICE)).items
    assert len(turns) == 2
    for turn in turns:
        mine = [one for one in segments if one.turn == turn.turn]
        assert [one.position for one in mine] == list(range(len(mine)))
        assert sum(one.tokens for one in mine) == turn.usage.input_tokens
        assert sum(one.hit for one in mine) == turn.usage.cache_read_tokens
        assert sum(one.miss for one in mine) == turn.usage.input_tokens - turn.usage.cache_read_tokens
        assert turn.cache_life_s == 300.0
    labels = [one.label for one in segments if one.turn == 1]
    assert labels == ["instructions", *world.toolbox.names, "user", "assistant", "tool"]
    first, second = ([one.fingerprint for one in segments if one.turn == turn] for turn in range(2))
    assert first == second[: len(first)], "The second prompt goes on where the first one ends."


async def test_a_rebuild_gives_the_same_and_a_check_sees_what_is_not(world):
    run = await demo(world, "List the files here.")
    unmeasured = await world.end(await world.start([{"text": "hi", "usage": None}]))
    rows = world.storage.rows
    before = [list(await rows.list_segments(one.run_id, by=SYSTEM)) for one in (run, unmeasured)]
    assert before[1]
    assert {one.hit for one in before[1]} == {None}
    assert (await check(world.storage)).is_whole

    async def spoil(db):
        await db.execute(sa.text("UPDATE turn_segments SET hit = hit + 1"))

    await rows._write(spoil)
    assert not (await check(world.storage)).is_whole
    await rebuild(world.storage)
    assert [list(await rows.list_segments(one.run_id, by=SYSTEM)) for one in (run, unmeasured)] == before
    assert (await check(world.storage)).is_whole


async def test_the_causes_that_a_lesson_can_provoke(open_world):
    world = await open_world(instructions=INSTRUCTIONS * 4)
    first = await demo(world)
    thread = {"thread_id": first.thread_id}
    assert cause_of((await kept(world, first))[0], None).cause is Cause.FIRST_REQUEST
    second = await demo(world, **thread)
    found = await cause(world, first, second)
    assert (found.cause, found.region) == (None, None)
    told = await demo(world, instructions="Be brief.", **thread)
    found = await cause(world, second, told)
    assert (found.cause, found.region) == (Cause.PREFIX_CHANGED, "system")
    names = list(world.toolbox.names)
    ordered = await demo(world, tools=tuple(names), **thread)
    reordered = await demo(world, tools=tuple(reversed(names)), **thread)
    found = await cause(world, ordered, reordered)
    assert (found.cause, found.before) == (Cause.TOOLS_REORDERED, ", ".join(names))
    # Whatever was sent is forgotten at once.
    late = await demo(world, tools=tuple(reversed(names)), kwargs={"cache_life_s": 0}, **thread)
    found = await cause(world, reordered, late)
    assert (found.cause, found.region) == (Cause.EXPIRED, None)
    small = await demo(world, "hello " * 300, tools=tuple(reversed(names)), kwargs={"context_max": 200}, **thread)
    found = await cause(world, late, small)
    assert (found.cause, found.region, found.after.split()[0]) == (Cause.COMPACTED, "message", "summary")
    echoed = await world.end(await world.start(model="echo", **thread))
    assert (await cause(world, small, echoed)).cause is Cause.MODEL_CHANGED
