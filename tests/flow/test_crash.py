"""A process that carries flows out is killed again and again: each flow ends as the reference says, and what was
completed is not carried out again."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from jupyter_agent import failpoints
from jupyter_agent.flow import Kind, StepStatus
from jupyter_agent.flow.decisions import standing
from jupyter_agent.records import SYSTEM, RunStatus
from jupyter_agent.storage import DATABASE
from jupyter_agent.storage.sql import SqlRows
from tests.flow import victim
from tests.flow.reference import ends, is_in_error

KILLS = int(os.environ.get("JUPYTER_AGENT_FLOW_KILLS", "3"))
RUNS = 6
SEED = int(os.environ.get("JUPYTER_AGENT_FLOW_SEED", "1"))


async def live(where, folder, names, *, chance):
    """One life of a process: to its end, or killed at an instant of chance. Tells whether it ended by itself."""
    environment = dict(os.environ)
    in_transition = chance is not None and chance.random() < 0.6
    if in_transition:
        name = chance.choice(("rows.before_commit", "rows.after_commit"))
        environment[failpoints.ENVIRONMENT] = f"{name}=kill;nth={chance.randint(1, 60)}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.flow.victim", str(where), str(folder), *names,
        cwd=Path(__file__).parents[2], env=environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(90):
            await process.stdout.readline()
            if chance is not None and not in_transition:
                await asyncio.sleep(chance.uniform(0, 0.6))
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert code in (0, -signal.SIGKILL)
    return code == 0


def counted(path):
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


async def over_rows(rows, names):
    """Returns the steps of those runs that there are."""
    found = {run.flow_run_id for run in (await rows.list_flow_runs(by=SYSTEM)).items}
    return {
        name: {one.step_id: one for one in await rows.list_flow_steps(name, by=SYSTEM)}
        for name in names
        if name in found
    }


@pytest.mark.timeout(300)
async def test_killed_at_any_instant_flows_end_as_they_should(rows, kind, request, tmp_path):
    where = request.getfixturevalue("database_url") if kind == "postgres" else tmp_path / DATABASE
    chance = random.Random(SEED)
    kills, round_no = 0, 0
    while kills < KILLS:
        round_no += 1
        names = [f"flow-{SEED}-{round_no}-{number}" for number in range(RUNS)]
        is_over = False
        while not is_over:
            done = {
                f"{run} {name}"
                for run, steps in (await over_rows(rows, names)).items()
                for name, step in steps.items()
                if step.status.is_terminal
            }
            before = counted(tmp_path / "ledger")
            is_over = await live(where, tmp_path, names, chance=chance if kills < KILLS else None)
            kills += not is_over
            again = {line for line in done if counted(tmp_path / "ledger")[line] != before[line]}
            assert again == set(), "what was over was carried out again"
        found = await over_rows(rows, names)
        for name in names:
            its = victim.plan(name, tmp_path / "ledger")
            wanted = ends(its.flow, its.outcomes, its.guards, its.choices)
            assert {step: standing(state) for step, state in found[name].items()} == wanted
            status = RunStatus.ERROR if is_in_error(its.flow, wanted) else RunStatus.COMPLETED
            assert (await rows.get_flow_run(name, by=SYSTEM)).status is status
            check_values(its.flow, found[name])
    assert max(counted(tmp_path / "answered").values(), default=1) == 1


def check_values(flow, states):
    """Each value is made of those of all that was completed before it began, of none twice and none half."""
    for step in flow.steps:
        state = states[step.id]
        if state.status is StepStatus.COMPLETED and step.kind in (Kind.CODE, Kind.AGENT):
            assert state.output.startswith(f"{step.id}(")
            inner = [states[name].output for name in flow.deps_of(step) if states[name].status is StepStatus.COMPLETED]
            missing = [one for one in inner if str(one) not in state.output]
            assert not missing or step.trigger_rule == "one_success"


@pytest.fixture
async def rows(backend):
    found = SqlRows(backend)
    await found.open()
    yield found
    await found.close()
