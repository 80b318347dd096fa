"""Facts of many runs as Arrow: the same columns whatever there is, in order, one's own only, and leaves that sum."""

import json
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import InvalidRequest, StorageUnavailable
from jupyter_agent.facts.kinds import KINDS
from jupyter_agent.facts.process import Question
from jupyter_agent.facts.query import Wanted, query
from jupyter_agent.records import SYSTEM, Cell, Feedback, Outcome, RunStatus, Usage
from jupyter_agent.storage.facts import FactReader
from jupyter_agent.storage.reading import ProcessReader, _Reading
from tests.storage.test_rows import ALICE, BEGAN, MALLORY, a_run, a_thread, a_turn, ended
from tests.storage.test_segments import a_segment
from tests.storage.test_traces import a_trace

READERS = {}
"""One a database, closed after each test."""


def read(rows, kind, *, by=ALICE, **filters):
    reader = READERS.setdefault(rows.backend, FactReader(rows.backend))
    return pa.Table.from_batches(reader.read(Wanted(kind=kind, by=by, **filters)))


@pytest.fixture(autouse=True)
def readers():
    yield
    while READERS:
        READERS.popitem()[1].close()


async def a_world(rows):
    for user in ("alice", "mallory"):
        await rows.create_thread(a_thread(user, user=user))
    for number in range(3):
        at = BEGAN + timedelta(hours=number)
        for user in ("alice", "mallory"):
            name = f"{user}-{2 - number}"
            fields = {"thread": user, "user": user, "created_at": at, "model": f"m{number % 2}"}
            run = await ended(rows, name, **fields)
            traces = [a_trace(name, turn, 0, thread_id=user, tool_name=f"f{turn}") for turn in range(2)]
            turns = [a_turn(name, 0), a_turn(name, 1)]
            await rows.project([run], turns, [], traces=traces, segments=[a_segment(name, 0), a_segment(name, 1)])
    return rows


@pytest.mark.parametrize("kind", KINDS)
async def test_the_columns_are_the_same_with_and_without_rows(rows, kind):
    empty = read(rows, kind)
    await a_world(rows)
    await rows.save_feedback(
        Feedback(
            feedback_id="f",
            run_id="alice-0",
            thread_id="",
            user_id="alice",
            rating=-1,
            created_at=BEGAN,
            updated_at=BEGAN,
        )
    )
    full = read(rows, kind)
    assert (empty.num_rows, full.num_rows > 0) == (0, True)
    assert empty.schema == full.schema
    assert full.column_names == [column.name for column in KINDS[kind].columns]


async def test_values_come_as_they_are(rows):
    await rows.create_thread(a_thread())
    run = await ended(rows, "r")
    at = BEGAN + timedelta(microseconds=7)
    long = a_trace(
        tool_input='{"path": "ä\U0001f600"}', tool_output="x" * 100_000, outcome=Outcome.TIMED_OUT, latency_ms=2.5,
        started_at=at, tokens_used=2**53 + 1,
    )  # fmt: skip
    await rows.project([run], [], [], traces=[long])
    found = read(rows, "tool_calls").to_pylist()[0]
    assert (found["arguments"], len(found["result"]), found["outcome"]) == (long.tool_input, 100_000, "timed_out")
    assert (found["latency"], found["tokens_used"]) == (timedelta(milliseconds=2.5), 2**53 + 1)
    assert found["started_at"] == at
    assert found["run_created_at"] == BEGAN


async def test_a_column_that_is_missing_at_first_is_still_text(rows):
    """The driver would take it for a number by its first rows."""
    await rows.create_thread(a_thread())
    run = await ended(rows, "r")
    traces = [a_trace(turn=turn, error="late" if turn == 2_999 else None) for turn in range(3_000)]
    await rows.project([run], [], [], traces=traces)
    errors = read(rows, "tool_calls", columns=["error"]).column("error").to_pylist()
    assert errors == [None] * 2_999 + ["late"]


async def test_oldest_runs_first_then_as_it_was_asked(rows):
    await a_world(rows)
    calls = read(rows, "tool_calls").select(["run_id", "turn"]).to_pylist()
    assert [(one["run_id"], one["turn"]) for one in calls] == [
        (f"alice-{number}", turn) for number in (2, 1, 0) for turn in (0, 1)
    ]


