"""Clients that cost next to nothing, in a process of their own: they count what a server sends until a mark comes.

    python -m benchmarks.readers <port> <path> <clients> [--say FRAME] [--until TEXT] [--timed] [--stalled]

Says "ready" on its standard output when every client has its socket, has said its frame and heard what it waits for;
then reads until each has heard the mark, and prints one JSON object. With `--stalled` nothing is read after "ready"
until standard input ends.
"""

import argparse
import json
import os
import re
import secrets
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

MARK = b"the last word"
PONG = b"\x8a\x80\0\0\0\0"
PONG_EVERY_S = 5.0
"""Pings are not looked for: a word now and then says that the client is there."""
TAIL = 64
"""Bytes kept of what was read, so that a mark is seen that comes in two pieces."""
STAMP = re.compile(rb'"content":"(\d{10,})"')


@dataclass(eq=False)
class Reader:
    """One socket. `frames` counts the seals of events, which end each of them."""

    socket: socket.socket
    frames: int = 0
    size: int = 0
    last_ns: int = 0
    tail: bytes = b""
    late_ns: list[int] = field(default_factory=list)

    def read(self, buffer: bytearray, *, mark: bytes, is_timed: bool) -> bool:
        """Reads what is there; tells whether the mark was in it."""
        count = self.socket.recv_into(buffer)
        if not count:
            raise ConnectionError(f"The server closed a socket after {self.size} bytes: {self.tail!r}")
        now = time.monotonic_ns()
        self.last_ns = now
        self.size += count
        data = self.tail + bytes(memoryview(buffer)[:count])
        self.frames += data.count(b',"crc":"') - self.tail.count(b',"crc":"')
        if is_timed:
            news = (stamp for stamp in STAMP.finditer(data) if stamp.end() > len(self.tail))
            self.late_ns += (now - int(stamp[1]) for stamp in news)
        is_last = mark in data
        self.tail = data[-TAIL:]
        return is_last


def connect(port: int, path: str, token: str, *, small: bool) -> socket.socket:
    """Opens a WebSocket by hand."""
    made = socket.socket()
    if small:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: token {token}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += made.recv(1)
    if b" 101 " not in said.splitlines()[0]:
        raise ConnectionError(f"The server refused the socket: {said!r}")
    return made


def say(made: socket.socket, text: str) -> None:
    """Sends one masked text frame."""
    data, mask = text.encode(), secrets.token_bytes(4)
    head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else bytes([0x81, 0xFE]) + len(data).to_bytes(2, "big")
    made.sendall(head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("clients", type=int)
    parser.add_argument("--say", default="")
    parser.add_argument("--until", default="")
    parser.add_argument("--timed", action="store_true")
    parser.add_argument("--stalled", action="store_true")
    options = parser.parse_args()
    token, buffer = os.environ["BENCH_TOKEN"], bytearray(1 << 20)
    readers = []
    said_ns = time.monotonic_ns()
    for _ in range(options.clients):
        reader = Reader(connect(options.port, options.path, token, small=options.stalled))
        if options.say:
            say(reader.socket, options.say)
        while options.until and not reader.read(buffer, mark=options.until.encode(), is_timed=False):
            pass
        readers.append(reader)
    print("ready", flush=True)
    if options.stalled:
        sys.stdin.read()
        return
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            reader.tail, reader.size, reader.frames = b"", 0, 0
            selector.register(reader.socket, selectors.EVENT_READ, reader)
        left, said = len(readers), time.monotonic()
        while left:
            if time.monotonic() - said > PONG_EVERY_S:
                said = time.monotonic()
                for reader in readers:
                    reader.socket.sendall(PONG)
            for key, _ in selector.select(PONG_EVERY_S):
                if key.data.read(buffer, mark=MARK, is_timed=options.timed):
                    selector.unregister(key.data.socket)
                    left -= 1
    print(
        json.dumps(
            {
                "frames": [reader.frames for reader in readers],
                "bytes": sum(reader.size for reader in readers),
                "saidNs": said_ns,
                "lastNs": max(reader.last_ns for reader in readers),
                "lateNs": [late for reader in readers for late in reader.late_ns],
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
