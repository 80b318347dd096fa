"""Steps that are told behind the code that goes on: what a kernel was given is never made again, whoever is killed."""

import asyncio
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.outbox import Outbox, folder_of_steps, left_behind
from jupyter_agent.client.workflow import Workflow
from jupyter_agent.exceptions import WorkflowRunNotFound
from jupyter_agent.script.step import PlacedStep
from tests.live_server import TOKEN, LiveServer

KILLS = 4
STEPS = 60
MADE: list[int] = []
"""What the functions of steps were carried out with: what they close over is part of what they are known by."""
KERNEL = Path(__file__).with_name("step_kernel.py")


@pytest.fixture
async def server(tmp_path):
    async with LiveServer(tmp_path) as started:
        yield started


@pytest.fixture
def outboxes(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "kernels"))
    return folder_of_steps()


@pytest.fixture
async def wf(server, outboxes):
    client = Client(gateway_at(f"{server.url}/", TOKEN, source="the test"))
    yield Workflow(client, "behind")
    await asyncio.to_thread(client.close)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def kernel(server: LiveServer, folder: Path) -> asyncio.subprocess.Process:
    arguments = (sys.executable, str(KERNEL), server.url, TOKEN, str(folder), str(STEPS))
    environment = {**os.environ, "PYTHONPATH": str(KERNEL.parents[2])}
    return await asyncio.create_subprocess_exec(*arguments, env=environment)


async def test_what_a_killed_kernel_was_given_is_in_the_store_for_the_next_one(server, outboxes, tmp_path):
    seed = random.randrange(2**32)
    chance, was_left = random.Random(seed), 0
    for _ in range(KILLS):
        before = len(lines(tmp_path / "told"))
        made = await kernel(server, tmp_path)
        wanted = before + chance.randrange(1, STEPS)
        while made.returncode is None and len(lines(tmp_path / "told")) < wanted:
            await asyncio.sleep(0.001)
        if made.returncode is None:
            made.kill()
        await made.wait()
        was_left += any(len(lines(path)) > 1 for path in outboxes.glob("*"))
    assert was_left, f"seed {seed}: no kernel had anything left to tell"
    last = await kernel(server, tmp_path)
    assert await last.wait() == 0
    ran = Counter(lines(tmp_path / "ran"))
    assert set(ran) == {str(number) for number in range(STEPS)}
    # Whoever is killed between the end of the function and its answer makes that step again: one a kill.
    assert sum(ran.values()) - STEPS <= KILLS, f"seed {seed}: {ran}"
    assert not list(outboxes.glob("*")), "what was told is kept nowhere else"


async def test_what_was_left_is_told_however_much_it_is(server, outboxes):
    """A server takes a request of 1 MiB."""
    first = Client(gateway_at(f"{server.url}/", TOKEN, source="the test"))
    its = Workflow(first, "large")
    await its.step(len, "x")
    run_id = its._pass.workflow_run_id
    await asyncio.to_thread(first.close)
    box = Outbox(outboxes, run_id)
    for number in range(6):
        box.add(
            PlacedStep(token=f"t{number}", name="f", source="f", inputs=(f"{number}",), answer=f'"{"x" * 400_000}"')
        )
    box.close()
    second = Client(gateway_at(f"{server.url}/", TOKEN, source="the test"))
    await Workflow(second, "other").step(len, "x")
    await asyncio.to_thread(second.close)
    assert not list(outboxes.glob("*"))
    _, stored = await server.request("GET", f"jupyter-agent/api/workflow-runs/{run_id}/steps")
    assert len(stored["keys"]) == 7


async def test_steps_go_on_while_the_server_is_away_and_are_stored_when_it_is_back(server, wf, outboxes):
    def act(number: int) -> int:
        MADE.append(number)
        return number

    MADE.clear()
    assert await wf.step(act, 0) == 0
    await server.kill()
    assert [await wf.step(act, number) for number in (1, 2, 3)] == [1, 2, 3]
    await server.start()
    await asyncio.to_thread(lambda: wf.client.wait(wf._pass.settle()))
    assert [row.why for row in wf.calls] == ["first time", *["inputs changed"] * 3]
    assert [len(lines(path)) for path in outboxes.glob("*")] == [1], "what is told is deleted here"
    wf.new_pass()
    assert [await wf.step(act, number) for number in range(4)] == [0, 1, 2, 3]
    assert [row.reused for row in wf.calls] == [True] * 4
    assert MADE == [0, 1, 2, 3]


