"""`jupyter agent flow …`: which flows the server has, starting one, where it stands, deciding what it asks, ending it.

Results go to stdout, everything else to stderr.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import msgspec

from ..client.client import Client
from ..client.session import session
from ..display import words
from ..exceptions import ConnectionLost, StorageUnavailable
from ..flow import FlowRun, StepState
from ..records import RunStatus
from .args import add_args, given_args
from .run import add_deed, connect

LISTED: Final = 20
LOOK_EVERY_S: Final = 0.5
LOST_AFTER_S: Final = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)
    add_deed(deeds, "list", _list, "list the flows that the server's configuration names")
    one = add_deed(deeds, "run", _run, "start a flow and wait for its result")
    one.add_argument("name")
    add_args(one)
    one.add_argument("--detach", action="store_true", help="print the run's id and do not wait")
    one = add_deed(deeds, "status", _status, "show where a run's steps stand, or the newest runs without an id")
    one.add_argument("id", nargs="?")
    one.add_argument("--follow", action="store_true", help="stay until it is over; then print its result as run does")
    for name, does, told in (("approve", _approve, "approve"), ("reject", _reject, "reject")):
        one = add_deed(deeds, name, does, f"{told} what a step asks")
        one.add_argument("id")
        one.add_argument("step")
        one.add_argument("--reason")
    one = add_deed(deeds, "cancel", _cancel, "end a run for good, with its steps")
    one.add_argument("id")


def main(options: argparse.Namespace) -> int:
    connect(options)
    deed: Callable[[Client, argparse.Namespace], int] = options.does
    return deed(session().client, options)


def _list(client: Client, _: argparse.Namespace) -> int:
    found = client.wait(client.request("GET", "flows"))["items"]
    for one in found:
        steps = ", ".join(f"{step['stepId']} ({step['kind']})" for step in one.get("steps", ()))
        print(words.plain(f"{one['name']:<20} {one.get('error') or steps}"))
    if not found:
        _say("There are no flows: the server's configuration names them in AgentGateway.flows.")
    return 0


def _run(client: Client, options: argparse.Namespace) -> int:
    body = {"args": given_args(options, None)}
    run = client.wait(client.request("POST", f"flows/{quote(options.name, safe='')}/runs", body=body))
    if options.detach:
        print(run["flowRunId"])
        return 0
    _say(f"{run['flowRunId']} of {options.name}. Ctrl-C ends it.")
    try:
        return _followed(client, run["flowRunId"])
    except KeyboardInterrupt:
        client.wait(client.request("POST", f"{_path(run['flowRunId'])}/cancel", body={}))
        raise


def _status(client: Client, options: argparse.Namespace) -> int:
    if options.id is None:
        for one in client.wait(client.request("GET", "flow-runs", query={"limit": LISTED}))["items"]:
            print(_line(msgspec.convert(one, FlowRun)))
        return 0
    if options.follow:
        return _followed(client, options.id)
    run, steps, asks = _looked(client, options.id)
    print(_line(run))
    for step in steps:
        print(words.plain(f"  {_step(step)}"))
    for step_id, question in asks.items():
        print(words.plain(f"  ? {step_id}: {question}"))
    return 1 if run.status in (RunStatus.ERROR, RunStatus.INTERRUPTED) else 0


def _followed(client: Client, flow_run_id: str) -> int:
    """Waits for a run, telling what its steps do, and prints its result."""
    told: dict[str, str] = {}
    lost_at: float | None = None
    while True:
        try:
            run, steps, asks = _looked(client, flow_run_id)
            lost_at = None
        except (ConnectionLost, StorageUnavailable):
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > LOST_AFTER_S:
                raise
            time.sleep(LOOK_EVERY_S)
            continue
        for step in steps:
            line = f"? {step.step_id}: {asks[step.step_id]}" if step.step_id in asks else _step(step)
            if step.status != "pending" and told.get(step.step_id) != line:
                told[step.step_id] = line
                _say(words.plain(f"  {line}"))
                if step.step_id in asks:
                    _say(f"    jupyter agent flow approve {flow_run_id} {step.step_id}   (or reject)")
        if run.status.is_terminal:
            break
        time.sleep(LOOK_EVERY_S)
    _say(_line(run))
    if run.status is not RunStatus.COMPLETED:
        return 1
    print(run.result if isinstance(run.result, str) else json.dumps(run.result, indent=2))
    return 0


def _looked(client: Client, flow_run_id: str) -> tuple[FlowRun, list[StepState], dict[str, str]]:
    said = client.wait(client.request("GET", _path(flow_run_id)))
    steps = msgspec.convert(said["steps"], list[StepState])
    return msgspec.convert(said["run"], FlowRun), steps, said.get("asks", {})


def _approve(client: Client, options: argparse.Namespace) -> int:
    return _decide(client, options, approved=True)


def _reject(client: Client, options: argparse.Namespace) -> int:
    return _decide(client, options, approved=False)


def _decide(client: Client, options: argparse.Namespace, *, approved: bool) -> int:
    path = f"{_path(options.id)}/steps/{quote(options.step, safe='')}"
    client.wait(client.request("POST", path, body={"approved": approved, "reason": options.reason}))
    _say(f"{'Approved' if approved else 'Rejected'}: {options.step} of {options.id}.")
    return 0


def _cancel(client: Client, options: argparse.Namespace) -> int:
    count = client.wait(client.request("POST", f"{_path(options.id)}/cancel", body={}))["count"]
    _say(f"Ended: {options.id}. {words.count(count, 'step')} stopped.")
    return 0


def _path(flow_run_id: str) -> str:
    return f"flow-runs/{quote(flow_run_id, safe='')}"


def _line(run: FlowRun) -> str:
    said = [run.flow_run_id, run.flow, words.WORDS[run.status], f"{run.created_at:%Y-%m-%d %H:%M}"]
    return words.plain(" · ".join([*said, *([run.error] if run.error else [])]))


def _step(step: StepState) -> str:
    symbols = {"completed": "✓", "failed": "✗", "timed_out": "✗", "cancelled": "■", "running": "…"}
    status = "excluded" if step.excluded else str(step.status)
    said = [f"{symbols.get(str(step.status), '·')} {step.step_id}: {status}"]
    said += [f"decided by {step.actor}"] if step.actor else []
    return " · ".join([*said, *([step.error] if step.error else [])])


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
