"""What people think of runs: one rating a user and run, any number of messages, nobody else's."""

import asyncio

import pytest

from jupyter_agent.exceptions import FeedbackNotFound, RunNotFound
from jupyter_agent.records import SYSTEM, Feedback, new_id
from tests.storage.test_rows import ALICE, BEGAN, MALLORY, a_thread, ended, every_page


@pytest.fixture
async def rated(rows):
    await rows.create_thread(a_thread())
    await ended(rows, "r")
    return rows


def a_rating(rating, *, run="r", user="alice", **fields):
    return Feedback(
        feedback_id=new_id("fbk"), run_id=run, thread_id="", user_id=user, rating=rating, created_at=BEGAN,
        updated_at=BEGAN, **fields,
    )  # fmt: skip


async def test_the_second_rating_of_a_run_replaces_the_first(rated):
    first = await rated.save_feedback(a_rating(1, comment="Good."))
    assert first.thread_id == "t"
    second = await rated.save_feedback(a_rating(-1))
    assert second.feedback_id == first.feedback_id
    assert (second.rating, second.comment) == (-1, None)
    assert (await rated.list_feedback(by=ALICE, run_id="r")).items == (second,)


async def test_messages_are_rated_each_for_itself(rated):
    for number in range(3):
        await rated.save_feedback(a_rating(1, message_id=f"m{number}"))
        await rated.save_feedback(a_rating(-1, message_id=f"m{number}"))
    await rated.save_feedback(a_rating(1))
    summary = await rated.feedback_summary("r", by=ALICE)
    assert (summary.total, summary.positive, summary.negative) == (7, 4, 3)
    assert len(await every_page(rated.list_feedback, by=ALICE, run_id="r", limit=2)) == 7


async def test_many_ratings_at_once_leave_one(rated):
    await asyncio.gather(*(rated.save_feedback(a_rating(1 if n % 2 else -1)) for n in range(40)))
    assert len((await rated.list_feedback(by=ALICE, thread_id="t")).items) == 1


async def test_others_see_and_rate_nothing(rated):
    given = await rated.save_feedback(a_rating(1))
    with pytest.raises(RunNotFound):
        await rated.save_feedback(a_rating(1, user="mallory"))
    with pytest.raises(RunNotFound):
        await rated.feedback_summary("r", by=MALLORY)
    for deed in (rated.get_feedback, rated.delete_feedback):
        with pytest.raises(FeedbackNotFound):
            await deed(given.feedback_id, by=MALLORY)
    assert (await rated.list_feedback(by=MALLORY)).items == ()
    assert await rated.get_feedback(given.feedback_id, by=SYSTEM) == given


async def test_it_goes_with_its_run(rated):
    given = await rated.save_feedback(a_rating(1))
    await rated.delete_run("r", by=ALICE)
    with pytest.raises(FeedbackNotFound):
        await rated.get_feedback(given.feedback_id, by=ALICE)


async def test_what_is_deleted_can_be_given_again(rated):
    given = await rated.save_feedback(a_rating(1))
    await rated.delete_feedback(given.feedback_id, by=ALICE)
    with pytest.raises(FeedbackNotFound):
        await rated.delete_feedback(given.feedback_id, by=ALICE)
    assert (await rated.save_feedback(a_rating(-1))).feedback_id != given.feedback_id
