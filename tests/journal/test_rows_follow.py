"""Rows follow events: what is in a journal is in the rows, live and after a rebuild, and check sees where it is not."""

import asyncio
import hashlib
import os
import random
import time
from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from jupyter_agent import events as ev
from jupyter_agent.cli import main as command_line
from jupyter_agent.exceptions import (
    BlobNotFound,
    InvalidRequest,
    JournalDamaged,
    RunActive,
    RunFinished,
    RunNotFound,
    StorageError,
    StorageFull,
)
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.journal.archive import Archives, batches, decode_detail, offset_after
from jupyter_agent.journal.check import check
from jupyter_agent.journal.rebuild import rebuild
from jupyter_agent.journal.rows import row_of
from jupyter_agent.records import (
    SYSTEM,
    Cell,
    Decision,
    Effect,
    Image,
    Message,
    Multitask,
    Outcome,
    Principal,
    Run,
    RunStatus,
    Segment,
    Text,
    Thread,
    Turn,
    TurnRecord,
    Usage,
    utc_now,
)
from jupyter_agent.storage import open_storage, set_database_aside
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.storage.tables import metadata
from tests.storage.planting import (
    blob_bytes,
    everything_kept,
    flipped,
    journal_bytes,
    plant_blob,
    plant_journal,
    remove_journal,
)
from tests.storage.samples import delta, keys_of

ALICE = Principal(user_id="alice")
CHECKS = 4


class World:
    """Runs as the runner makes them, over real stores."""

    def __init__(self, storage, journal, projection):
        self.storage, self.journal, self.projection = storage, journal, projection

    async def start(self, name, thread="t", *, queued=False, **fields):
        now = utc_now()
        await self.storage.rows.create_thread(
            Thread(thread_id=thread, user_id="alice", title=f"about {thread}", created_at=now, updated_at=now)
        )
        given = {
            "thread_id": thread, "user_id": "alice", "agent": "default", "model": "echo",
            "input": (Text(text=f"please {name}"),), "metadata": {"n": 1},
        } | fields  # fmt: skip
        run = Run(
            run_id=name, status=RunStatus.PENDING, created_at=now, updated_at=now, queued=queued,
            **{key: value for key, value in given.items() if key != "steps"},
        )  # fmt: skip
        await self.storage.rows.create_run(run)
        await self.journal.open(name)
        await self.journal.append(name, ev.RunStarted(**given | {"multitask": str(run.multitask)}))

    async def turn(self, name, number, *, text="answer", tool=True):
        """One turn with a text, and a tool call whose output is a blob."""
        append, blobs, now = self.journal.append, self.storage.blobs, utc_now()
        if number == 0:
            await append(name, ev.StatusChange(status=RunStatus.RUNNING))
        await append(name, ev.AgentEvent(event=ev.TextDelta(content=f"{text} {number}")))
        call = {"tool_call_id": f"c{number}"}
        if tool:
            await append(name, ev.AgentEvent(event=ev.ToolCallStart(name="read_file", **call)))
            await append(name, ev.AgentEvent(event=ev.ToolCallEnd(**call)))
        usage = Usage(input_tokens=10 * number + 1, output_tokens=3, cache_read_tokens=1, requests=1, cost=0.25)
        segments = tuple(Segment("message", "user", f"{at:016x}", 4 + at) for at in range(2 * number + 1))
        record = TurnRecord(
            run_id=name, turn=number, model="echo", request=(), response=Message(role="assistant", parts=()),
            stop_reason="stop", usage=usage, started_at=now, finished_at=now, segments=segments,
        )  # fmt: skip
        blob = await blobs.put(msgspec.json.encode(record))
        await append(
            name,
            ev.TurnCommitted(
                turn=number, blob=blob, model="echo", usage=usage, started_at=now,
                finished_at=now + timedelta(seconds=1), stop_reason="stop", cache_life_s=300.0,
            ),
        )  # fmt: skip
        if tool:
            trace = {"trace_id": f"tr{number}", **call}
            await append(
                name, ev.ToolTraceStart(tool_name="read_file", tool_input="{}", turn=number, started_at=now, **trace)
            )
            await append(name, ev.ToolTraceFinish(outcome=Outcome.SUCCESS, latency_ms=1.5, finished_at=now, **trace))
            kept = await blobs.put(f"output of {name} {number}".encode())
            result = ev.ToolResultReady(result="x", blob=kept, mime={"image/png": await blobs.put(b"png")}, **call)
            await append(name, ev.AgentEvent(event=result))
        await append(name, ev.AgentEvent(event=ev.StepComplete(step_index=number)))

    async def ask(self, name, approval_id, decision=None, **decided):
        """Asks whether a call may run, and decides it."""
        call = {"tool_call_id": "c0"}
        tool = ev.ToolDescription(identifier="w", api_name="w", name="write_file", arguments='{"path":"a"}')
        await self.journal.append(
            name,
            ev.ToolConfirmationRequest(
                tool=tool, approval_id=approval_id, expires_at=utc_now() + timedelta(minutes=1),
                effects=(Effect.WRITE,), preview={"path": "a", "lines": [1, None]}, **call,
            ),
        )  # fmt: skip
        if decision is not None:
            resolved = ev.ApprovalResolved(approval_id=approval_id, decision=decision, **call | decided)
            await self.journal.append(name, resolved)

    async def end(self, name, status=RunStatus.COMPLETED, *, archives=True):
        append = self.journal.append
        if status is RunStatus.ERROR:
            await append(name, ev.ErrorRaised(code="model_error", message="It failed."))
        await append(name, ev.StatusChange(status=status))
        usage = self.journal.transcript(name).usage
        await append(name, ev.SessionComplete(status=status, usage=usage, summary="done"))
        await self.projection.settle(name)
        if archives:
            await self.put_away(name)

    async def put_away(self, name):
        key = await self.journal.archive(name)
        row = await self.storage.rows.get_run(name, by=SYSTEM)
        await self.storage.rows.save_run(replace(row, detail_blob=key))
        await self.journal.remove_lines(name)
        return key

    async def whole_run(self, name, turns=2, status=RunStatus.COMPLETED, *, archives=True, **fields):
        await self.start(name, **fields)
        for number in range(turns):
            await self.turn(name, number)
        await self.end(name, status, archives=archives)

    async def rows(self):
        return await all_rows(self.storage.rows)


