"""Writes `transcripts.json`: the events of runs of all shapes, and the transcript that they fold to, as plain data.

    python -m tests.golden.make_transcripts            writes the file
    python -m tests.golden.make_transcripts --check    exits with 1 when it is not what would be written

Python's fold is the one that counts; the lab extension's tests read the same file and must come to the same `compact`,
from the first event on and from every `halfway`, which is the transcript after that many events. Defaults are left out
of a transcript's JSON. Everything here is fixed: ids, times and texts.
"""

import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from jupyter_agent import events as ev
from jupyter_agent.compact import compact
from jupyter_agent.records import Decision, Effect, Fork, Image, Outcome, RunStatus, Text, Usage
from jupyter_agent.transcript import PROGRESS_KEPT, Transcript

FILE = Path(__file__).with_name("transcripts.json")
RUN = "run_0123456789abcdef0123"
START = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)
USAGE = Usage(input_tokens=120, output_tokens=30, requests=1)
PNG, TEXT_BLOB, TURN_BLOB = "b" * 64, "a" * 64, "c" * 64
ODD = 'Zwölf Boxkämpfer 🥊 say "hi" \\ and\nleave <b onclick="x()">&amp;</b>'

Shape = Iterable[ev.AnyEvent | dict[str, Any] | str]
CRASH = "crash"
"""The server was killed here: from here on ids have the next epoch."""


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


# --- short words for events -----------------------------------------------------------------------------------


def started(*parts: Text | Image, **more: Any) -> Iterator[ev.AnyEvent]:
    words = {"thread_id": "thread_1", "user_id": "owner", "agent": "default", "model": "demo", **more}
    yield ev.RunStarted(input=parts or (Text(text="Sum up data/sales.csv"),), **words)
    yield ev.StatusChange(status=RunStatus.RUNNING)


def now(kind: ev.AnyKind) -> ev.AnyEvent:
    return ev.AgentEvent(event=kind)


def says(*pieces: str) -> Iterator[ev.AnyEvent]:
    yield from (now(ev.TextDelta(content=piece)) for piece in pieces)


def thinks(*pieces: str) -> Iterator[ev.AnyEvent]:
    yield from (now(ev.ThinkingDelta(content=piece)) for piece in pieces)


def asks(call_id: str, name: str, *pieces: str) -> Iterator[ev.AnyEvent]:
    """A tool call whose arguments stream in: the first piece is in its start."""
    yield now(ev.ToolCallStart(tool_call_id=call_id, name=name, arguments=pieces[0] if pieces else ""))
    yield from (now(ev.ToolCallDelta(tool_call_id=call_id, arguments=piece)) for piece in pieces[1:])
    yield now(ev.ToolCallEnd(tool_call_id=call_id))


def committed(turn: int, usage: Usage = USAGE, **more: Any) -> Shape:
    yield now(ev.MessageComplete(message_id=f"msg_{turn}"))
    words = {"model": "demo-1", "stop_reason": "stop", **more}
    yield ev.TurnCommitted(
        turn=turn,
        blob=TURN_BLOB,
        usage=usage,
        started_at=at(10 * turn + 0.5),
        finished_at=at(10 * turn + 4.25),
        **words,
    )


def stepped(turn: int) -> Iterator[ev.AnyEvent]:
    yield now(ev.StepComplete(step_index=turn))


def begins(call_id: str, name: str, arguments: str, *, trace: str = "trace_1", turn: int = 0) -> Iterator[ev.AnyEvent]:
    yield ev.ToolTraceStart(
        trace_id=trace, tool_call_id=call_id, tool_name=name, tool_input=arguments, turn=turn, started_at=at(5)
    )


def ends(
    call_id: str, outcome: Outcome = Outcome.SUCCESS, *, trace: str = "trace_1", error: str | None = None
) -> Iterator[ev.AnyEvent]:
    yield ev.ToolTraceFinish(
        trace_id=trace, tool_call_id=call_id, outcome=outcome, latency_ms=12.5, finished_at=at(6), error=error
    )


def gives(call_id: str, result: str, **more: Any) -> Iterator[ev.AnyEvent]:
    yield now(ev.ToolResultReady(tool_call_id=call_id, result=result, **more))


def confirms(call_id: str, approval_id: str, name: str, arguments: str) -> Iterator[ev.AnyEvent]:
    yield ev.ToolConfirmationRequest(
        tool_call_id=call_id,
        tool=ev.ToolDescription(identifier=name, api_name=name, name=name, arguments=arguments),
        approval_id=approval_id,
        expires_at=at(3600),
        effects=(Effect.WRITE, Effect.EXEC),
        preview={"tool": name, "path": "notes.txt", "diff": "+hello\n", "hash": "h1"},
    )
    yield ev.StatusChange(status=RunStatus.WAITING_CONFIRMATION)


