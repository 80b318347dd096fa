"""Runs in scripts, at the command line and in plain IPython, at a real terminal and without one."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_agent.client.status_line import StatusLine, columns
from tests.cli.test_cli import environment
from tests.client.terminal import Screen, Terminal
from tests.live_server import TOKEN, LiveServer

ROOT = Path(__file__).parents[2]
SLOW = """
import sys, time
import jupyter_agent as ja

@ja.tool
def count_slowly(to: int, why: str) -> int:
    "Counts."
    time.sleep(2.5)
    return to

script = [
    {"thinking": "Let me think. " * 4, "duration_s": 1.5, "text": "I count.\\nSlowly. 語",
     "calls": [{"name": "count_slowly", "arguments": {"to": 3, "why": "語 " * 60}}]},
    {"calls": [{"name": "count_slowly", "arguments": {"to": 4, "why": "again"}}]},
    {"text": "It is four.", "wait_s": 1},
]
run = ja.run("Count.", model="scripted", script=script)
print("started", flush=True)
print("the answer:", run.result())
"""


@pytest.fixture
async def server(tmp_path):
    async with LiveServer(tmp_path) as started:
        yield started


def script_of(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def environment_of(server):
    return environment(server) | {"JUPYTER_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}


def bottoms(terminal):
    """The last lines that were on the screen, one after the other, without repetitions."""
    found = []
    for shot in terminal.shots:
        if shot[-1] and (not found or found[-1] != shot[-1]):
            found.append(shot[-1])
    return found


async def test_while_it_is_awaited_one_line_tells_how_far_it_is(server, tmp_path):
    with Terminal(script_of(tmp_path, SLOW), environment_of(server), width=70) as terminal:
        code = await asyncio.to_thread(terminal.end)
    assert code == 0, terminal.screen.text
    lines = terminal.screen.text
    assert not re.search("\x1b", terminal.raw)
    # What stays is what happened, each once; nothing is left of the line below.
    text = "\n".join(lines)
    for words in ("▸ run run_", "I count.\nSlowly. 語\n  ✓ count_slowly(to=3", 'count_slowly(to=4, why="again")',
                  "It is four.\n✓ completed", "the answer: It is four."):  # fmt: skip
        assert text.count(words) == 1, (words, lines)
    # Below it told the time as it went, and what was being done; never more than one line of the screen.
    told = [line for line in bottoms(terminal) if line.startswith("▸ running")]
    assert all(columns(line) < 70 for line in told)
    assert len({re.search(r"· ([\d.]+ m?s)", line)[1] for line in told}) >= 8
    assert any("count_slowly(to=" in line for line in told)
    assert any("1 turn ·" in line for line in told)
    assert not [line for line in lines if line.startswith("▸ running")]


@pytest.mark.parametrize("how", ["a file", "a dumb terminal"])
async def test_without_a_terminal_there_are_only_lines(server, tmp_path, how):
    if how == "a file":
        done = await asyncio.to_thread(
            subprocess.run, script_of(tmp_path, SLOW), env=environment_of(server), capture_output=True, check=True
        )
        out, err = done.stdout.decode(), done.stderr.decode()
    else:
        with Terminal(script_of(tmp_path, SLOW), environment_of(server) | {"TERM": "dumb"}) as terminal:
            assert await asyncio.to_thread(terminal.end) == 0
        out = err = terminal.raw.replace("\r\n", "\n")
    assert not re.search("[\r\b\x1b]", out + err)
    assert "the answer: It is four." in out
    assert err.count("count_slowly(to=3") == 1, "A tool call is told when it has ended."
    assert "I count.\nSlowly. 語\n  ✓ count_slowly(to=3" in err
    assert "✓ completed" in err
    assert "running" not in err


async def test_what_the_program_prints_itself_stays_as_it_is(server, tmp_path):
    """As long as the run is not awaited nothing is written over."""
    text = SLOW.replace('print("the answer:", run.result())', "").replace('print("started", flush=True)', "")
    text += "for n in range(30):\n    print('#', end='', flush=True); time.sleep(0.1)\nprint()\n"
    text += "try:\n    run.result(timeout=1.5)\nexcept TimeoutError:\n    print('not yet')\nrun.interrupt()\n"
    with Terminal(script_of(tmp_path, text), environment_of(server)) as terminal:
        assert await asyncio.to_thread(terminal.end) == 0
    assert sum(line.count("#") for line in terminal.screen.text) == 30
    assert "not yet" in terminal.screen.text, terminal.screen.text
    before = terminal.raw[: terminal.raw.rindex("#")]
    assert "▸ running" not in before
    assert "▸ running" in terminal.raw


async def test_what_waits_is_told_with_how_to_answer_and_the_line_below_makes_room(server, tmp_path):
    text = """