async def all_rows(rows):
    """Everything the database knows, to be compared."""
    runs = (await rows.list_runs(by=SYSTEM, limit=1000)).items
    return {
        "threads": (await rows.list_threads(by=SYSTEM, limit=1000)).items,
        "runs": runs,
        "turns": [(await rows.list_turns(run.run_id, by=SYSTEM, limit=1000)).items for run in runs],
        "traces": [(await rows.list_traces(run.run_id, by=SYSTEM, limit=1000)).items for run in runs],
        "approvals": [await rows.list_approvals(run.run_id, by=SYSTEM) for run in runs],
        "inputs": [await rows.list_inputs(run.run_id, by=SYSTEM) for run in runs],
        "segments": [await rows.list_segments(run.run_id, by=SYSTEM) for run in runs],
        "refs": sorted([pair async for pair in rows.referred_blobs()]),
    }


@pytest.fixture
def world(storage, journal, projection):
    return World(storage, journal, projection)


async def several(world):
    """Runs of every sort, some archived, some not."""
    await world.whole_run("done", 3, metadata={"deep": {"a": [1]}}, cell=Cell(cell_id="c", execution_count=2))
    await world.whole_run("failed", 1, RunStatus.ERROR, parent_run_id="done", compare_group_id="g")
    await world.whole_run("stopped", 0, RunStatus.INTERRUPTED, thread="u", archives=False)
    picture = await world.storage.blobs.put(b"a picture")
    await world.start("waiting", thread="v", input=(Text(text="x" * 2000), Image(blob=picture, mime="image/png")))
    await world.turn("waiting", 0)
    await world.ask("waiting", "apr_1", Decision.EDIT, arguments='{"path":"b"}', reason="rather b", actor="Alice")
    await world.ask("waiting", "apr_2")
    await world.journal.append("waiting", ev.InputRequest(request_id="q1", prompt="Which?", schema={"type": "object"}))
    await world.journal.append("waiting", ev.InputReceived(request_id="q1", content="both", actor="Alice"))
    await world.journal.append("waiting", ev.InputRequest(request_id="q2", prompt="Sure?"))
    await world.start("queued", thread="v", queued=True, multitask=Multitask.ENQUEUE)
    for name in ("waiting", "queued"):
        await world.projection.settle(name)
        await world.journal.close(name)


# --- live ------------------------------------------------------------------------------------------------------------


async def test_a_row_says_what_happened(world):
    await world.start("r", metadata={"a": 1})
    await world.projection.settle("r")
    row = await world.storage.rows.get_run("r", by=ALICE)
    assert (row.status, row.started_at, row.first_human_message) == (RunStatus.PENDING, None, "please r")
    await world.turn("r", 0)
    await world.turn("r", 1)
    await world.projection.settle("r")
    row = await world.storage.rows.get_run("r", by=ALICE)
    assert row.status is RunStatus.RUNNING
    assert row.usage == Usage(input_tokens=12, output_tokens=6, cache_read_tokens=2, requests=2, cost=0.5)
    assert (row.model_call_count, row.tool_call_count, row.message_count) == (2, 2, 3)
    assert (row.last_ai_message, row.metadata, row.ended_at) == ("answer 1", {"a": 1}, None)
    assert row.created_at <= row.started_at <= row.updated_at
    await world.end("r", RunStatus.ERROR)
    row = await world.storage.rows.get_run("r", by=ALICE)
    assert (row.status, row.error_code, row.error_message) == (RunStatus.ERROR, "model_error", "It failed.")
    assert row.started_at < row.ended_at <= row.updated_at, "it ends with its status, and its last event comes after"
    turns = (await world.storage.rows.list_turns("r", by=ALICE)).items
    assert [(turn.turn, turn.usage.input_tokens) for turn in turns] == [(0, 1), (1, 11)]


