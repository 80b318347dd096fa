"""Widgets of runs in a real kernel under a real server, as their page sees them."""

import json

import pytest

from jupyter_agent import events as ev
from tests.live_server import TOKEN, LiveServer
from tests.widgets.page import UNWATCHED, Page, until

LOAD = "import time\nimport jupyter_agent as ja\nja.RunView"
LONG = [{"text": "word " * 200, "duration_s": 6}]
ASKS = [{"calls": [{"name": "run_cell", "arguments": {"code": "1"}}]}, "Done."]


@pytest.fixture
async def page(kernel):
    await kernel.execute(LOAD)
    async with Page(kernel) as opened:
        yield opened


def starts(script, more=""):
    return f"run = ja.run('Play.', model='scripted', script={script!r}, show=False)\nview = ja.RunView(run)\n{more}\n"


def is_over(page):
    return any(frame["type"] == "session_complete" for frame in page.frames())


async def test_a_view_is_told_the_run_while_its_kernel_is_busy(page):
    page.execute(starts(LONG, "time.sleep(30)"))
    await until(page.runs)
    await until(lambda: is_over(page))
    assert page.is_busy
    [run] = page.runs()
    text = "".join(turn["text"] for turn in run.get("turns", ())) + "".join(
        frame["event"]["content"]
        for frame in page.frames()
        if frame["type"] == "agent_event" and frame["event"]["kind"] == "text_delta"
    )
    assert text == "word " * 200
    seqs = [int(frame["id"].rsplit("-", 1)[1]) for frame in page.frames()]
    first = int(run["lastEventId"].rsplit("-", 1)[1]) + 1
    assert seqs == list(range(first, first + len(seqs)))
    assert all(ev.decode_line(json.dumps(frame)).id == frame["id"] and frame["crc"] for frame in page.frames())
    assert [said["n"] for _, said in page.said] == list(range(1, len(page.said) + 1))
    times = [at for at, _ in page.said]
    assert len(times) > 20, "It streams."
    assert all(later - earlier > 0.8 for earlier, later in zip(times, times[10:], strict=False)), "Ten a second."
    assert page.widgets[page.widget()]["summary"]["status"] == "completed"


async def test_a_page_stops_the_run_of_a_busy_kernel_over_a_subshell(page, server):
    subshell = await page.subshell()
    page.execute(starts([{"text": "on and on " * 1000, "duration_s": 120}], "time.sleep(30)"))
    await until(page.runs)
    asked = {"ask": "command", "clientId": "c1", "command": {"type": "interrupt"}}
    page.ask(page.widget(), asked, subshell_id=subshell)
    await until(lambda: "c1" in page.answers, 10)
    await until(lambda: is_over(page))
    assert page.is_busy
    assert (await server.run(page.runs()[0]["runId"]))["status"] == "interrupted"


async def answered(page, comm_id, client_id, content, **more):
    page.ask(comm_id, {**content, "clientId": client_id}, **more)
    await until(lambda: client_id in page.answers)
    return page.answers[client_id]