@pytest.mark.parametrize("kind", ["runs", "turns", "tool_calls", "segments"])
async def test_ones_own_only_and_the_system_sees_all(rows, kind):
    await a_world(rows)
    of = {by: set(read(rows, kind, by=who).column("run_id").to_pylist())
          for by, who in {"alice": ALICE, "mallory": MALLORY, "all": SYSTEM}.items()}  # fmt: skip
    assert of["alice"] == {f"alice-{number}" for number in range(3)}
    assert not of["alice"] & of["mallory"]
    assert of["all"] == of["alice"] | of["mallory"]
    assert read(rows, kind, run_ids=["mallory-0"]).num_rows == 0


async def test_filters_and_columns(rows):
    await a_world(rows)
    await rows.create_run(a_run("alice-goes-on", "alice", created_at=BEGAN))
    assert read(rows, "tool_calls", tool="f1").num_rows == 3
    assert read(rows, "turns", model="m1", columns=["run_id"]).num_rows == 0, "The turns' own model."
    assert set(read(rows, "runs", model="m1").column("run_id").to_pylist()) == {"alice-1"}
    assert read(rows, "runs", since=BEGAN + timedelta(hours=1)).num_rows == 2
    assert read(rows, "runs", since=(BEGAN + timedelta(hours=1)).replace(tzinfo=None)).num_rows == 2
    assert read(rows, "runs", statuses=[RunStatus.PENDING, RunStatus.ERROR]).num_rows == 1
    assert read(rows, "turns", thread_id="alice", run_ids=["alice-0"], columns=["turn", "cost"]).column_names == [
        "turn",
        "cost",
    ]


@pytest.mark.parametrize("name", ["nothing", "run_id; DROP TABLE runs", 'x" FROM runs--', "kwargs"])
async def test_what_is_no_column_is_named(rows, name):
    with pytest.raises(InvalidRequest, match="They have: "):
        read(rows, "runs", columns=["run_id", name])
    with pytest.raises(InvalidRequest, match="by a tool"):
        read(rows, "runs", tool="f")


@pytest.mark.parametrize("value", ["x' OR '1'='1", 'x" OR 1=1--', "\0", "\ud800"])
async def test_hostile_filters_are_values(rows, value):
    await a_world(rows)
    for name in ("thread_id", "model", "tool"):
        assert read(rows, "tool_calls", **{name: value}).num_rows == 0
    assert read(rows, "tool_calls", run_ids=[value]).num_rows == 0
    assert read(rows, "tool_calls", metadata={"k": value}).num_rows == 0


SAID = {"text": "a'b", "whole": 1, "part": 0.5, "yes": True, "no": False, "nothing": None, "ä key.$[0]": "x"}


async def test_runs_are_chosen_by_what_their_metadata_say(rows):
    await rows.create_thread(a_thread())
    for name, metadata in {"r": SAID, "other": {"text": "b", "nested": {"text": "a'b"}}, "none": {}}.items():
        await rows.create_run(a_run(name, metadata=metadata, status=RunStatus.COMPLETED))
    for key, value in SAID.items():
        assert read(rows, "runs", metadata={key: value}).column("run_id").to_pylist() == ["r"], key
    assert read(rows, "runs", metadata=SAID).num_rows == 1
    for wrong in ({"whole": True}, {"yes": 1}, {"whole": "1"}, {"text": None}, {"missing": None}, {"whole": 2**70}):
        assert read(rows, "runs", metadata=wrong).num_rows == 0, wrong
    assert json.loads(read(rows, "runs", metadata={"yes": True}).to_pylist()[0]["metadata"]) == SAID
    for key in ("", 'a"b', "a\\b", "a\nb", "k" * 129):
        with pytest.raises(InvalidRequest, match="no key of metadata"):
            read(rows, "runs", metadata={key: 1})
    with pytest.raises(InvalidRequest, match="Metadata are looked for by"):
        read(rows, "runs", metadata={"k": [1]})