async def test_the_leaves_sum_to_the_totals(world):
    await world.whole_run("r", 5)
    row = await world.storage.rows.get_run("r", by=ALICE)
    turns = (await world.storage.rows.list_turns("r", by=ALICE)).items
    assert sum((turn.usage for turn in turns), Usage()) == row.usage


async def traces_of(rows, run_id):
    return (await rows.list_traces(run_id, by=ALICE, limit=200)).items


async def test_a_tool_call_has_a_row_from_when_it_is_asked_to_its_end(world):
    await world.start("r")
    append, rows = world.journal.append, world.storage.rows
    call, now = {"tool_call_id": "c"}, utc_now()

    async def last():
        await world.projection.settle("r")
        return (await traces_of(rows, "r"))[-1]

    await append("r", ev.StatusChange(status=RunStatus.RUNNING))
    await append("r", ev.AgentEvent(event=ev.ToolCallStart(name="create_file", **call)))
    asked = await last()
    assert (asked.tool_name, asked.turn, asked.position) == ("create_file", 0, 0)
    assert (asked.outcome, asked.started_at) == (None, None)
    await append("r", ev.AgentEvent(event=ev.ToolCallDelta(arguments='{"path": "a"}', **call)))
    start = ev.ToolTraceStart(
        tool_name="create_file", tool_input='{"path":"a"}', turn=0, started_at=now, trace_id="t1", **call
    )
    await append("r", start)
    begun = await last()
    assert (begun.trace_id, begun.tool_input, begun.started_at, begun.outcome) == ("t1", '{"path":"a"}', now, None)
    finish = ev.ToolTraceFinish(
        trace_id="t1",
        outcome=Outcome.ERROR,
        latency_ms=7.5,
        finished_at=now,
        error="It is full.",
        tokens_used=3,
        **call,
    )
    await append("r", finish)
    await append(
        "r", ev.AgentEvent(event=ev.ToolResultReady(result="full " * 4_000, is_error=True, blob="b" * 64, **call))
    )
    ended = await last()
    assert (ended.outcome, ended.latency_ms, ended.error, ended.tokens_used) == (Outcome.ERROR, 7.5, "It is full.", 3)
    assert len(ended.tool_output) == 8 * 1024
    assert ended.blob == "b" * 64
    assert len(await traces_of(rows, "r")) == 1


async def test_a_tool_name_of_any_length_does_not_hold_up_the_rows(world):
    """Models make names up. Random letters: an index packs what repeats itself."""
    letters = random.Random(7)
    name = "".join(chr(letters.randint(0x10000, 0x1FFFD)) for _ in range(9_000))
    await world.start("r")
    await world.turn("r", 0, tool=False)
    await world.journal.append("r", ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="c", name=name)))
    await world.projection.settle("r")
    (trace,) = (await world.storage.rows.list_traces("r", by=SYSTEM)).items
    assert trace.tool_name == name[:500]


async def test_an_execution_that_a_crash_cut_off_and_its_repetition_are_two_rows(world):
    await world.start("r")
    append, call, now = world.journal.append, {"tool_call_id": "c"}, utc_now()
    await append("r", ev.AgentEvent(event=ev.ToolCallStart(name="f", **call)))
    for name in ("t1", "t2"):
        await append(
            "r", ev.ToolTraceStart(tool_name="f", tool_input="{}", turn=0, started_at=now, trace_id=name, **call)
        )
    await append(
        "r", ev.ToolTraceFinish(trace_id="t2", outcome=Outcome.SUCCESS, latency_ms=1.0, finished_at=now, **call)
    )
    await world.projection.settle("r")
    found = await traces_of(world.storage.rows, "r")
    assert [(one.attempt, one.trace_id, one.outcome) for one in found] == [
        (0, "t1", Outcome.UNKNOWN),
        (1, "t2", Outcome.SUCCESS),
    ]


async def test_of_an_ended_run_no_call_is_left_open(world):
    await world.start("r")
    append, now = world.journal.append, utc_now()
    await append("r", ev.StatusChange(status=RunStatus.RUNNING))
    for name in ("never begun", "begun", "refused"):
        await append("r", ev.AgentEvent(event=ev.ToolCallStart(name="f", tool_call_id=name)))
    begun = {"trace_id": "t", "tool_call_id": "begun"}
    await append("r", ev.ToolTraceStart(tool_name="f", tool_input="{}", turn=0, started_at=now, **begun))
    result = ev.ToolResultReady(tool_call_id="refused", result="There is no such tool.", is_error=True)
    await append("r", ev.AgentEvent(event=result))
    await world.end("r", RunStatus.INTERRUPTED, archives=False)
    await world.projection.settle("r")
    found = {one.tool_call_id: one.outcome for one in await traces_of(world.storage.rows, "r")}
    assert found == {"never begun": Outcome.INTERRUPTED, "begun": Outcome.UNKNOWN, "refused": Outcome.ERROR}


