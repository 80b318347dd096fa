"""Connections that are kept: used again, given up where the other side is gone, never taken for another's answer."""

import asyncio

import pytest
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from jupyter_agent.client.kept import MOST, Kept


class Server:
    """Echoes bodies with the port that it was asked from, which tells connections apart."""

    def __init__(self) -> None:
        self.slow = asyncio.Event()
        self.server = HTTPServer(Application([(r"/(.*)", Echo, {"its": self})]))
        self.sockets = bind_sockets(0, "127.0.0.1")
        self.server.add_sockets(self.sockets)
        self.url = f"http://127.0.0.1:{self.sockets[0].getsockname()[1]}"
        self.asked = 0


class Echo(RequestHandler):
    def initialize(self, its: Server) -> None:
        self.its = its

    async def post(self, path: str) -> None:
        self.its.asked += 1
        if path == "slow":
            await self.its.slow.wait()
        if path == "half":
            self.set_header("Content-Length", "100")
            self.write(b"the beginning")
            await self.flush()
            self.request.connection.stream.close()
            return
        if path == "last":
            self.set_header("Connection", "close")
        stream = self.request.connection.stream
        self.set_header("X-Port", str(stream.socket.getpeername()[1]))
        self.set_status(404 if path == "missing" else 200)
        self.finish(self.request.body + self.get_query_argument("more", "").encode())


@pytest.fixture
async def server():
    made = Server()
    yield made
    made.slow.set()
    made.server.stop()
    await made.server.close_all_connections()


@pytest.fixture
async def kept():
    made = Kept()
    yield made
    made.close()


async def ask(kept, server, path="/x", body=b"{}", timeout_s=20):
    return await kept.fetch("POST", server.url + path, headers={}, body=body, timeout_s=timeout_s)


async def test_one_connection_for_many_requests(server, kept):
    told = [await ask(kept, server, f"/x?more={number}", body=b"a" * number) for number in range(5)]
    assert [one.body for one in told] == [b"a" * number + str(number).encode() for number in range(5)]
    assert len({one.headers["X-Port"] for one in told}) == 1
    assert (await ask(kept, server, "/missing")).code == 404
    large = b"x" * 3_000_000
    assert (await ask(kept, server, body=large)).body == large


async def test_at_once_each_has_its_own_and_few_are_kept(server, kept):
    waiting = [asyncio.create_task(ask(kept, server, "/slow", body=str(number).encode())) for number in range(9)]
    async with asyncio.timeout(20):
        while server.asked < 9:
            await asyncio.sleep(0.01)
        server.slow.set()
        told = await asyncio.gather(*waiting)
    assert [one.body for one in told] == [str(number).encode() for number in range(9)]
    assert len({one.headers["X-Port"] for one in told}) == 9
    assert sum(map(len, kept._idle.values())) == MOST


async def test_what_the_server_closed_is_not_used_again(server, kept):
    first = await ask(kept, server)
    await server.server.close_all_connections()
    assert (await ask(kept, server)).headers["X-Port"] != first.headers["X-Port"]
    last = await ask(kept, server, "/last")
    assert (await ask(kept, server)).headers["X-Port"] != last.headers["X-Port"]


async def test_half_an_answer_is_none_and_nobody_gets_the_rest(server, kept):
    with pytest.raises(StreamClosedError):
        await ask(kept, server, "/half")
    assert (await ask(kept, server, body=b"whole")).body == b"whole"


async def test_whoever_gives_up_leaves_no_answer_behind(server, kept):
    await ask(kept, server)
    with pytest.raises(TimeoutError):
        await ask(kept, server, "/slow", timeout_s=0.05)
    waiting = asyncio.create_task(ask(kept, server, "/slow"))
    async with asyncio.timeout(20):
        while server.asked < 3:
            await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    server.slow.set()
    assert (await ask(kept, server, body=b"mine")).body == b"mine"


async def test_nobody_there_is_told(kept, server):
    server.server.stop()
    for socket in server.sockets:
        socket.close()
    with pytest.raises(StreamClosedError):
        await ask(kept, server)
