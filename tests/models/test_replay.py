"""The replay model says what was recorded, and where a run has left its recording."""

import time
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from jupyter_agent.exceptions import InvalidModelRequest, RunNotFound
from jupyter_agent.models import ModelCatalog
from jupyter_agent.models.replay import ReplayModel, first_difference
from jupyter_agent.records import Message, Text, TurnRecord
from tests.models.collected import answer_of, collect, finished, request, results, thinking_of, user
from tests.models.test_contract import load_recorded, recorded_turns


def replay(**changes) -> ReplayModel:
    return ReplayModel("run_0", load=load_recorded, **changes)


async def test_the_same_run_is_answered_with_the_recording_and_no_remark():
    first, second = recorded_turns()
    model = replay()
    pieces = await collect(model, request("Read a.csv"))
    assert thinking_of(pieces) == "Look first."
    answer = answer_of(pieces)
    assert answer.text == "I look."
    assert answer.tool_calls[0].arguments == first.response.tool_calls[0].arguments
    assert finished(pieces).usage.input_tokens == 9
    later = await collect(model, request("Read a.csv", answer, results(answer), turn=1))
    assert answer_of(later).text == second.response.text
    assert thinking_of(later) == ""


async def test_the_first_turn_that_differs_says_how_and_only_that():
    pieces = await collect(replay(), request("Read b.csv, please"))
    assert "turn 0 is the first" in thinking_of(pieces)
    assert "'Read a.csv'" in thinking_of(pieces)
    assert "'Read b.csv, please'" in thinking_of(pieces)
    answer = answer_of(pieces)
    assert answer.text == "I look."
    later = await collect(replay(), request("Read b.csv, please", answer, results(answer), turn=1))
    assert "differs" not in thinking_of(later)


async def test_a_different_result_is_seen_at_its_turn():
    answer = answer_of(await collect(replay(), request("Read a.csv")))
    pieces = await collect(replay(), request("Read a.csv", answer, results(answer, "another result"), turn=1))
    assert "turn 1 is the first" in thinking_of(pieces)
    assert "another result" in thinking_of(pieces)


async def test_earlier_runs_of_the_thread_do_not_count():
    before = [user("Hello"), Message(role="assistant", parts=(Text(text="Hi."),))]
    assert "differs" not in thinking_of(await collect(replay(), request(*before, "Read a.csv")))


async def test_speed_is_a_factor_and_zero_is_at_once():
    first, _ = recorded_turns()
    slow = msgspec.structs.replace(first, finished_at=first.started_at.replace(second=1))

    async def load(_: str) -> Sequence[TurnRecord]:
        return (slow,)

    began = time.monotonic()
    await collect(ReplayModel("x", load=load, speed=5), request("Read a.csv"))
    assert 0.15 < time.monotonic() - began < 5
    slow = msgspec.structs.replace(first, finished_at=first.started_at + timedelta(minutes=5))
    began = time.monotonic()
    await collect(ReplayModel("x", load=load), request("Read a.csv", settings={"speed": 0}))
    assert time.monotonic() - began < 60


async def test_a_run_that_goes_on_longer_says_so():
    with pytest.raises(InvalidModelRequest, match="2 turns"):
        await collect(replay(), request("Read a.csv", turn=2))


async def test_a_recording_that_ends_cut_ends_there():
    first, _ = recorded_turns()

    async def load(_: str) -> Sequence[TurnRecord]:
        return (msgspec.structs.replace(first, complete=False),)

    with pytest.raises(InvalidModelRequest, match="cut off in turn 0") as caught:
        await collect(ReplayModel("x", load=load), request("Read a.csv"))
    assert not caught.value.retryable


async def test_an_answer_that_was_cut_and_asked_for_again_counts_once():
    first, second = recorded_turns()
    cut = msgspec.structs.replace(
        second, complete=False, response=Message(role="assistant", parts=(Text(text="Do"),)), stop_reason="cut"
    )
    again = msgspec.structs.replace(second, turn=2, request=(user("Continue where it stopped."),))

    async def load(_: str) -> Sequence[TurnRecord]:
        return (first, cut, again)

    model = ReplayModel("x", load=load)
    answer = answer_of(await collect(model, request("Read a.csv")))
    later = await collect(model, request("Read a.csv", answer, results(answer), turn=1))
    assert answer_of(later).text == "Done."
    assert thinking_of(later) == ""


async def test_an_unknown_run_is_said_to_be_unknown():
    async def load(run: str) -> Sequence[TurnRecord]:
        raise RunNotFound(f"There is no run {run}.")

    with pytest.raises(InvalidModelRequest, match="There is no run run_9"):
        await collect(ModelCatalog(replay=load).get("replay:run_9"), request("x"))


def test_a_difference_deep_in_a_long_text_is_shown_where_it_is():
    same = "x" * 5_000
    said = first_difference([user(same + "old ending")], [user(same + "new ending")])
    assert said is not None
    assert "old ending" in said
    assert "new ending" in said
    assert len(said) < 300