async def test_blobs_of_a_run_are_referred_to_while_it_goes_on(world):
    """A picture of a tool and the preview of an approval are asked for as soon as an event names them."""
    await world.start("r")
    await world.turn("r", 0)
    preview = {"blob": await world.storage.blobs.put(b"a long preview"), "shortened": "a"}
    tool = ev.ToolDescription(identifier="t", api_name="t", name="t", arguments="{}")
    await world.journal.append(
        "r",
        ev.ToolConfirmationRequest(
            tool_call_id="c1", tool=tool, approval_id="a1", expires_at=utc_now(), preview=preview
        ),
    )
    await world.projection.settle_all()
    for key in (preview["blob"], await world.storage.blobs.put(b"png")):
        assert await world.storage.rows.blob_is_referred_to(key, by=ALICE)


async def test_blobs_of_a_run_are_its_owners(world):
    await world.whole_run("r")
    row = await world.storage.rows.get_run("r", by=ALICE)
    detail = await Archives(world.storage.blobs).detail(row.detail_blob)
    for key in (row.detail_blob, detail.events, *detail.turns, await world.storage.blobs.put(b"png")):
        assert await world.storage.rows.blob_is_referred_to(key, by=ALICE)
        assert not await world.storage.rows.blob_is_referred_to(key, by=Principal(user_id="mallory"))


class FailingRows(SqlRows):
    """A database that is full until told otherwise."""

    is_full = False

    async def project(self, *args, **options):
        if self.is_full:
            raise StorageFull("The disk is full, says the test.")
        await super().project(*args, **options)


async def test_a_database_that_fails_never_stops_a_run_and_catches_up(tmp_path, monkeypatch):
    monkeypatch.setattr("jupyter_agent.journal.projection.TRY_AGAIN_S", 0.05)
    storage = open_storage(tmp_path / "data")
    rows = FailingRows(storage.folder / "jupyter_agent.db")
    storage = replace_rows(storage, rows)
    await rows.open()
    projection = Projection(rows, storage.blobs)
    journal = Journal(storage.lines, storage.blobs, observer=projection)
    world = World(storage, journal, projection)
    await world.start("r")
    await projection.settle("r")
    rows.is_full = True
    await world.turn("r", 0)
    await world.turn("r", 1)
    for _ in range(2):
        with pytest.raises(StorageFull):
            await projection.settle("r")
    assert (await rows.get_run("r", by=ALICE)).status is RunStatus.PENDING
    assert journal.transcript("r").status is RunStatus.RUNNING
    rows.is_full = False
    await projection.settle("r")
    assert (await rows.get_run("r", by=ALICE)).model_call_count == 2
    rows.is_full = True
    await world.turn("r", 2)
    await asyncio.sleep(0.02)
    rows.is_full = False
    async with asyncio.timeout(10):
        while (await rows.get_run("r", by=ALICE)).model_call_count < 3:
            await asyncio.sleep(0.02)
    await journal.aclose()
    await projection.aclose()
    await storage.close()


def replace_rows(storage, rows):
    import dataclasses

    return dataclasses.replace(storage, rows=rows)


async def test_one_run_at_fault_does_not_hold_up_the_others(world, monkeypatch):
    await world.start("good")
    await world.start("bad", thread="u")
    real = row_of

    def fails_for_bad(transcript, previous=None):
        if transcript.run_id == "bad":
            raise ZeroDivisionError
        return real(transcript, previous)

    monkeypatch.setattr("jupyter_agent.journal.projection.row_of", fails_for_bad)
    await asyncio.gather(world.turn("good", 0), world.turn("bad", 0))
    await world.projection.settle("good")
    with pytest.raises(StorageError, match="ZeroDivisionError"):
        await world.projection.settle("bad")
    assert (await world.storage.rows.get_run("good", by=ALICE)).model_call_count == 1


async def test_many_runs_are_written_together(world, monkeypatch):
    written = []
    real = world.storage.rows.project

    async def count(runs, turns, refs, **more):
        written.append(len(runs))
        await real(runs, turns, refs, **more)

    for number in range(40):
        await world.start(f"r{number}", thread=f"t{number}")
    monkeypatch.setattr(type(world.storage.rows), "project", lambda _self, *args, **more: count(*args, **more))
    for number in range(40):
        await world.journal.append(f"r{number}", ev.StatusChange(status=RunStatus.RUNNING))
    for number in range(40):
        await world.projection.settle(f"r{number}")
    assert max(written) > 10


