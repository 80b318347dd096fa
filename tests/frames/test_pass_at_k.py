"""pass@k by hand, by simulation, and over the runs of a server."""

import asyncio
import random
from itertools import combinations

import pandas as pd
import pytest

import jupyter_agent as ja
from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.frames.pass_at_k import estimate
from tests.live_server import TOKEN, LiveServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    live = LiveServer(tmp_path_factory.mktemp("pass"))
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        yield live
        client.close()
        runner.run(live.stop())


def test_the_estimate_is_the_share_of_choices_with_one_that_passed():
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                chosen = list(combinations([True] * c + [False] * (n - c), k))
                assert estimate(n, c, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))
            assert estimate(n, c, n + 1) is None
    # Many runs: nothing overflows, and nothing is rounded away.
    assert estimate(10_000, 1, 5_000) == pytest.approx(0.5)
    assert estimate(100_000, 99_999, 2) == 1.0


def test_it_is_unbiased():
    chance, rng = 0.3, random.Random(7)
    found = [estimate(10, sum(rng.random() < chance for _ in range(10)), 3) for _ in range(4_000)]
    assert sum(found) / len(found) == pytest.approx(1 - (1 - chance) ** 3, abs=0.02)


def test_a_column_or_a_function_says_what_passed():
    runs = pd.DataFrame({"task": ["a", "a", "a", "b", "b"], "ok": [True, False, False, True, True], "n": range(5)})
    told = ja.pass_at_k(runs, [1, 2, 3], by="task", passed="ok")
    assert told.index.name == "task"
    assert told["runs"].tolist() == [3, 2]
    assert told["passed"].tolist() == [1, 2]
    assert told["pass@1"].tolist() == [pytest.approx(1 / 3), 1.0]
    assert told["pass@2"].tolist() == [pytest.approx(2 / 3), 1.0]
    assert told["pass@3"].isna().tolist() == [False, True]
    assert {str(dtype) for dtype in told.dtypes} == {"Int64", "Float64"}
    assert ja.pass_at_k(runs, 2, by="task", passed=lambda row: row["n"] % 2 == 0)["passed"].tolist() == [2, 1]
    assert ja.pass_at_k(runs[:0], [1, 2], by="task", passed="ok").dtypes.equals(told.dtypes[:4])
    assert told["pass@1"].mean() == pytest.approx(2 / 3)


def test_runs_of_a_server_by_their_ratings_and_a_key_of_their_metadata(server):
    runs = []
    for task, good in (("a", 1), ("a", -1), ("b", 1)):
        run = ja.run(f"Do {task}", model="echo", metadata={"task": task, "experiment": 1}, show=False)
        run.result()
        run.rate(good)
        run.rate(-good, message_id="of-a-message")
        runs.append(run)
    frame = ja.runs(metadata={"experiment": 1})
    told = ja.pass_at_k(frame, by="task")
    assert told["pass@1"].tolist() == [0.5, 1.0]
    assert ja.pass_at_k(frame)["pass@1"].to_dict() == {"Do a": 0.5, "Do b": 1.0}
    assert asyncio.run(ja.apass_at_k(frame, by="task")).equals(told)
    unrated = ja.run("Do c", model="echo", metadata={"experiment": 1}, show=False)
    unrated.result()
    more = ja.runs(metadata={"experiment": 1})
    with pytest.raises(InvalidRequest, match=f"1 of 4 runs have no rating.*{unrated.id}"):
        ja.pass_at_k(more)
    with pytest.raises(InvalidRequest, match="say no 'task'"):
        ja.pass_at_k(more, by="task", passed=lambda _: True)
    slow = ja.run("Do d", model="scripted", script=[{"text": "word " * 900, "delay_s": 0.02}], show=False)
    with pytest.raises(InvalidRequest, match="are not over"):
        ja.pass_at_k(ja.runs(run=slow), passed=lambda _: True)
    slow.interrupt()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"k": 0}, "from 1 on"),
        ({"k": True}, "from 1 on"),
        ({"k": 1.5}, "from 1 on"),
        ({"k": [1, "2"]}, "from 1 on"),
        ({"k": []}, "names nothing"),
        ({"by": "tasks"}, "no column 'tasks'"),
        ({"passed": "okay"}, "no column 'okay'"),
        ({"passed": "text"}, "not 'x'"),
        ({"passed": "holes"}, "1 of 2 runs have no value in 'holes'"),
        ({"passed": None}, "no column 'run_id'"),
        ({"passed": lambda _: None}, "got no answer"),
    ],
)
def test_what_is_not_known_is_refused_in_words(wrong, says):
    runs = pd.DataFrame({"task": ["a", "a"], "ok": [True, False], "text": ["x", "y"], "holes": [True, None]})
    with pytest.raises(InvalidRequest, match=says):
        ja.pass_at_k(runs, **{"by": "task", "passed": "ok"} | wrong)
