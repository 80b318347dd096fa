"""`jupyter agent workflow …`: which workflows the server has, approving one, running it, and what its runs do.

Results go to stdout, everything else to stderr.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ..client.client import Client
from ..client.session import session
from ..client.workflow_progress import WorkflowProgress
from ..client.workflow_run import WorkflowRun, read_run, resumed
from ..client.workflows import WorkflowInfo, approved, listed, listed_runs, shown_text, started
from ..display import words
from ..exceptions import AgentError, RunFailed
from ..records import HeadlessRun, RunStatus
from .args import add_args, given_args
from .run import add_deed, connect

LISTED: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)
    add_deed(deeds, "list", _list, "list the workflows that the server has, and files that it cannot use")
    one = add_deed(deeds, "show", _show, "show a workflow: its arguments, its SHA-256, its text")
    one.add_argument("name")
    one = add_deed(
        deeds, "approve", _approve, "read the text of a workflow that came with the workspace, and approve it"
    )
    one.add_argument("name")
    one.add_argument("--digest", help="the SHA-256 of the text that was read; asked for at a terminal without it")
    one = add_deed(deeds, "run", _run, "run a workflow on the server and wait for its result")
    one.add_argument("name")
    add_args(one)
    one.add_argument("-m", "--model", help="model of calls that name none; default: the server's")
    one.add_argument(
        "--budget", type=int, metavar="TOKENS", help="what its live calls may take together; default: the server's"
    )
    one.add_argument("--detach", action="store_true", help="print the run's id and do not wait")
    _add_whole(one)
    one = add_deed(deeds, "status", _status, "show where a run stands, or the newest runs without an id")
    one.add_argument("id", nargs="?")
    one.add_argument("--follow", action="store_true", help="stay until it is over; then print its result as run does")
    _add_whole(one)
    one = add_deed(deeds, "cancel", _cancel, "end a run for good, with its calls")
    one.add_argument("id")
    one = add_deed(
        deeds, "resume", _resume, "run what failed or was interrupted once more: what is stored is not run again"
    )
    one.add_argument("id")
    one.add_argument("--detach", action="store_true", help="print the new run's id and do not wait")
    _add_whole(one)


def main(options: argparse.Namespace) -> int:
    connect(options)
    deed: Callable[[Client, argparse.Namespace], int] = options.does
    return deed(session().client, options)


def _add_whole(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--whole", action="store_true", help="print the whole result as JSON, not only its report")


# --- what there is ----------------------------------------------------------------------------------------------


def _list(client: Client, _: argparse.Namespace) -> int:
    found = client.wait(listed(client))
    for one in found:
        if one.error is None:
            print(f"{words.plain(one.name):<20} {one.place:<9} {_state(one):<22} {words.plain(one.description)}")
        else:
            at = f", line {one.line}" if one.line else ""
            print(f"{words.plain(one.file):<20} {one.place:<9} broken{at}: {words.plain(one.error)}")
    if not found:
        _say("There are no workflows.")
    return 0


def _state(one: WorkflowInfo) -> str:
    return f"shadowed by {one.shadowed_by}" if one.shadowed_by else one.state


def _show(client: Client, options: argparse.Namespace) -> int:
    one = client.wait(shown_text(client, options.name))
    _say(f"{one.name} · {one.place} · {_state(one)} · {one.file}\n{words.plain(one.description)}")
    for phase in one.phases:
        detail = f": {phase['detail']}" if phase.get("detail") else ""
        _say(f"  ▸ {words.plain(phase['title'] + detail)}")
    for name, field in ((one.args or {}).get("properties") or {}).items():
        need = "" if name in (one.args or {}).get("required", ()) else " (optional)"
        _say(f"  {words.plain(name)}{need}: {words.plain(str(field.get('description', field.get('type', ''))))}")
    _say(f"SHA-256 {one.digest}")
    print(words.plain(one.text or ""))
    return 0


def _approve(client: Client, options: argparse.Namespace) -> int:
    one = client.wait(shown_text(client, options.name))
    if one.approved:
        _say(f"{one.name} ({one.file}) is approved: nothing to do.")
        return 0
    digest = options.digest
    if digest is None:
        print(words.plain(one.text or ""))
        sys.stdout.flush()
        _say(f"\n{one.name} came with the workspace ({words.plain(one.file)}). Its SHA-256 is\n{one.digest}")
        if not sys.stdin.isatty():
            _say(f"Approve this text with: jupyter agent workflow approve {one.name} --digest {one.digest}")
            return 1
        sys.stderr.write("Run this text from now on? [y]es, [N]o: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            _say("Not approved.")
            return 1
        digest = one.digest
    client.wait(approved(client, one, digest))
    _say(f"Approved: {one.name}. A changed text is asked about again.")
    return 0


# --- runs -------------------------------------------------------------------------------------------------------


def _run(client: Client, options: argparse.Namespace) -> int:
    schema = client.wait(shown_text(client, options.name)).args if options.args else None
    args = given_args(options, schema)
    run = client.wait(started(client, options.name, args, model=options.model, budget=options.budget))
    return _followed(run, options)


def _resume(client: Client, options: argparse.Namespace) -> int:
    return _followed(client.wait(resumed(client, options.id)), options)


def _followed(run: WorkflowRun, options: argparse.Namespace) -> int:
    """Waits for a run, telling what it does, and prints its result."""
    if options.detach:
        print(run.id)
        return 0
    with _ended_by_ctrl_c(run):
        _say(f"{run.id} of {run.name}. Ctrl-C ends it.")
        return _result(run, options)


@contextmanager
def _ended_by_ctrl_c(run: WorkflowRun) -> Iterator[None]:
    """Ends the run where Ctrl-C comes before or after somebody waits for it."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(AgentError):
            run.cancel()
        raise


