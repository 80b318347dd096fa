"""The calls of a workflow in a real kernel under a real server, as their page and their notebook see them."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from jupyter_agent.client.workflow import CallRow
from jupyter_agent.display.calls import calls_table, change, row_of, summary
from jupyter_agent.display.table import VIEW_MIME, table_html, table_text
from jupyter_agent.script.key import Difference
from tests.widgets.page import UNWATCHED, Page, until

HOSTILE = "<img src=x onerror=alert(1)>"
START = "%load_ext jupyter_agent\nimport jupyter_agent as ja, asyncio\n"
GOING_ON = ["done", *["running"] * 16, *["queued"] * 4]
LATE = [{"text": "late", "wait_s": 120}]


@pytest.fixture
async def page(kernel):
    async with Page(kernel) as opened:
        yield opened


def told(page):
    texts = [said["text"] for _, said in page.said if said["type"] == "view" and "text" in said]
    return json.loads(texts[-1]) if texts else {"rows": [], "sums": {}}


def states(shown):
    return {row["name"]: (row["status"], row.get("reused")) for row in shown["rows"]}


async def test_a_pass_is_told_live_and_its_output_holds_what_became_of_it(page):
    page.execute(
        f"{START}wf = ja.workflow('told', model='echo')\nwf.phase('<b>Read</b>')\n"
        f"await wf.agent({HOSTILE!r}, label='one', tools=[])\nview = ja.WorkflowView(wf)\nview"
    )
    await until(lambda: states(told(page)) == {"one": ("done", False)} and page.outputs)
    assert told(page)["title"] == "told: 0 of 1 call from the store"
    assert told(page)["rows"][0]["phase"] == "<b>Read</b>"
    page.execute("wf.log('Second.')\nawait wf.agent('two', label='two', tools=[])")
    await until(lambda: len(told(page)["rows"]) == 2 and told(page)["rows"][1]["status"] == "done")
    await until(lambda: len(page.outputs[0]["data"][VIEW_MIME]["rows"]) == 2)
    data = page.outputs[0]["data"]
    assert data[VIEW_MIME]["opened"]["1"]["answer"] == HOSTILE
    assert data[VIEW_MIME]["log"][-1] == "Second."
    assert "<table" in data["text/html"]
    assert "<b>Read" not in data["text/html"]
    assert "told: 0 of 2 calls from the store" in data["text/plain"]

    comm = page.widget("workflow")
    page.ask(comm, {"ask": "command", "clientId": "a", "command": {"type": "call", "number": 1}})
    page.ask(comm, {"ask": "command", "clientId": "b", "command": {"type": "call", "number": 9}})
    await until(lambda: {"a", "b"} <= page.answers.keys())
    assert page.answers["a"][0]["result"]["prompt"] == HOSTILE
    assert "no call number 9" in page.answers["b"][0]["message"]

    page.execute("print(view.df.label.tolist(), view.df.why.tolist() == wf.calls.df.why.tolist())")
    await until(lambda: any(output.get("text") for output in page.outputs))
    assert page.outputs[-1]["text"] == "['one', 'two'] True\n"
    page.execute(f"view.close()\n{UNWATCHED.format('wf')}print('unwatched')")
    await until(lambda: page.outputs[-1].get("text") == "unwatched\n")
    page.execute("wf")
    await until(lambda: VIEW_MIME in page.outputs[-1].get("data", {}))


async def test_a_cell_has_a_widget_while_its_calls_go_on_and_none_when_it_has_ended(page, kernel, server):
    page.execute(f"{START}ja.workflow('slow', script={LATE!r}) and None")
    await page.free()
    kernel.client.session.metadata = {"cellId": "the-cell"}
    page.execute(
        "%%workflow slow -m scripted\nwf.log('begun')\nawait agent('quick', model='echo', tools=[])\n"
        "await parallel([agent(str(n), label=f'slow {n}', tools=[]) for n in range(20)])\n"
        "await agent('after', model='echo', tools=[])"
    )
    await until(lambda: page.outputs and [row["status"] for row in told(page)["rows"]] == GOING_ON)
    shown = next(output for output in page.outputs if VIEW_MIME in output.get("data", {}))
    assert any("widget-view" in mime for mime in shown["data"])
    assert page.is_busy
    comm = page.widget("workflow")
    page.ask(comm, {"ask": "command", "clientId": "a", "command": {"type": "stop"}}, subshell_id=await page.subshell())
    await until(lambda: comm in page.closed)
    assert page.answers["a"][0]["result"] == 20
    kept = shown["data"][VIEW_MIME]
    assert [(row["status"], row.get("error")) for row in kept["rows"]] == [
        ("done", None), *[("failed", "It was stopped.")] * 20, ("failed", "It was not started: the cell was stopped.")
    ]  # fmt: skip
    assert kept["log"][0] == "begun"
    assert not any("widget-view" in mime for mime in shown["data"])
    error = next(output for output in page.outputs if "ename" in output)
    assert error["ename"] == "RunFailed"

    # those that had their turn at that moment too
    async with asyncio.timeout(20):
        while (await server.request("GET", "jupyter-agent/api/runs?status=running"))[1]["items"]:
            await asyncio.sleep(0.05)

    # executed again, the cell is not stopped any more
    page.execute("%%workflow slow -m scripted\nprint(await agent('after', model='echo', tools=[]))")
    await until(lambda: page.outputs[-1].get("text") == "after\n" or page.outputs[-2].get("text") == "after\n")


async def test_a_cell_shows_its_own_calls_and_needs_no_widget_when_they_are_quick(page, kernel):
    page.execute(START)
    for number in range(2):
        kernel.client.session.metadata = {"cellId": f"cell-{number}"}
        page.execute(f"%%workflow quick -m echo\nawait agent('{number}', label='call {number}', tools=[])\nNone")
        await page.free()
    await until(lambda: len(page.outputs) == 2)
    shown = [output["data"][VIEW_MIME] for output in page.outputs]
    assert [states(one) for one in shown] == [{"call 0": ("done", False)}, {"call 1": ("done", False)}]
    assert page.widgets == {}


async def test_of_very_many_calls_no_more_is_kept_than_fits(page):
    page.execute(
        f"{START}from jupyter_agent.client.workflow import CallRow\nwf = ja.workflow('many')\n"
        "wf._rows = {str(n): CallRow(number=n, prompt='word ' * 400, status='done', answer='answer ' * 400)"
        " for n in range(3_000)}\nja.WorkflowView(wf)"
    )
    await until(lambda: page.outputs and told(page)["rows"])
    kept = page.outputs[0]["data"][VIEW_MIME]
    assert len(told(page)["rows"]) == 3_000
    assert 100_000 < len(json.dumps(kept)) < 256 * 1024
    assert kept["leftOut"] + len(kept["rows"]) == 3_000
    assert "and 2,950 more rows" in page.outputs[0]["data"]["text/html"]


async def test_what_is_no_workflow_is_refused(page):
    page.execute(f"{START}ja.WorkflowView('review')")
    await until(lambda: page.outputs)
    assert page.outputs[0]["ename"] == "InvalidRequest"


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("Read data/survey.csv", "Read data/weather.csv", "survey → weather"),
        ("claude-sonnet-4-5", "claude-haiku-4-5", "sonnet → haiku"),
        ("top 10", "top 100", "10 → 100"),
        ("on survey: one two three", "on weather: one two four", "survey → weather …"),
        ("one", "one two", "two added"),
        ("one two", "one", "two left out"),
        ("one  two", "one two", "white space"),
        ("x" * 300, "y" * 300, f"{'x' * 39}… → {'y' * 39}…"),
        ("a\nb\x1b[2J", "a\nc", "b\ufffd[2J → c"),
    ],
)
def test_a_change_is_said_in_the_words_that_differ(was, now, said):
    assert change(Difference(field="prompt", was=was, now=now)) == said


def test_a_call_of_which_nothing_comes_is_said_to_be_stalled():
    since, now = (datetime(2026, 1, 1, 10, minute, tzinfo=UTC) for minute in (0, 7))
    rows = [
        CallRow(number=1, prompt="a", status="running", silent_since=since),
        CallRow(number=2, prompt="b", status="running"),
        CallRow(number=3, prompt="c", status="done", silent_since=since),
    ]
    assert [row_of(row, now).get("silent") for row in rows] == [420, None, None]
    assert "2 running (1 stalled)" in summary("notes", rows)
    assert "stalled: nothing since 2026-01-01 10:00 UTC" in table_text(calls_table("notes", rows))


def test_a_call_that_waits_for_a_person_is_said_to():
    rows = [
        CallRow(number=1, prompt="a", status="waiting", label="gate"),
        CallRow(number=2, prompt="b", status="queued"),
        CallRow(number=3, prompt="c", status="running", started_at=datetime(2026, 1, 1, tzinfo=UTC)),
        CallRow(number=4, prompt="d", status="done", reused=True, why="unchanged", tokens=0, saved_tokens=1_234),
    ]
    table = calls_table("notes", rows, said="<i>so far</i>")
    assert "waits for a person" in table_text(table)
    assert "1,234 saved" in table_text(table)
    assert "&lt;i&gt;so far" in table_html(table)
    assert summary("notes", rows) == (
        "Workflow notes: 1 of 4 calls from the store · 1 running · 1 queued · 1 waiting for a person · 0 tokens spent"
        " · 1,234 saved"
    )
    assert row_of(rows[2], datetime(2026, 1, 1, 0, 1, tzinfo=UTC))["seconds"] == 60
