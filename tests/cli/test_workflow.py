"""`jupyter agent workflow …` as a person calls it, over a real server."""

import asyncio
import json
import signal

import pytest

from tests.cli.test_cli import Called
from tests.live_server import TOKEN, LiveServer

ADDS = """
meta = {"name": "adds", "description": "Adds numbers", "phases": ["Add"],
        "args": {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {
            "a": {"type": "integer", "description": "The first"}, "b": {"type": "string"}}}}
phase("Add")
said = await agent(f"{args['a'] + 1} {args.get('b', '')}", label="say", model="echo", tools=[])
log("nearly there")
if said.startswith("0"):
    raise ValueError("nothing to add")
{"report": f"The sum is {said.strip()}.", "sum": said}
"""


@pytest.fixture
async def server(tmp_path):
    folder = tmp_path / "root" / ".jupyter_agent" / "workflows"
    folder.mkdir(parents=True)
    (folder / "adds.py").write_text(ADDS)
    (folder / "broken.py").write_text('meta = {"name": "broken"}\nx = (\n')
    async with LiveServer(tmp_path) as started:
        yield started


async def test_from_the_list_to_the_result(server):
    code, out, err = await Called(server, "workflow", "list")()
    assert code == 0, err
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "built-in" in lines["review-code"]
    assert "ready" in lines["review-code"]
    assert "not approved" in lines["adds"]
    assert "broken, line 2" in lines["broken.py"]

    code, out, err = await Called(server, "workflow", "run", "adds", "-a", "a=1")()
    assert (code, out) == (2, "")
    assert "approve it first" in err
    assert "Traceback" not in err

    code, out, err = await Called(server, "workflow", "approve", "adds", answers="n\n")()
    assert (code, "await agent(" in out) == (1, True)
    assert "Not approved" in err
    code, out, err = await Called(server, "workflow", "approve", "adds")()
    assert code == 1
    digest = err.split("--digest ")[1].strip()
    code, _, err = await Called(server, "workflow", "approve", "adds", "--digest", "0" * 64)()
    assert (code, "another text by now" in err) == (2, True)
    code, _, err = await Called(server, "workflow", "approve", "adds", "--digest", digest)()
    assert (code, "Approved: adds" in err) == (0, True)

    code, out, err = await Called(server, "workflow", "show", "adds")()
    assert (code, "await agent(" in out) == (0, True)
    assert "a: The first" in err
    assert digest in err

    code, out, err = await Called(server, "workflow", "run", "adds", "--args", "a=1", "b=2")()
    assert (code, out) == (0, "The sum is 2 2.\n"), err
    assert "▸ Add" in err
    assert "✓ say" in err
    assert "nearly there" in err
    assert "0 of 1 call from the store" in err
    code, out, err = await Called(
        server, "workflow", "run", "adds", "--json", "-", "--whole", "--budget", "5000", stdin='{"a": 1, "b": "2"}'
    )()
    assert (code, json.loads(out)["sum"]) == (0, "2 2")
    assert "= say · from the store" in err
    assert "1 of 1 call from the store" in err
    run = err.split(" of adds")[0].split()[-1]
    assert (await server.request("GET", f"jupyter-agent/api/workflow-runs/{run}/budget"))[1]["tokens"] == 5000
    code, _, err = await Called(server, "workflow", "run", "adds", "-a", "a=1", "--budget", "0")()
    assert (code, "above 0" in err) == (2, True)
    assert TOKEN not in out + err


async def test_what_fails_or_cannot_be_has_its_exit_code(server):
    code, _, err = await Called(server, "workflow", "run", "nowhere")()
    assert (code, "There is no workflow 'nowhere'" in err) == (2, True)
    for given in (["-a", "a"], ["--json", "[1]"], ["--json", "{"], ["-a", "a=x"], ["-a", "c=1", "a=1"]):
        code, out, err = await Called(server, "workflow", "run", "adds", *given)()
        assert (code, out) == (2, ""), given
        assert "Traceback" not in err
    _, _, err = await Called(server, "workflow", "approve", "adds")()
    await Called(server, "workflow", "approve", "adds", "--digest", err.split("--digest ")[1].strip())()
    code, out, err = await Called(server, "workflow", "run", "adds", "-a", "a=-1")()
    assert (code, out) == (1, "")
    assert "ValueError: nothing to add" in err
    run = err.split("workflow resume ")[1].strip()
    code, _, err = await Called(server, "workflow", "resume", run)()
    assert code == 1
    assert f"This resumes {run}" in err
    code, out, err = await Called(server, "workflow", "status", run)()
    assert (code, "failed" in out, "nothing to add" in out) == (1, True, True)
    code, _, err = await Called(server, "workflow", "cancel", run)()
    assert (code, "has ended before" in err) == (2, True)
    code, out, err = await Called(server, "workflow", "status")()
    assert (code, len(out.splitlines())) == (0, 2)
    code, _, err = await Called(server, "workflow", "status", "wfr_none")()
    assert code == 2


async def test_a_detached_run_is_looked_at_and_cancelled(server):
    (server.root / "a.py").write_text("x = 1\n")
    code, out, err = await Called(
        server, "workflow", "run", "review-code", "-a", "path=a.py", 'aspects=["speed"]', "--detach"
    )()
    assert code == 0, err
    run = out.strip()
    code, out, err = await Called(server, "workflow", "status", run)()
    assert (code, run in out) == (0, True), err
    code, _, err = await Called(server, "workflow", "cancel", run)()
    assert code == 0, err
    code, out, err = await Called(server, "workflow", "status", run, "--follow")()
    assert code == 1
    assert "interrupted" in err


async def test_ctrl_c_ends_the_run(server):
    folder = server.home / "config" / "agent" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    text = 'meta = {"name": "endless"}\nimport asyncio\nlog("on")\nawait asyncio.sleep(600)'
    (folder / "endless.py").write_text(text)
    called = Called(server, "workflow", "run", "endless")
    process = await asyncio.create_subprocess_exec(
        *called._command, env=called._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        # Whatever runs the tests in the background may ignore it, and what it starts with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
    assert line.startswith("wfr_")
    await asyncio.wait_for(process.stderr.readline(), 60)
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    _, told = await server.request("GET", f"jupyter-agent/api/workflow-runs/{line.split()[0]}/status")
    assert told["status"] == "interrupted"
