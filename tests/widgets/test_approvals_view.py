"""What waits for a person, as a widget in a real kernel under a real server."""

import json

import pytest

from tests.live_server import TOKEN, LiveServer
from tests.widgets.page import Page, until

ASKS = [{"calls": [{"name": "run_cell", "arguments": {"code": "6 * 7"}}]}, "Done."]
WONDERS = [{"calls": [{"name": "ask_user", "arguments": {"prompt": "Which sheet?"}}]}, "That one."]


@pytest.fixture
async def page(kernel):
    async with Page(kernel) as opened:
        yield opened


def told(page):
    """What the page was told last, approvals and questions."""
    texts = [said["text"] for _, said in page.said if said["type"] == "waiting" and "text" in said]
    return [len(json.loads(texts[-1])[what]) for what in ("approvals", "inputs")] if texts else None


async def test_it_tells_what_waits_in_any_run_and_what_does_no_more(page, server):
    page.execute("import jupyter_agent as ja\nview = ja.ApprovalsView()\nview")
    await until(lambda: told(page) == [0, 0])
    state = page.widgets[page.widget("approvals")]
    _, health = await server.request("GET", "jupyter-agent/api/health")
    assert state["gateway_id"] == health["gatewayId"], "A page can tell its gateway before there is any run."
    assert health["gatewayId"].startswith("gw_")
    [output] = page.outputs
    assert set(output["data"]) == {"application/vnd.jupyter.widget-view+json", "text/plain"}

    run_id = await server.start_run(ASKS)
    await server.start_run(WONDERS)
    await until(lambda: told(page) == [1, 1])
    page.execute("print(view.approvals.df[['run_id', 'name', 'arguments', 'effects']].to_dict('records'))")
    await until(lambda: len(page.outputs) == 2)
    row = {"run_id": run_id, "name": "run_cell", "arguments": '{"code":"6 * 7"}', "effects": "exec"}
    assert page.outputs[-1]["text"] == f"{[row]}\n"
    page.execute("print(view.df.kind.tolist(), view.df.prompt[1], len(view.inputs))")
    await until(lambda: len(page.outputs) == 3)
    assert page.outputs[-1]["text"] == "['approval', 'question'] Which sheet? 1\n"

    await server.request("POST", f"jupyter-agent/api/runs/{run_id}/interrupt", {})
    await until(lambda: told(page) == [0, 1])
    page.execute("print(view.df.kind.tolist(), len(view.approvals.df), ja.ApprovalsView().gateway_id)")
    await until(lambda: len(page.outputs) == 4)
    assert page.outputs[-1]["text"] == f"['question'] 0 {health['gatewayId']}\n"


async def test_it_goes_on_while_the_kernel_is_busy_and_says_nothing_when_it_is_not_needed(page, server):
    page.execute("import jupyter_agent as ja\nimport time\nview = ja.ApprovalsView()\ntime.sleep(20)")
    await until(lambda: told(page) == [0, 0])
    await server.start_run(ASKS)
    await until(lambda: told(page) == [1, 0], 15)
    assert page.is_busy
    page.ask(page.widget("approvals"), {"ask": "command", "clientId": "c", "command": {"type": "tool_confirmation"}})
    page.ask(page.widget("approvals"), {"ask": "unfollow"})
    await until(lambda: "c" in page.answers)
    assert page.answers["c"][0]["code"] == "invalid_request"
    await page.free()
    await until(lambda: page.said[-1][1]["type"] == "rest")
    before = len(page.said)
    page.execute("time.sleep(5)")
    await page.free()
    assert len(page.said) == before
    page.execute("view.close()")
    await page.free()
    await until(lambda: page.widget("approvals") in page.closed)


async def test_a_kernel_that_loses_the_gateway_says_so_and_goes_on_when_it_is_back(page, tmp_path):
    """The gateway is another server than the kernel's own, since a kernel ends with its server."""
    async with LiveServer(tmp_path / "other") as other:
        page.execute(f"import jupyter_agent as ja\nja.connect({other.url!r}, {TOKEN!r})\nview = ja.ApprovalsView()")
        await until(lambda: told(page) == [0, 0])
        await other.kill()
        await until(lambda: page.said[-1][1]["reason"] is not None)
        assert page.said[-1][1]["link"] == "waiting"
        assert "text" not in page.said[-1][1]
        await other.start()
        await until(lambda: page.said[-1][1]["reason"] is None, 60)


def waiting(page):
    """What the page was told last that waits."""
    texts = [said["text"] for _, said in page.said if said["type"] == "waiting" and "text" in said]
    return json.loads(texts[-1])


@pytest.mark.parametrize(
    ("server", "is_allowed"),
    [((), False), (("--AgentGateway.allow_kernel_approvals=True",), True)],
    indirect=["server"],
)
async def test_a_page_decides_and_answers_over_a_kernel_that_may_and_over_no_other(page, server, is_allowed):
    runs = [await server.start_run(ASKS), await server.start_run(WONDERS)]
    page.execute("import jupyter_agent as ja\nview = ja.ApprovalsView()")
    await until(lambda: told(page) == [1, 1])
    assert page.said[-1][1]["mayDecide"] is is_allowed
    [approval], [asked] = waiting(page)["approvals"], waiting(page)["inputs"]
    await page.free()
    for name, command in {
        "decided": {"type": "tool_confirmation", "runId": approval["runId"], "approvalId": approval["approvalId"],
                    "toolCallId": approval["toolCallId"], "approved": False},
        "answered": {"type": "user_input", "runId": asked["runId"], "requestId": asked["requestId"],
                     "content": "The first."},
    }.items():  # fmt: skip
        page.ask(page.widget("approvals"), {"ask": "command", "clientId": name, "command": command})
    page.ask(
        page.widget("approvals"),
        {"ask": "command", "clientId": "more", "command": {"type": "interrupt", "runId": runs[0]}},
    )
    await until(lambda: len(page.answers) == 3)
    codes = {name: answer.get("code") for name, (answer, _) in page.answers.items()}
    refusal = None if is_allowed else "forbidden"
    assert codes == {"decided": refusal, "answered": refusal, "more": "invalid_request"}
    if is_allowed:
        await until(lambda: told(page) == [0, 0])
        for run_id in runs:
            assert (await server.run(run_id))["status"] in {"running", "completed"}
    else:
        assert told(page) == [1, 1]
