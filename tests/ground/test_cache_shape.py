"""The shape of the cache: causes are shown or unknown, what was read adds up, and a prediction is what the simulated
cache would have measured."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.cache_shape import Cause, Change, Request, cause_of, lay_over, predict
from jupyter_agent.models.contract import ModelRequest
from jupyter_agent.models.prompt import cut, segments_of
from jupyter_agent.models.prompt_cache import BLOCK_TOKENS, LIFE_S, PromptCache
from jupyter_agent.records import Message, Segment, Text, ToolSpec, Usage

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SYSTEM = Segment("system", "instructions", "5y5", 400)
LIST = Segment("tool", "list_files", "1157", 300)
READ = Segment("tool", "read_file", "4ead", 300)
ASKED = Segment("message", "user", "a5ced", 200)
SAID = Segment("message", "assistant", "5a1d", 200)
MORE = Segment("message", "user", "303e", 200)
PROMPT = (SYSTEM, LIST, READ, ASKED)


def a_request(*segments, read=0, after_s=0.0, life_s=300.0, model="demo", **fields):
    total = sum(segment.tokens for segment in segments)
    known = {"run_id": "r", "turn": 0, "input_tokens": total, "cache_read_tokens": read, "cache_write_tokens": 0}
    return Request(
        model=model, started_at=BEGAN + timedelta(seconds=after_s), segments=segments, cache_life_s=life_s,
        **known | fields,
    )  # fmt: skip


UNMEASURED = {"input_tokens": None, "cache_read_tokens": None, "cache_write_tokens": None}
CHANGED = Segment("system", "instructions", "c4a", 400)
SUMMARY = Segment("message", "summary", "5033", 100)
GROWN = (*PROMPT, SAID, MORE)
FIRST = a_request(*PROMPT)

TABLE = {
    "the first one": (None, a_request(*PROMPT), Cause.FIRST_REQUEST, None, None, None),
    "the first one that is kept": (None, a_request(*GROWN), Cause.UNKNOWN, None, None, None),
    "the first one, all of it sent elsewhere": (None, a_request(*PROMPT, read=1_152), None, None, None, None),
    "the first one, unmeasured": (None, a_request(*PROMPT, **UNMEASURED), Cause.UNKNOWN, None, None, None),
    "nothing is known of it": (None, a_request(input_tokens=1_000), Cause.UNKNOWN, None, None, None),
    "grown": (FIRST, a_request(*GROWN, read=1_152), None, None, None, None),
    "the same again": (FIRST, a_request(*PROMPT, read=1_152), None, None, None, None),
    "less than a block": (a_request(ASKED, input_tokens=127), a_request(ASKED, SAID), None, None, None, None),
    "another system text": (
        FIRST, a_request(CHANGED, *GROWN[1:]), Cause.PREFIX_CHANGED, "system", "instructions 5y5", "instructions c4a",
    ),
    "changed, and read all the same": (FIRST, a_request(CHANGED, *GROWN[1:], read=1_152), None, *[None] * 3),
    "changed, and long ago too": (
        FIRST, a_request(CHANGED, *GROWN[1:], after_s=301), Cause.PREFIX_CHANGED, "system", "instructions 5y5",
        "instructions c4a",
    ),
    "tools in another order": (
        FIRST, a_request(SYSTEM, READ, LIST, ASKED, SAID, read=384), Cause.TOOLS_REORDERED, "tool",
        "list_files, read_file", "read_file, list_files",
    ),
    "a tool less": (
        FIRST, a_request(SYSTEM, READ, ASKED, SAID, read=384), Cause.PREFIX_CHANGED, "tool", "list_files 1157",
        "read_file 4ead",
    ),
    "no tools any more": (
        FIRST, a_request(SYSTEM, ASKED, SAID, read=384), Cause.PREFIX_CHANGED, "message", "list_files 1157",
        "user a5ced",
    ),
    "another model": (FIRST, a_request(*GROWN, model="other"), Cause.MODEL_CHANGED, None, "demo", "other"),
    "compacted": (
        a_request(*GROWN), a_request(*PROMPT[:3], SUMMARY, MORE, read=896), Cause.COMPACTED, "message", "user a5ced",
        "summary 5033",
    ),
    "no longer compacted": (
        a_request(*PROMPT[:3], SUMMARY, MORE), a_request(*GROWN, read=896), Cause.PREFIX_CHANGED, "message",
        "summary 5033", "user a5ced",
    ),
    "expired": (FIRST, a_request(*GROWN, after_s=300), Cause.EXPIRED, None, None, None),
    "lost within its life": (FIRST, a_request(*GROWN, after_s=299), Cause.UNKNOWN, None, None, None),
    "a life that nobody knows": (FIRST, a_request(*GROWN, after_s=10**6, life_s=None), Cause.UNKNOWN, *[None] * 3),
    "unmeasured": (FIRST, a_request(CHANGED, **UNMEASURED), Cause.UNKNOWN, None, None, None),
    "the one before was not measured": (
        a_request(*PROMPT, **UNMEASURED), a_request(*GROWN, read=1_152), None, None, None, None,
    ),
    "the one before was not kept": (a_request(input_tokens=1_200), a_request(*GROWN), Cause.UNKNOWN, None, None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_a_cause_is_what_can_be_shown(case):
    previous, request, *expected = TABLE[case]
    found = cause_of(request, previous)
    assert [found.cause, found.region, found.before, found.after] == expected
    assert found.idle == (None if previous is None else request.started_at - previous.started_at)


SEGMENTS = st.builds(Segment, st.just("message"), st.just("user"), st.text("abc", max_size=2), st.integers(0, 10**6))
COUNTS = st.integers(0, 10**7)


@given(segments=st.lists(SEGMENTS, max_size=20), whole=COUNTS, read=COUNTS)
def test_what_is_laid_over_adds_up(segments, whole, read):
    laid = lay_over(segments, Usage(input_tokens=whole, cache_read_tokens=min(read, whole), requests=1))
    has_any = any(segment.tokens for segment in segments)
    assert sum(one.tokens for one in laid) == (whole if has_any else 0)
    assert sum(one.hit for one in laid) == (min(read, whole) if has_any else 0)
    assert all(one.hit + one.miss == one.tokens >= one.hit >= 0 for one in laid)
    misses = [one.miss > 0 for one in laid if one.tokens]
    assert misses == sorted(misses), "What is read is read from the beginning."
    unmeasured = lay_over(segments, Usage(requests=1, unmeasured_requests=1))
    assert [tuple(one) for one in unmeasured] == [(segment.tokens, None, None) for segment in segments]


# --- against the simulated cache ----------------------------------------------------------------------------------


def a_tool(name):
    return ToolSpec(name=name, description=f"{name}: " + "what it does. " * 40, parameters={"type": "object"})


TOOLS = tuple(a_tool(name) for name in ("write", "list", "read"))


class Provider:
    """The simulated cache under a clock, and the requests as they are kept. With a change it is sent what would have
    been sent: the same regions in another order."""

    def __init__(self, change=None, *, life_s=LIFE_S):
        self.now_s = 0.0
        self.change = change
        self.life_s = life_s
        self.cache = PromptCache(clock=lambda: self.now_s)
        self.requests = []

    def send(self, request):
        regions = {region.segment: region.data for region in cut(request)}
        order = self.change.of(tuple(regions)) if self.change else tuple(regions)
        usage = self.cache.measure_bytes(b"".join(regions[segment] for segment in order), life_s=self.life_s)
        self.requests.append(
            Request(
                run_id="r", turn=len(self.requests), model="demo", cache_life_s=self.life_s,
                started_at=BEGAN + timedelta(seconds=self.now_s), segments=segments_of(request),
                input_tokens=usage.input_tokens, cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
            )
        )  # fmt: skip


def a_prompt(system, order, texts):
    """A prompt whose texts differ from their beginning, so that no region has a part of another in common."""
    messages = tuple(Message(role="user", parts=(Text(text=f"{text}: " + "word " * (60 + text)),)) for text in texts)
    tools = tuple(TOOLS[place] for place in order)
    return ModelRequest(messages=messages, tools=tools, instructions=f"{system}: " + "You are an agent. " * 50)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.permutations(range(3)), st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True),
        st.sampled_from([1.0, 100.0, 299.0, 301.0, 1_000.0]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@given(steps=STEPS)
def test_in_a_cache_of_its_own_nothing_is_unknown(steps):
    provider = Provider()
    for system, order, texts, pause_s in steps:
        provider.now_s += pause_s
        provider.send(a_prompt(system, order, texts))
    previous = None
    for request in provider.requests:
        found = cause_of(request, previous)
        assert found.cause is not Cause.UNKNOWN
        if found.cause is Cause.EXPIRED:
            assert found.idle.total_seconds() >= LIFE_S
        previous = request


CHANGES = st.one_of(
    st.builds(Change, sorted_tools=st.booleans(), moved=st.sampled_from([(), ("system",), ("tool",), ("list",)])),
    st.builds(Change, life_s=st.sampled_from([50.0, 400.0, 3_600.0])),
)


def both(change, steps):
    """Returns what is predicted from the prompts as they were, and what the changed ones measure."""
    was, would_be = Provider(), Provider(change, life_s=LIFE_S if change.life_s is None else change.life_s)
    for system, order, texts, pause_s in steps:
        for provider in (was, would_be):
            provider.now_s += pause_s
            provider.send(a_prompt(system, order, texts))
    return predict(was.requests, change), would_be.requests


@given(steps=STEPS, change=CHANGES)
def test_a_prediction_is_what_the_changed_prompts_measure(steps, change):
    predictions, requests = both(change, steps)
    for predicted, measured in zip(predictions, requests, strict=True):
        assert predicted.request.input_tokens == measured.input_tokens
        # Messages begin alike for some bytes, and a block may end within them, before and after the change.
        assert abs(measured.cache_read_tokens - predicted.cache_read_tokens) <= BLOCK_TOKENS
        blocks = predicted.cache_read_tokens + predicted.cache_write_tokens
        assert blocks == measured.input_tokens // BLOCK_TOKENS * BLOCK_TOKENS


LONG = [3, 4, 5, 6, 7]
EXACT = {
    "tools that come in any order, sorted": (
        Change(sorted_tools=True),
        [(0, order, LONG[: 2 + turn], 1.0) for turn, order in enumerate([(0, 1, 2), (2, 1, 0), (1, 2, 0)])],
    ),
    "a system text that is never the same, moved": (
        Change(moved=("system",)),
        [(turn, (0, 1, 2), LONG[: 2 + turn], 1.0) for turn in range(3)],
    ),
    "a tool that is never at one place, moved": (
        Change(moved=("list",)),
        [(0, order, LONG[: 2 + turn], 1.0) for turn, order in enumerate([(0, 1, 2), (1, 0, 2), (0, 2, 1)])],
    ),
    "long pauses, and a longer life": (
        Change(life_s=3_600.0),
        [(0, (0, 1, 2), LONG[: 2 + turn], 400.0 * turn) for turn in range(4)],
    ),
    "short pauses, and a shorter life": (
        Change(life_s=10.0),
        [(0, (0, 1, 2), LONG[: 2 + turn], 7.0 * turn) for turn in range(4)],
    ),
}


@pytest.mark.parametrize("case", EXACT)
def test_these_are_predicted_to_the_token(case):
    change, steps = EXACT[case]
    predictions, requests = both(change, steps)
    told = [(one.cache_read_tokens, one.cache_write_tokens) for one in predictions]
    assert told == [(one.cache_read_tokens, one.cache_write_tokens) for one in requests]
    was = [one.request.cache_read_tokens for one in predictions]
    assert sum(read for read, _ in told) != sum(was), "The change makes a difference."


def test_where_nothing_was_reported_nothing_is_predicted():
    requests = [a_request(*PROMPT, **UNMEASURED), a_request(*GROWN, read=640, after_s=1)]
    first, second = predict(requests, Change(moved=("system",)))
    assert (first.cache_read_tokens, first.cache_write_tokens) == (None, None)
    assert second.cache_read_tokens == 640 + 768 // BLOCK_TOKENS * BLOCK_TOKENS - 1_152
    assert second.cache_write_tokens == 0, "Who says nothing of writing goes on saying nothing."