def _result(run: WorkflowRun, options: argparse.Namespace) -> int:
    progress = WorkflowProgress(run)
    try:
        result = run.result()
    except RunFailed:
        progress.catch_up()
        if run.status is RunStatus.ERROR:
            _say(f"Go on where it failed: jupyter agent workflow resume {run.id}")
        return 1
    progress.catch_up()
    is_report = isinstance(result, dict) and isinstance(result.get("report"), str) and not options.whole
    text = result["report"] if is_report else result if isinstance(result, str) else json.dumps(result, indent=2)
    print(words.plain(text) if sys.stdout.isatty() else text)
    return 0


def _status(client: Client, options: argparse.Namespace) -> int:
    if options.id is None:
        runs = client.wait(listed_runs(client, limit=LISTED))
        for run in runs:
            print(_line(run))
        if not runs:
            _say("No workflow was run here yet.")
        return 0
    record = client.wait(read_run(client, options.id))
    if options.follow:
        return _result(WorkflowRun(client, record), options)
    print(_line(record))
    for said in record.said:
        print(f"  {words.plain(said)}")
    if options.whole and record.status is RunStatus.COMPLETED:
        print(json.dumps(record.result, indent=2))
    return 0 if record.status not in (RunStatus.ERROR, RunStatus.INTERRUPTED) else 1


def _line(run: HeadlessRun) -> str:
    status = "waits for its turn" if run.status is RunStatus.PENDING else words.WORDS[run.status]
    said = [run.workflow_run_id, run.workflow, status, f"{run.created_at:%Y-%m-%d %H:%M}"]
    said += [run.phase] if run.phase and not run.status.is_terminal else []
    said.append(f"{run.hits} of {words.count(run.calls, 'call')} from the store")
    said += [run.error_message] if run.error_message else []
    return words.plain(" · ".join(said))


def _cancel(client: Client, options: argparse.Namespace) -> int:
    record = client.wait(read_run(client, options.id))
    count = WorkflowRun(client, record).cancel()
    _say(f"Ended: {options.id}. {words.count(count, 'call')} stopped.")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
