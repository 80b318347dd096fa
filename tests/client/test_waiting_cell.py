"""A cell that waits for a run carries out what the run asks of its kernel. A real kernel, a real socket."""

import asyncio
import base64
import json
import os
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_async_kernel

from jupyter_agent.records import RunStatus
from tests.client.conftest import until
from tests.client.peer import TOKEN, run_record

ROOT = Path(__file__).parents[2]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


class Kernel:
    """A kernel whose cells are executed one after another; `outputs` has what a notebook would show."""

    def __init__(self, manager, client) -> None:
        self.manager = manager
        self.client = client
        self.outputs: list[dict] = []

    async def execute(self, code: str, timeout_s: float = 30.0) -> dict:
        """Returns the reply of one cell."""
        self.outputs = []

        def shown(message) -> None:
            if message["msg_type"] not in {"status", "execute_input"}:
                self.outputs.append({"type": message["msg_type"], **message["content"]})

        reply = await asyncio.wait_for(
            self.client.execute_interactive(code, output_hook=shown, timeout=timeout_s), timeout_s
        )
        return reply["content"]

    def text(self) -> str:
        return "".join(output.get("text", "") for output in self.outputs if output["type"] == "stream")


@pytest.fixture
async def kernel(peer, tmp_path):
    env = {
        **os.environ, "JUPYTER_AGENT_URL": peer.url, "JUPYTER_AGENT_TOKEN": TOKEN, "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path),
    }  # fmt: skip
    manager, client = await start_new_async_kernel(env=env, cwd=str(tmp_path), startup_timeout=60)
    peer.answers["runs/run_peer"] = run_record()
    yield Kernel(manager, client)
    client.stop_channels()
    await manager.shutdown_kernel(now=True)


@pytest.fixture
def journal(peer):
    made = peer.journal()
    made.begin()
    return made


async def call(peer, code=None, *, name="run_cell", call_id="call_1", arguments=None, wait=True):
    """Asks the waiting cell to carry a call out and returns its answer."""
    await until(lambda: any(name in frame.get("tools", ()) for frame in peer.commands("follow")))
    before = len(peer.commands("client_tool_result"))
    [socket] = peer.sockets
    socket.say(
        {
            "type": "client_tool_call", "runId": "run_peer", "toolCallId": call_id, "name": name,
            "arguments": json.dumps(arguments if arguments is not None else {"code": code}), "timeoutS": 60.0,
        }
    )  # fmt: skip
    if not wait:
        return None
    await until(lambda: len(peer.commands("client_tool_result")) > before)
    return peer.commands("client_tool_result")[-1]


OPEN = "import jupyter_agent as ja\nrun = ja.open('run_peer')\n"
WAYS = pytest.mark.parametrize("wait", ["run.result()", "await run"])


async def finish(journal, waiting):
    journal.say("Done.")
    journal.end()
    return await asyncio.wait_for(waiting, 20)


@WAYS
async def test_code_runs_in_the_users_namespace_while_the_cell_waits(peer, kernel, journal, wait):
    waiting = asyncio.create_task(kernel.execute(f"{OPEN}x = 20\nanswer = {wait}\nprint(answer, y)"))
    said = await call(peer, "print('to stdout')\ny = x + 1\ny * 2")
    assert said["result"] == "to stdout\n42\n"
    assert "isError" not in said
    assert "".join(frame["content"] for frame in peer.commands("client_tool_progress")) == "to stdout\n42\n"
    reply = await finish(journal, waiting)
    assert reply["status"] == "ok"
    assert kernel.text() == "Done. 21\n"


@WAYS
async def test_an_exception_in_the_code_is_an_answer_and_no_output_of_the_cell(peer, kernel, journal, wait):
    waiting = asyncio.create_task(kernel.execute(OPEN + wait))
    said = await call(peer, "print('before')\n1 / 0")
    assert said["isError"] is True
    assert said["result"].startswith("before\n")
    assert "ZeroDivisionError: division by zero" in said["result"]
    assert "\x1b[" not in said["result"]
    broken = await call(peer, "def (", call_id="call_2")
    assert "SyntaxError" in broken["result"]
    reply = await finish(journal, waiting)
    assert reply["status"] == "ok"
    assert not [output for output in kernel.outputs if output["type"] == "error"]


@WAYS
async def test_pictures_and_tables_come_along(peer, kernel, journal, wait):
    waiting = asyncio.create_task(kernel.execute(OPEN + wait))
    said = await call(
        peer,
        f"from IPython.display import display\ndisplay({{'image/png': '{PNG}', 'text/plain': '<picture>'}}, raw=True)\n"
        "import pandas as pd\npd.DataFrame({'a': [1]})",
    )
    assert said["mime"]["image/png"] == PNG
    assert "<table" in said["mime"]["text/html"]
    assert said["result"] == "<picture>\n   a\n0  1\n"
    await finish(journal, waiting)


@WAYS
async def test_top_level_await_works(peer, kernel, journal, wait):
    waiting = asyncio.create_task(kernel.execute(OPEN + wait))
    said = await call(peer, "import asyncio\nawait asyncio.sleep(0.01)\nprint('slept')\n'value'")
    assert said["result"] == "slept\n'value'\n"
    await finish(journal, waiting)


