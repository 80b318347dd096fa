import asyncio
import time

import msgspec
import pytest

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import Gateway
from jupyter_agent.client.run import Run
from jupyter_agent.client.transport import Timing
from jupyter_agent.records import Run as RunRecord
from tests.client.peer import TOKEN, Peer, run_record

QUICK = Timing(heartbeat_s=0.2, ack_s=0.3, first_delay_s=0.02, longest_delay_s=0.1)


@pytest.fixture
async def peer():
    server = Peer()
    yield server
    await server.close()


@pytest.fixture
async def client(peer):
    made = Client(Gateway(url=peer.url, token=TOKEN, source="the test"), timing=QUICK)
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
def open_run(client):
    """Returns a run of the peer, followed as `ja.run` does."""

    def opened(run_id: str = "run_peer", tools=None) -> Run:
        record = msgspec.convert(run_record(run_id), RunRecord)
        return Run(client, record, client.feed(run_id, tools or {}))

    return opened


async def until(ready, timeout_s: float = 10.0) -> None:
    """Waits until something holds; the loop goes on meanwhile."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "It did not come to hold."
        await asyncio.sleep(0.005)
