"""Retention from outside: deleted over REST means gone from the disk, and old threads go as they are told to."""

import asyncio
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.talk import API, api, fetch
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "canary-77aa01c3"
SAYS = {
    "turns": [
        {"text": f"{CANARY} ", "calls": [{"name": "create_file", "arguments": {"path": "x.txt", "content": CANARY}}]},
        {"text": f"{CANARY} again"},
    ]
}


def folder_of(server: LiveServer) -> Path:
    (found,) = (server.home / "data" / "jupyter_agent").iterdir()
    return found


def found_in(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        try:
            data += zlib.decompress(data)
        except zlib.error:
            data += b""
        if CANARY.encode() in data:
            found.append(str(path.relative_to(folder)))
    return found


async def a_thread(server: LiveServer, **fields: Any) -> str:
    _, thread = await api(server, "POST", "threads", fields)
    return str(thread["threadId"])


async def ended(server: LiveServer, script: Any, **more: Any) -> str:
    run_id = await server.start_run(script, **more)
    assert (await api(server, "GET", f"runs/{run_id}?wait=30"))[1]["status"] == "completed"
    return run_id


async def test_what_was_deleted_is_nowhere_in_the_data_folder(server: LiveServer) -> None:
    picture = await fetch(server, "POST", f"{API}/blobs", raw=f"picture {CANARY}".encode())
    blob = json.loads(picture.body)["blob"]
    thread = await a_thread(server, title=CANARY, metadata={"about": CANARY * 100})
    run_id = await server.start_run(
        SAYS, threadId=thread, metadata={"note": CANARY},
        input=[{"type": "text", "text": CANARY}, {"type": "image", "blob": blob, "mime": "image/png"}],
    )  # fmt: skip
    async with asyncio.timeout(20):
        while not (page := (await api(server, "GET", f"runs/{run_id}/approvals"))[1])["items"]:
            await asyncio.sleep(0.02)
    approval = page["items"][0]["approvalId"]
    assert (await api(server, "POST", f"approvals/{approval}", {"approved": False, "reason": CANARY}))[0] == 200
    assert (await api(server, "GET", f"runs/{run_id}?wait=30"))[1]["status"] == "completed"
    await api(server, "POST", f"runs/{run_id}/feedback", {"rating": 1, "comment": CANARY * 50})
    for number in range(20):
        said = {"rating": -1, "messageId": f"m{number}", "comment": CANARY * 50}
        assert (await api(server, "POST", f"runs/{run_id}/feedback", said))[0] == 201
    assert found_in(folder_of(server))
    assert (await api(server, "DELETE", f"threads/{thread}"))[0] == 204
    async with asyncio.timeout(60):
        while found := found_in(folder_of(server)):
            await asyncio.sleep(0.2)
    assert not found
    assert (await fetch(server, "GET", f"{API}/blobs/{blob}")).code == 404


async def test_prune_says_what_would_go_and_then_it_goes(server: LiveServer) -> None:
    threads = [await a_thread(server, title=f"old {number}") for number in range(3)]
    await ended(server, {"turns": [{"text": "hi"}]}, threadId=threads[0])
    status, plan = await api(server, "POST", "prune", {"olderThanS": 0, "dryRun": True})
    assert (status, plan["dryRun"]) == (200, True)
    assert {item["thread"]["threadId"] for item in plan["items"]} >= set(threads)
    assert plan["bytes"] > 0
    assert (await api(server, "GET", f"threads/{threads[0]}"))[0] == 200
    slow = await server.start_run({"turns": [{"text": "word " * 400, "delay_s": 0.02}]})
    status, done = await api(server, "POST", "prune", {"olderThanS": 0})
    assert (status, done["dryRun"], done["threads"] >= 3) == (200, False, True)
    for thread in threads:
        assert (await api(server, "GET", f"threads/{thread}"))[0] == 404
    assert (await api(server, "GET", f"runs/{slow}"))[1]["status"] == "running"
    await api(server, "POST", f"runs/{slow}/interrupt")


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "olderThanS"), ({"dryRun": True}, "olderThanS"), ({"olderThanS": -1}, "olderThanS"),
     ({"largerThan": 2**70}, "largerThan"), ({"olderThan": 3}, "olderThan")],
)  # fmt: skip
async def test_a_prune_that_says_nothing_is_refused(server: LiveServer, body: Any, field: str) -> None:
    status, said = await api(server, "POST", "prune", body)
    assert (status, list(said["details"]["fields"])) == (422, [field])


async def command(server: LiveServer, *arguments: str) -> tuple[int, str]:
    """`jupyter agent prune` for the folder of this server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jupyter_agent.cli", "prune", "--workspace", str(server.root), *arguments,
        env={"PATH": os.environ["PATH"], "HOME": str(server.home), "JUPYTER_DATA_DIR": str(server.home / "data"),
             "JUPYTER_RUNTIME_DIR": str(server.home / "runtime")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode()


async def test_the_command_asks_the_server_that_has_the_folder(server: LiveServer) -> None:
    thread = await a_thread(server, title="of the command \x1b[31m")
    code, said = await command(server, "--older-than", "0s", "--dry-run")
    assert code == 0, said
    assert thread in said
    assert "would go" in said
    assert f"the server at {server.url}" in said
    assert "\x1b" not in said
    assert (await api(server, "GET", f"threads/{thread}"))[0] == 200
    code, said = await command(server, "--older-than", "0s")
    assert (code, "are gone" in said) == (0, True), said
    assert (await api(server, "GET", f"threads/{thread}"))[0] == 404
    code, said = await command(server, "--older-than", "soon")
    assert (code, "write for example 30d" in said) == (2, True)
    code, said = await command(server)
    assert (code, "Say what may go" in said) == (2, True)


async def test_without_a_server_the_command_does_it_and_a_silent_one_keeps_it_out(tmp_path: Path) -> None:
    async with LiveServer(tmp_path) as server:
        thread = await a_thread(server, title="Of yesterday")
        run_id = await ended(server, {"turns": [{"text": CANARY}]}, threadId=thread)
        folder = folder_of(server)
        for path in (server.home / "runtime").glob("jpserver-*.json"):
            path.rename(path.with_suffix(".hidden"))
        code, said = await command(server, "--older-than", "0s")
        assert (code, "uses the data folder" in said) == (2, True), said
        assert (await api(server, "GET", f"runs/{run_id}"))[0] == 200
    code, said = await command(server, "--larger-than", "1GB", "--older-than", "1d")
    assert (code, "0 threads" in said) == (0, True), said
    code, said = await command(server, "--larger-than", "0", "--dry-run")
    assert (code, "Of yesterday" in said, "1 threads with 1 runs" in said) == (0, True, True), said
    assert found_in(folder)
    code, said = await command(server, "--larger-than", "0")
    assert (code, "are gone" in said) == (0, True), said
    assert not found_in(folder)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_what_is_beyond_the_operators_limits_goes_by_itself(tmp_path: Path, storing: dict[str, str]) -> None:
    options = ("--AgentGateway.retention_days=0.0", "--AgentGateway.retention_every_s=0.5")
    async with LiveServer(tmp_path, options=options, environment=storing) as server:
        thread = await a_thread(server, title="short-lived")
        async with asyncio.timeout(30):
            while (await api(server, "GET", f"threads/{thread}"))[0] != 404:
                await asyncio.sleep(0.1)