async def test_a_page_asks_for_blobs_and_decides_nothing(page, server):
    page.execute(starts([{"calls": [{"name": "run_cell", "arguments": {"code": "1"}}]}, "Done."]))
    await until(
        lambda: (
            any(run["approvals"] for run in page.runs() if "approvals" in run)
            or any(frame["type"] == "tool_confirmation_request" for frame in page.frames())
        )
    )
    view = page.widget()
    assert [said["mayDecide"] for _, said in page.said if said["type"] == "run"] == [False]
    page.ask(view, {"ask": "follow"})
    await until(lambda: len(page.runs()) == 2)
    [approval] = page.runs()[-1]["approvals"]
    decide = {"type": "tool_confirmation", "toolCallId": approval["toolCallId"],
              "approvalId": approval["approvalId"], "approved": True}  # fmt: skip
    for command, code in [
        (decide, "forbidden"),
        ({"type": "user_input", "requestId": "x", "content": "y"}, "forbidden"),
        ({"type": "start_run", "input": "x"}, "invalid_request"),
        ({"type": "interrupt", "runId": 7}, None),
        ({}, "invalid_request"),
    ]:
        answer, _ = await answered(page, view, f"{command}", {"ask": "command", "command": command})
        assert answer.get("code") == code, (command, answer)
    # The id of another run in a command is not listened to: the widget's own run was stopped.
    await until(lambda: is_over(page))

    run_id = page.runs()[0]["runId"]
    digest = (await server.request("GET", f"jupyter-agent/api/runs/{run_id}/turns"))[1]["items"][0]["blob"]
    answer, [data] = await answered(page, view, "blob", {"ask": "blob", "digest": digest})
    assert "code" not in answer
    assert b"run_cell" in data
    for digest, code in [("0" * 64, "blob_not_found"), ("../../api/status", "invalid_request")]:
        answer, buffers = await answered(page, view, digest, {"ask": "blob", "digest": digest})
        assert (answer["code"], buffers) == (code, [])
    for nonsense in (None, 7, "follow", {"ask": "everything"}, {"ask": "blob", "clientId": 7}, {"ask": ["follow"]}):
        page.ask(view, nonsense)
    page.execute("print(view)")
    await until(lambda: page.outputs)
    assert "interrupted" in page.outputs[-1]["text"]


async def test_a_page_that_is_told_by_the_gateway_itself_is_told_no_more(page):
    page.execute(starts(LONG))
    await until(page.runs)
    page.ask(page.widget(), {"ask": "unfollow"})
    await page.free()
    await until(lambda: page.said[-1][1]["type"] == "rest")
    before = len(page.said)
    page.execute("run.result()")
    await page.free()
    assert len(page.said) == before
    page.ask(page.widget(), {"ask": "follow"})
    await until(lambda: len(page.runs()) == 2)
    assert page.runs()[-1]["status"] == "completed"


async def test_a_closed_view_says_nothing_and_the_run_goes_on(page):
    page.execute(starts(LONG))
    await until(page.frames)
    page.execute("view.close()\nimport gc, weakref\ngone = weakref.ref(view)\ndel view\n_ = gc.collect()")
    await page.free()
    view = page.widget()
    assert view in page.closed
    before = len(page.said)
    # What was on its way to it when it was closed may hold it for a moment.
    waits = "while gone() is not None:\n    _ = gc.collect()\n"
    page.execute(f"text = run.result()\n{UNWATCHED.format('run._feed')}{waits}print(text == 'word ' * 200)")
    await until(lambda: page.outputs)
    assert page.outputs[-1].get("text") == "True\n", page.outputs
    assert len(page.said) == before


async def test_two_views_of_one_run_both_go_on_and_so_does_the_run(page):
    """A run that is opened by its id is the one that is there, not another that takes its news away."""
    page.execute(starts(LONG) + "other = ja.RunView(run.id)\nprint(run.result() == 'word ' * 200, other)")
    await until(lambda: page.outputs)
    assert page.outputs[-1]["text"].startswith("True <RunView run_")
    assert "completed" in page.outputs[-1]["text"]
    assert len([state for state in page.widgets.values() if state.get("_kind") == "run"]) == 2


async def test_what_a_page_wants_the_state_to_be_is_ignored(page):
    page.execute(starts(["Hello."], "print(run.result())"))
    await until(lambda: page.outputs)
    wanted = {
        "state": {"run_id": "run_ffffffffffffffffffff", "_kind": "approvals", "_esm": "alert(1)"},
        "buffer_paths": [],
    }
    page.ask(page.widget(), wanted, method="update")
    await page.free()
    page.execute("print(view.run_id == run.id, view._kind, view._esm == 'alert(1)')")
    await until(lambda: len(page.outputs) == 2)
    assert page.outputs[-1]["text"] == "True run False\n"


