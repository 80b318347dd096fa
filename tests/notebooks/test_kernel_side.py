"""The kernel side against the real gateway: rights, waiting and not waiting, restarts of either end, plain scripts."""

import asyncio
import os
import sys
from pathlib import Path

from tests.client.conftest import until
from tests.live_server import TOKEN
from tests.notebooks.kernel import SecondClient, ServerKernel

LOAD = "%load_ext jupyter_agent\nimport jupyter_agent as ja"
RUN_CELL = '[{"calls": [{"name": "run_cell", "arguments": {"code": CODE}}]}, {"text": "Done."}]'


async def test_a_kernel_may_not_approve_and_is_told_where_to(server, kernel):
    await kernel.execute(LOAD)
    code = (
        "import time\n"
        "script = [{'calls': [{'name': 'create_file', 'arguments': {'path': 'a.txt', 'content': 'x'}}]}, 'Done.']\n"
        "run = ja.run('Write.', model='scripted', script=script)\n"
        "while not run.approvals: time.sleep(0.05)\n"
        "run.approve()"
    )
    reply = await kernel.execute(code)
    assert reply["ename"] == "Forbidden"
    assert "jupyter agent approve" in reply["evalue"]
    assert len(reply["traceback"]) == 1
    assert not (server.root / "a.txt").exists()
    async with SecondClient(server):
        assert (await kernel.execute("print(run.result())"))["status"] == "ok"
    assert "Done." in kernel.text()
    assert (server.root / "a.txt").read_text() == "x"


async def test_code_runs_beside_a_cell_that_does_not_wait(server, kernel, second_client):
    """With --no-wait the server executes in the kernel, when it is free."""
    await kernel.execute(LOAD)
    script = RUN_CELL.replace("CODE", '"y = 6 * 7\\nprint(y)"')
    await kernel.execute(f"run = ja.run('Go.', model='scripted', script={script})\ntype(run)")
    status = ""
    for _ in range(100):
        await kernel.execute("print(run.status)")
        status = kernel.text().strip()
        if status == "completed":
            break
        await asyncio.sleep(0.1)
    assert status == "completed"
    await kernel.execute("print(y, run.tool_calls[0].result)")
    assert kernel.text().startswith("42 ")
    assert "42" in kernel.text()[3:]


async def test_a_run_that_is_waited_for_later_executes_in_the_waiting_cell(server, kernel):
    await kernel.execute(LOAD)
    script = RUN_CELL.replace("CODE", '"z = 1 + 1\\nprint(z)"')
    await kernel.execute(
        f"run = ja.run('Go.', model='scripted', script={script})\nimport time\n"
        "while not run.approvals: time.sleep(0.05)"
    )
    waiting = asyncio.create_task(kernel.execute("print(run.result(), z)"))
    await asyncio.sleep(0.5)
    async with SecondClient(server):
        reply = await asyncio.wait_for(waiting, 60)
    assert reply["status"] == "ok", reply
    assert "Done. 2" in kernel.text()


async def test_the_magic_in_its_forms(server, kernel, second_client):
    await kernel.execute(f"{LOAD}\nsize = 3")
    assert (await kernel.execute("%agent hello"))["status"] == "ok"
    [plain] = kernel.shown("text/plain")
    assert "completed" in plain
    await kernel.execute("first = _")
    await kernel.execute("%%agent -m echo said\nsize is {size}")
    await kernel.execute("print(said.result(), said is _, said.thread == first.thread)")
    assert kernel.text().endswith("True True\n")
    assert "size is 3" in kernel.text()
    await kernel.execute("%%agent --new -m echo fresh\nhi")
    await kernel.execute("%agent -t named -m echo hi\nnamed = _")
    await kernel.execute("print(fresh.thread == first.thread)")
    assert kernel.text() == "False\n"
    await kernel.execute("%agent models")
    assert "demo" in kernel.text()
    await kernel.execute("%agent runs")
    assert "completed" in kernel.text()
    await kernel.execute("%agent help")
    assert "--no-wait" in kernel.text()
    await kernel.execute("%agent stop")
    assert "No run of this notebook is going on" in kernel.text()
    await kernel.execute("%%agent --no-wait -m echo beside\nhi")
    await kernel.execute("%agent attach " + await value(kernel, "beside.id"))
    assert "completed" in kernel.shown("text/plain")[0]


