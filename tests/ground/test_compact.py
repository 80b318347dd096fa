"""What a notebook keeps of a run: never more than there is room for, quickly made, and nothing in it to decide."""

import time
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jupyter_agent import events as ev
from jupyter_agent.compact import (
    KEPT_BYTES,
    KEPT_STEPS,
    CompactCall,
    CompactError,
    CompactRun,
    CompactTurn,
    compact,
    kept,
    texts_of,
)
from jupyter_agent.records import Approval, InputNeeded, RunStatus, Text
from jupyter_agent.transcript import Transcript
from tests.golden.make_transcripts import START
from tests.ground.test_transcripts import BY_NAME, GOLDEN


def size(run):
    return len(msgspec.json.encode(run))


def characters(run):
    return sum(map(len, texts_of(run)))


def a_run(*turns, **more):
    return CompactRun(**{"run_id": "run_1", "status": RunStatus.RUNNING, "turns": turns, **more})


def calls(number, text="word " * 100):
    return tuple(
        CompactCall(tool_call_id=f"call_{at}", name="run_cell", arguments="{}", result=text) for at in range(number)
    )


# --- real journals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", GOLDEN, ids=BY_NAME)
def test_a_small_run_is_kept_whole_but_for_what_could_be_decided(entry):
    run = msgspec.convert(entry["compact"], CompactRun)
    cut = kept(run)
    assert (cut.left_out_turns, cut.left_out_characters) == (0, 0)
    assert cut.turns == run.turns
    assert (cut.prompt, cut.error, cut.usage, cut.last_event_id) == (
        run.prompt,
        run.error,
        run.usage,
        run.last_event_id,
    )
    said = msgspec.json.encode(cut).decode()
    for approval in run.approvals:
        assert approval.approval_id not in said
        assert approval.tool_name in [wait.what for wait in cut.waiting if wait.kind == "approval"]
    for asked in run.inputs:
        assert asked.request_id not in said
        assert asked.prompt in [wait.what for wait in cut.waiting if wait.kind == "input"]
    assert len(cut.waiting) == len(run.approvals) + len(run.inputs)


def test_runs_that_wait_are_among_them():
    waits = {entry["name"] for entry in GOLDEN if {"approvals", "inputs"} & entry["compact"].keys()}
    assert {"approvals", "inputs"} <= waits


# --- its size -------------------------------------------------------------------------------------------------

