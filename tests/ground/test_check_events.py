"""The checker of logs sees every fault that it is there for."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from jupyter_agent import events as ev
from jupyter_agent.records import RunStatus, Usage
from jupyter_agent.testing import check_events

RUN = "run_1"
AT = datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)


def log(*events, epoch=1):
    """The lines of these events, numbered from 1."""
    return [
        ev.encode_line(
            msgspec.structs.replace(
                event, id=f"{ev.run_tag(RUN)}-{epoch}-{seq}", run_id=RUN, at=AT + timedelta(seconds=seq)
            )
        )
        for seq, event in enumerate(events, start=1)
    ]


def a_run():
    call = {"tool_call_id": "c1"}
    return [
        ev.RunStarted(thread_id="t", user_id="u", agent="a", model="m", input=()),
        ev.StatusChange(status=RunStatus.RUNNING),
        ev.AgentEvent(event=ev.ToolCallStart(name="read_file", **call)),
        ev.AgentEvent(event=ev.ToolCallEnd(**call)),
        ev.AgentEvent(event=ev.ToolResultReady(result="x", **call)),
        ev.StatusChange(status=RunStatus.COMPLETED),
        ev.SessionComplete(status=RunStatus.COMPLETED, usage=Usage()),
    ]


def test_a_good_log_passes():
    lines = log(*a_run())
    assert len(check_events(lines, is_complete=True)) == 7
    first = ev.decode_line(lines[1]).id
    assert len(check_events([line.decode() for line in lines[2:]], after=first, is_complete=False)) == 5


def swapped(lines, a, b):
    lines[a], lines[b] = lines[b], lines[a]
    return lines


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (log(*a_run())[1:], "is the first event"),
        (log(*a_run())[:2] + log(*a_run())[3:], "follows"),
        (log(*a_run()) + log(*a_run())[-1:], "follows"),
        (swapped(log(*a_run()), 2, 3), "follows"),
        (log(*a_run()[:2], *a_run()[4:]), "before end of c1"),
        (log(*a_run()[:3], *a_run()[4:]), "before end of c1"),
        (log(*a_run()[:4], *a_run()[5:]), "no result"),
        (log(*a_run()[:-1]), "does not end"),
        (log(*a_run(), a_run()[-1]), "after session_complete"),
        (log(*a_run()[:-1], a_run()[1], a_run()[-1]), "terminal status"),
        ([line.replace(b"read_file", b"rm") for line in log(*a_run())], "checksum"),
    ],
)
def test_a_bad_log_is_named(lines, fault):
    with pytest.raises(AssertionError, match=fault):
        check_events(lines, is_complete=True)
