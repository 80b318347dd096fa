"""Threads are found by words of their title and by their metadata, whatever stands there, and only one's own."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from jupyter_agent.records import SYSTEM, Principal, clean, new_id
from jupyter_agent.storage.search import found_by
from tests.storage.test_rows import ALICE, BEGAN, MALLORY, a_thread, every_page


async def found(rows, *, by=ALICE, **wanted):
    return {thread.thread_id for thread in await every_page(lambda **page: rows.list_threads(by=by, **wanted, **page))}


@pytest.fixture
async def several(rows):
    titles = {
        "a": "Survey of 50% wages",
        "b": "survey_2",
        "c": "Überblick ÄÖÜ",
        "d": None,
        "e": "50 wages",
        "f": "a\\b/c",
    }
    for number, (name, title) in enumerate(titles.items()):
        metadata = {"project": "x" if name < "c" else "y", "n": number, "done": name == "a", "deep": {"a": [1]}}
        await rows.create_thread(a_thread(name, title=title, metadata=metadata))
    await rows.create_thread(a_thread("m", user="mallory", title="Survey", metadata={"project": "x"}))
    return rows


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("survey", "ab"),
        ("SURVEY", "ab"),
        ("über", "c"),
        ("äö", "c"),
        ("50%", "a"),
        ("%", "a"),
        ("_", "b"),
        ("y_2", "b"),
        ("y-2", ""),
        ("\\", "f"),
        ("/", "f"),
        ("a\\b", "f"),
        ("' OR 1=1 --", ""),
        ("\0", ""),
        ("\ud800", ""),
        ("\U0001f600", ""),
    ],
)
async def test_a_title_is_searched_for_what_was_said(several, search, names):
    assert await found(several, search=search) == set(names)


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"project": "x"}, "ab"),
        ({"project": "X"}, ""),
        ({"n": "1"}, "b"),
        ({"done": "true"}, "a"),
        ({"done": "false"}, "bcdef"),
        ({"done": "1"}, ""),
        ({"project": "x", "n": "0"}, "a"),
        ({"project": "y", "n": "0"}, ""),
        ({"absent": ""}, ""),
        ({"absent": "null"}, ""),
        ({"$.project": "x"}, ""),
        ({"deep.a": "1"}, ""),
        ({"deep": '{"a":[1]}'}, "abcdef"),
    ],
)
async def test_metadata_is_compared_as_text(several, metadata, names):
    assert await found(several, metadata=metadata) == set(names)


async def test_both_together_and_only_ones_own(several):
    assert await found(several, search="survey", metadata={"project": "x", "done": "true"}) == {"a"}
    assert await found(several, by=MALLORY, search="survey") == {"m"}
    assert await found(several, by=SYSTEM, search="survey") == {"a", "b", "m"}


async def test_ownership_and_filters_come_before_the_limit(rows):
    for number in range(60):
        mine = number % 10 == 0
        at = BEGAN + timedelta(seconds=number)
        fields = {"title": f"wanted {number}", "created_at": at, "user": "alice" if mine else "mallory"}
        await rows.create_thread(a_thread(f"t{number:02}", metadata={"even": number % 20 == 0}, **fields))
    page = await rows.list_threads(by=ALICE, search="WANTED", metadata={"even": "true"}, limit=2)
    assert [thread.thread_id for thread in page.items] == ["t40", "t20"]
    rest = await rows.list_threads(
        by=ALICE, search="WANTED", metadata={"even": "true"}, limit=2, cursor=page.next_cursor
    )
    assert ([thread.thread_id for thread in rest.items], rest.next_cursor) == (["t00"], None)


ODD = st.text(st.one_of(st.characters(), st.sampled_from("%_\\/'\"$.[]{}\0\ud800")), max_size=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(title=ODD, key=ODD, value=ODD)
async def test_whatever_was_said_is_found_by_the_same_words(rows, title, key, value):
    name = new_id("thr")
    await rows.create_thread(a_thread(name, user=name, title=title, metadata=clean({key: value})))

    by = Principal(user_id=name)
    assert await found(rows, by=by, metadata={key: value}) == {name}
    if title:
        assert await found(rows, by=by, search=title) == {name}
        assert await found(rows, by=by, search=f"x{title}") == set()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(limit=st.integers(1, 6), ties=st.integers(1, 4), seed=st.randoms(use_true_random=False))
async def test_no_thread_is_listed_twice_or_lost_while_others_come(rows, limit, ties, seed):
    """Many of one instant; whoever was there before the list began is on it exactly once."""

    user = new_id("usr")
    by = Principal(user_id=user)

    async def make(number):
        at = BEGAN + timedelta(microseconds=number // ties)
        await rows.create_thread(a_thread(f"{seed.random():.12f}-{user}", user=user, created_at=at))

    for number in range(12):
        await make(number)
    before = {thread.thread_id for thread in (await rows.list_threads(by=by, limit=1000)).items}
    listed, cursor = [], None
    while True:
        page, _ = await asyncio.gather(rows.list_threads(by=by, limit=limit, cursor=cursor), make(seed.randrange(12)))
        listed += [thread.thread_id for thread in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert len(listed) == len(set(listed))
    assert before <= set(listed)
    ordered = await every_page(lambda **page: rows.list_threads(by=by, **page), limit=limit)
    assert ordered == sorted(ordered, key=lambda one: (one.created_at, one.thread_id), reverse=True)


def test_the_conditions_are_said_in_postgresqls_words_too():
    (condition,) = found_by(None, {"project": "x"})
    assert "metadata ->> " in str(condition.compile(dialect=postgresql.dialect()))