def decides(call_id: str, approval_id: str, decision: Decision, **more: Any) -> Iterator[ev.AnyEvent]:
    yield ev.ApprovalResolved(tool_call_id=call_id, approval_id=approval_id, decision=decision, actor="Ada", **more)
    yield ev.StatusChange(status=RunStatus.RUNNING)


def over(status: RunStatus = RunStatus.COMPLETED, usage: Usage = USAGE, summary: str | None = None) -> Shape:
    yield ev.StatusChange(status=status)
    yield ev.SessionComplete(status=status, usage=usage, summary=summary)


# --- the runs -------------------------------------------------------------------------------------------------


def only_started() -> Shape:
    yield from list(started())[:1]


def forked() -> Shape:
    """A fork made anew from a turn of another run, without a word of a person."""
    fork = Fork(run_id="run_0fedcba9876543210fed", turn=3, past=TEXT_BLOB, images=(PNG,), played=3)
    yield ev.RunStarted(input=(), fork=fork, thread_id="thread_2", user_id="owner", agent="default", model="demo")
    yield ev.StatusChange(status=RunStatus.RUNNING)
    yield from says("Made anew.")
    yield from committed(0)
    yield from stepped(0)
    yield from over()


def text_and_thinking() -> Shape:
    yield from started(Text(text=ODD), Image(blob=PNG, mime="image/png"), Text(text="second part"))
    yield from thinks("Let me ", "see. 🥊")
    yield from says("The sum", " is 42.\n\n", ODD)
    yield from committed(0, Usage(input_tokens=120, output_tokens=30, cache_read_tokens=100, requests=1, cost=0.00125))
    yield from stepped(0)
    yield from over(usage=Usage(input_tokens=120, output_tokens=30, cache_read_tokens=100, requests=1, cost=0.00125),
                    summary="The sum is 42.")  # fmt: skip


def streaming_now() -> Shape:
    yield from started()
    yield from thinks("Hm")
    yield from says("The")
    yield now(ev.UsageReported(input_tokens=120, output_tokens=1, context_used=121, context_max=200_000))
    yield from says(" sum")
    yield now(ev.UsageReported(input_tokens=120, output_tokens=9, cache_read_tokens=64, context_used=129))
    yield now(ev.ToolCallStart(tool_call_id="call_1", name="read_file", arguments='{"pa'))
    yield now(ev.ToolCallDelta(tool_call_id="call_1", arguments='th": "data/'))


def two_turns_with_tools() -> Shape:
    arguments = '{"path": "data/sales.csv", "note": "größer 🥊"}'
    yield from started()
    yield from says("I read it.")
    yield from asks("call_1", "read_file", "", arguments[:9], arguments[9:])
    yield from asks("call_2", "run_cell", '{"code": "1 + 1"}')
    yield now(ev.UsageReported(input_tokens=120, output_tokens=30, context_used=150, context_max=8_000))
    yield from committed(0, stop_reason="tool_use")
    yield from begins("call_1", "read_file", arguments)
    yield from begins("call_2", "run_cell", '{"code": "1 + 1"}', trace="trace_2")
    yield now(ev.ToolProgress(tool_call_id="call_2", content="step 1\n"))
    yield from ends("call_1")
    yield from gives("call_1", "42 rows\n")
    yield now(ev.ToolProgress(tool_call_id="call_2", content="step 2\n"))
    yield from ends("call_2", trace="trace_2")
    yield from gives("call_2", "2", mime={"image/png": PNG, "text/html": TEXT_BLOB})
    yield now(ev.ToolProgress(tool_call_id="call_2", content="too late\n"))
    yield from stepped(0)
    yield from says("It is 2.")
    yield now(ev.UsageReported(input_tokens=200, output_tokens=5, context_used=205, context_max=8_000))
    yield from committed(1, Usage(input_tokens=200, output_tokens=5, cache_read_tokens=100, cache_write_tokens=20,
                                  reasoning_tokens=2, requests=1))  # fmt: skip
    yield from stepped(1)
    yield from over(usage=Usage(input_tokens=320, output_tokens=35, cache_read_tokens=100, cache_write_tokens=20,
                                reasoning_tokens=2, requests=2))  # fmt: skip


