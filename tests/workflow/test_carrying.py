"""A script in the sandbox, with its words done by a host: real workers, no stand-ins for them."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from jupyter_agent.exceptions import SandboxUnavailable, WorkflowFailed
from jupyter_agent.workflow import sandbox as sandbox_module
from jupyter_agent.workflow.dumps import Dumps
from jupyter_agent.workflow.limits import Limits
from jupyter_agent.workflow.sandbox import Sandbox

from .hosts import LoudHost, carry

WITHIN_S = 10.0
"""Until a cancelled script's process is gone: two seconds, and what a busy machine adds."""


async def test_cells_share_one_session_and_the_last_expression_is_the_result(sandbox):
    host = LoudHost(path="a.py")
    text = """
phase("Read")
code = await agent(f"read {args['path']}", label="read", tools=["read_file"])
# %%
phase("Review")
views = await parallel([agent(what, schema={"answer": str}) for what in ["one", "bad", "two"]])
# %%
print("half", "way")
{"code": code, "views": views}  # the result
"""
    assert await carry(sandbox, text, host) == {
        "code": "READ A.PY",
        "views": [{"answer": "ONE"}, None, {"answer": "TWO"}],
    }
    assert host.said == [
        "# Read",
        "# Review",
        "parallel: item 1 failed: RuntimeError: ModelUnavailable: It is out.",
        "half way",
    ]
    first, second = host.calls[:2]
    assert (first.label, first.phase, first.tools) == ("read", "Read", ("read_file",))
    assert second.schema is not None
    assert second.schema["properties"] == {"answer": {"type": "string"}}


async def test_a_call_starts_when_it_is_awaited_and_belongs_to_the_phase_in_which_it_was_made(sandbox):
    host = LoudHost()
    text = "phase('A')\nc = agent('c')\nphase('B')\nd = await agent('d')\nunused = agent('never')\n[await c, d]"
    assert await carry(sandbox, text, host) == ["C", "D"]
    assert [(call.prompt, call.phase) for call in host.calls] == [("d", "B"), ("c", "A")]


async def test_many_calls_work_at_the_same_time(sandbox):
    host = LoudHost()
    host.together = 300  # none of them ends before all have begun
    text = "import asyncio\nsum(len(r) for r in await asyncio.gather(*[agent(f'wait {n:03}') for n in range(300)]))"
    assert await carry(sandbox, text, host) == 300 * 8
    assert host.most == 300


async def test_a_pipeline_has_no_barrier_and_limits_are_kept(sandbox):
    host = LoudHost()
    host.frees = "I2+2"
    text = """
def first(previous, item, index):
    return agent("wait" if item == 0 else f"i{item}")
async def second(previous, item, index):
    log(f"{index} {previous}")
    return await agent(f"{previous}+{item}")
await pipeline([0, 1, 2], first, second, limit=2)
"""
    assert await carry(sandbox, text, host) == ["WAIT+0", "I1+1", "I2+2"]
    assert host.said == ["1 I1", "2 I2", "0 WAIT"]
    assert host.most == 2


async def test_failures_are_exceptions_inside_and_sentences_outside(sandbox):
    text = "try:\n    await agent('bad')\nexcept RuntimeError as fault:\n    said = str(fault)\nsaid"
    assert await carry(sandbox, text) == "ModelUnavailable: It is out."
    with pytest.raises(WorkflowFailed, match=r"^Line 6: RuntimeError: ModelUnavailable: It is out\.$") as failed:
        await carry(sandbox, "x = 1\n# %%\n\nawait agent('bad')")
    assert failed.value.details == {"type": "RuntimeError", "line": 6, "cell": None}
    with pytest.raises(WorkflowFailed, match="Line 4: ZeroDivisionError"):
        await carry(sandbox, "def f():\n    return 1 / 0\nf()")
    with pytest.raises(WorkflowFailed, match="4,097 items are more than the 4,096"):
        await carry(sandbox, "await parallel([agent(str(n)) for n in range(4097)])")


async def test_people_other_workflows_and_the_budget(sandbox):
    host = LoudHost()
    host.let_go.set()
    text = (
        "await agent('x')\n"
        "[await gate('Merge?', 'all of it'), await ask('Which?', schema={'colour': str}),\n"
        " await workflow('other', name=1), budget.total, budget.cost, budget.spent(), budget.remaining()]"
    )
    assert await carry(sandbox, text, host) == [True, "blue", ["other", {"name": 1}], 1000, 0.5, 10, 990]
    assert [host.asked[0], host.asked[1][0]] == [("Merge?", "all of it"), "Which?"]
    assert host.asked[1][1]["properties"] == {"colour": {"type": "string"}}
    assert await carry(sandbox, "[await gate('Never?'), await ask('Why?')]", host) == [False, "blue"]
    assert host.said == ["Gate 'Never?' was rejected: No."]
    for text in ("await ask('')", "await ask('x', schema=[str])", "await gate('t' * 2000)", "await workflow(3)"):
        with pytest.raises(WorkflowFailed):
            await carry(sandbox, text, host)