@WAYS
@pytest.mark.parametrize("code", ["import time\ntime.sleep(60)", "import asyncio\nawait asyncio.sleep(60)"])
async def test_a_cancelled_call_stops_at_once_and_the_cell_waits_on(peer, kernel, journal, wait, code):
    waiting = asyncio.create_task(kernel.execute(OPEN + wait))
    await call(peer, f"print('started')\n{code}", wait=False)
    await until(lambda: peer.commands("client_tool_progress"))
    [socket] = peer.sockets
    socket.say({"type": "client_tool_cancelled", "runId": "run_peer", "toolCallId": "call_1"})
    await until(lambda: peer.commands("client_tool_result"), timeout_s=5)
    assert peer.commands("client_tool_result")[0]["isError"] is True
    assert (await call(peer, "1 + 1", call_id="call_2"))["result"] == "2\n"
    assert not peer.commands("interrupt")
    assert (await finish(journal, waiting))["status"] == "ok"


@WAYS
@pytest.mark.parametrize("busy", [False, True])
async def test_the_stop_button_interrupts_the_run(peer, kernel, journal, wait, busy):
    waiting = asyncio.create_task(kernel.execute(OPEN + wait))
    await until(lambda: any("run_cell" in frame.get("tools", ()) for frame in peer.commands("follow")))
    if busy:
        await call(peer, "import time\nprint('started')\ntime.sleep(60)", wait=False)
        await until(lambda: peer.commands("client_tool_progress"))
    await kernel.manager.interrupt_kernel()
    await until(lambda: peer.commands("interrupt"), timeout_s=5)
    assert peer.commands("interrupt")[0]["runId"] == "run_peer"
    journal.end(RunStatus.INTERRUPTED)
    reply = await asyncio.wait_for(waiting, 20)
    assert reply["status"] == "error"
    assert reply["ename"] == "WaitInterrupted"
    assert len(reply["traceback"]) == 1
    assert (await kernel.execute("1 + 1"))["status"] == "ok"


async def test_the_same_call_twice_acts_once(peer, kernel, journal):
    waiting = asyncio.create_task(kernel.execute(f"{OPEN}n = 0\nrun.result()"))
    await call(peer, "n += 1\nn")
    again = await call(peer, "n += 1\nn")
    assert again["result"] == "1\n"
    await finish(journal, waiting)


async def test_tools_work_on_live_objects_in_the_main_thread_while_a_cell_waits(peer, kernel, journal):
    code = """
import threading, pandas as pd
import jupyter_agent as ja
df = pd.DataFrame({"city": ["Oslo", "Rome", "Oslo"]})

@ja.tool
def rows_where(city: str) -> dict:
    "Counts rows."
    return {"rows": int((df.city == city).sum()), "main": threading.current_thread() is threading.main_thread()}

@ja.tool
async def slow(seconds: float) -> str:
    import asyncio
    await asyncio.sleep(seconds)
    return "slept"

run = ja.open("run_peer")
"""
    assert (await kernel.execute(code))["status"] == "ok"
    beside = await call(peer, name="rows_where", arguments={"city": "Oslo"})
    assert beside["result"] == '{"rows":2,"main":false}'
    waiting = asyncio.create_task(kernel.execute("run.result()"))
    await until(lambda: any("run_cell" in frame.get("tools", ()) for frame in peer.commands("follow")))
    inside = await call(peer, name="rows_where", arguments={"city": "Rome"}, call_id="call_2")
    assert inside["result"] == '{"rows":1,"main":true}'
    assert (await call(peer, name="slow", arguments={"seconds": 0.01}, call_id="call_3"))["result"] == "slept"
    wrong = await call(peer, name="rows_where", arguments={"town": "Rome"}, call_id="call_4")
    assert wrong["isError"] is True
    assert "do not fit" in wrong["result"]
    await finish(journal, waiting)


async def test_code_for_a_cell_that_waits_no_more_is_refused_not_queued(peer, kernel, journal):
    waiting = asyncio.create_task(
        kernel.execute(f"{OPEN}try:\n    run.result(timeout=1)\nexcept TimeoutError:\n    print('gone')")
    )
    await until(lambda: any("run_cell" in frame.get("tools", ()) for frame in peer.commands("follow")))
    await asyncio.wait_for(waiting, 20)
    assert kernel.text() == "gone\n"
    await until(lambda: "run_cell" not in peer.commands("follow")[-1].get("tools", ()))
    said = await call(peer, "print('too late')")
    assert said["isError"] is True
    assert "stopped waiting" in said["result"]
    journal.end()


async def test_importing_the_front_door_is_light(kernel):
    await kernel.execute(
        "import sys\nimport jupyter_agent as ja\nja.run\n"
        "print([name for name in ('sqlalchemy', 'jupyter_server', 'pandas', 'pydantic_ai') if name in sys.modules])"
    )
    assert kernel.text() == "[]\n"
