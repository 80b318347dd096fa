"""Tables of tool calls in a real kernel under a real server, as their page sees them."""

import json

import pytest

from jupyter_agent.display.table import VIEW_MIME
from tests.widgets.page import UNWATCHED, Page, until

HOSTILE = "<img src=x onerror=alert(1)>"
FRAME = (
    "import jupyter_agent as ja, pandas as pd\n"
    "frame = pd.DataFrame({'turn': [i // 2 for i in range(1_000)], 'name': ['a', 'b'] * 500,\n"
    "    'latency': pd.to_timedelta(range(1_000), unit='ms'),\n"
    f"    'result': [f'{HOSTILE} {{i}}' for i in range(1_000)]}})\n"
    "view = ja.TraceTable(frame)\nview"
)
LOOKS = [{"name": "list_files", "arguments": {"pattern": "*"}}, {"name": "list_files", "arguments": {"pattern": "?"}}]
STEPS = [{"calls": LOOKS, "duration_s": 1}, {"calls": LOOKS[:1], "text": "word " * 20, "duration_s": 3}, "Done."]


@pytest.fixture
async def page(kernel):
    async with Page(kernel) as opened:
        yield opened


def told(page):
    """What the page was told last."""
    texts = [said["text"] for _, said in page.said if said["type"] == "view" and "text" in said]
    return json.loads(texts[-1]) if texts else None


async def asks(page, name, command):
    page.ask(page.widget("traces"), {"ask": "command", "clientId": name, "command": command})
    await until(lambda: name in page.answers)
    return page.answers[name][0]


async def test_a_frame_is_told_in_figures_and_its_rows_when_they_are_asked_for(page):
    page.execute(FRAME)
    await until(lambda: told(page) and page.outputs)
    assert (told(page)["total"], told(page)["shown"], told(page)["tools"]) == (1_000, 1_000, ["a", "b"])
    assert "onerror" not in json.dumps([said for _, said in page.said]), "Rows come when they are asked for."
    state = page.widgets[page.widget("traces")]
    assert "onerror" not in json.dumps({name: value for name, value in state.items() if not name.startswith("_")})

    rows = (await asks(page, "rows", {"type": "rows", "start": 10, "stop": 12}))["result"]
    assert rows["rows"] == [[5, "a", 10.0, f"{HOSTILE} 10"], [5, "b", 11.0, f"{HOSTILE} 11"]]
    look = {"sort": "latency", "descending": True, "search": "", "tool": "a", "outcome": None, "group": None}
    assert "code" not in await asks(page, "look", {"type": "look", "look": look})
    await until(lambda: told(page)["shown"] == 500)
    assert told(page)["look"] == look
    assert told(page)["version"] > rows["version"]
    page.execute("print(view.df.latency.tolist() == sorted(frame.latency[::2])[::-1], view.df.columns.tolist(), view)")
    await until(lambda: len(page.outputs) == 2)
    listed = "['turn', 'name', 'latency', 'result'] <TraceTable 500 of 1,000 rows>\n"
    assert page.outputs[1]["text"] == f"True {listed}"
    opened = (await asks(page, "row", {"type": "row", "at": 0}))["result"]["row"]
    assert opened == {"turn": 499, "name": "a", "latency": 998.0, "result": f"{HOSTILE} 998"}

    await asks(page, "group", {"type": "look", "look": {"group": "tool"}})
    await until(lambda: told(page)["groups"] == 2)
    groups = (await asks(page, "groups", {"type": "groups", "start": 0, "stop": 9}))["result"]["rows"]
    assert [group[:4] for group in groups] == [["a", 0, 500, 0], ["b", 500, 500, 0]]


async def test_a_row_opens_with_as_much_as_comes_through(page):
    page.execute("import jupyter_agent as ja, pandas as pd\nja.TraceTable(pd.DataFrame({'result': ['x' * 5_000_000]}))")
    await until(lambda: told(page))
    opened = (await asks(page, "row", {"type": "row", "at": 0}))["result"]["row"]
    assert opened["result"] == "x" * 200_000 + "…"


