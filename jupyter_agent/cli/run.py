"""`jupyter agent run PROMPT`: a run in the terminal. Its text goes to stdout, everything else to stderr."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..client import front
from ..client.progress import Progress
from ..client.run import Run
from ..exceptions import InvalidRequest, RunFailed
from ..records import RunStatus
from ..transcript import Transcript
from .people import Terminal, attend


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="what is to be done; - reads it from stdin")
    parser.add_argument("-m", "--model", help="for example demo, or provider:model; default: the server's")
    parser.add_argument("-t", "--thread", help="continue the thread with this title or id")
    parser.add_argument("--tools", help="comma-separated names of the tools that the run may use; default: all")
    parser.add_argument("--script", type=Path, help="YAML or JSON for the scripted model")
    parser.add_argument(
        "--on-ask",
        choices=("ask", "reject"),
        help="what becomes of calls that need a person",
    )
    add_connection(parser)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Adds how to find the server. A token on a command line would be readable by others, so it has a variable."""
    parser.add_argument(
        "--url",
        help="address of the Jupyter server, its token in JUPYTER_TOKEN; default: the one that runs here",
    )


def add_deed(deeds: Any, name: str, does: Callable[..., int], told: str) -> argparse.ArgumentParser:
    """Adds what a command can do, as a command of its own that speaks to a server; returns its parser."""
    parser: argparse.ArgumentParser = deeds.add_parser(name, help=told, description=f"{told.capitalize()}.")
    parser.set_defaults(does=does)
    add_connection(parser)
    return parser


def connect(options: argparse.Namespace) -> None:
    """Uses the server that the options name."""
    if options.url is not None:
        front.connect(options.url, os.environ.get("JUPYTER_TOKEN", ""))


def main(options: argparse.Namespace) -> int:
    connect(options)
    is_terminal = sys.stdin.isatty() and options.prompt != "-"
    on_ask = options.on_ask or ("ask" if is_terminal else "reject")
    run = front.run(
        sys.stdin.read() if options.prompt == "-" else options.prompt,
        model=options.model or ("scripted" if options.script else None),
        thread=options.thread,
        tools=options.tools,
        script=_script(options.script),
        on_ask="wait" if on_ask == "ask" else "reject",
        show=False,
    )
    run.view = progress = Progress(run, text_stream=sys.stdout, tells_how_to_decide=on_ask == "reject")
    try:
        _attend(run, progress)
    except KeyboardInterrupt:
        run.interrupt()
        raise
    return _exit_code(run)


def _attend(run: Run, progress: Progress) -> None:
    """Waits for the end and puts to the person what comes up."""
    person, seen = Terminal(), set[str]()
    while not run.is_done:
        attend(run, person, seen)
        with progress.awaited():
            _until_asked(run, seen)


def _until_asked(run: Run, seen: set[str]) -> None:
    """Returns when something waits that was not put to the person, or when the run is over. In short waits, which
    Ctrl-C ends on every system."""
    is_asked = False
    while not (is_asked or run.is_done):
        is_asked = run._feed.wait_until(lambda now: _is_asked(now, seen), 1.0)


def _is_asked(now: Transcript, seen: set[str]) -> bool:
    """Tells whether something waits that was not put to the person."""
    waiting = {item.approval_id for item in now.pending_approvals} | {item.request_id for item in now.pending_inputs}
    return bool(waiting - seen)


def _exit_code(run: Run) -> int:
    try:
        run.result()
    except RunFailed as failed:
        sys.stderr.write(f"{failed.message}\n")
        return 1
    return 0 if run.status is RunStatus.COMPLETED else 1


def _script(path: Path | None) -> Any:
    if path is None:
        return None
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as fault:
        raise InvalidRequest(f"The script {path} cannot be read: {fault}") from fault
