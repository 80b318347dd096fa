"""`jupyter agent …`: the commands, each in a module of its own that is imported when it is called."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from ..exceptions import AgentError


class Command(NamedTuple):
    """One command: what it does, and the module with its `add_arguments(parser)` and `main(options) -> exit code`."""

    does: str
    module: str


COMMANDS = {
    "run": Command("run an agent here in the terminal", "jupyter_agent.cli.run"),
    "approve": Command("show what waits for a person, and decide it", "jupyter_agent.cli.approve"),
    "workflow": Command("list, run and look after workflows of the server", "jupyter_agent.cli.workflow"),
    "flow": Command("start flows of the server and decide what they ask", "jupyter_agent.cli.flow"),
    "demo": Command("run the tour's main job, with no key and nothing to set up", "jupyter_agent.cli.demo"),
    "check": Command("look whether everything that is kept is whole", "jupyter_agent.cli.check"),
    "rebuild": Command("make the database again from journals and blobs", "jupyter_agent.cli.rebuild"),
    "prune": Command("delete threads that are old or take too much room", "jupyter_agent.cli.prune"),
    "settings": Command("show every setting of the server extension", "jupyter_agent.cli.settings"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out one command and returns its exit code: 0 done, 1 failed, 2 not possible like this, 130 stopped."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="jupyter agent", description="Agents on this machine's Jupyter servers.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.does, description=f"{command.does.capitalize()}.")
        if name in arguments[:1]:
            import_module(command.module).add_arguments(sub)
    options = parser.parse_args(arguments)
    try:
        return int(import_module(COMMANDS[options.command].module).main(options))
    except AgentError as fault:
        sys.stderr.write(f"{fault.message}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return 130