async def test_what_the_rows_missed_in_a_crash_is_caught_up_when_opened(world, storage):
    await world.start("r")
    await world.projection.settle("r")
    silent = Journal(storage.lines, storage.blobs)  # as if the process died before its rows were written
    await world.journal.close("r")
    await silent.open("r")
    await World(storage, silent, world.projection).turn("r", 0)
    await silent.aclose()
    assert (await storage.rows.get_run("r", by=ALICE)).model_call_count == 0
    await world.journal.open("r")
    await world.projection.settle("r")
    assert (await storage.rows.get_run("r", by=ALICE)).model_call_count == 1
    assert await storage.rows.blob_is_referred_to(await storage.blobs.put(b"output of r 0"), by=ALICE)


# --- the archive -----------------------------------------------------------------------------------------------------


async def test_the_detail_finds_everything(world):
    await world.start("r", metadata={"m": 1})
    for number in range(3):
        await world.turn("r", number)
    await world.end("r", archives=False)
    lines, _ = await world.journal.page("r", after=None, limit=1000)
    key = await world.put_away("r")
    detail = decode_detail(await world.storage.blobs.get(key), key)
    assert (detail.run_id, detail.thread_id, detail.user_id, detail.metadata) == ("r", "t", "alice", {"m": 1})
    turns = [msgspec.json.decode(await world.storage.blobs.get(turn), type=TurnRecord) for turn in detail.turns]
    assert [(turn.run_id, turn.turn) for turn in turns] == [("r", number) for number in range(3)]
    assert await world.storage.blobs.get(detail.events) == b"".join(line + b"\n" for line in lines)
    assert (detail.event_count, detail.last_event_id) == (len(lines), str(ev.line_cursor(lines[-1])))
    assert (await world.journal.load("r")).usage == detail.usage
    assert not world.storage.lines.exists("r")


async def test_only_what_has_ended_is_archived_and_only_what_is_archived_is_removed(world):
    await world.start("r")
    with pytest.raises(RunActive, match="only what has ended"):
        await world.journal.archive("r")
    await world.end("r", archives=False)
    with pytest.raises(StorageError, match="stays"):
        await world.journal.remove_lines("r")
    key = await world.journal.archive("r")
    row = await world.storage.rows.get_run("r", by=SYSTEM)
    assert row.detail_blob == key, "its row says so at once"
    await world.storage.rows.save_run(replace(row, detail_blob=None))
    with pytest.raises(StorageError, match="archive it first"):
        await world.journal.remove_lines("r")
    await world.storage.rows.save_run(row)
    detail = await Archives(world.storage.blobs).detail(key)
    kept = blob_bytes(world.storage, detail.events)
    plant_blob(world.storage, detail.events, None)
    with pytest.raises(BlobNotFound):
        await world.journal.remove_lines("r")
    assert world.storage.lines.exists("r"), "the journal stays while its archive is not whole"
    plant_blob(world.storage, detail.events, kept)
    whole = journal_bytes(world.storage, "r")
    plant_journal(world.storage, "r", whole[: whole.rindex(b"{", 0, -2)])
    with pytest.raises(StorageError, match="is not what its journal says"):
        await world.journal.remove_lines("r")
    plant_journal(world.storage, "r", whole)
    await world.journal.remove_lines("r")
    await world.journal.remove_lines("r")
    assert not world.storage.lines.exists("r")


async def test_what_is_archived_is_not_opened_again(world):
    await world.whole_run("r")
    with pytest.raises(RunFinished, match="archived"):
        await world.journal.open("r")
    assert not world.storage.lines.exists("r")
    assert (await world.journal.load("r")).is_complete


async def test_a_run_whose_beginning_is_lost_ends_and_is_archived_by_its_row(world):
    """The first line is damaged: the file is set aside, the run ends in error, and its row knows whose it was."""
    await world.start("r", metadata={"m": 1})
    await world.turn("r", 0)
    await world.projection.settle("r")
    await world.journal.close("r")
    plant_journal(world.storage, "r", flipped(journal_bytes(world.storage, "r"), 200))
    with pytest.raises(JournalDamaged) as fault:
        await world.journal.open("r")
    assert (await world.journal.repair_damaged("r")).event_count == 0
    await world.journal.append("r", ev.ErrorRaised(code=fault.value.code, message=fault.value.message))
    await world.journal.append("r", ev.StatusChange(status=RunStatus.ERROR))
    await world.journal.append("r", ev.SessionComplete(status=RunStatus.ERROR, usage=Usage()))
    await world.projection.settle("r")
    key = await world.put_away("r")
    row = await world.storage.rows.get_run("r", by=ALICE)
    assert (row.status, row.error_code, row.detail_blob) == (RunStatus.ERROR, "journal_damaged", key)
    detail = await Archives(world.storage.blobs).detail(key)
    assert (detail.thread_id, detail.user_id, detail.metadata) == ("t", "alice", {"m": 1})
    lines, _ = await world.journal.page("r", after=None, limit=10)
    assert [ev.line_cursor(line).place for line in lines] == [(2, 1), (2, 2), (2, 3)]


