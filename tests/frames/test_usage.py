"""Leaves sum to totals: for any tree of runs and their subagents, written as runs write them and read as frames."""

import asyncio
import tempfile
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import jupyter_agent as ja
from jupyter_agent import events as ev
from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.frames.usage import BY, SUMMED
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.records import SYSTEM, Cell, Outcome, Run, RunStatus, Text, Thread, Usage
from jupyter_agent.storage import open_storage

BEGAN = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
TOKENS = st.integers(0, 10**9)
USAGES = st.builds(
    Usage,
    input_tokens=TOKENS, output_tokens=TOKENS, cache_read_tokens=TOKENS, cache_write_tokens=TOKENS,
    reasoning_tokens=TOKENS, requests=st.just(1), unmeasured_requests=st.integers(0, 1),
    cost=st.none() | st.integers(0, 2**20).map(lambda part: part / 1024),
)  # fmt: skip


class Planned(NamedTuple):
    """A run to be written. `parent` counts the runs before it; the others lead to different rows of a sum."""

    parent: int
    turns: list[tuple[Usage, int | None]]
    model: int
    ends: bool
    is_archived: bool


TURN = st.tuples(USAGES, st.none() | st.integers(0, 1000))
RUN = st.builds(
    Planned, parent=st.integers(-1, 4), turns=st.lists(TURN, max_size=3), model=st.integers(0, 1), ends=st.booleans(),
    is_archived=st.booleans(),
)  # fmt: skip


@asynccontextmanager
async def rooms(folder):
    storage = open_storage(folder)
    await storage.rows.open()
    projection = Projection(storage.rows, storage.blobs)
    journal = Journal(storage.lines, storage.blobs, observer=projection)
    await storage.rows.create_thread(Thread(thread_id="t", user_id="owner", created_at=BEGAN, updated_at=BEGAN))
    try:
        yield storage, journal, projection
    finally:
        await projection.aclose()
        await journal.aclose()
        await storage.close()


async def write(folder, tree):
    async with rooms(folder) as (storage, journal, projection):
        for number, planned in enumerate(tree):
            parent = f"r{planned.parent}" if 0 <= planned.parent < number else None
            cell = Cell(cell_id=f"c{number % 2}", notebook="a.ipynb") if number % 3 else None
            known = {
                "thread_id": "t", "user_id": "owner", "agent": "main" if parent is None else "helper",
                "model": f"m{planned.model}", "input": (Text(text="Go."),), "parent_run_id": parent, "cell": cell,
            }  # fmt: skip
            run = Run(run_id=f"r{number}", status=RunStatus.PENDING, created_at=BEGAN, updated_at=BEGAN, queued=True,
                      **known)  # fmt: skip
            await storage.rows.create_run(run)
            await journal.open(run.run_id)
            await journal.append(run.run_id, ev.RunStarted(**known))
            await carry_out(journal, run.run_id, planned)
            await projection.settle(run.run_id)
            if planned.ends and planned.is_archived:
                key = await journal.archive(run.run_id)
                row = await storage.rows.get_run(run.run_id, by=SYSTEM)
                await storage.rows.save_run(replace(row, detail_blob=key))
                await journal.remove_lines(run.run_id)


async def carry_out(journal, run_id, planned):
    async def append(event):
        await journal.append(run_id, event)

    await append(ev.StatusChange(status=RunStatus.RUNNING))
    for turn, (usage, tokens) in enumerate(planned.turns):
        at = BEGAN + timedelta(minutes=turn)
        call = {"tool_call_id": f"c{turn}"}
        if tokens is not None:
            await append(ev.AgentEvent(event=ev.ToolCallStart(name=f"f{turn % 2}", **call)))
        await append(
            ev.TurnCommitted(turn=turn, blob="0" * 64, model=f"m{turn % 2}", usage=usage, started_at=at,
                             finished_at=at, stop_reason="stop")
        )  # fmt: skip
        if tokens is not None:
            trace = {"trace_id": f"t{turn}", **call}
            await append(
                ev.ToolTraceStart(tool_name=f"f{turn % 2}", tool_input="{}", turn=turn, started_at=at, **trace)
            )
            await append(
                ev.ToolTraceFinish(outcome=Outcome.SUCCESS if turn else Outcome.ERROR, latency_ms=1.5, finished_at=at,
                                   tokens_used=tokens, **trace)
            )  # fmt: skip
        await append(ev.AgentEvent(event=ev.StepComplete(step_index=turn)))
    if planned.ends:
        await append(ev.StatusChange(status=RunStatus.COMPLETED))
        await append(ev.SessionComplete(status=RunStatus.COMPLETED, usage=journal.transcript(run_id).usage))


@settings(max_examples=15, deadline=None)
@given(tree=st.lists(RUN, max_size=5))
def test_the_leaves_of_any_tree_sum_to_its_totals(tree):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder), tree))
        store = ja.open_store(folder)
        written = [usage for planned in tree for usage, _ in planned.turns]
        runs, turns = store.runs(), store.turns()
        assert len(runs) == len(tree)
        for name in SUMMED[:-1]:
            whole = sum(getattr(usage, name) for usage in written)
            assert runs[name].sum() == turns[name].sum() == whole, name
            for by in BY:
                assert store.usage(by)[name].sum() == whole, (by, name)
        of_run = store.usage("run")
        for number, planned in enumerate(tree):
            own = sum((usage for usage, _ in planned.turns), Usage())
            row = runs[runs["run_id"] == f"r{number}"].iloc[0]
            assert row["total_tokens"] == own.total_tokens
            if planned.turns:
                told = of_run.loc[f"r{number}"]
                assert (told["turns"], told["output_tokens"]) == (len(planned.turns), own.output_tokens)
                costs = [usage.cost for usage, _ in planned.turns]
                assert told.isna()["cost"] if None in costs else told["cost"] == sum(costs)
        executed = [(at, used) for planned in tree for at, (_, used) in enumerate(planned.turns) if used is not None]
        tools = store.usage("tool")
        assert tools["tokens_used"].sum() == sum(used for _, used in executed)
        assert (tools["calls"].sum(), tools["failed"].sum()) == (len(executed), sum(at == 0 for at, _ in executed))


async def test_what_it_is_summed_by(tmp_path):
    usage = Usage(input_tokens=10, output_tokens=1, requests=1, cost=0.5)
    turns = [(usage, 7), (replace(usage, cost=None), None)]
    await write(tmp_path, [Planned(-1, turns, 0, ends=True, is_archived=True), Planned(0, turns[:1], 0, True, False)])
    store = ja.open_store(tmp_path)
    assert list(store.usage().index) == ["m0", "m1"]
    assert store.usage()["cost"].tolist()[0] == 1.0
    assert store.usage()["cost"].isna().tolist() == [False, True], "A sum of which a part is unknown would be too low."
    assert [f"{day:%d.%m.}" for day in store.usage("day").index] == ["31.01.", "01.02."]
    assert store.usage("agent")["turns"].to_dict() == {"main": 2, "helper": 1}
    assert store.usage("cell").index.isna().tolist() == [False, True]
    tools = store.usage("tool").loc["f0"]
    assert (tools["calls"], tools["failed"], tools["tokens_used"]) == (2, 2, 14)
    assert tools["latency"] == timedelta(milliseconds=3)
    assert store.usage("model", run="r1")["turns"].sum() == 1
    with pytest.raises(InvalidRequest, match="only by model, run, thread"):
        store.usage("colour")
