"""Forks: a turn made anew on what stood before it, with nothing executed again and nothing shared that could go."""

from typing import Any

import pytest
from msgspec import UNSET

from jupyter_agent import events as ev
from jupyter_agent.exceptions import Forbidden, InvalidRequest, RunActive, RunNotFound
from jupyter_agent.journal.check import check
from jupyter_agent.journal.rebuild import rebuild
from jupyter_agent.records import ForkRequest, Message, Principal, Run, RunStatus, Text
from jupyter_agent.runtime.history import load_turns, thread_messages
from jupyter_agent.tools import Toolbox, tool
from tests.runtime.conftest import ALICE, KERNEL, OpenWorld, World

BOB = Principal(user_id="bob")
LOOKS = [
    {"text": "Looking. ", "calls": [{"name": "list_files", "arguments": {}}]},
    {"text": "Again. ", "calls": [{"name": "search_files", "arguments": {"query": "x"}}]},
    {"text": "There is nothing."},
]


async def turns_of(world: World, run: Run) -> Any:
    return await load_turns(world.storage.blobs, await world.journal.load(run.run_id))


async def past_of(world: World, run: Run) -> list[Message]:
    return await thread_messages(run, rows=world.storage.rows, journal=world.journal, blobs=world.storage.blobs)


async def forked(world: World, run: Run, *, by: Principal = ALICE, **wish: Any) -> Run:
    return await world.end(await world.runner.fork(run.run_id, ForkRequest(**wish), by=by))


async def ended(world: World, script: Any = LOOKS, **more: Any) -> Run:
    return await world.end(await world.start(script, **more))


def texts(messages: list[Message]) -> list[str]:
    return [f"{message.role}: {message.text}" for message in messages]


async def test_a_turn_is_made_anew_from_the_very_prompt_it_had(world: World) -> None:
    run = await ended(world, input="What is here?")
    turns = await turns_of(world, run)
    for number in range(3):
        fork = await forked(world, run, turn=number)
        assert (fork.forked_from_run_id, fork.forked_from_turn) == (run.run_id, number)
        assert fork.thread_id != run.thread_id
        assert fork.status is RunStatus.COMPLETED
        again = await turns_of(world, fork)
        # The scripted model plays on from there, so that the fork ends as the run did.
        assert again[0].segments == turns[number].segments
        assert len(again) == 3 - number
        assert fork.last_ai_message == "There is nothing."


async def test_nothing_is_executed_again(open_world: OpenWorld) -> None:
    done: list[str] = []

    @tool(effects=("read",))
    def note(what: str) -> str:
        """Notes something."""
        done.append(what)
        return f"noted {what}"

    world = await open_world(toolbox=Toolbox([note]))
    script = [{"calls": [{"name": "note", "arguments": {"what": name}}]} for name in "abc"]
    run = await ended(world, [*script, "noted all"])
    assert done == ["a", "b", "c"]
    fork = await forked(world, run, turn=2)
    assert done == ["a", "b", "c", "c"]
    results = [part for message in await past_of(world, fork) if message.role == "tool" for part in message.parts]
    assert [part.content for part in results] == ["noted a", "noted b"]
    assert (fork.model_call_count, fork.tool_call_count) == (2, 1)


async def test_without_a_turn_it_goes_on_after_the_last_when_there_is_something_to_answer(world: World) -> None:
    run = await ended(world, ["I am Ada."], input="Who are you?")
    with pytest.raises(InvalidRequest, match="had answered there") as refused:
        await forked(world, run)
    assert refused.value.details["fields"].keys() == {"input", "turn"}
    fork = await forked(world, run, input="And who am I?", model="echo")
    assert fork.forked_from_turn == 1
    assert texts(await past_of(world, fork)) == ["user: Who are you?", "assistant: I am Ada."]
    assert [message.text for message in (await turns_of(world, fork))[0].request] == ["And who am I?"]


async def test_words_take_the_place_of_the_first_and_come_besides_later_ones(world: World) -> None:
    run = await ended(world, input="What is here?")
    first = await forked(world, run, turn=0, input="What is there?", script=["Nothing."])
    assert await past_of(world, first) == []
    assert [message.text for message in (await turns_of(world, first))[0].request] == ["What is there?"]
    later = await forked(world, run, turn=1, input="Hurry.", script=["Done."])
    past = await past_of(world, later)
    assert [message.role for message in past] == ["user", "assistant", "tool"]
    assert [message.text for message in (await turns_of(world, later))[0].request] == ["Hurry."]