async def test_a_lost_archive_is_told(world):
    await world.whole_run("r")
    row = await world.storage.rows.get_run("r", by=SYSTEM)
    detail = await Archives(world.storage.blobs).detail(row.detail_blob)
    plant_blob(world.storage, detail.events, None)
    world.journal._archives.forget([detail.events])
    with pytest.raises(StorageError, match="jupyter agent check"):
        await world.journal.load("r")


def test_batches_are_whole_lines():
    data = b"".join(b"x" * (n % 997) + b"\n" for n in range(3000))
    found = [line for some in batches(data) for line in some]
    assert found == data.split(b"\n")[:-1]
    for seq in (0, 1, 2999, 3000):
        assert data[offset_after(data, seq) :].count(b"\n") == 3000 - seq


# --- deletion --------------------------------------------------------------------------------------------------------


async def test_deleted_means_gone(storage, projection):
    journal = Journal(storage.lines, storage.blobs, observer=projection, unused_s=0.0)
    world = World(storage, journal, projection)
    await world.whole_run("a")
    await world.whole_run("b")
    await world.whole_run("c", archives=False)
    for name in ("a", "c"):
        await storage.rows.delete_run(name, by=ALICE)
        await journal.delete(name)
        with pytest.raises(RunNotFound):
            await journal.load(name)
    detail = await Archives(storage.blobs).detail((await storage.rows.get_run("b", by=ALICE)).detail_blob)
    left = set(await keys_of(storage.blobs))
    shared = await storage.blobs.put(b"png")
    assert {detail.events, *detail.turns, shared} < left
    assert {key for key, _ in [pair async for pair in storage.rows.referred_blobs()]} == left
    assert (await check(storage)).problems == []
    await journal.aclose()


async def test_a_blob_that_may_be_in_use_is_deleted_a_little_later(storage, projection):
    journal = Journal(storage.lines, storage.blobs, observer=projection, unused_s=2.0)
    await World(storage, journal, projection).whole_run("a")
    await storage.blobs.put(b"output of a 1")
    await storage.rows.delete_run("a", by=ALICE)
    await journal.delete("a")
    assert hashlib.sha256(b"output of a 1").hexdigest() in await keys_of(storage.blobs)
    assert len(await keys_of(storage.blobs)) <= 2, "the rest is gone, the picture perhaps, which both turns put"
    async with asyncio.timeout(20):
        while await storage.rows.deleted_runs():
            await asyncio.sleep(0.05)
    assert await keys_of(storage.blobs) == []
    await journal.aclose()


async def test_a_deletion_that_was_cut_short_is_finished(world, storage, projection):
    await world.whole_run("a")
    await storage.rows.delete_run("a", by=ALICE)
    await world.journal.aclose()
    later = Journal(storage.lines, storage.blobs, observer=projection, unused_s=0.0)
    assert await later.sweep() == 1
    assert await keys_of(storage.blobs) == []
    await later.aclose()


# --- rebuild ---------------------------------------------------------------------------------------------------------


def without_what_only_rows_know(threads):
    return {one.thread_id: (one.user_id, one.status, one.updated_at) for one in threads}


def drop_rows(storage):
    """Takes all rows away, and leaves journals and blobs."""
    names = ", ".join(metadata.tables)
    storage.pool.run(lambda db: db.exec_driver_sql(f"TRUNCATE {names}"))


@pytest.mark.parametrize("how", ["over", "anew"])
async def test_a_rebuild_gives_the_rows_that_were_written_live(world, tmp_path, how):
    await several(world)
    before = await world.rows()
    assert len(before["runs"]) == 5
    await world.storage.rows.close()
    if how == "anew" and world.storage.is_shared:
        drop_rows(world.storage)
    elif how == "anew":
        set_database_aside(world.storage.folder)
    await world.storage.rows.open()
    done = await rebuild(world.storage)
    assert (done.skipped, done.from_journals, done.from_archives) == ({}, 3, 2)
    after = await world.rows()
    if how == "anew":
        assert {one.title for one in after["threads"]} == {"please done", "please stopped", "x" * 80}
        # When a thread was made, and its title, stand nowhere else.
        before["threads"], after["threads"] = map(without_what_only_rows_know, (before["threads"], after["threads"]))
    assert after == before
    assert (await check(world.storage)).problems == []


async def test_a_rebuild_takes_no_upload_for_an_archive(world, tmp_path):
    """Whole and consistent, and of a run of somebody else that never was."""
    other = open_storage(tmp_path / "other")
    await other.rows.open()
    projection = Projection(other.rows, other.blobs)
    journal = Journal(other.lines, other.blobs, observer=projection)
    await World(other, journal, projection).whole_run("forged", 1, archives=True)
    keys = await keys_of(other.blobs)
    await several(world)
    before = await world.rows()
    for key in keys:
        await world.storage.blobs.put(await other.blobs.get(key))
        await world.storage.rows.refer(key, run_id=None, user_id="mallory")
    await journal.aclose()
    await projection.aclose()
    await other.close()
    assert "forged" not in (await rebuild(world.storage)).skipped
    assert (await world.rows())["runs"] == before["runs"]