async def test_time_and_randomness_are_fixed_at_the_start(sandbox):
    text = (
        "import time, random, datetime\n"
        "[time.time(), datetime.datetime.now().isoformat(), random.random(), random.Random().random(), "
        "hash('a'), list({'b', 'a', 'c'})]"
    )
    first = await carry(sandbox, text)
    await asyncio.sleep(0.01)
    assert await carry(sandbox, text) == first
    assert first[:2] == [1777863721.0, "2026-05-04T03:02:01"]
    assert (await carry(sandbox, text, run_id="run_2"))[2] != first[2]


async def test_a_run_that_waits_gives_its_worker_back_and_goes_on(sandbox):
    """Twenty runs wait for one gate with two workers; then all of them end."""
    host = LoudHost()
    text = "x = [1, 2]\ndef f(y): return [x, y]\nasync def g(): return f(await agent('wait'))\nawait g()"
    limits = Limits(hold_s=0.02)
    waiting = [asyncio.create_task(carry(sandbox, text, host, run_id=f"run_{n}", limits=limits)) for n in range(20)]
    async with asyncio.timeout(20):
        while host.working < 20:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert await carry(sandbox, "await agent('in between')") == "IN BETWEEN"
        host.let_go.set()
        assert await asyncio.gather(*waiting) == [[[1, 2], "WAIT"]] * 20
    assert len(host.calls) == 20


async def test_a_dumped_run_goes_on_in_another_server(sandbox, tmp_path):
    text = (
        "first = await agent('first')\n# %%\nphase('P')\n"
        "both = await parallel([agent('wait a'), agent('wait b')])\n# %%\n"
        "[first, both, await agent('last'), budget.total]"
    )
    dumps = Dumps(tmp_path, sandbox="1.4.0")
    before = LoudHost()
    run = asyncio.create_task(carry(sandbox, text, before, dumps=dumps, limits=Limits(hold_s=0.01)))
    kept = tmp_path / "workflow-dumps" / "run_1"
    async with asyncio.timeout(20):
        while not kept.exists():
            await asyncio.sleep(0.01)
    data = kept.read_bytes()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert before.stopped == 2
    # A server that is killed leaves the file behind.
    assert kept.read_bytes() == data
    after = LoudHost()
    after.let_go.set()
    result = ["FIRST", ["WAIT A", "WAIT B"], "LAST", 1000]
    assert await carry(sandbox, text, after, dumps=dumps) == result
    assert [(call.prompt, call.phase) for call in after.calls] == [("wait a", "P"), ("wait b", "P"), ("last", "P")]
    assert not kept.exists()


@pytest.mark.parametrize("harm", ["flip a bit", "cut", "other run", "newer sandbox", "other script", "other key"])
async def test_a_dump_that_cannot_be_trusted_is_ignored_and_the_run_replayed(sandbox, tmp_path, harm):
    text = "first = await agent('first')\nsecond = await agent('wait')\n[first, second]"
    limits = Limits(hold_s=0.01)
    dumps = Dumps(tmp_path, sandbox="1.5.0" if harm == "newer sandbox" else "1.4.0")
    run = asyncio.create_task(carry(sandbox, text, dumps=dumps, limits=limits))
    folder = tmp_path / "workflow-dumps"
    async with asyncio.timeout(20):
        while not (folder / "run_1").exists():
            await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.wait([run])
    data = (folder / "run_1").read_bytes()
    run_id = "run_1"
    match harm:
        case "flip a bit":
            (folder / "run_1").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "cut":
            (folder / "run_1").write_bytes(data[:20])
        case "other run":
            (folder / "run_2").write_bytes(data)
            run_id = "run_2"
        case "other script":
            text = text.replace("[first", "[0, first")
        case "other key":
            (tmp_path / "workflow.key").write_bytes(bytes(32))
    host = LoudHost()
    host.let_go.set()
    result = await carry(sandbox, text, host, run_id=run_id, dumps=Dumps(tmp_path, sandbox="1.4.0"), limits=limits)
    assert result[-2:] == ["FIRST", "WAIT"]
    assert [call.prompt for call in host.calls] == ["first", "wait"]


@pytest.mark.parametrize("text", ["while True: pass", "await agent('wait')", "import time\ntime.sleep(60)"])
async def test_cancel_ends_the_script_and_its_calls(sandbox, text):
    host = LoudHost()
    run = asyncio.create_task(carry(sandbox, text, host, limits=Limits(cell_s=60)))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert host.stopped == len(host.calls)
    while _working():
        assert time.monotonic() - began < WITHIN_S
        await asyncio.sleep(0.05)


def _working() -> list[str]:
    """Returns the workers of this process that use a processor."""
    if not sys.platform.startswith("linux"):
        return []
    running = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid() and "monty" in name and state == "R":
            running.append(name)
    return running


async def test_without_a_sandbox_it_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(sandbox_module, "find_spec", lambda _name: None)
    with pytest.raises(SandboxUnavailable, match=r"pip install 'jupyter_agent\[sandbox\]'"):
        async with Sandbox():
            pass
    monkeypatch.undo()
    monkeypatch.setenv("MONTY_BIN", "/nowhere/monty")
    with pytest.raises(SandboxUnavailable, match="could not be started"):
        async with Sandbox():
            pass