def results_of_all_kinds() -> Shape:
    yield from started()
    for number, more in enumerate(
        (
            {"result": "cut …", "truncated": True, "blob": TEXT_BLOB},
            {"result": "changed notes.txt", "diff": "--- a/notes.txt\n+++ b/notes.txt\n@@ -1 +1 @@\n-a\n+b\n"},
            {"result": "There is no file 'x'.", "is_error": True},
            {"result": ""},
            {"result": ODD, "mime": {"image/png": PNG}},
        )
    ):
        call_id = f"call_{number}"
        yield from asks(call_id, "tool", "{}")
        yield from begins(call_id, "tool", "{}", trace=f"trace_{number}")
        failed = "is_error" in more
        yield from ends(
            call_id,
            Outcome.ERROR if failed else Outcome.SUCCESS,
            trace=f"trace_{number}",
            error="FileNotFoundError" if failed else None,
        )
        yield now(ev.ToolResultReady(tool_call_id=call_id, **more))
    yield from asks("call_slow", "tool", "{}")
    yield from begins("call_slow", "tool", "{}", trace="trace_9")
    yield from ends("call_slow", Outcome.TIMED_OUT, trace="trace_9", error="It took longer than 120 s.")


def repaired_arguments() -> Shape:
    yield from started()
    yield from asks("call_1", "read_file", "{'path': ", "'x',}")
    yield ev.ArgumentsRepaired(tool_call_id="call_1", before="{'path': 'x',}", after='{"path": "x"}')
    yield from begins("call_1", "read_file", '{"path": "x"}')
    yield from ends("call_1")
    yield from gives("call_1", "text of x")


def long_progress() -> Shape:
    """More live output than is kept: the last of it is."""
    yield from started()
    yield from asks("call_1", "run_cell", "{}")
    yield from begins("call_1", "run_cell", "{}")
    yield now(ev.ToolProgress(tool_call_id="call_1", content="first\n"))
    yield now(ev.ToolProgress(tool_call_id="call_1", content="." * (PROGRESS_KEPT - 8)))
    yield now(ev.ToolProgress(tool_call_id="call_1", content="\nlast\n"))


def approvals() -> Shape:
    """One approved, one edited, one rejected, one expired, one by a rule, one that waits."""
    yield from started()
    arguments = '{"path": "notes.txt", "content": "hello"}'
    for number in range(6):
        yield from asks(f"call_{number}", "write_file", arguments)
    yield from committed(0, stop_reason="tool_use")
    yield from confirms("call_0", "appr_0", "write_file", arguments)
    yield from decides("call_0", "appr_0", Decision.APPROVE)
    yield from begins("call_0", "write_file", arguments, trace="trace_0")
    yield from ends("call_0", trace="trace_0")
    yield from gives("call_0", "Wrote notes.txt.", diff="+hello\n")
    yield from confirms("call_1", "appr_1", "write_file", arguments)
    edited = '{"path": "notes.txt", "content": "hello, edited"}'
    yield from decides("call_1", "appr_1", Decision.EDIT, arguments=edited)
    yield from begins("call_1", "write_file", edited, trace="trace_1")
    # What the model wrote changes nothing any more.
    yield ev.ArgumentsRepaired(tool_call_id="call_1", before=arguments, after=arguments + " ")
    yield from ends("call_1", trace="trace_1")
    yield from gives("call_1", "Wrote notes.txt.")
    yield from confirms("call_2", "appr_2", "write_file", arguments)
    yield from decides("call_2", "appr_2", Decision.REJECT, reason="Not there.")
    yield from gives("call_2", "Rejected: Not there.", is_error=True)
    yield from confirms("call_3", "appr_3", "write_file", arguments)
    yield ev.ApprovalResolved(tool_call_id="call_3", approval_id="appr_3", decision=Decision.EXPIRED)
    yield from gives("call_3", "Nobody decided in time.", is_error=True)
    yield ev.ApprovalResolved(
        tool_call_id="call_4", approval_id="appr_4", decision=Decision.APPROVE, policy="writes below data/"
    )
    yield from begins("call_4", "write_file", arguments, trace="trace_4")
    yield from confirms("call_5", "appr_5", "write_file", arguments)


def approved_for_the_thread() -> Shape:
    yield from started()
    yield from asks("call_1", "run_cell", '{"code": "1"}')
    yield from confirms("call_1", "appr_1", "run_cell", '{"code": "1"}')
    yield from confirms("call_1", "appr_2", "run_cell", '{"code": "1"}')
    yield from decides("call_1", "appr_1", Decision.APPROVE, remember="thread")