async def test_what_is_given_is_otherwise_and_the_rest_is_as_it_was(world: World) -> None:
    run = await ended(world, instructions="Be brief.", kwargs={"speed": 2}, tools=("list_files",),
                      metadata={"task": "a"})  # fmt: skip
    same = (await world.journal.load((await forked(world, run, turn=2)).run_id)).started
    assert same is not None
    assert {name: same.kwargs[name] for name in ("instructions", "kwargs", "tools")} == {
        "instructions": "Be brief.", "kwargs": {"speed": 2}, "tools": ["list_files"],
    }  # fmt: skip
    # What was noted of the run is that run's own.
    assert same.metadata == {}
    other = await forked(world, run, turn=2, model="echo", instructions="", kwargs={}, tools=None, metadata={"b": 1})
    started = (await world.journal.load(other.run_id)).started
    assert started is not None
    assert (other.model, other.metadata, other.kwargs) == ("echo", {"b": 1}, {})
    assert started.kwargs["instructions"] == ""
    assert not {"kwargs", "tools"} & started.kwargs.keys()
    assert ForkRequest().tools is UNSET


async def test_turns_that_are_not_there_and_not_over_are_refused(world: World) -> None:
    run = await ended(world)
    for number in (-1, 4, 2**70):
        with pytest.raises(InvalidRequest, match="its turns are 0 to 2"):
            await forked(world, run, turn=number)
    slow = await world.start([LOOKS[0], {"text": "word " * 400, "delay_s": 0.02}])
    await world.until_type(slow, ev.ToolTraceFinish)
    for wish in ({}, {"input": "more"}, {"turn": 1}):
        with pytest.raises(RunActive, match="goes on"):
            await world.runner.fork(slow.run_id, ForkRequest(**wish), by=ALICE)
    early = await forked(world, slow, turn=0, script=["Quick."])
    assert early.last_ai_message == "Quick."
    await world.runner.interrupt(slow.run_id, by=ALICE)
    # What was cut off stands in it as far as it came.
    fork = await forked(world, slow, turn=1, script=["Whole."])
    assert fork.last_ai_message == "Whole."


async def test_a_run_that_was_stopped_between_goes_on_with_what_its_tools_gave(world: World) -> None:
    run = await world.start([LOOKS[0], {"text": "x", "fail": {"code": "bad_credentials"}}])
    assert (await world.end(run)).status is RunStatus.ERROR
    for wish in ({"turn": 1}, {}):
        fork = await forked(world, run, script=["Here now."], **wish)
        assert (fork.forked_from_turn, fork.last_ai_message) == (1, "Here now.")
        assert (await past_of(world, fork))[-1].role == "tool"


async def test_closing_words_are_not_asked_for_again(world: World) -> None:
    from jupyter_agent.records import Budget

    run = await ended(world, [LOOKS[0], LOOKS[1], "summed up"], budget=Budget(tool_calls=1))
    turns = await turns_of(world, run)
    assert turns[-1].request[-1].text.startswith("You are being stopped")
    fork = await forked(world, run, turn=len(turns) - 1, budget=Budget(), script=["Free again."])
    assert fork.last_ai_message == "Free again."
    assert not any("You are being stopped" in text for text in texts(await past_of(world, fork)))


async def test_forks_of_forks_and_the_runs_after_them_remember_everything(world: World) -> None:
    run = await ended(world, input="What is here?")
    fork = await forked(world, run, turn=1)
    again = await forked(world, fork, turn=1)
    assert (again.forked_from_run_id, again.forked_from_turn) == (fork.run_id, 1)
    assert (await turns_of(world, again))[0].segments == (await turns_of(world, fork))[1].segments
    after = await world.end(await world.start(["I know."], input="And now?", thread_id=again.thread_id))
    assert texts(await past_of(world, after))[0] == "user: What is here?"
    assert texts(await past_of(world, after))[-1] == "assistant: There is nothing."
    first = await forked(world, again, turn=0)
    assert (await turns_of(world, first))[0].segments == (await turns_of(world, again))[0].segments


