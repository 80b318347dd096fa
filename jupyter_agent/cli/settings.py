"""`jupyter agent settings`: every setting of the server extension, with its default and what it means.

`jupyter server --help-all` prints its help before any extension is loaded, so it cannot show them.
"""

import argparse
import sys

from ..gateway.app import AgentGateway


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Set them in jupyter_server_config.py, or on the command line of `jupyter lab`."


def main(_options: argparse.Namespace) -> int:
    for trait in AgentGateway.class_own_traits(config=True).values():
        sys.stdout.write(f"{AgentGateway.class_get_trait_help(trait)}\n")
    return 0
