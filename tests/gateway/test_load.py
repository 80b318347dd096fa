"""Many sockets at once: strangers are capped, stalled readers are sent away, and nobody else notices."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gateway.talk import OtherServer, Refused, api, connected, framed, headers_of, raw_socket, talking
from tests.live_server import TOKEN


async def test_strangers_are_capped_and_others_still_get_in(tmp_path: Path) -> None:
    async with OtherServer(tmp_path) as server:
        held, statuses = [], []
        try:
            for number in range(150):
                status, opened = await raw_socket(server, address=f"127.0.0.{2 + number % 8}")
                statuses.append(status)
                held.append(opened)
            assert statuses.count(101) == 64
            assert statuses.count(503) == 86
            async with connected(server, headers=headers_of()) as talk:
                await talk.say({"type": "auth", "token": ""})
                await talk.until("auth_success", 5)
            with pytest.raises(Refused) as refusal:
                async with connected(server):
                    pass
            assert refusal.value.status == 503
            assert int(refusal.value.headers["Retry-After"]) > 0
        finally:
            for opened in held:
                opened.close()
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(Refused):
                    async with talking(server):
                        break
                await asyncio.sleep(0.1)


async def test_one_address_has_its_own_cap(tmp_path: Path) -> None:
    async with OtherServer(tmp_path) as server:
        opened = [await raw_socket(server) for _ in range(20)]
        assert [status for status, _ in opened] == [101] * 16 + [503] * 4
        status, other = await raw_socket(server, address="127.0.0.9")
        assert status == 101
        for one in (*(one for _, one in opened), other):
            one.close()


async def test_one_user_has_a_cap(tmp_path: Path) -> None:
    async with OtherServer(tmp_path, options=("--AgentGateway.max_sockets=5",)) as server:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(talking(server))
            with pytest.raises(Refused, match="429"):
                async with connected(server, headers=headers_of()):
                    pass
            async with connected(server) as talk:
                await talk.say({"type": "auth", "token": TOKEN})
                assert await talk.ended() == 1013
        async with talking(server):
            pass


async def test_stalled_readers_cost_little_and_are_sent_away(tmp_path: Path) -> None:
    async with OtherServer(tmp_path, options=("--AgentGateway.stalled_after_s=2",)) as server:
        # About eleven megabytes of events, more than all buffers on the way take.
        _, run = await api(server, "POST", "runs", {"input": "word " * 60_000, "model": "echo"})
        run_id = run["runId"]
        _, run = await api(server, "GET", f"runs/{run_id}?wait=60")
        assert run["status"] == "completed"
        process = psutil.Process(server.pid)
        before = most = process.memory_info().rss
        follow = framed({"type": "follow", "runId": run_id})
        held = []
        for _ in range(8):
            status, opened = await raw_socket(server, more=f"Authorization: token {TOKEN}\r\n")
            assert status == 101
            await asyncio.get_running_loop().sock_sendall(opened, follow)
            held.append(opened)
        async with asyncio.timeout(90):
            while any(one.status == "ESTABLISHED" for one in connections_of(process, held)):
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0.1)
        for opened in held:
            opened.close()
        # The archive of the run is in memory once, about eleven megabytes; the rest is for eight readers.
        assert most - before < (16 + 8 * 4) * 1024 * 1024
        async with talking(server) as talk:
            await talk.say({"type": "heartbeat"})
            await talk.until("heartbeat_ack")
        assert "disconnected" in server.log.read_text()


def connections_of(process: psutil.Process, held: list[socket.socket]) -> list[Any]:
    """The server's ends of these sockets that are still there."""
    ports = {opened.getsockname()[1] for opened in held}
    return [one for one in process.net_connections("tcp") if one.raddr and one.raddr.port in ports]