async def test_a_fork_remembers_though_its_own_run_was_rolled_back(world: World) -> None:
    run = await ended(world, ["I am Ada."], input="Who are you?")
    slow = await world.runner.fork(
        run.run_id, ForkRequest(input="Say more.", script={"turns": [{"text": "w " * 900, "delay_s": 0.02}]}), by=ALICE
    )
    await world.until_type(slow, ev.AgentEvent)
    instead = await world.start(["Yes."], input="Really?", thread_id=slow.thread_id, multitask="rollback")
    ended_run = await world.end(instead)
    assert texts(await past_of(world, ended_run)) == ["user: Who are you?", "assistant: I am Ada."]


async def test_what_was_compacted_then_is_compacted_in_the_fork(world: World) -> None:
    (world.workspace / "long.txt").write_text("word " * 2000)
    script = [{"text": "Read. ", "calls": [{"name": "read_file", "arguments": {"path": "long.txt"}}]},
              *LOOKS, "the end"]  # fmt: skip
    run = await ended(world, script, kwargs={"context_max": 500})
    turns = await turns_of(world, run)
    labels = [[one.label for one in turn.segments] for turn in turns]
    number = next(number for number, some in enumerate(labels) if "summary" in some)
    assert number > 1
    for at in (number - 1, number):
        fork = await forked(world, run, turn=at, kwargs={}, script=["Once more."])
        prints = [one.fingerprint for one in (await turns_of(world, fork))[0].segments]
        assert prints == [one.fingerprint for one in turns[at].segments]


async def test_it_is_whole_when_the_run_that_it_comes_from_is_gone(world: World) -> None:
    picture = await world.storage.blobs.put(b"\x89PNG\r\n\x1a\n a picture")
    await world.storage.rows.refer(picture, run_id="", user_id="alice")
    from jupyter_agent.records import Image

    asked = (Text(text="What is it? " + "long " * 9000), Image(blob=picture, mime="image/png"))
    run = await ended(world, input=asked)
    fork = await forked(world, run, turn=2)
    before = await past_of(world, fork)
    assert before[0].parts[1] == asked[1]
    await world.runner.delete_thread(run.thread_id, by=ALICE)
    with pytest.raises(RunNotFound):
        await forked(world, run, turn=1)
    assert await past_of(world, fork) == before
    assert await world.storage.blobs.get(picture)
    again = await forked(world, fork, turn=0)
    assert again.last_ai_message == "There is nothing."
    # And with the last fork the copies go too.
    for one in (fork, again):
        await world.runner.delete_run(one.run_id, by=ALICE)
    assert not [key async for key in world.storage.blobs.keys()]  # noqa: SIM118 - it is no dictionary


async def test_another_users_run_reads_as_absent_and_kernels_choose_no_policy(world: World) -> None:
    run = await ended(world)
    with pytest.raises(RunNotFound):
        await forked(world, run, by=BOB, turn=0)
    await world.end(await world.runner.fork(run.run_id, ForkRequest(turn=1), by=KERNEL))
    free = await ended(world, policy="read-only")
    with pytest.raises(Forbidden, match="Kernels may not choose a policy"):
        await world.runner.fork(free.run_id, ForkRequest(turn=1), by=KERNEL)


async def test_rows_made_again_say_where_a_fork_comes_from(world: World) -> None:
    run = await ended(world)
    fork = await forked(world, run, turn=1)
    await world.close()
    from jupyter_agent.storage import open_storage, set_database_aside

    set_database_aside(world.folder / "data")
    storage = open_storage(world.folder / "data")
    await storage.rows.open()
    await rebuild(storage)
    assert await storage.rows.get_run(fork.run_id, by=ALICE) == fork
    report = await check(storage)
    assert report.is_whole, report.problems
    assert report.unreferenced == 0
    await storage.close()


async def test_a_fork_that_was_cut_off_by_a_crash_goes_on(open_world: OpenWorld) -> None:
    world = await open_world()
    run = await ended(world, ["I am Ada."], input="Who are you?")
    script = {"turns": [LOOKS[0], {"text": "Here again."}]}
    fork = await world.runner.fork(run.run_id, ForkRequest(input="Look.", script=script), by=ALICE)
    await world.until_type(fork, ev.TurnCommitted)
    await world.close()
    second = await open_world()
    assert second.recovered in (0, 1)
    over = await second.end(fork)
    assert over.last_ai_message == "Here again."
    assert texts(await past_of(second, over)) == ["user: Who are you?", "assistant: I am Ada."]
