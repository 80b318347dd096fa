"""Makes a run ready: checks what was asked for before anything is started, and gathers what carrying it out needs."""

import msgspec

from .. import events as ev
from ..exceptions import InvalidRequest, JournalDamaged, UnknownTool
from ..models.person import PERSON
from ..records import Fork, Run, RunRequest
from ..tools import Toolbox
from ..tools.people import people_toolbox
from ..transcript import Transcript
from .active import ActiveRun, Means
from .budget import Meter
from .history import expand_input, load_turns, thread_messages
from .policy import POLICIES

RESTARTED = "The server was restarted: the run goes on."


def check(request: RunRequest, model: str, *, means: Means, toolbox: Toolbox, fork: Fork | None = None) -> None:
    """Raises InvalidRequest, UnknownModel or BadCredentials for a request that could not be carried out. A forked run
    may go on without a word of a person."""
    means.models.get(model, script=request.script)
    policy = request.policy or means.settings.policy
    if policy not in POLICIES:
        raise InvalidRequest(f"There is no policy {policy!r}. Policies there are: {', '.join(POLICIES)}.")
    if isinstance(request.input, str) and not request.input.strip():
        raise InvalidRequest("The input is empty. Say what the agent should do.")
    if not request.input and fork is None:
        raise InvalidRequest("The input has no parts. Say what the agent should do.")
    _tools(request, model, means=means, toolbox=toolbox)


def _tools(request: RunRequest, model: str, *, means: Means, toolbox: Toolbox) -> Toolbox:
    """Returns the run's tools: those named of the server's, or all of them, and the client's own."""
    if model == PERSON:
        return people_toolbox()
    if not means.settings.tools_enabled:
        if request.tools or request.client_tools:
            raise InvalidRequest(means.settings.tools_off_reason)
        return Toolbox()
    try:
        own = toolbox if request.tools is None else toolbox.only(request.tools)
    except UnknownTool as fault:
        raise InvalidRequest(fault.message, details={"fields": ["tools"]}) from fault
    return own.with_client_tools(request.client_tools)


async def prepare(
    run: Run,
    *,
    means: Means,
    toolbox: Toolbox,
    thread_grants: set[tuple[str, tuple[str, ...]]],
    is_first: bool = False,
) -> ActiveRun:
    """Returns the run ready to be carried on from wherever its journal stands. Before the first one of a thread
    nothing was said."""
    transcript = means.journal.transcript(run.run_id) or await means.journal.open(run.run_id)
    started = transcript.started
    if started is None:
        raise JournalDamaged(f"The journal of run {run.run_id} does not begin with run_started.")
    request = request_of(started)
    turns = await load_turns(means.blobs, transcript)
    meter = Meter(request.budget or means.settings.budget)
    meter.credit(
        turns=len(turns),
        tool_calls=len(transcript.tool_calls),
        seconds=sum((turn.finished_at - turn.started_at).total_seconds() for turn in turns)
        + sum((call.latency_ms or 0.0) for call in transcript.tool_calls.values()) / 1000,
        usage=transcript.usage + transcript.helper_usage,
    )
    return ActiveRun(
        run_id=run.run_id,
        thread_id=run.thread_id,
        request=request,
        means=means,
        model=means.models.get(started.model, script=request.script),
        toolbox=_tools(request, started.model, means=means, toolbox=toolbox),
        policy=POLICIES[request.policy or means.settings.policy],
        meter=meter,
        transcript=transcript,
        turns=turns,
        past=[] if is_first else await thread_messages(run, rows=means.rows, journal=means.journal, blobs=means.blobs),
        input=await expand_input(started.input, means.blobs),
        thread_grants=thread_grants,
    )


def request_of(started: ev.RunStarted) -> RunRequest:
    """Returns the request that a run was started with, from its first event."""
    return msgspec.convert({**started.kwargs, "input": "", "model": started.model}, RunRequest)


def fruitless_restarts(transcript: Transcript) -> int:
    """Returns how often the journal was taken up since anything was last achieved."""
    last, progress = ev.parse_cursor(transcript.last_event_id), ev.parse_cursor(transcript.progress_id)
    return last.epoch - progress.epoch if last and progress else 0
