"""A full disk, a folder that is not ours, a database from the future: the server stays well and says what to do."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_agent.testing import check_events
from tests.gateway.disk import filled
from tests.gateway.talk import QUICK, SLOW, OtherServer, Refused, api, connected, fetch, headers_of, talking
from tests.live_server import LiveServer

TROUBLED = (200, 503)
"""A server whose gateway is not open answers its health with 503, and everything else of Jupyter as always."""


def server_on(home: Path, folder: Path | str) -> OtherServer:
    return OtherServer(home, options=(f"--AgentGateway.data_folder={folder}",), ready=TROUBLED)


async def settled_health(server: LiveServer) -> tuple[int, dict[str, str]]:
    """What the health says when start-up is over."""
    async with asyncio.timeout(30):
        while True:
            status, health = await api(server, "GET", "health")
            if health["message"] is None or "opening" not in health["message"]:
                return status, health
            await asyncio.sleep(0.1)


async def assert_only_the_gateway_is_shut(server: LiveServer, *words: str) -> None:
    status, health = await settled_health(server)
    assert (status, health["status"]) == (503, "unavailable")
    for word in words:
        assert word in health["message"]
    status, fault = await api(server, "POST", "runs", {"input": "hi"})
    assert status == 503
    assert fault["message"] == health["message"]
    with pytest.raises(Refused) as refusal:
        async with connected(server, headers=headers_of()):
            pass
    assert refusal.value.status == 503
    assert "Retry-After" in refusal.value.headers
    with pytest.raises(Refused, match="503"):
        async with connected(server):
            pass
    assert (await fetch(server, "GET", "api/contents")).code == 200
    assert (await fetch(server, "GET", "api/kernels")).code == 200
    assert "Traceback" not in server.log.read_text()


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocking = tmp_path / "a-file"
    blocking.write_text("in the way")
    async with server_on(tmp_path, blocking / "data") as server:
        await assert_only_the_gateway_is_shut(server, str(blocking / "data"))


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


async def test_a_disk_that_is_read_only(tmp_path: Path, small_disk: Path) -> None:
    remount(small_disk, "ro")
    async with server_on(tmp_path, small_disk / "data") as server:
        await assert_only_the_gateway_is_shut(server, "writable")
        remount(small_disk, "rw")
        await asyncio.sleep(5.5)
        assert (await settled_health(server))[0] == 200, "no restart is needed"


async def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    async with server_on(tmp_path, folder) as server:
        await server.start_run(QUICK)
    [database] = folder.glob("*.db")
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from the future'")
    async with server_on(tmp_path, folder) as server:
        await assert_only_the_gateway_is_shut(server, "newer")


async def test_a_database_that_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "jupyter_agent.db").write_bytes(b"this is no database at all" * 1_000)
    async with server_on(tmp_path, folder) as server:
        await assert_only_the_gateway_is_shut(server, "jupyter agent rebuild")


async def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    server = OtherServer(tmp_path, options=("--AgentGateway.default_model=nonsense",), ready=(200, 503))
    async with server:
        status, health = await settled_health(server)
        assert status == 503
        assert "nonsense" in health["message"]
        assert (await fetch(server, "GET", "api/contents")).code == 200


async def test_a_folder_that_another_server_uses(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    async with server_on(tmp_path / "one", folder) as one, server_on(tmp_path / "two", folder) as two:
        await assert_only_the_gateway_is_shut(two, str(one.pid), "data_folder")
        assert (await settled_health(one))[0] == 200
        await one.kill()
        await asyncio.sleep(5.5)
        assert (await settled_health(two))[0] == 200, "it takes over"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"No small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


async def test_a_full_disk_refuses_starts_and_needs_no_restart(tmp_path: Path, small_disk: Path) -> None:
    async with server_on(tmp_path, small_disk) as server:
        assert (await settled_health(server))[0] == 200
        run_id = await server.start_run(QUICK)
        await api(server, "GET", f"runs/{run_id}?wait=30")
        _, before = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
        _, listed = await api(server, "GET", "runs")
        async with filled(small_disk):
            for _ in range(3):
                status, fault = await api(server, "POST", "runs", {"input": "x" * 20_000, "model": "echo"})
                assert (status, fault["code"]) == (507, "storage_full"), fault
                assert "room" in fault["message"]
            async with talking(server) as talk:
                refused = await talk.command("start_run", input="x" * 20_000, model="echo")
                assert (refused["type"], refused["code"]) == ("failed", "storage_full")
                await talk.say({"type": "heartbeat"})
                await talk.until("heartbeat_ack")
            assert (await api(server, "GET", f"runs/{run_id}/events?limit=1000"))[1] == before, "reading works"
        status, run = await api(server, "POST", "runs", {"input": "again", "model": "echo"})
        assert status == 201, run
        assert (await api(server, "GET", f"runs/{run['runId']}?wait=30"))[1]["status"] == "completed"
        _, after = await api(server, "GET", "runs")
        assert len(after["items"]) == len(listed["items"]) + 1, "nothing was half started"


async def test_a_run_that_meets_a_full_disk_is_told_and_others_are_well(tmp_path: Path, small_disk: Path) -> None:
    async with server_on(tmp_path, small_disk) as server:
        run_id = await server.start_run(SLOW)
        async with talking(server, f"chatKey={run_id}") as talk:
            await talk.until(lambda frame: frame["type"] == "agent_event")
            async with filled(small_disk):
                await talk.silence(1.5)
                await talk.say({"type": "heartbeat"})
                await talk.until("heartbeat_ack")
            seen = talk.events
        status, run = await api(server, "GET", f"runs/{run_id}")
        assert status == 200
        _, page = await api(server, "GET", f"runs/{run_id}/events?limit=1000")
        assert len(page["items"]) >= len(seen)
        await api(server, "POST", f"runs/{run_id}/interrupt")
        status, run = await api(server, "POST", "runs", {"input": "again", "model": "echo"})
        assert status == 201, run


async def test_a_damaged_journal_ends_its_run_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    async with server_on(tmp_path, folder) as server:
        hurt, fine = await server.start_run(SLOW), await server.start_run(SLOW)
        async with talking(server, f"chatKey={fine}") as talk:
            await talk.until(lambda frame: frame["type"] == "agent_event")
        await server.kill()
        journal = folder / "journals" / f"{hurt}.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(lines[0] + lines[1][:20] + b"\xff" + lines[1][21:] + b"".join(lines[2:]))
        await server.start()
        _, run = await api(server, "GET", f"runs/{hurt}?wait=20")
        assert (run["status"], run["errorCode"]) == ("error", "journal_damaged")
        assert (await api(server, "GET", f"runs/{fine}"))[1]["status"] == "running"
        async with talking(server, f"chatKey={hurt}") as talk:
            await talk.until("replay_complete")
        check_events(talk.heard, renumbered=True)
        await api(server, "POST", f"runs/{fine}/interrupt")


async def test_a_server_that_is_asked_to_stop_stops_soon_and_its_runs_go_on(tmp_path: Path) -> None:
    async with LiveServer(tmp_path) as server:
        run_id = await server.start_run(SLOW)
        async with talking(server, f"chatKey={run_id}") as talk:
            await talk.until(lambda frame: frame["type"] == "agent_event")
            started = asyncio.get_running_loop().time()
            await server.stop()
            assert asyncio.get_running_loop().time() - started < 10
            assert await talk.ended() in (1001, 1006, None)
        seen = talk.events
        last = json.loads(seen[-1])["id"]
        await server.start()
        async with talking(server, f"chatKey={run_id}&lastEventId={last}") as talk:
            await talk.until("session_complete", 40)
    check_events([*seen, *talk.heard], is_complete=True)