async def value(kernel, expression):
    await kernel.execute(f"print({expression})")
    return kernel.text().strip()


async def test_errors_are_one_paragraph_and_start_nothing(server, kernel):
    await kernel.execute(LOAD)
    for cell, said in [
        ("%%agent\nlook at {nothing}", "NameError"),
        ("%%agent -m nonsense\nhi", "nonsense"),
        ("%%agent --modle demo\nhi", "--modle"),
        ("%%agent\n  \n", "empty"),
        ("ja.run('x', budget={'turnz': 1})", "turnz"),
        ("ja.run('x', model='scripted', script=[{'txt': 1}])", "txt"),
        ("ja.open('run_unknown')", "run_unknown"),
        ("ja.run('x', multitask='explode')", "explode"),
    ]:
        reply = await kernel.execute(cell)
        assert reply["status"] == "error", cell
        assert said in reply["evalue"], (cell, reply["evalue"])
        assert len(reply["traceback"]) == 1, (cell, reply["traceback"])
    assert await value(kernel, "len(ja.runs())") == "0"


async def test_a_failed_run_is_told_in_its_cell(server, kernel):
    await kernel.execute(LOAD)
    script = "[{'text': 'I try.', 'fail': {'code': 'bad_credentials', 'at': 'start', 'message': 'The key is wrong.'}}]"
    reply = await kernel.execute(f"ja.run('x', model='scripted', script={script}).result()")
    assert reply["ename"] == "RunFailed"
    assert "The key is wrong." in reply["evalue"]


async def test_the_stop_button_stops_the_run_within_two_seconds(server, kernel):
    await kernel.execute(LOAD)
    script = [{"text": "on and on " * 1000, "duration_s": 120}]
    waiting = asyncio.create_task(
        kernel.execute(f"run = ja.run('x', model='scripted', script={script!r}, waits=True)\nrun.result()")
    )
    await until(lambda: any("on and on" in plain for plain in kernel.shown("text/plain")), timeout_s=30)
    await kernel.interrupt()
    reply = await asyncio.wait_for(waiting, 10)
    assert reply["ename"] == "WaitInterrupted"
    status, run = await server.request("GET", f"jupyter-agent/api/runs/{await value(kernel, 'run.id')}")
    assert (status, run["status"]) == (200, "interrupted")


async def test_a_client_tool_works_on_live_objects(server, kernel):
    await kernel.execute(LOAD)
    await kernel.execute(
        "counter = []\n@ja.tool\ndef note(text: str) -> int:\n    'Notes.'\n    counter.append(text)\n"
        "    return len(counter)"
    )
    script = [{"calls": [{"name": "note", "arguments": {"text": text}} for text in "ab"]}, "Done."]
    await kernel.execute(f"run = ja.run('x', model='scripted', script={script!r})\nrun.result()")
    assert await value(kernel, "sorted(counter)") == "['a', 'b']"
    assert await value(kernel, "sorted(call.result for call in run.tool_calls)") == "['1', '2']"


async def test_a_restarted_kernel_finds_its_run_again(server, kernel, second_client):
    await kernel.execute(LOAD)
    script = [{"text": "word " * 40, "duration_s": 4}]
    run_id = await value(kernel, f"ja.run('x', model='scripted', script={script!r}, show=False).id")
    status, _ = await server.request("POST", f"api/kernels/{kernel.kernel_id}/restart")
    assert status == 200
    await kernel.client.wait_for_ready(timeout=60)
    await kernel.execute(LOAD)
    assert (await kernel.execute(f"%agent attach {run_id}"))["status"] == "ok"
    assert await value(kernel, f"len(ja.open('{run_id}').result().split())") == "40"