async def test_until_is_before_when_a_run_was_created(rows):
    await a_world(rows)
    at = BEGAN + timedelta(hours=1)
    early, late = read(rows, "runs", until=at), read(rows, "runs", since=at)
    assert (early.num_rows, late.num_rows) == (1, 2)
    assert read(rows, "runs", since=at, until=at).num_rows == 0


async def test_what_a_run_was_started_from_is_told_on_request(rows):
    await rows.create_thread(a_thread())
    cell = Cell(cell_id="c1", notebook="a.ipynb")
    run = await ended(rows, "r", cell=cell, metadata={"k": 1})
    await rows.project([run], [a_turn("r")], [], traces=[a_trace("r")])
    for kind in ("turns", "tool_calls"):
        told = read(rows, kind, columns=["notebook", "cell_id", "agent", "metadata"]).to_pylist()
        assert told == [{"notebook": "a.ipynb", "cell_id": "c1", "agent": "default", "metadata": '{"k":1}'}]


TOKENS = st.integers(0, 10**9)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(turns=st.lists(st.tuples(TOKENS, TOKENS, st.booleans()), max_size=8))
async def test_the_leaves_sum_to_the_totals(rows, turns):
    await rows.create_thread(a_thread())
    usages = [
        Usage(input_tokens=given, output_tokens=answered, requests=1, cost=0.5 if is_priced else None)
        for given, answered, is_priced in turns
    ]
    whole = sum(usages, Usage())
    run = a_run("r", usage=whole, status=RunStatus.COMPLETED)
    await rows.restore_run(run, [a_turn("r", number, usage=usage) for number, usage in enumerate(usages)], [])
    leaves, total = read(rows, "turns").to_pylist(), read(rows, "runs").to_pylist()[0]
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert sum(leaf[name] for leaf in leaves) == total[name]
    costs = [leaf["cost"] for leaf in leaves]
    assert total["cost"] == (None if None in costs or not costs else sum(costs))


async def test_a_database_that_cannot_be_read_is_named(rows, tmp_path):
    await rows.create_thread(a_thread())
    for path, content in ((tmp_path / "none.db", None), (tmp_path / "damaged.db", b"garbage" * 1_000)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StorageUnavailable, match=path.name):
            list(FactReader(path).read(Wanted(kind="runs", by=ALICE)))


async def test_reading_leaves_the_locks_of_the_writers_alone(rows):
    """Two SQLites in one process undo each other's locks: this one would die of it, or lose what it writes."""
    await rows.create_thread(a_thread())
    for number in range(30):
        await rows.create_run(a_run(f"r{number:02}", status=RunStatus.COMPLETED))
        assert read(rows, "runs").num_rows == number + 1


async def test_a_process_that_is_gone_is_replaced_and_what_breaks_off_is_told(rows, kind):
    if kind != "sqlite":
        pytest.skip("Only SQLite is read in another process.")
    await rows.create_thread(a_thread())
    run = await ended(rows, "r")
    traces = [a_trace("r", turn, tool_output="x" * 1_000) for turn in range(3_000)]
    await rows.project([run], [], [], traces=traces)
    path = rows.backend.path
    reader, wanted = ProcessReader(path), query(Wanted(kind="tool_calls", by=ALICE))
    assert sum(batch.num_rows for batch in reader.read(wanted)) == 3_000
    first = reader._idle._process
    assert sum(batch.num_rows for batch in reader.read(wanted)) == 3_000
    assert reader._idle._process is first, "One process answers one question after the other."
    first.kill()
    first.wait()
    assert sum(batch.num_rows for batch in reader.read(wanted)) == 3_000
    half = reader.read(wanted)
    next(half)
    half.close()
    assert reader._idle is None, "Nobody takes up in the middle of an answer."
    process = _Reading()
    process._process.kill()
    with pytest.raises(StorageUnavailable, match="could not be read"):
        list(process.answer(Question.of(f"{path.as_uri()}?mode=ro", wanted), path))
    process.end()
    reader.close()
    assert sum(batch.num_rows for batch in reader.read(wanted)) == 3_000, "It keeps none any more."
    assert reader._idle is None