async def test_a_rebuild_mends_rows_that_were_changed(world):
    await several(world)
    before = await world.rows()
    rows = world.storage.rows
    done = await rows.get_run("done", by=SYSTEM)
    await rows.save_run(replace(done, usage=Usage(input_tokens=10**6), last_ai_message="forged", tool_call_count=9))
    await rows.save_turn(
        Turn(run_id="done", turn=7, blob="ab" * 32, model="x", stop_reason="x", usage=Usage(), started_at=utc_now(),
             finished_at=utc_now())
    )  # fmt: skip
    assert len((await check(world.storage)).problems) == 2
    await rebuild(world.storage)
    assert await world.rows() == before


async def test_a_rebuild_takes_nothing_from_another_user(world):
    """Files that claim to be of somebody's thread do not get into it."""
    await world.whole_run("r")
    await world.start("theirs", thread="u")
    await world.journal.close("theirs")
    forged = replace(
        ev.decode_line(journal_bytes(world.storage, "theirs").split(b"\n")[0]),
        id=f"{ev.run_tag('forged')}-1-1", run_id="forged", user_id="mallory", thread_id="t",
    )  # fmt: skip
    plant_journal(world.storage, "forged", ev.encode_line(forged) + b"\n")
    done = await rebuild(world.storage)
    assert list(done.skipped) == ["forged"]
    assert "belongs to" in done.skipped["forged"]
    with pytest.raises(RunNotFound):
        await world.storage.rows.get_run("forged", by=SYSTEM)


async def test_what_was_deleted_stays_deleted(world):
    await world.whole_run("r")
    await world.storage.rows.delete_run("r", by=ALICE)
    done = await rebuild(world.storage)
    assert (done.from_archives, await world.rows()) == (0, await world.rows())
    with pytest.raises(RunNotFound):
        await world.storage.rows.get_run("r", by=SYSTEM)


def test_a_transcript_without_its_beginning_needs_a_row():
    from jupyter_agent.transcript import Transcript

    with pytest.raises(JournalDamaged):
        row_of(Transcript(run_id="r"))


# --- check -----------------------------------------------------------------------------------------------------------


async def test_a_healthy_folder_has_no_problems(world):
    await several(world)
    report = await check(world.storage)
    assert report.problems == []
    assert (report.runs, report.journals, report.archives, report.unreferenced) == (5, 3, 2, 0)
    assert report.is_whole


async def plant_damaged_blob(world):
    key = await world.storage.blobs.put(b"output of done 0")
    plant_blob(world.storage, key, flipped(blob_bytes(world.storage, key), 0))
    return "is not served"


async def plant_lost_blob(world):
    plant_blob(world.storage, await world.storage.blobs.put(b"output of done 0"), None)
    return "not there"


async def plant_damaged_detail(world):
    key = (await world.storage.rows.get_run("done", by=SYSTEM)).detail_blob
    plant_blob(world.storage, key, flipped(blob_bytes(world.storage, key), 5))
    return "archive of run done"


async def plant_damaged_line(world):
    plant_journal(world.storage, "waiting", flipped(journal_bytes(world.storage, "waiting"), 400))
    return "is damaged at byte"


async def plant_torn_tail(world):
    torn = journal_bytes(world.storage, "waiting") + b'{"type":"agent_event","id"'
    plant_journal(world.storage, "waiting", torn)
    return "is torn at byte"


async def plant_events_after_the_end(world):
    whole = journal_bytes(world.storage, "stopped")
    last = ev.line_cursor(whole.split(b"\n")[-2])
    late = replace(delta("late"), id=f"{last.tag}-{last.epoch}-{last.seq + 1}", run_id="stopped", at=utc_now())
    plant_journal(world.storage, "stopped", whole + ev.encode_line(late) + b"\n")
    return "after session_complete"


async def plant_row_without_anything(world):
    remove_journal(world.storage, "waiting")
    return "neither a journal nor an archive"


async def plant_journal_without_row(world):
    line = replace(
        ev.decode_line(journal_bytes(world.storage, "queued").split(b"\n")[0]),
        id=f"{ev.run_tag('alone')}-1-1", run_id="alone", thread_id="new",
    )  # fmt: skip
    plant_journal(world.storage, "alone", ev.encode_line(line) + b"\n")
    return "no row of its run"


async def plant_changed_row(world):
    row = await world.storage.rows.get_run("failed", by=SYSTEM)
    await world.storage.rows.save_run(replace(row, error_message="nothing happened"))
    return "not what its events say"


async def plant_unfinished_file(world):
    if world.storage.is_shared:
        pytest.skip("A table has no unfinished files.")
    path = world.storage.blobs.folder / "ab" / "cdef.tmp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (0, time.time() - 7200))
    return "never finished"


