"""The arguments of workflows and flows on the command line: `-a name=value`, or all of them as JSON."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from ..exceptions import InvalidRequest


def add_args(parser: argparse.ArgumentParser) -> None:
    """Adds how to give arguments."""
    parser.add_argument(
        "-a", "--args", metavar="NAME=VALUE", nargs="+", action="extend", default=[],
        help="arguments; a value that is not taken as text is read as JSON",
    )  # fmt: skip
    parser.add_argument("--json", metavar="TEXT", help="all arguments as a JSON object; - reads it from stdin")


def given_args(options: argparse.Namespace, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the arguments; `schema` is the JSON Schema of them, where there is one. Raises InvalidRequest naming what
    cannot be read."""
    args: dict[str, Any] = {}
    if options.json is not None:
        text = sys.stdin.read() if options.json == "-" else options.json
        try:
            args = json.loads(text)
        except ValueError as fault:
            raise InvalidRequest(f"--json is no JSON: {fault}.") from fault
        if not isinstance(args, dict):
            raise InvalidRequest('--json has to be an object: {"name": value}.')
    fields = (schema or {}).get("properties") or {}
    for one in options.args:
        name, equals, value = one.partition("=")
        if not equals:
            raise InvalidRequest(f"{one!r} is no argument: write NAME=VALUE.")
        args[name] = _value(value, fields.get(name, {}))
    return args


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    """Returns a value as it is taken: text as it stands, everything else as JSON where it is some."""
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