async def test_the_state_holds_figures_and_an_id_and_nobodys_words(page, kernel):
    secret = "the-words-of-somebody"
    page.execute(
        starts([{"thinking": secret, "text": secret}]) + "run.result()\nimport anywidget\n"
        "print(sorted({*view.keys} - {*anywidget.AnyWidget().keys}))"
    )
    await until(lambda: page.outputs)
    assert page.outputs[-1]["text"] == "['_css', '_kind', 'run_id', 'summary']\n"
    state = {name: value for name, value in page.widgets[page.widget()].items() if name not in {"_esm", "_css"}}
    kept = repr(state)
    assert secret not in kept
    assert "Play." not in kept
    assert TOKEN not in kept
    assert "http" not in kept
    assert state["summary"] == {
        "status": "completed", "model": "scripted", "turns": 1, "toolCalls": 0,
        "inputTokens": state["summary"]["inputTokens"], "outputTokens": state["summary"]["outputTokens"], "cost": None,
    } | {"cost": state["summary"]["cost"]}  # fmt: skip
    minted = "import os; print(os.environ['JUPYTER_AGENT_TOKEN'])"
    said = "".join(page.raw)
    page.execute(minted)
    await until(lambda: len(page.outputs) == 2)
    assert page.outputs[-1]["text"].strip() not in said


async def test_the_frame_has_a_row_for_everything_shown(kernel):
    await kernel.execute(LOAD)
    script = [
        {"thinking": "Hm.", "text": "I look.", "calls": [{"name": "list_files", "arguments": {}}]},
        "Nothing there.",
    ]
    reply = await kernel.execute(
        starts(script)
        + "run.result()\ndf = view.df\n"
        + "assert ' '.join(df.columns) == 'run_id turn kind text name tool_call_id arguments result outcome latency'\n"
        + "assert df.kind.tolist() == ['thinking', 'text', 'tool_call', 'text']\n"
        + "assert df.turn.tolist() == [0, 0, 0, 1] and set(df.run_id) == {run.id}\n"
        + "assert df.text.tolist()[:2] == ['Hm.', 'I look.'] and list(df.text.isna()) == [False, False, True, False]\n"
        + "assert df.name[2] == 'list_files' and df.outcome[2] == 'success' and df.result[2] is not None\n"
        + "assert df.latency[2].total_seconds() > 0 and str(df.latency.dtype) == 'timedelta64[us]'\n"
        + "empty = ja.RunView(ja.run('x', model='scripted', script=[''], show=False))\n"
        + "assert list(empty.df.dtypes.astype(str)) == list(df.dtypes.astype(str))\n"
    )
    assert reply["status"] == "ok", reply


async def test_what_is_no_run_is_told_in_one_paragraph(kernel):
    await kernel.execute(LOAD)
    for cell, name, said in [
        ("ja.RunView(None)", "InvalidRequest", "A RunView shows a run, and None is none"),
        ("ja.RunView('')", "InvalidRequest", "give what `ja.run(…)` returned"),
        ("ja.RunView(7)", "InvalidRequest", "7 is none"),
        ("ja.RunView('run_00000000000000000001')", "RunNotFound", "ja.connect(url, token)"),
        ("ja.RunView('../x')", "RunNotFound", "knows no run '../x'"),
        ("ja.RunView()", "TypeError", "run"),
    ]:
        reply = await kernel.execute(cell)
        assert reply["status"] == "error", cell
        assert reply["ename"] == name, (cell, reply["evalue"])
        assert said in reply["evalue"], (cell, reply["evalue"])
        if name != "TypeError":
            assert len(reply["traceback"]) == 1, reply["traceback"]


MIME = "application/vnd.jupyter-agent.run+json"
VIEW = "application/vnd.jupyter.widget-view+json"