PLANTED = [
    (plant_damaged_blob, False),
    (plant_lost_blob, False),
    (plant_damaged_detail, False),
    (plant_damaged_line, True),
    (plant_torn_tail, True),
    (plant_events_after_the_end, False),
    (plant_row_without_anything, False),
    (plant_journal_without_row, True),
    (plant_changed_row, True),
    (plant_unfinished_file, True),
]


@pytest.mark.parametrize(("plant", "is_mendable"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
async def test_planted_damage_is_found_and_what_can_be_mended_is(world, plant, is_mendable, monkeypatch):
    monkeypatch.setattr("jupyter_agent.journal.check.BEGUN_WITHIN_S", 0.0)
    await several(world)
    said = await plant(world)
    before = everything_kept(world.storage)
    found = await check(world.storage)
    assert any(said in f"{problem.where} {problem.what}" for problem in found.problems), found.problems
    assert not found.is_whole
    assert everything_kept(world.storage) == before, "a check changes nothing"
    repaired = await check(world.storage, repair=True)
    assert repaired.is_whole == is_mendable, repaired.problems
    kept = everything_kept(world.storage).values()
    for content in before.values():
        assert any(content.startswith(one) or one == content for one in kept), "nothing is deleted"
    again = await check(world.storage)
    assert (again.problems == []) == is_mendable, again.problems


async def test_check_looks_on_while_a_server_writes(world):
    await world.start("r")
    await world.turn("r", 0)
    report = await check(world.storage)
    assert report.problems == []


async def test_a_check_beside_a_server_that_works_finds_nothing_wrong(world):
    """Runs start, end and are put away under it."""
    checked = asyncio.Event()

    async def work(name):
        number = 0
        while not checked.is_set():
            number += 1
            await world.whole_run(f"{name}-{number}", 1, thread=f"{name}-{number}")

    working = [asyncio.create_task(work(f"r{number}")) for number in range(4)]
    try:
        done = 0
        while done < CHECKS:
            report = await check(world.storage)
            assert report.problems == []
            done += report.runs > 0
    finally:
        checked.set()
        await asyncio.gather(*working)


# --- the command line ------------------------------------------------------------------------------------------------


async def filled(folder):
    storage = open_storage(folder)
    await storage.rows.open()
    projection = Projection(storage.rows, storage.blobs)
    world = World(storage, Journal(storage.lines, storage.blobs, observer=projection), projection)
    await several(world)
    before = await world.rows()
    await world.journal.aclose()
    await projection.aclose()
    await storage.close()
    return before


async def reopened(folder):
    storage = open_storage(folder)
    await storage.rows.open()
    found = await all_rows(storage.rows)
    await storage.close()
    return found


def test_check_and_rebuild_from_the_command_line(tmp_path, capsys):
    folder = tmp_path / "data"
    before = asyncio.run(filled(folder))
    where = ["--data-folder", str(folder)]
    assert command_line(["check", *where]) == 0
    assert "Everything is whole" in capsys.readouterr().out
    (folder / "jupyter_agent.db").write_bytes(b"garbage" * 500)
    assert command_line(["check", *where]) == 2
    assert "jupyter agent rebuild" in capsys.readouterr().err
    assert command_line(["rebuild", *where]) == 0
    assert "3 runs from journals, 2 from archives" in capsys.readouterr().out
    after = asyncio.run(reopened(folder))
    assert (after["runs"], after["turns"]) == (before["runs"], before["turns"])
    with (folder / "journals" / "waiting.jsonl").open("ab") as file:
        file.write(b"torn")
    assert command_line(["check", *where]) == 1
    assert "run it with --repair" in capsys.readouterr().out
    assert command_line(["check", "--repair", *where]) == 0
    assert "is mended" in capsys.readouterr().out
    assert command_line(["check", *where]) == 0


def test_the_command_line_keeps_away_from_what_is_not_there_or_in_use(tmp_path, capsys):
    from jupyter_agent.storage.folder import FolderLock

    assert command_line(["check", "--data-folder", str(tmp_path / "none")]) == 2
    assert "There is no data" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    folder = tmp_path / "data"
    asyncio.run(filled(folder))
    lock = FolderLock(folder)
    lock.take()
    for command in (["check", "--repair"], ["rebuild"]):
        assert command_line([*command, "--data-folder", str(folder)]) == 2
        assert "uses the data folder" in capsys.readouterr().err
    lock.release()


def test_a_page_knows_foreign_cursors(tmp_path):
    async def ask():
        storage = open_storage(tmp_path)
        await storage.rows.open()
        journal = Journal(storage.lines, storage.blobs)
        await journal.open("r")
        try:
            await journal.page("r", after=f"{ev.run_tag('other')}-1-1", limit=5)
        finally:
            await journal.aclose()
            await storage.close()

    with pytest.raises(InvalidRequest, match="no event id of run"):
        asyncio.run(ask())
