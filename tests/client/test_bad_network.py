"""The client and the real gateway with a bad network between them."""

import asyncio
import itertools

import pytest

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import Gateway
from jupyter_agent.client.run import Run
from jupyter_agent.client.transport import Link, Timing
from jupyter_agent.records import RunRequest
from tests.client.conftest import until
from tests.live_server import TOKEN, LiveServer
from tests.wire.proxy import HOWS, Fault, Proxy

WORDS = 600
IMPATIENT = Timing(heartbeat_s=0.3, ack_s=1.5, first_delay_s=0.02, longest_delay_s=0.1)
SCRIPT = [{"text": "".join(f"{number} " for number in range(WORDS)), "duration_s": 6}]


@pytest.fixture
async def server(tmp_path):
    async with LiveServer(tmp_path) as started:
        yield started


async def started(client) -> Run:
    record = await client.join(client.start(RunRequest(input="Count.", model="scripted", script=SCRIPT)))
    return Run(client, record, client.feed(record.run_id, {}))


def check(run, answer):
    assert answer.split() == [str(number) for number in range(WORDS)]
    seqs = [int(event.id.rsplit("-", 1)[1]) for event in run.events]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("rtt_s", [0.3, 1.0])
async def test_a_long_way_changes_nothing(server, rtt_s):
    async with Proxy("127.0.0.1", server.port, rtt_s=rtt_s) as proxy:
        client = Client(Gateway(url=f"http://127.0.0.1:{proxy.port}/", token=TOKEN, source="the test"))
        run = await started(client)
        check(run, await asyncio.wait_for(run.aresult(), 60))
        await asyncio.to_thread(client.close)


async def test_connections_that_break_at_any_byte_lose_nothing(server):
    """Cut, reset, half closed and stalled, after ever different numbers of bytes, until the run is over."""
    async with Proxy("127.0.0.1", server.port, rtt_s=0.02) as proxy:
        client = Client(
            Gateway(url=f"http://127.0.0.1:{proxy.port}/", token=TOKEN, source="the test"), timing=IMPATIENT
        )
        run = await started(client)
        breaking, links = itertools.cycle(HOWS), []

        def changed() -> None:
            """Whenever a connection is lost the next one breaks in another way, a little later."""
            if run.connection is Link.WAITING and (not links or links[-1] is not Link.WAITING):
                broken = links.count(Link.WAITING)
                proxy.fault = Fault(next(breaking), 6_000 + 331 * broken) if broken < 24 else None
            links.append(run.connection)

        run._feed.watch(changed)
        waiting = asyncio.ensure_future(run.aresult())
        await until(lambda: run.events)
        assert client.transport._socket is not None
        client.threads_loop.call_soon_threadsafe(client.transport._socket.close)
        check(run, await asyncio.wait_for(waiting, 60))
        assert links.count(Link.CONNECTED) > 5
        await asyncio.to_thread(client.close)