def inputs() -> Shape:
    """A question that was answered, one that nobody answered in time, two that wait."""
    yield from started()
    for number, answer in enumerate(("Yes", None)):
        yield ev.InputRequest(request_id=f"input_{number}", prompt=f"Question {number}?")
        yield ev.StatusChange(status=RunStatus.WAITING_INPUT)
        yield ev.InputReceived(request_id=f"input_{number}", content=answer, actor="Ada")
        yield ev.StatusChange(status=RunStatus.RUNNING)
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
    yield ev.InputRequest(request_id="input_2", prompt=ODD, schema=schema)
    yield ev.InputRequest(request_id="input_3", prompt="And which size?")
    yield ev.StatusChange(status=RunStatus.WAITING_INPUT)


def started_twice() -> Shape:
    """A crash while a tool ran: it is started again, and after another approval once more."""
    yield from started()
    yield from says("Half a sen")
    yield CRASH
    yield ev.StatusChange(status=RunStatus.RUNNING)
    yield from says("tence.")
    yield from asks("call_1", "run_cell", '{"code": "f()"}')
    yield from committed(0, stop_reason="tool_use")
    yield from begins("call_1", "run_cell", '{"code": "f()"}', trace="trace_1")
    yield now(ev.ToolProgress(tool_call_id="call_1", content="going\n"))
    yield CRASH
    yield from ends("call_1", Outcome.UNKNOWN, trace="trace_1", error="The server stopped meanwhile.")
    yield from confirms("call_1", "appr_1", "run_cell", '{"code": "f()"}')
    yield from decides("call_1", "appr_1", Decision.APPROVE)
    yield from begins("call_1", "run_cell", '{"code": "f()"}', trace="trace_2")
    yield now(ev.ToolProgress(tool_call_id="call_1", content="going again\n"))


def failed() -> Shape:
    yield from started()
    yield from says("I was")
    yield ev.ModelRetry(attempt=1, code="rate_limited", delay_s=1.5)
    yield ev.ModelRetry(attempt=2, code="rate_limited", delay_s=3.0)
    yield ev.ErrorRaised(code="model_unavailable", message="The model demo cannot be reached: try again later.")
    yield from over(RunStatus.ERROR, Usage(requests=1, unmeasured_requests=1))


def interrupted() -> Shape:
    yield from started()
    yield from says("One, two, ")
    yield from asks("call_1", "run_cell", "{}")
    yield from begins("call_1", "run_cell", "{}")
    yield now(ev.ToolProgress(tool_call_id="call_1", content="three\n"))
    yield from ends("call_1", Outcome.INTERRUPTED)
    yield from gives("call_1", "Interrupted.", is_error=True)
    yield from over(RunStatus.INTERRUPTED)


def interrupted_while_it_waited() -> Shape:
    """What is over waits for nothing, though nobody decided and nobody answered."""
    yield from started()
    yield from asks("call_1", "write_file", "{}")
    yield from confirms("call_1", "appr_1", "write_file", "{}")
    yield ev.InputRequest(request_id="input_1", prompt="Which one?")
    yield ev.StatusChange(status=RunStatus.WAITING_CONFIRMATION)
    yield from over(RunStatus.INTERRUPTED)


def reused_call_id() -> Shape:
    """A provider that numbers its calls from 1 in every turn: news are of the latest."""
    yield from started()
    for turn in range(2):
        yield from asks("call_1", f"tool_{turn}", f'{{"turn": {turn}}}')
        yield from committed(turn, stop_reason="tool_use")
        yield from begins("call_1", f"tool_{turn}", "{}", trace=f"trace_{turn}", turn=turn)
        yield from ends("call_1", trace=f"trace_{turn}")
        yield from gives("call_1", f"result {turn}")
        yield from stepped(turn)


def never_started_calls() -> Shape:
    """A journal with holes: each call is there as far as it is known, in the turn that was going on."""
    yield from gives("call_1", "a result without a call")
    yield now(ev.ToolCallDelta(tool_call_id="call_2", arguments='{"a": 1}'))
    yield now(ev.ToolCallEnd(tool_call_id="call_2"))
    yield from stepped(0)
    yield from ends("call_3", Outcome.ERROR, error="It broke.")
    yield ev.ArgumentsRepaired(tool_call_id="call_4", before="", after="{}")
    yield from decides("call_5", "appr_5", Decision.REJECT)
    yield from stepped(7)


