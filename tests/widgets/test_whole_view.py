"""Charts of runs, and runs side by side, in a real kernel under a real server, as their page sees them."""

import json

import pytest

from jupyter_agent.display.table import VIEW_MIME
from tests.widgets.page import UNWATCHED, Page, until

LOOKS = {"name": "list_files", "arguments": {"pattern": "*"}}
SEEN = {"input_tokens": 1_000, "cache_read_tokens": 700, "output_tokens": 20, "reasoning_tokens": 5}
STEPS = [{"calls": [LOOKS], "duration_s": 1, "usage": SEEN}, {"text": "<b>Done.</b>", "duration_s": 2, "usage": SEEN}]
START = (
    "import jupyter_agent as ja, pandas as pd\n"
    f"run = ja.run('Play.', model='scripted', script={STEPS!r}, show=False)\n"
    "other = ja.run('Play.', model='scripted', script=['Something else.'], show=False)\n"
)


@pytest.fixture
async def page(kernel):
    async with Page(kernel) as opened:
        yield opened


def told(page):
    texts = [said["text"] for _, said in page.said if said["type"] == "view" and "text" in said]
    return json.loads(texts[-1]) if texts else {"rows": []}


@pytest.mark.parametrize(
    ("view", "is_whole", "says"),
    [
        (
            "ja.Timeline(run)",
            lambda rows: [row["kind"] for row in rows] == ["turn", "tool_call", "turn"] and rows[2]["duration"],
            "view.df.kind.tolist() == ['turn', 'tool_call', 'turn'] and view.selected is None",
        ),
        (
            "ja.CacheChart(run)",
            lambda rows: [row["hit_rate"] for row in rows] == [0.7, 0.7],
            "view.df.hit_rate.tolist() == [.7, .7] and view.df.cause[0] == 'first_request'",
        ),
        (
            "ja.CompareView([run, other])",
            lambda rows: len(rows) == 2 and all(row["status"] == "completed" for row in rows),
            "view.df.first_difference.fillna(-1).tolist() == [-1, 0] and view.df.answer[1] == 'Something else.'",
        ),
    ],
)
async def test_a_run_is_told_while_it_goes_on_and_its_output_holds_the_end(page, view, is_whole, says):
    page.execute(f"{START}view = {view}\nview")
    await until(lambda: is_whole(told(page)["rows"]))
    await until(lambda: page.outputs and is_whole(page.outputs[0]["data"][VIEW_MIME]["rows"]))
    data = page.outputs[0]["data"]
    assert "<b>Done" not in data["text/html"]
    assert "<table" in data["text/html"]
    assert "run_id" not in page.widgets[page.widget(data[VIEW_MIME]["kind"])]
    page.execute(f"run.result(), other.result()\nprint({says})")
    await until(lambda: any(output.get("text") for output in page.outputs))
    assert page.outputs[-1]["text"] == "True\n"
    page.execute(f"view.close()\n{UNWATCHED.format('run._feed')}print('unwatched')")
    await until(lambda: page.outputs[-1].get("text") == "unwatched\n")


async def test_of_a_wide_frame_no_more_is_told_and_kept_than_fits(page):
    page.execute(
        "import jupyter_agent as ja, pandas as pd\n"
        "frame = pd.DataFrame({'turn': range(3_000), 'input_tokens': 9, 'cache_read_tokens': 3})\n"
        "ja.CacheChart(frame.assign(**{f'text_{at}': 'word ' * 100 for at in range(20)}))"
    )
    await until(lambda: told(page)["rows"] and page.outputs)
    for facts, most in (told(page), 1_000_000), (page.outputs[0]["data"][VIEW_MIME], 256 * 1024):
        assert most / 2 < len(json.dumps(facts)) < most * 1.1
        assert facts["earlier"] + len(facts["rows"]) == 3_000
        assert facts["rows"][-1]["turn"] == 2_999


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("ja.Timeline(pd.DataFrame())", "A Timeline shows a run"),
        ("ja.CacheChart(7)", "A CacheChart shows a run"),
        ("ja.CacheChart(pd.DataFrame({'turn': [1]}))", "has no 'input_tokens'"),
        ("ja.CompareView([])", "shows 1 to 20 runs"),
        ("ja.CompareView([7])", "A CompareView shows a run"),
    ],
)
async def test_what_cannot_be_shown_is_told_with_what_to_do(kernel, call, said):
    reply = await kernel.execute(f"import jupyter_agent as ja, pandas as pd\n{call}")
    assert reply["ename"] == "InvalidRequest"
    assert said in reply["evalue"]
