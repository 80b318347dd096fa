"""Many starts on one thread at once: each gets what its strategy says, each run ends once, and rows stay true."""

import asyncio
import sys
from collections import Counter
from typing import Any

import pytest

from tests.gateway.talk import api
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 8
SCRIPT = {"turns": [{"text": "a b c d e f", "delay_s": 0.2}]}
"""Long enough that no run ends by itself before the next one ends it."""
EXPECTED = {
    "reject": ({201: 1, 409: MANY - 1}, {"completed": 1}),
    "interrupt": ({201: MANY}, {"completed": 1, "interrupted": MANY - 1}),
    "rollback": ({201: MANY}, {"completed": 1, "interrupted": MANY - 1}),
    "enqueue": ({201: MANY}, {"completed": MANY}),
}


async def runs_of(server: LiveServer, thread_id: str) -> list[dict[str, Any]]:
    _, page = await api(server, "GET", f"runs?threadId={thread_id}&limit=200")
    return list(page["items"])


@pytest.mark.parametrize("strategy", list(EXPECTED))
async def test_many_starts_at_once(server: LiveServer, strategy: str) -> None:
    _, thread = await api(server, "POST", "threads", {})
    wanted = {
        "input": "x",
        "model": "scripted",
        "script": SCRIPT,
        "multitask": strategy,
        "threadId": thread["threadId"],
    }
    answers = await asyncio.gather(*(api(server, "POST", "runs", wanted) for _ in range(MANY)))
    statuses, ends = EXPECTED[strategy]
    assert Counter(status for status, _ in answers) == statuses, answers
    async with asyncio.timeout(40):
        while not all(
            run["status"] in ("completed", "interrupted") for run in await runs_of(server, thread["threadId"])
        ):
            await asyncio.sleep(0.1)
    runs = await runs_of(server, thread["threadId"])
    assert Counter(run["status"] for run in runs) == ends
    assert sum(run.get("rolledBack", False) for run in runs) == (MANY - 1 if strategy == "rollback" else 0)
    for run in runs:
        await api(server, "GET", f"runs/{run['runId']}?wait=20")
        _, page = await api(server, "GET", f"runs/{run['runId']}/events?limit=1000")
        kinds = Counter(event["type"] for event in page["items"])
        assert (kinds["run_started"], kinds["session_complete"]) == (1, 1)


async def test_a_run_in_the_queue_is_ended_once_by_many(server: LiveServer) -> None:
    first = await server.start_run({"turns": [{"text": "word " * 100, "delay_s": 0.02}]})
    thread_id = (await server.run(first))["threadId"]
    queued = [await server.start_run(SCRIPT, threadId=thread_id, multitask="enqueue") for _ in range(3)]
    answers = await asyncio.gather(
        *(api(server, "POST", f"runs/{run_id}/interrupt") for run_id in (*queued, first, *queued) for _ in range(4))
    )
    assert {status for status, _ in answers} == {202}
    assert {(await server.run(run_id))["status"] for run_id in (first, *queued)} == {"interrupted"}


async def test_all_that_is_kept_is_whole_afterwards(server: LiveServer) -> None:
    log = server.log.read_text(errors="replace")
    assert "Traceback" not in log, log[-4000:]
    await server.stop()
    folder = next((server.home / "data" / "jupyter_agent").iterdir())
    check = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jupyter_agent.cli", "check", "--data-folder", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await check.communicate()
    await server.start()
    assert check.returncode == 0, said.decode()