async def test_a_killed_server_loses_nothing_that_a_waiting_cell_has_seen(server, tmp_path):
    """The server is killed mid-run and started again; a script that waits gets the whole answer, each event once."""
    script = tmp_path / "waits.py"
    script.write_text(
        "import jupyter_agent as ja\n"
        "run = ja.run('x', model='scripted', script=[{'text': 'word ' * 60, 'duration_s': 3}, 'never'])\n"
        "print(run.id, flush=True)\n"
        "text = run.result()\n"
        "df = run.events.df\n"
        "print(run.status, df.seq.tolist() == list(range(1, len(df) + 1)), df.epoch.max() > 1)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=script_environment(server), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 60)).startswith(b"run_")
    await asyncio.sleep(1)
    await server.kill()
    await server.start()
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert out.decode() == "completed True True\n", err.decode()


def script_environment(server):
    """The environment of a terminal of this server's user: its runtime folder, no token."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(server.home), "JUPYTER_RUNTIME_DIR": str(server.home / "runtime")}


async def test_a_plain_script_finds_the_server_by_itself(server, tmp_path):
    script = tmp_path / "my_script.py"
    script.write_text(
        "import asyncio\nimport jupyter_agent as ja\n"
        "@ja.tool\ndef secret_of(name: str) -> str:\n    'Tells.'\n    return name[::-1]\n"
        "turns = [{'calls': [{'name': 'secret_of', 'arguments': {'name': 'abc'}}]}, 'Told.']\n"
        "run = ja.run('Tell me.', model='scripted', script=turns)\n"
        "print(run.result(), run.tool_calls[0].result)\n"
        "async def more():\n"
        "    run = await ja.arun('Again.', model='echo', thread=ja.open(run_id).thread)\n"
        "    return await run\n"
        "run_id = run.id\n"
        "print(asyncio.run(more()))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=script_environment(server), cwd=Path.cwd(), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    first, second = out.decode().splitlines()
    assert first == "Told. cba"
    assert "Again." in second
    assert 'secret_of(name="abc")' in err.decode()
    assert "completed" in err.decode()
    assert TOKEN not in out.decode() + err.decode()


async def test_no_token_reaches_a_notebook_or_a_log(server, kernel, second_client):
    await kernel.execute(LOAD)
    await kernel.execute("%agent hello")
    minted = await value(kernel, "__import__('os').environ['JUPYTER_AGENT_TOKEN']")
    await kernel.execute("%agent -m echo hi\nprint(repr(ja.connect()), _)")
    said = repr(kernel.outputs) + server.log.read_text()
    assert minted not in said
    assert TOKEN not in said


async def test_two_kernels_do_not_take_each_others_calls(server, kernel, second_client):
    async with ServerKernel(server, "other.ipynb") as other:
        await kernel.execute(f"{LOAD}\nwho = 'first'")
        await other.execute(f"{LOAD}\nwho = 'second'")
        script = RUN_CELL.replace("CODE", '"print(who)"')
        cell = f"run = ja.run('Go.', model='scripted', script={script})\nrun.result()\nprint(run.tool_calls[0].result)"
        await asyncio.gather(kernel.execute(cell), other.execute(cell))
        assert "first" in kernel.text()
        assert "second" in other.text()


async def test_tab_completes_options_words_and_models(server, kernel):
    # Jedi takes seconds for its first look at a namespace, and has no say in magics.
    await kernel.execute(f"{LOAD}\nget_ipython().Completer.use_jedi = False")

    async def completed(line: str) -> set[str]:
        reply = await kernel.client.complete(line, cursor_pos=len(line), reply=True, timeout=30)
        content = reply["content"]
        return {line[: content["cursor_start"]] + match for match in content["matches"]}

    assert "%%agent --model" in await completed("%%agent --mo")
    assert "%agent models" in await completed("%agent mod")
    assert "%%agent -m demo" in await completed("%%agent -m de")
    assert "%%agent --new -m scripted" in await completed("%%agent --new -m scr")


async def test_code_that_queues_behind_a_busy_kernel_does_not_deadlock_the_cell_that_waits_later(
    server, kernel, second_client
):
    """The server has asked the busy kernel already when a cell that is queued before it begins to wait for the run."""
    await kernel.execute(LOAD)
    script = RUN_CELL.replace("CODE", '"q = 5\\nprint(q)"')
    await kernel.execute(f"import time\nrun = ja.run('Go.', model='scripted', script={script})")
    busy = asyncio.create_task(kernel.execute("time.sleep(4)"))
    await asyncio.sleep(0.2)
    waiting = kernel.client.execute("run.result()\nn = globals().get('n', 0) + 1")
    await asyncio.wait_for(busy, 20)
    reply = await asyncio.wait_for(kernel.client.get_shell_msg(timeout=40), 45)
    assert reply["parent_header"]["msg_id"] == waiting
    assert reply["content"]["status"] == "ok", reply["content"]
    assert await value(kernel, "run.status, n, q") == "completed 1 5"
