"""Forks: what a run begins with that makes a turn of another one anew, or goes on after its last.

Everything it needs stands in the other run's turns and events; what it begins with is a copy, so that it is whole
whatever becomes of that run. What tools gave stands in it as they gave it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from .. import events as ev
from ..exceptions import Forbidden, InvalidRequest, JournalDamaged, RunActive
from ..journal import Journal
from ..records import (
    Fork,
    ForkRequest,
    InputPart,
    Message,
    Multitask,
    Past,
    Principal,
    Run,
    RunRequest,
    Text,
    TurnRecord,
)
from ..transcript import Transcript
from .active import Means
from .compaction import visible
from .history import CLOSING_NOTE, CUT_NOTE, images_of, load_turns, results_of, thread_messages
from .preparation import request_of

COMPACTED = b'{"type":"compacted"'
COMMITTED = b'{"type":"turn_committed"'
"""How the lines of these events begin."""


async def fork_of(forked: Run, wish: ForkRequest, *, means: Means, by: Principal) -> tuple[RunRequest, Fork]:
    """Returns the request of a run that is forked from this one, and where it begins.

    Raises InvalidRequest for a turn that there is not and where nothing is to be answered, RunActive for a turn that is
    not over, Forbidden for a policy that `by` may not choose.
    """
    transcript = await means.journal.load(forked.run_id)
    if (started := transcript.started) is None:
        raise JournalDamaged(f"The journal of run {forked.run_id} does not begin with run_started: it has no past.")
    original = request_of(started)
    if original.policy is not None and not by.may_approve:
        raise Forbidden(
            f"Kernels may not choose a policy, and run {forked.run_id} has one of its own: fork it in the browser, or "
            "let the operator set AgentGateway.allow_kernel_approvals."
        )
    is_over = transcript.status.is_terminal
    turns = await load_turns(means.blobs, transcript)
    turn = _checked_turn(wish.turn, forked.run_id, len(turns), is_over=is_over)
    before = await thread_messages(forked, rows=means.rows, journal=means.journal, blobs=means.blobs)
    compacted = await _compacted_before(turn, transcript, means.journal)
    past = await visible(before, turns[:turn], compacted, blobs=means.blobs)
    past += _what_came_next(turn, turns, transcript)
    said = wish.input
    if said is None:
        said = started.input if turn == 0 else ()
    _check_is_asked(past, said, forked.run_id)
    fork = Fork(
        run_id=forked.run_id,
        turn=turn,
        past=await means.blobs.put(msgspec.json.encode(Past(messages=tuple(past)))),
        images=tuple(sorted(images_of(past))),
        played=0 if _is_another_model(wish, started) else _played(turns[:turn], started),
    )
    return _request(original, wish, said), fork


def _checked_turn(asked: int | None, run_id: str, count: int, *, is_over: bool) -> int:
    """Returns the turn to begin at: the one asked for, or the one after the last."""
    turn = count if asked is None else asked
    if not 0 <= turn <= count:
        there = f"its turns are 0 to {count - 1}" if count else "it has no turns yet"
        raise InvalidRequest(
            f"Run {run_id} has no turn {turn}: {there}. Leave the turn out to go on after the last.",
            details={"fields": {"turn": f"0 to {count}"}},
        )
    if not is_over and (asked is None or turn == count > 0):
        raise RunActive(
            f"Run {run_id} goes on, and nobody knows yet how turn {turn} begins. Name one of the "
            f"{count} turns before it, or wait until the run is over."
        )
    return turn


def _what_came_next(turn: int, turns: Sequence[TurnRecord], transcript: Transcript) -> list[Message]:
    """Returns what the turn's request added by itself: the results of the turn before, and the runtime's notes. The
    note that asked for closing words is none of them: the new run is not being stopped."""
    if turn == 0:
        return []
    if turn < len(turns):
        said = list(turns[turn].request)
    else:
        last = turns[-1]
        said = [results_of(last, transcript)]
        if not last.complete:
            said.append(Message(role="user", parts=(Text(text=CUT_NOTE),)))
    return [message for message in said if message.parts and not message.text.startswith(CLOSING_NOTE)]


def _check_is_asked(past: Sequence[Message], said: str | tuple[InputPart, ...], run_id: str) -> None:
    if not said and said != "" and (not past or past[-1].role == "assistant"):
        raise InvalidRequest(
            f"Run {run_id} had answered there, so nothing is asked any more: say what comes next (input), or name the "
            "turn to be made anew.",
            details={"fields": {"input": "missing", "turn": "missing"}},
        )


async def _compacted_before(turn: int, transcript: Transcript, journal: Journal) -> ev.Compacted | None:
    """Returns what was compacted last before the turn was asked for."""
    if transcript.compacted is None or turn >= sum(one.blob is not None for one in transcript.turns):
        return transcript.compacted
    last: ev.Compacted | None = None
    committed = 0
    async for lines in journal.stored(transcript.run_id):
        for line in lines:
            if line.startswith(COMPACTED):
                event = ev.decode_line(line)
                last = event if isinstance(event, ev.Compacted) else last
            elif line.startswith(COMMITTED):
                if committed == turn:
                    return last
                committed += 1
    return last


def _is_another_model(wish: ForkRequest, started: ev.RunStarted) -> bool:
    return wish.script is not None or wish.model not in (None, started.model)


def _played(turns: Sequence[TurnRecord], started: ev.RunStarted) -> int:
    return sum(turn.complete for turn in turns) + (started.fork.played if started.fork else 0)


def _request(original: RunRequest, wish: ForkRequest, said: str | tuple[InputPart, ...]) -> RunRequest:
    """Returns the original's request with what is to be otherwise. Where and from which cell it was started, and what
    was noted of it, is the original's own."""
    names = ("model", "instructions", "kwargs", "client_tools", "budget", "script", "kernel_id")
    otherwise = {name: value for name in names if (value := getattr(wish, name)) is not None}
    if wish.tools is not UNSET:
        otherwise["tools"] = wish.tools
    return msgspec.structs.replace(
        original, input=said, thread_id=None, multitask=Multitask.REJECT, metadata=wish.metadata,
        follow_up_to_run_id=None, waits=wish.waits, cell=wish.cell, **otherwise,
    )  # fmt: skip