async def test_a_step_that_is_refused_fails_and_the_next_one_says_so(server, wf):
    def act(number: int) -> int:
        return number

    await wf.step(act, 1)
    await asyncio.to_thread(wf.settle)
    await server.kill()
    shutil.rmtree(server.home / "data")
    assert await wf.step(act, 2) == 2
    await server.start()
    await asyncio.to_thread(wf.settle)  # as a cell's end does: nobody has heard of it yet
    with pytest.raises(WorkflowRunNotFound):
        await asyncio.to_thread(lambda: wf.client.wait(wf._pass.settle()))
    row = wf.calls[-1]
    assert (row.status, "was not stored" in row.error) == ("failed", True)


async def test_a_client_that_was_closed_makes_steps_again(server, wf, outboxes):
    def act(number: int) -> int:
        return number

    assert await wf.step(act, 1) == 1
    await asyncio.to_thread(wf.client.close)
    assert list(outboxes.iterdir()) == [], "it had told all of it"
    assert await wf.step(act, 2) == 2
    await asyncio.to_thread(wf.settle)
    assert [row.why for row in wf.calls] == ["first time", "inputs changed"]


async def test_many_steps_are_few_requests_and_keep_their_order(server, wf):
    def act(number: int) -> int:
        return number

    asked = 0
    request = wf.client.request

    async def counted(*args, **more):
        nonlocal asked
        asked += 1
        return await request(*args, **more)

    wf.client.request = counted
    for number in [*range(300), 0]:
        await wf.step(act, number)
    assert wf.calls[-1].reused is False, "its own result is claimed already"
    cold = asked
    wf.new_pass()
    for number in [*range(300), 0, 0]:
        await wf.step(act, number)
    assert [row.reused for row in wf.calls] == [True] * 301 + [False], "each result is used once"
    assert max(cold, asked - cold) < 150, (cold, asked)
    wf.new_pass()
    await wf.step(act, 7)
    await asyncio.to_thread(wf.forget)
    wf.new_pass()
    await wf.step(act, 7)
    assert [row.reused for row in wf.calls] == [False], "what is forgotten is told no more"


def step(number: int) -> PlacedStep:
    return PlacedStep(token=f"tok_{number}", name="act", source="def act(): …", answer=str(number))


def test_what_is_left_ends_before_a_torn_line_and_belongs_to_nobody_who_lives(outboxes):
    box = Outbox(outboxes, "wfr_1")
    for number in range(3):
        box.add(step(number))
    assert list(left_behind(outboxes)) == [], "its kernel lives"
    assert oct(box.path.stat().st_mode & 0o777) == "0o600"
    assert oct(outboxes.stat().st_mode & 0o777) == "0o700"
    whole = box.path.read_bytes()
    box.close()
    for cut in range(len(whole) + 1):
        box.path.write_bytes(whole[:cut])
        [left] = list(left_behind(outboxes))
        held = whole[:cut].count(b"\n") - 1
        assert [one.answer for one in left.steps] == [str(number) for number in range(max(0, held))]
        assert left.workflow_run_id == ("wfr_1" if held >= 0 else None)


def test_a_cleared_box_holds_nothing_and_goes_with_its_kernel(outboxes):
    box = Outbox(outboxes, "wfr_2")
    box.add(step(1))
    box.clear()
    assert b"tok_1" not in box.path.read_bytes()
    box.add(step(2))
    assert len(lines(box.path)) == 2
    box.clear()
    box.close()
    assert list(outboxes.iterdir()) == []


def test_a_folder_of_somebody_else_is_not_written_to(outboxes, tmp_path):
    outboxes.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    outboxes.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        Outbox(outboxes, "wfr_3")