@pytest.mark.parametrize(
    "command",
    [
        {"type": "rows", "start": 0, "stop": 10_000},
        {"type": "rows", "start": -1, "stop": 1},
        {"type": "row", "at": 5_000},
        {"type": "row", "at": "first"},
        {"type": "look", "look": {"sort": "nothing"}},
        {"type": "look", "look": {"group": "moon"}},
        {"type": "look", "look": {"query": "1 == 1"}},
        {"type": "tool_confirmation", "approved": True},
        {},
    ],
)
async def test_what_a_page_cannot_have_is_refused_and_changes_nothing(page, command):
    page.execute(FRAME)
    await until(lambda: told(page))
    assert (await asks(page, "asked", command))["code"] == "invalid_request"
    page.execute("print(len(view.df), view.look.sort)")
    await until(lambda: len(page.outputs) == 2)
    assert page.outputs[1]["text"] == "1000 None\n"


async def test_a_run_is_told_while_it_goes_on_and_its_kernel_is_busy(page):
    page.execute(
        f"import time, jupyter_agent as ja\nrun = ja.run('Play.', model='scripted', script={STEPS!r}, show=False)\n"
        "view = ja.TraceTable(run)\ntime.sleep(12)"
    )
    await until(lambda: told(page) and told(page)["total"] == 3)
    assert page.is_busy
    rows = (await asks(page, "rows", {"type": "rows", "start": 0, "stop": 3}))["result"]["rows"]
    names = [column["name"] for column in told(page)["columns"]]
    assert names[:5] == ["turn", "name", "arguments", "outcome", "latency"]
    assert [row[:2] for row in rows] == [[0, "list_files"], [0, "list_files"], [1, "list_files"]]
    await page.free()
    assert page.said[-1][1]["isFinal"] is True
    page.execute(f"view\n{UNWATCHED.format('run._feed')}print(view.df.equals(run.tool_calls.df))")
    await until(lambda: page.outputs)
    assert page.outputs[0]["text"] == "True\n"
    before = len(page.said)
    page.execute("view.close()")
    await page.free()
    assert page.widget("traces") in page.closed
    assert len(page.said) == before


async def test_an_output_holds_the_first_rows_and_the_end_of_a_run(page):
    page.execute(f"{FRAME}\nrun = ja.run('Play.', model='scripted', script={STEPS!r}, show=False)\nja.TraceTable(run)")
    await until(lambda: page.outputs and page.outputs[0]["data"][VIEW_MIME]["total"] == 3)
    assert page.outputs[0]["data"]["text/plain"].startswith("3 tool calls")
    page.execute("ja.TraceTable(frame)")
    await until(lambda: len(page.outputs) == 2)
    data = page.outputs[1]["data"]
    assert set(data) == {VIEW_MIME, "text/html", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert (data[VIEW_MIME]["total"], len(data[VIEW_MIME]["rows"])) == (1_000, 200)
    assert "… and 950 more rows." in data["text/html"]
    assert "… and 950 more rows." in data["text/plain"]
    assert "<img" not in data["text/html"]
    assert "&lt;img src=x" in data["text/html"]
    assert len(json.dumps(data)) < 300_000


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        ("ja.TraceTable(7)", "InvalidRequest", "A TraceTable shows a run, and 7 is none"),
        ("ja.TraceTable('run_00000000000000000000')", "RunNotFound", "knows no run"),
        ("ja.TraceTable(pd.DataFrame({'a': [1]}), sort='b')", "InvalidRequest", "no column 'b'"),
        ("ja.TraceTable(pd.DataFrame({'a': [1]}), colour='b')", "InvalidRequest", "group, which is 'turn' or 'tool'"),
        ("ja.TraceTable(pd.DataFrame([[1, 2]], columns=['a', 'a']))", "InvalidRequest", "different texts"),
    ],
)
async def test_what_cannot_be_shown_is_told_with_what_to_do(kernel, call, error, said):
    reply = await kernel.execute(f"import jupyter_agent as ja, pandas as pd\n{call}")
    assert reply["ename"] == error
    assert said in reply["evalue"]