import jupyter_agent as ja
script = [{"calls": [{"name": "create_file", "arguments": {"path": "a.txt", "content": "x"}}]},
          {"calls": [{"name": "ask_user", "arguments": {"prompt": "Which colour?"}}]}, "Done."]
print(ja.run("Write.", model="scripted", script=script).result())
"""
    with Terminal(script_of(tmp_path, text), environment_of(server), width=200) as terminal:
        await asyncio.to_thread(terminal.until, "create_file wants to write")
        [asked] = [line for line in terminal.screen.text if "create_file wants to write" in line]
        assert re.search(r"\(apr?\w*_\w+\)", asked), asked
        assert "jupyter agent approve" in asked
        for _ in range(8):
            await asyncio.to_thread(terminal.read, 0.2)
        assert terminal.screen.text[-1] == "", "Nobody works, so nothing is told to go on."
        _, page = await server.request("GET", "jupyter-agent/api/runs?status=waiting_confirmation")
        run_id = page["items"][0]["runId"]
        _, page = await server.request("GET", f"jupyter-agent/api/runs/{run_id}/approvals")
        approval_id = page["items"][0]["approvalId"]
        assert approval_id in asked
        await server.request("POST", f"jupyter-agent/api/approvals/{approval_id}", {"approved": True})
        await asyncio.to_thread(terminal.until, "Which colour?")
        assert "run.answer(" in "\n".join(terminal.screen.text)
        _, page = await server.request("GET", f"jupyter-agent/api/runs/{run_id}/inputs")
        await server.request(
            "POST", f"jupyter-agent/api/runs/{run_id}/inputs/{page['items'][0]['requestId']}", {"content": "red"}
        )
        assert await asyncio.to_thread(terminal.end) == 0
    assert "Done." in terminal.screen.text


async def test_the_command_asks_without_the_line_below_in_the_way(server, tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text(
        "- {wait_s: 1.5, calls: [{name: create_file, arguments: {path: a.txt, content: x}}]}\n"
        "- {text: Done., wait_s: 1}\n"
    )
    command = [sys.executable, "-m", "jupyter_agent.cli", "run", "--script", str(script), "Write."]
    with Terminal(command, environment_of(server), width=100) as terminal:
        await asyncio.to_thread(terminal.until, "▸ running")
        await asyncio.to_thread(terminal.until, "create_file wants to write")
        for _ in range(10):
            await asyncio.to_thread(terminal.read, 0.2)
        assert "▸ running" not in "\n".join(terminal.screen.text)
        asking = terminal.screen.text[-1]
        assert asking, "The question stands in the last line."
        terminal.type("y\n")
        assert await asyncio.to_thread(terminal.end) == 0
    text = terminal.screen.text
    assert f"{asking} y" in [" ".join(line.split()) for line in text] or f"{asking}y" in text
    assert "Done." in text
    assert "▸ running" not in "\n".join(text)
    assert (server.root / "a.txt").read_text() == "x"


async def test_an_interrupt_leaves_a_clean_line(server, tmp_path):
    text = (
        "import jupyter_agent as ja\n"
        "run = ja.run('x', model='scripted', script=[{'wait_s': 60, 'text': 'never'}])\n"
        "try:\n    run.result()\nexcept KeyboardInterrupt:\n    print('stopped it')\n"
    )
    with Terminal(script_of(tmp_path, text), environment_of(server)) as terminal:
        await asyncio.to_thread(terminal.until, "▸ running")
        terminal.process.send_signal(2)
        assert await asyncio.to_thread(terminal.end) == 0
    lines = terminal.screen.text
    assert "stopped it" in lines, lines
    assert any(line.startswith("■ interrupted") for line in lines)
    assert not any("running" in line for line in lines)


async def test_a_run_that_speaks_slowly_is_not_written_into(server, tmp_path):
    text = """
