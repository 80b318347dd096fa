"""The built-in workflows on a live server with the offline model: each looks with its tools, ends, and reports."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.talk import api
from tests.gateway.test_scripts import ended, start
from tests.gateway.test_waiting_workflows import asking, decide
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = {
    "src/add.py": '"""Adds."""\n\n\ndef add(a, b):\n    # TODO: what about texts?\n    return a + b\n',
    "src/read.py": "def read(path):\n    try:\n        return open(path).read()\n    except:\n        return None\n",
    "notes.md": "# Budget\n\nThe budget of the project is 100 a month. Travel is not part of it.\n",
    "data.csv": "day,rain,wind\n1,0.2,3\n2,,4\n3,1.0,2\n",
}
ARGS: dict[str, dict[str, Any]] = {
    "review-code": {"path": "src/read.py"},
    "find-issues": {"path": "src/add.py"},
    "deep-research": {"question": "What is the monthly budget of the project?"},
    "plan-verify": {"task": "Let the function add in src/add.py refuse texts."},
    "data-profile": {"path": "data.csv", "question": "Does it rain more when there is wind?"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    home = tmp_path_factory.mktemp("catalog")
    for name, text in FILES.items():
        (home / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "root" / name).write_text(text)
    async with LiveServer(home, environment={"JUPYTER_AGENT_DEMO_PACE": "0"}) as server:
        yield server


async def carried(server: LiveServer, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs a workflow and returns how it ended, and the runs of its calls."""
    run = await start(server, name, **ARGS[name])
    told = await ended(server, run, within_s=60)
    assert told["status"] == "completed", told
    assert told["phase"]
    assert isinstance(told["result"]["report"], str)
    _, listed = await api(server, "GET", "runs?limit=200")
    mine = [one for one in listed["items"] if one["metadata"].get("workflowRunId") == run]
    assert len(mine) == told["calls"]
    assert {one["status"] for one in mine} == {"completed"}
    assert sum(one.get("toolCallCount", 0) for one in mine) > 0, name
    assert not [one for one in mine if one["model"] != "demo"]
    return told["result"], mine


async def test_they_are_built_in_and_need_no_approval(server: LiveServer) -> None:
    _, told = await api(server, "GET", "workflows")
    assert told["broken"] == []
    assert {one["name"]: (one["place"], one["approved"]) for one in told["items"]} == dict.fromkeys(
        ARGS, ("built-in", True)
    )


async def test_review_code(server: LiveServer) -> None:
    result, _ = await carried(server, "review-code")
    assert [(one["file"], one["line"]) for one in result["findings"]] == [("src/read.py", 4)]
    assert "except:" in result["report"]
    assert result["failed"] == []


async def test_find_issues(server: LiveServer) -> None:
    result, _ = await carried(server, "find-issues")
    assert [(one["file"], one["line"]) for one in result["issues"]] == [("src/add.py", 5)]
    assert (result["rounds"], result["stopped"]) == (3, "after 2 rounds in a row without anything new")


async def test_deep_research(server: LiveServer) -> None:
    result, _ = await carried(server, "deep-research")
    assert "notes.md:3" in result["sources"]
    assert any("100 a month" in one["quote"] for one in result["claims"])
    assert "[1]" in result["report"] or "notes.md" in result["report"]
    assert result["failed"] == []


async def test_plan_verify(server: LiveServer) -> None:
    result, _ = await carried(server, "plan-verify")
    assert result["verified"]
    assert result["plan"]["steps"]


@pytest.mark.parametrize(
    ("task", "said", "told"),
    [
        ("Let the function add refuse texts, at once.", {"approved": True}, "A person approved it."),
        (
            "Let the function add refuse texts, later.",
            {"approved": False, "reason": "Not before the release."},
            "**A person did not approve it.**",
        ),
    ],
    ids=["approved", "rejected"],
)
async def test_plan_verify_waits_for_a_person_where_it_has_a_gate(
    server: LiveServer, task: str, said: dict[str, Any], told: str
) -> None:
    run = await start(server, "plan-verify", task=task, path="src", gate=True)
    (asking_run,) = await asking(server, run)
    _, listed = await api(server, "GET", f"runs/{asking_run}/approvals")
    assert listed["items"][0]["preview"]["arguments"]["title"] == f"Carry this plan out? {task}"
    assert listed["items"][0]["preview"]["arguments"]["detail"].startswith(f"# Plan: {task}")
    await decide(server, asking_run, **said)
    done = await ended(server, run, within_s=60)
    assert done["status"] == "completed", done
    assert done["result"]["approved"] is said["approved"]
    assert done["result"]["report"].endswith(told)
    rejected = [line for line in done["said"] if "was rejected" in line]
    assert rejected == (
        [] if said["approved"] else [f"Gate 'Carry this plan out? {task}' was rejected: {said['reason']}"]
    )


async def test_data_profile(server: LiveServer) -> None:
    result, _ = await carried(server, "data-profile")
    assert '"name": "rain"' in result["profile"]
    assert "1 of the rows read" in result["profile"]
    assert result["answers"]
