"""A process that carries random flows out until they are over, or it is killed: `python -m tests.flow.victim`.

What its functions do is written to a ledger, a line each. Its agents are somebody else's: what one has answered under a
key stays answered when this process is gone, and is counted.
"""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

from jupyter_agent.exceptions import Conflict, RunFinished
from jupyter_agent.flow import Case, Default, Flow, FlowRunner, Kind, Rule, Step, StepStatus
from jupyter_agent.flow.decisions import Ended
from jupyter_agent.storage.sql import SqlRows
from tests.flow.graphs import Plan

TTL_S = 1.0
ENDS = ("completed", "completed", "completed", "completed", "failed", "timed_out")


def append(path: Path, line: str) -> None:
    """Writes a line that survives this process."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def value(name: str, ctx) -> str:
    """What a step gives: its name and what all before it gave, so that a wrong or lost result shows at the end."""
    return f"{name}({','.join(str(ctx.outputs[one]) for one in sorted(ctx.outputs))})"


class FileAgents:
    """Agents that keep their answers in a folder, and say of each that they began."""

    def __init__(self, folder: Path, plans: dict[str, Plan]) -> None:
        self._folder, self._plans = folder, plans

    async def agent(self, prompt, *, key, options):  # noqa: ARG002 - a step has none here
        run, name, retry = key.split(":")
        path = self._folder / key
        if path.exists():
            return path.read_text()
        append(self._folder / "ledger", f"{run} {name}")
        await asyncio.sleep(random.uniform(0, 0.03))
        match self._plans[run].outcomes[name][int(retry)]:
            case "failed":
                raise ValueError("as it should")
            case "timed_out":
                await asyncio.Event().wait()
        path.with_suffix(".new").write_text(prompt)
        path.with_suffix(".new").rename(path)
        append(self._folder / "answered", key)
        return prompt

    async def find(self, key):
        path = self._folder / key
        return Ended(StepStatus.COMPLETED, output=path.read_text()) if path.exists() else False

    def leave(self, flow_run_id): ...


def plan(run: str, ledger: Path) -> Plan:
    """Returns the flow of a run, always the same."""
    chance = random.Random(run)
    names = [f"s{number}" for number in range(10)]
    outcomes = {name: [chance.choice(ENDS) for _ in range(2)] for name in names}
    guards = {name: chance.random() > 0.1 for name in names}
    steps, choices, free = [], {}, set(names)

    def do(name):
        async def work(ctx):
            append(ledger, f"{run} {name}")
            await asyncio.sleep(random.uniform(0, 0.03))
            match outcomes[name][0]:
                case "failed":
                    raise ValueError("as it should")
                case "timed_out":
                    await asyncio.Event().wait()
            return value(name, ctx)

        return work

    for number, name in enumerate(names):
        kind = chance.choice((Kind.CODE, Kind.AGENT, Kind.APPROVAL, Kind.SWITCH, Kind.CODE))
        given = {
            "id": name, "kind": kind, "deps": chance.sample(names[:number], min(number, chance.randint(0, 2))),
            "trigger_rule": chance.choice(list(Rule)), "when": lambda _, it=guards[name]: it,
        }  # fmt: skip
        if kind is Kind.SWITCH:
            later = sorted(free & set(names[number + 1 :]))
            targets = chance.sample(later, min(len(later), 3))
            free -= set(targets)
            taken = chance.random() < 0.5
            choices[name] = "one" if taken else "default"
            case = Case("one", lambda _, it=taken: it, tuple(targets[:2]))
            steps.append(Step(**given, cases=[case], default=Default(tuple(targets[2:]))))
        elif kind is Kind.APPROVAL:
            # A person's no is a failure, and is not asked again.
            outcomes[name] = [chance.choice(("completed", "completed", "failed"))] * 2
            steps.append(Step(**given, prompt="?"))
        else:
            # Functions are told only once how they end: they know nothing of their retries.
            retries = 1 if kind is Kind.AGENT else 0
            work = {"do": do(name)} if kind is Kind.CODE else {"prompt": lambda ctx, it=name: value(it, ctx)}
            steps.append(Step(**given, **work, batch="few", timeout_s=0.3, max_retries=retries))
    return Plan(Flow(run, steps, batches={"few": 3}), outcomes, guards, choices)


async def decide(runner: FlowRunner, run: str, its: Plan) -> None:
    """A person who answers whatever is asked."""
    while True:
        for step in await runner.steps(run):
            if its.flow.by_id[step.step_id].kind is Kind.APPROVAL and step.status is StepStatus.RUNNING:
                approve = its.outcomes[step.step_id][0] == "completed"
                with contextlib.suppress(Conflict, RunFinished):
                    await runner.resolve(run, step.step_id, approve=approve)
        await asyncio.sleep(0.01)


async def main(where: str, folder: Path, names: list[str]) -> None:
    plans = {name: plan(name, folder / "ledger") for name in names}
    rows = SqlRows(where if "://" in where else Path(where))
    await rows.open()
    flows = [one.flow for one in plans.values()]
    runner = FlowRunner(flows, agents=FileAgents(folder, plans), keeper=rows, ttl_s=TTL_S)
    await runner.open()
    for name in names:
        with contextlib.suppress(Conflict):
            await runner.start(name, flow_run_id=name)
    people = [asyncio.create_task(decide(runner, name, its)) for name, its in plans.items()]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not all([(await runner.wait(name)).status.is_terminal for name in names]):
        await asyncio.sleep(0.02)
    for one in people:
        one.cancel()
    await runner.close()
    await rows.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