import asyncio
import jupyter_agent as ja
async def main():
    slow = await ja.arun("Speak.", model="scripted", script=[{"text": "word " * 12, "duration_s": 3}])
    call = {"wait_s": 1, "calls": [{"name": "list_files", "arguments": {}}]}
    quick = await ja.arun("Look.", model="scripted", script=[call, "Looked."])
    await asyncio.gather(slow, quick)
asyncio.run(main())
"""
    with Terminal(script_of(tmp_path, text), environment_of(server), width=100) as terminal:
        assert await asyncio.to_thread(terminal.end) == 0, terminal.screen.text
    lines = [line for line in terminal.screen.text if line]
    spoken = [line for line in lines if "word" in line]
    assert len(spoken) > 1, "The other one spoke in between."
    assert all(set(line.split()) == {"word"} for line in spoken)
    assert sum(line.split().count("word") for line in spoken) == 12
    assert "Looked." in lines


async def test_runs_that_are_awaited_together_share_the_line(server, tmp_path):
    text = """
import asyncio
import jupyter_agent as ja
async def main():
    script = [{"wait_s": 1, "calls": [{"name": "list_files", "arguments": {}}]}, {"wait_s": 1, "text": "Done."}]
    runs = [await ja.arun(f"{n}", model="scripted", script=script) for n in range(3)]
    print(await asyncio.gather(*runs))
asyncio.run(main())
"""
    with Terminal(script_of(tmp_path, text), environment_of(server), width=100) as terminal:
        assert await asyncio.to_thread(terminal.end) == 0, terminal.screen.text
    lines = [line for line in terminal.screen.text if line]
    assert "['Done.', 'Done.', 'Done.']" in lines
    assert len([line for line in lines if line.startswith("✓ completed")]) == 3
    assert len([line for line in lines if line.startswith("  ✓ list_files()")]) == 3
    assert not [line for line in lines if "running" in line], lines


async def test_ipythons_prompt_is_left_alone(server, tmp_path):
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "--no-confirm-exit"]
    with Terminal(command, environment_of(server) | {"IPYTHONDIR": str(tmp_path / "ipython")}, width=120) as terminal:
        await asyncio.to_thread(terminal.until, "In [1]")
        terminal.type("import jupyter_agent as ja\r")
        await asyncio.to_thread(terminal.until, "In [2]")
        at = len(terminal.raw)
        terminal.type("run = ja.run('x', model='scripted', script=[{'wait_s': 3, 'text': 'Done.'}])\r")
        await asyncio.to_thread(terminal.until, "✓ completed")
        assert "▸ running" not in terminal.raw[at:], "The prompt is open: there is no line to write over."
        terminal.type("ja.run('y', model='scripted', script=[{'wait_s': 2, 'text': 'Well.'}]).result()\r")
        await asyncio.to_thread(terminal.until, "Out[3]")
        assert "▸ running" in terminal.raw[at:]
        terminal.type("exit()\r")
        await asyncio.to_thread(terminal.end)


# --- the line -------------------------------------------------------------------------------------------------


def test_columns_are_those_of_a_terminal():
    assert columns("abc") == 3
    assert columns("語ab") == 4
    assert columns("e\u0301\u200b") == 1


def test_the_screen_of_these_tests_is_one():
    screen = Screen(5)
    screen.take("abc\rX\nlonger\b!\r\n語語語")
    assert screen.text == ["Xbc", "longe", "!", "語語", "語"]


def test_without_a_terminal_there_is_no_line(capsys):
    assert not StatusLine().is_possible
