"""The proxy delays and breaks as it is told: what the trials stand on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.wire.proxy import Fault, How, Proxy


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A server that says everything back, and "bye" at the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
            writer.write(b"bye")
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_bytes_keep_their_order_and_come_after_the_round_trip(echo_port: int) -> None:
    sent = bytes(range(256)) * 4_000
    clock = asyncio.get_running_loop().time
    async with Proxy("127.0.0.1", echo_port, rtt_s=0.2) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        began = clock()
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        # A round trip for the connection, and one for the bytes.
        assert clock() - began >= 0.4
        began = clock()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert clock() - began >= 0.2
        writer.write_eof()
        assert await reader.read() == b"bye"
        writer.close()


@pytest.mark.parametrize("how", ["cut", "half_close"])
async def test_a_connection_ends_at_the_byte_that_was_named(echo_port: int, how: How) -> None:
    async with Proxy("127.0.0.1", echo_port, fault=Fault(how, 1_000)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"y" * 1_500)
        assert await reader.read() == b"y" * 1_000
        writer.close()


async def test_half_of_a_connection_ends_and_the_other_goes_on(echo_port: int) -> None:
    async with Proxy("127.0.0.1", echo_port, fault=Fault("half_close", 5, "server")) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"12345678")
        assert await reader.read() == b"12345bye"
        writer.close()


async def test_a_reset_is_no_end_of_file(echo_port: int) -> None:
    async with Proxy("127.0.0.1", echo_port, fault=Fault("reset", 10)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"z" * 20)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_stalled_connection_stays_open_and_says_nothing(echo_port: int) -> None:
    async with Proxy("127.0.0.1", echo_port, fault=Fault("stall", 3)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"abcdef")
        assert await reader.readexactly(3) == b"abc"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        writer.close()
