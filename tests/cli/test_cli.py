"""`jupyter agent …` as a person calls it: real processes, a real server, a terminal where one is needed."""

import asyncio
import json
import os
import pty
import sys

import psutil
import pytest

from jupyter_agent.cli import main
from jupyter_agent.gateway.app import AgentGateway
from tests.live_server import TOKEN, LiveServer

WRITE = [
    {"text": "I write.", "calls": [{"name": "create_file", "arguments": {"path": "a.txt", "content": "x\n"}}]},
    "Done.",
]


@pytest.fixture
async def server(tmp_path):
    async with LiveServer(tmp_path) as started:
        yield started


def environment(server: LiveServer) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(server.home), "JUPYTER_RUNTIME_DIR": str(server.home / "runtime")}


class Called:
    """A command that runs; with `answers` it sits at a terminal where these lines are typed."""

    def __init__(self, server: LiveServer, *arguments: str, answers: str | None = None, stdin: str = "") -> None:
        self._command = [sys.executable, "-m", "jupyter_agent.cli", *arguments]
        self._env = environment(server)
        self._answers = answers
        self._stdin = stdin

    async def __call__(self, timeout_s: float = 60.0) -> tuple[int | None, str, str]:
        """Returns exit code, stdout and stderr."""
        leader, follower = pty.openpty() if self._answers is not None else (None, asyncio.subprocess.PIPE)
        process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdin=follower, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        if leader is not None and self._answers is not None:
            os.close(follower)
            os.write(leader, self._answers.encode())
        try:
            given = self._stdin.encode() if leader is None else None
            out, err = await asyncio.wait_for(process.communicate(given), timeout_s)
        finally:
            if process.returncode is None:
                process.kill()
            if leader is not None:
                os.close(leader)
        return process.returncode, out.decode(), err.decode()


async def test_run_gives_text_to_stdout_and_the_rest_to_stderr(server):
    code, out, err = await Called(server, "run", "-m", "echo", "Hello there")()
    assert code == 0, err
    assert "Hello there" in out
    assert "completed" in err
    assert "completed" not in out
    assert TOKEN not in out + err


async def test_run_reads_its_prompt_from_stdin(server):
    code, out, err = await Called(server, "run", "-m", "echo", "-", stdin="from a pipe")()
    assert (code, "from a pipe" in out) == (0, True), err


async def test_run_without_a_terminal_rejects_what_would_ask(server, tmp_path):
    script = tmp_path / "script.json"
    script.write_text(json.dumps(WRITE))
    code, out, err = await Called(server, "run", "--script", str(script), "Write.")()
    assert code == 0, err
    assert "Done." in out
    assert "create_file" in err
    assert "rejected" in err
    assert not (server.root / "a.txt").exists()


@pytest.mark.parametrize(("answers", "written"), [("y\n", True), ("what\nn\nno thanks\n", False)])
async def test_run_on_a_terminal_asks(server, tmp_path, answers, written):
    script = tmp_path / "script.json"
    script.write_text(json.dumps(WRITE))
    code, _, err = await Called(server, "run", "--script", str(script), "Write.", answers=answers)()
    assert code == 0, err
    assert "create_file wants to write" in err
    assert "a.txt" in err
    assert (server.root / "a.txt").exists() is written


async def test_a_failed_run_has_an_exit_code_and_a_reason(server, tmp_path):
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"fail": {"code": "bad_credentials", "message": "The key is wrong."}}]))
    code, _, err = await Called(server, "run", "--script", str(script), "x")()
    assert code == 1
    assert "The key is wrong." in err


async def test_approve_lists_and_decides_what_waits(server):
    code, _, err = await Called(server, "approve")()
    assert (code, err) == (0, "Nothing waits for a person.\n")
    run_id = await server.start_run(
        [*WRITE[:1], {"calls": [{"name": "ask_user", "arguments": {"prompt": "Why?"}}]}, "Ok."]
    )
    for _ in range(200):
        if (await server.run(run_id))["status"] == "waiting_confirmation":
            break
        await asyncio.sleep(0.05)
    code, _, err = await Called(server, "approve", "--list")()
    assert code == 0
    assert run_id in err
    assert "create_file wants to write" in err
    assert not (server.root / "a.txt").exists()
    code, _, err = await Called(server, "approve", answers="y\nBecause.\n")()
    assert code == 0, err
    assert (server.root / "a.txt").read_text() == "x\n"
    for _ in range(200):
        if (await server.run(run_id))["status"] == "completed":
            break
        await asyncio.sleep(0.05)
        if (await server.run(run_id))["status"] == "waiting_input":
            await Called(server, "approve", answers="Because.\n")()
    assert (await server.run(run_id))["status"] == "completed"


async def test_without_a_server_the_command_that_starts_one_is_named(tmp_path):
    server = LiveServer(tmp_path)
    code, out, err = await Called(server, "run", "x")()
    assert (code, out) == (2, "")
    assert "jupyter lab" in err
    assert "Traceback" not in err


async def test_the_demo_runs_the_main_job_and_leaves_nothing_behind(tmp_path):
    server = LiveServer(tmp_path)
    code, out, err = await Called(server, "demo")(timeout_s=240)
    assert code == 0, err
    for heading in ("ANSWER", "TURNS", "TOOL CALLS", "USAGE"):
        assert heading in out
    assert "survey.csv` has the most missing values: 66 of 480" in out
    assert "approved by the second client" in out
    assert "run_cell wants to execute code" in err
    assert "import pandas as pd" in err
    left = [process.info for process in psutil.process_iter(["cmdline"]) if "jupyter-agent-demo-" in str(process.info)]
    assert not left


async def test_a_demo_that_cannot_work_says_so(tmp_path):
    code, out, err = await Called(LiveServer(tmp_path), "demo", "--data", str(tmp_path))()
    assert (code, out) == (2, "")
    assert "no CSV files" in err


async def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jupyter_agent.cli", "demo", env=environment(LiveServer(tmp_path)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert b"Jupyter server" in await asyncio.wait_for(process.stdout.readline(), 60)
    await asyncio.wait_for(process.stdout.readline(), 60)
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    process.terminate()
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    _, left = await asyncio.to_thread(psutil.wait_procs, started, timeout=10)
    assert not left


async def test_commands_are_listed():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jupyter_agent.cli", "--help", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    for command in ("run", "approve", "demo", "prune"):
        assert f"\n    {command} " in out.decode()


def test_settings_shows_every_setting(capsys):
    assert main(["settings"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--AgentGateway.{name}=" in shown for name in AgentGateway.class_own_traits(config=True))
