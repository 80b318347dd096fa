"""`jupyter agent approve`: shows what waits for a person in any run, and takes the decision in the terminal."""

import argparse
import sys

from ..client.run import Run
from ..client.session import session
from ..records import Approval, InputNeeded
from . import people
from .run import add_connection, connect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="only show what waits")
    parser.add_argument("--watch", action="store_true", help="stay, and show what comes to wait, until Ctrl-C")
    add_connection(parser)


def main(options: argparse.Namespace) -> int:
    connect(options)
    person = _Onlooker() if options.list or not sys.stdin.isatty() else people.Terminal()
    desk = people.Desk(session().client, person)
    desk.open()
    while desk.attend(3600.0 if options.watch else 0.5) or options.watch:
        pass
    if not desk.runs:
        sys.stderr.write("Nothing waits for a person.\n")
    return 0


class _Onlooker:
    """Sees everything and decides nothing."""

    def decide(self, run: Run, approval: Approval) -> None:
        people.show_approval(run, approval)

    def answer(self, run: Run, asked: InputNeeded) -> None:
        people.show_input(run, asked)
