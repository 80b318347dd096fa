"""What we hand to people who test against us: the checker that every log of events must pass."""

from collections.abc import Iterable

from . import events as ev


def check_events(
    lines: Iterable[bytes | str], *, after: str | None = None, is_complete: bool = False, renumbered: bool = False
) -> list[ev.AnyEvent | ev.Unknown]:
    """Returns the decoded events of one run's log, or raises AssertionError naming everything that is wrong with it.

    Checked: every checksum; one run; ids without holes, doubles or steps back; times that never go back; `run_started`
    first; a tool call's start, end and result, and a trace's or approval's two halves, in that order; no status after
    a terminal one; `session_complete` at most once and last. Frames without an id (control frames) and pending
    requests that are announced again under the last id are passed over.

    `after` is the cursor the log was followed from. `is_complete` also asks for the end, and a result for every call.
    `renumbered` is for what a client saw across a loss of power: a new epoch may start before the last seq.
    """
    faults: list[str] = []
    seen: list[ev.AnyEvent | ev.Unknown] = []
    last = ev.parse_cursor(after) if after else None
    for line in lines:
        raw = line.encode() if isinstance(line, str) else line
        place = ev.line_cursor(raw)
        if place is None or (place == last and b"_request" in raw[:40]):
            continue
        event = ev.decode_line(raw)
        if not ev.is_intact(raw):
            faults.append(f"{place} fails its checksum")
        if place.tag != ev.run_tag(event.run_id):
            faults.append(f"{place} is of another run than {event.run_id}")
        if last is None:
            if place.seq != 1 or not isinstance(event, ev.RunStarted):
                faults.append(f"{place}, {_name(event)}, is the first event")
        elif not _follows(place, last, renumbered=renumbered):
            faults.append(f"{place} follows {last}")
        last = place
        seen.append(event)
    faults += _order_faults(seen, is_whole=after is None)
    if is_complete:
        faults += _end_faults(seen)
    if faults:
        raise AssertionError("This log of events is wrong: " + "; ".join(faults))
    return seen


def _follows(place: ev.Cursor, last: ev.Cursor, *, renumbered: bool) -> bool:
    if place.tag != last.tag or place.epoch < last.epoch:
        return False
    if renumbered and place.epoch > last.epoch:
        return place.seq <= last.seq + 1
    return place.seq == last.seq + 1


def _order_faults(seen: list[ev.AnyEvent | ev.Unknown], *, is_whole: bool) -> Iterable[str]:
    """Yields what stands before what it must follow. A log from the middle may lack the first half of a pair."""
    done: set[str] = set()
    status, at = None, None
    for event in seen:
        if done & {"session_complete"}:
            yield f"{event.id}, {_name(event)}, comes after session_complete"
        if isinstance(event, ev.Unknown):
            continue
        if at is not None and event.at is not None and event.at < at:
            yield f"{event.id} is earlier than the event before it"
        at = event.at or at
        if isinstance(event, ev.StatusChange):
            if status is not None and status.is_terminal:
                yield f"{event.id} changes the terminal status {status} to {event.status}"
            status = event.status
        if isinstance(event, ev.SessionComplete):
            done.add("session_complete")
        deed, needs = _pair(event)
        if is_whole and needs and needs not in done:
            yield f"{event.id} is {deed} before {needs}"
        if deed:
            done.add(deed)


def _pair(event: ev.AnyEvent) -> tuple[str, str]:
    """Returns what the event does, and what must have been done before it ("" for nothing)."""
    match event:
        case ev.AgentEvent(event=ev.ToolCallStart(tool_call_id=call)):
            return f"start of {call}", ""
        case ev.AgentEvent(event=ev.ToolCallDelta(tool_call_id=call)):
            return f"delta of {call}", f"start of {call}"
        case ev.AgentEvent(event=ev.ToolCallEnd(tool_call_id=call)):
            return f"end of {call}", f"start of {call}"
        case ev.AgentEvent(event=ev.ToolProgress(tool_call_id=call)):
            return f"progress of {call}", f"end of {call}"
        case ev.AgentEvent(event=ev.ToolResultReady(tool_call_id=call)):
            return f"result of {call}", f"end of {call}"
        case ev.ToolTraceStart():
            return f"trace {event.trace_id}", f"end of {event.tool_call_id}"
        case ev.ToolTraceFinish():
            return f"finish of {event.trace_id}", f"trace {event.trace_id}"
        case ev.ToolConfirmationRequest():
            return f"approval {event.approval_id}", f"end of {event.tool_call_id}"
        case ev.InputRequest():
            return f"input {event.request_id}", ""
        case ev.InputReceived():
            return f"answer to {event.request_id}", f"input {event.request_id}"
        case _:
            return "", ""


def _end_faults(seen: list[ev.AnyEvent | ev.Unknown]) -> Iterable[str]:
    if not seen or not isinstance(seen[-1], ev.SessionComplete):
        yield "it does not end with session_complete"
    deeds = {_pair(event)[0] for event in seen if not isinstance(event, ev.Unknown)}
    for deed in sorted(deeds):
        if deed.startswith("start of ") and deed.replace("start", "result", 1) not in deeds:
            yield f"there is {deed} and no result"


def _name(event: ev.AnyEvent | ev.Unknown) -> str:
    return event.type if isinstance(event, ev.Unknown) else type(event).__name__