async def test_a_display_holds_the_widget_and_the_run_as_notebooks_keep_it_and_finally_the_whole(page):
    page.execute(starts(["Hello there."], "view"))
    await until(lambda: page.outputs)
    [output] = page.outputs
    view = page.widget()
    assert set(output["data"]) == {MIME, VIEW, "text/html", "text/plain"}
    assert output["data"][VIEW]["model_id"] == view
    await until(lambda: output["data"][MIME]["status"] == "completed")
    assert set(output["data"]) == {MIME, VIEW, "text/html", "text/plain"}
    assert "Hello there." in output["data"]["text/html"]
    assert "Hello there." in output["data"]["text/plain"]
    page.execute("view.close()\nview")
    await until(lambda: len(page.outputs) == 2)
    assert set(page.outputs[-1]["data"]) == {MIME, "text/html", "text/plain"}, "A closed widget shows the run still."
    assert view in page.closed


@pytest.mark.parametrize("kind", ["RunView", "TraceTable"])
async def test_a_run_that_ends_while_its_output_is_made_is_whole_there_too(page, kind):
    page.execute(
        f"run = ja.run('Play.', model='scripted', script={LONG!r}, show=False)\n"
        f"class Slow(ja.{kind}):\n    count = 0\n    def bundle(self):\n        made = super().bundle()\n"
        "        if not run.is_done:\n            run.result()\n        self.count += 1\n        return made\n"
        "view = Slow(run)\nview"
    )
    await until(lambda: page.outputs)
    page.execute(
        "begun = time.time()\nwhile view.count < 2 and time.time() < begun + 15: time.sleep(.1)\nprint(view.count)"
    )
    await until(lambda: len(page.outputs) == 2)
    assert page.outputs[1]["text"] == "2\n"


async def test_a_view_that_is_closed_while_its_run_goes_on_leaves_its_output_as_it_is(page):
    page.execute(starts(LONG, "view"))
    await until(page.frames)
    page.execute("view.close()\nrun.result()")
    await page.free()
    assert page.outputs[0]["data"][MIME]["status"] in {"pending", "running"}


async def test_a_view_in_a_box_and_as_a_value_of_another_is_a_widget_like_any(page):
    page.execute(starts(["Hello."], "import ipywidgets\nbox = ipywidgets.HBox([view])\nbox\n"))
    await until(lambda: page.outputs)
    box = page.widgets[page.outputs[-1]["data"][VIEW]["model_id"]]
    assert box["children"] == [f"IPY_MODEL_{page.widget()}"]


async def test_a_run_of_another_server_is_told_by_the_kernel_that_is_connected_there(page, server, tmp_path):
    async with LiveServer(tmp_path / "other") as other:
        run_id = await other.start_run(["From elsewhere."])
        page.execute(f"ja.RunView({run_id!r})")
        await until(lambda: page.outputs)
        assert "knows no run" in page.outputs[-1]["evalue"]
        await page.free()
        page.execute(f"ja.connect({other.url!r}, {TOKEN!r})\nview = ja.RunView({run_id!r})\nprint(view)")
        await until(lambda: len(page.outputs) == 2)
        await until(page.runs)
        assert page.runs()[0]["turns"][0]["text"] == "From elsewhere."
        assert other.url not in "".join(page.raw[1:]).replace(f"ja.connect('{other.url}'", "")
        assert [said["mayDecide"] for _, said in page.said if said["type"] == "run"] == [False]


@pytest.mark.parametrize("server", [("--AgentGateway.allow_kernel_approvals=True",)], indirect=True)
async def test_a_page_decides_over_a_kernel_that_may(page, server):
    page.execute(starts(ASKS, "time.sleep(1)"))
    await until(
        lambda: (
            any(run.get("approvals") for run in page.runs())
            or any(frame["type"] == "tool_confirmation_request" for frame in page.frames())
        )
    )
    assert [said["mayDecide"] for _, said in page.said if said["type"] == "run"] == [True]
    await page.free()
    page.ask(page.widget(), {"ask": "follow"})
    await until(lambda: page.runs()[-1].get("approvals"))
    [asked] = page.runs()[-1]["approvals"]
    decide = {"type": "tool_confirmation", "approvalId": asked["approvalId"], "toolCallId": asked["toolCallId"]}
    await answered(page, page.widget(), "c", {"ask": "command", "command": {**decide, "approved": False}})
    assert "code" not in page.answers["c"][0]
    await until(lambda: is_over(page))