odd = st.text(alphabet=st.sampled_from('a \n"\\<&\x00\x1b\u202eäß語🥊'), max_size=40)
lengths = st.sampled_from([0, 1, 249, 250, 251, 1_001, 16_001, 70_000, KEPT_BYTES, 400_000])
texts = st.builds(lambda piece, length: ((piece or "x") * length)[:length], odd, lengths)
some_calls = st.builds(
    CompactCall, tool_call_id=odd, name=odd, arguments=texts, progress=texts, result=st.none() | texts,
    diff=st.none() | texts, error=st.none() | texts,
    mime=st.dictionaries(odd, odd, max_size=30),
)  # fmt: skip
some_turns = st.builds(
    CompactTurn, turn=st.integers(0, 9_999), thinking=texts, text=texts, model=st.none() | texts,
    stop_reason=st.none() | odd, tool_calls=st.lists(some_calls, max_size=3).map(tuple),
)  # fmt: skip
approvals = st.builds(
    Approval, approval_id=st.just("apr_of_somebody"), run_id=st.just("run_1"), tool_call_id=st.just("call_1"),
    tool_name=texts, arguments=texts, effects=st.just(()), preview=st.dictionaries(odd, texts, max_size=2),
    asked_at=st.just(START), expires_at=st.just(START),
)  # fmt: skip
inputs = st.builds(InputNeeded, request_id=st.just("inp_of_somebody"), run_id=st.just("run_1"), prompt=texts)
some_runs = st.builds(
    CompactRun, run_id=st.just("run_1"), status=st.sampled_from(RunStatus), prompt=texts, agent=st.none() | texts,
    model=st.none() | texts, summary=st.none() | texts,
    error=st.none() | st.builds(CompactError, code=texts, message=texts),
    turns=st.tuples(st.lists(some_turns, max_size=4), st.sampled_from([1, 1, 40, 2_000])).map(
        lambda made: tuple(made[0] * made[1])
    ),
    approvals=st.lists(approvals, max_size=40).map(tuple), inputs=st.lists(inputs, max_size=40).map(tuple),
    first_at=st.none() | st.just(START), last_at=st.none() | st.just(START),
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(some_runs)
def test_what_is_kept_has_room_and_counts_what_is_not(run):
    cut = kept(run)
    encoded = msgspec.json.encode(cut)
    assert len(encoded) <= KEPT_BYTES
    assert msgspec.json.decode(encoded, type=CompactRun) == cut
    assert cut.left_out_turns == len(run.turns) - len(cut.turns)
    assert cut.left_out_characters == characters(run) - characters(cut)
    assert b"apr_of_somebody" not in encoded
    assert b"inp_of_somebody" not in encoded
    # The newest is what is kept.
    assert [turn.turn for turn in cut.turns] == [turn.turn for turn in run.turns[len(run.turns) - len(cut.turns) :]]
    for kept_turn, turn in zip(reversed(cut.turns), reversed(run.turns), strict=False):
        names = [call.tool_call_id for call in turn.tool_calls]
        assert [call.tool_call_id for call in kept_turn.tool_calls] == names[len(names) - len(kept_turn.tool_calls) :]
    # Nothing changes when it is kept once more.
    again = kept(msgspec.structs.replace(cut, left_out_turns=0, left_out_characters=0))
    assert (again.turns, again.prompt, again.error) == (cut.turns, cut.prompt, cut.error)


@pytest.mark.parametrize(
    ("run", "turns"),
    [
        (a_run(CompactTurn(turn=0, text="x" * 5_000_000)), 1),
        (a_run(CompactTurn(turn=0, text="\x00\x1b" * 2_500_000)), 1),
        (a_run(CompactTurn(turn=0, text="語🥊" * 2_500_000)), 1),
        (a_run(CompactTurn(turn=0, tool_calls=calls(10_000))), 1),
        (a_run(*(CompactTurn(turn=at, text="word " * 40, tool_calls=calls(1)) for at in range(2_000))), 100),
        (a_run(prompt="p" * 5_000_000, error=CompactError(code="c", message="m" * 5_000_000)), 0),
    ],
    ids=["a line of 5 MB", "with control characters", "in other alphabets", "10,000 calls", "2,000 turns", "prompt"],
)
def test_a_huge_run_is_kept_in_no_time(run, turns):
    took = []
    for _ in range(3):
        began = time.perf_counter()
        cut = kept(run)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2, f"{took} s, every two seconds"
    assert 15_000 < size(cut) <= KEPT_BYTES
    assert len(cut.turns) >= turns
    assert cut.left_out_characters == characters(run) - characters(cut) > 0


def test_texts_are_cut_before_turns_are_left_out():
    run = a_run(*(CompactTurn(turn=at, text="x" * 10_000) for at in range(60)))
    cut = kept(run)
    assert {len(turn.text) for turn in cut.turns} == {4_000}
    assert (cut.left_out_turns, cut.left_out_characters) == (0, 60 * 6_000)


def test_of_a_tools_live_output_the_end_is_kept_and_of_a_result_the_beginning():
    call = CompactCall(tool_call_id="c", name="n", progress="a" * 300_000 + "end", result="start" + "b" * 300_000)
    [turn] = kept(a_run(CompactTurn(turn=0, tool_calls=(call,)))).turns
    assert turn.tool_calls[0].progress.endswith("aend")
    assert turn.tool_calls[0].result.startswith("startb")
    assert turn.tool_calls[0].truncated
    assert max(map(len, (turn.tool_calls[0].progress, turn.tool_calls[0].result))) in KEPT_STEPS


def test_one_call_that_fits_nowhere_takes_nothing_else_along():
    """A call is left out with all that came before it; what its turn said stays."""
    monster = CompactCall(tool_call_id="i" * KEPT_BYTES, name="n")
    cut = kept(a_run(CompactTurn(turn=0, text="first"), CompactTurn(turn=1, text="second", tool_calls=(monster,))))
    assert [(turn.turn, turn.text, turn.tool_calls) for turn in cut.turns] == [(1, "second", ())]
    assert cut.left_out_turns == 1


# --- from events ----------------------------------------------------------------------------------------------


def test_publishing_a_huge_live_run_is_quick():
    """From the fold to what is kept of it: the kernel does it every two seconds, while the run streams."""
    seen = Transcript(run_id="run_1")
    events = [ev.RunStarted(thread_id="t", user_id="u", agent="a", model="m", input=(Text(text="hi"),))]
    events += [ev.AgentEvent(event=ev.TextDelta(content="word "))] * 200_000
    for number, event in enumerate(events, start=1):
        seen.apply(msgspec.structs.replace(event, id=f"x-1-{number}", at=START + timedelta(milliseconds=number)))
    seen.turn.text_pieces *= 5
    took = []
    for _ in range(3):
        began = time.perf_counter()
        cut = kept(compact(seen))
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2
    assert cut.left_out_characters == 5_000_000 - len(cut.turns[0].text)