def unknown_events() -> Shape:
    """What this version does not know moves the position and nothing else."""
    yield {"type": "of_tomorrow", "status": "completed"}
    yield from started()
    yield from says("a")
    yield {"type": "agent_event", "event": {"kind": "of_tomorrow", "content": "nothing"}}
    yield {"type": "agent_event", "event": {"kind": "text_delta"}}
    yield {"type": "agent_event", "event": {"kind": "text_delta", "content": "b", "colour": "red"}}
    yield {"type": "turn_committed", "turn": 0}
    yield {"type": "input_request", "requestId": "input_1"}
    yield {"type": "of_tomorrow", "content": [1, {"two": None}]}


def compacted() -> Shape:
    yield from started()
    yield from says("First.")
    yield from committed(0)
    yield from stepped(0)
    yield ev.Compacted(blob=TEXT_BLOB, turns=1, before=190_000, after=4_000)
    yield now(ev.UsageReported(input_tokens=4_000, context_used=4_000, context_max=200_000))
    yield from says("Second.")
    yield from committed(1, Usage(requests=1, unmeasured_requests=1))


def sums_of_money() -> Shape:
    """What a turn costs adds up until one of them is unknown; a turn without requests adds nothing."""
    yield from started()
    for turn, cost in enumerate((0.1, 0.2)):
        yield from says(f"{turn}")
        yield from committed(turn, Usage(input_tokens=10, output_tokens=1, requests=1, cost=cost))
        yield from stepped(turn)
    yield from committed(2, Usage())
    yield from stepped(2)
    yield from says("3")
    yield from committed(3, Usage(input_tokens=1, output_tokens=1, requests=1))


def events_of_other_rooms() -> Shape:
    """Workflows, changes and subagents: they have views of their own."""
    yield from started(workflow="review", parent_run_id="run_parent0123456789ab")
    yield ev.PhaseStarted(title="Read")
    yield ev.Log(message="ten files")
    yield ev.CallStarted(call_id="wf_1", label="read", phase="Read", key="k" * 64)
    yield ev.CallCompleted(call_id="wf_1", key="k" * 64, cached=True, reason="hit", child_run_id="run_child")
    yield ev.StepUpdated(step_id="s1", status="done", retry_count=1, output="x")
    yield ev.ChangeUpdated(change_id="change_1", path="notes.txt", status="applied", diff="+x\n")
    yield ev.SubagentUpdated(child_run_id="run_child", status="running", summary="reading")
    yield ev.CollisionWarning(path="a.py", environments=("e1", "e2"), agents=("x", "y"), severity="same_line")
    yield from over(RunStatus.COMPLETED, Usage())


SHAPES = (
    only_started, forked, text_and_thinking, streaming_now, two_turns_with_tools, results_of_all_kinds,
    repaired_arguments, long_progress, approvals, approved_for_the_thread, inputs, started_twice, failed, interrupted,
    interrupted_while_it_waited, reused_call_id, never_started_calls, unknown_events, compacted, sums_of_money,
    events_of_other_rooms,
)  # fmt: skip


# --- the file -------------------------------------------------------------------------------------------------


def lines(shape: Shape) -> Iterator[bytes]:
    """The wire frames of a run, as its journal would have written them."""
    epoch = 1
    seq = 0
    for item in shape:
        if isinstance(item, str):
            epoch += 1
            continue
        seq += 1
        given = {"id": f"{ev.run_tag(RUN)}-{epoch}-{seq}", "run_id": RUN, "at": at(seq / 4)}
        if isinstance(item, dict):
            head = {"type": item["type"], "id": given["id"], "runId": RUN, "at": given["at"]}
            body = msgspec.json.encode(head | item)[:-1]
            yield body + b',"crc":"%08x"}' % zlib.crc32(body)
        else:
            yield ev.encode_line(msgspec.structs.replace(item, **given))


def entry(name: str, shape: Shape) -> dict[str, Any]:
    frames = list(lines(shape))
    seen = Transcript()
    halfway = []
    for number, line in enumerate(frames, start=1):
        seen.apply(ev.decode_line(line))
        if number in (len(frames) // 3, 2 * len(frames) // 3):
            halfway.append({"after": number, "compact": plain(seen)})
    return {
        "name": name,
        "events": [json.loads(line) for line in frames],
        "halfway": halfway,
        "compact": plain(seen),
    }


def plain(seen: Transcript) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(compact(seen)))


def entries() -> list[dict[str, Any]]:
    return [entry(shape.__name__, shape()) for shape in SHAPES]


def text() -> str:
    """The file: one line a frame, so that a change is readable."""
    return json.dumps(entries(), ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    if "--check" in sys.argv[1:]:
        sys.exit(FILE.read_text(encoding="utf-8") != text())
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
