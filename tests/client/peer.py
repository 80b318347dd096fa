"""A small gateway over a real socket: journals in memory, the protocol, and a switch for every kind of bad luck."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from jupyter_agent import events as ev
from jupyter_agent.records import RunStatus, Text, Usage

START = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "peer-token"


class Journal:
    """The events of one run as lines; `epoch` goes up as after a crash."""

    def __init__(self, run_id: str = "run_peer") -> None:
        self.run_id = run_id
        self.lines: list[bytes] = []
        self.epoch = 1
        self.sockets: set[Socket] = set()

    def append(self, event: ev.AnyEvent) -> str:
        seq = len(self.lines) + 1
        event_id = f"{ev.run_tag(self.run_id)}-{self.epoch}-{seq}"
        whole = msgspec.structs.replace(
            event, id=event_id, run_id=self.run_id, at=START + timedelta(milliseconds=10 * seq)
        )
        self.lines.append(ev.encode_line(whole))
        for socket in tuple(self.sockets):
            socket.say(self.lines[-1])
        return event_id

    def crash(self, lost: int) -> None:
        """Loses the last events, as a server does that is killed before they were synced."""
        del self.lines[len(self.lines) - lost :]
        self.epoch += 1

    def begin(self, model: str = "demo") -> None:
        self.append(
            ev.RunStarted(thread_id="thr_1", user_id="owner", agent="main", model=model, input=(Text(text="Hello?"),))
        )
        self.append(ev.StatusChange(status=RunStatus.RUNNING))

    def say(self, text: str) -> None:
        self.append(ev.AgentEvent(event=ev.TextDelta(content=text)))

    def end(self, status: RunStatus = RunStatus.COMPLETED, summary: str | None = None) -> None:
        self.append(ev.StatusChange(status=status))
        self.append(
            ev.SessionComplete(status=status, usage=Usage(input_tokens=7, output_tokens=3, requests=1), summary=summary)
        )


class Peer:
    """The server. `heard` has every frame of every client; `refuse_with` answers handshakes with an HTTP status."""

    def __init__(self, port: int | None = None) -> None:
        self.journals: dict[str, Journal] = {}
        self.heard: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.uris: list[str] = []
        self.sockets: set[Socket] = set()
        self.refuse_with: int | None = None
        self.opens_after_s = 0.0
        self.acknowledges = True
        self.beats = True
        self.faults: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, Any] = {}
        routes = [(r"/(?:.*/)?jupyter-agent/ws", Socket), (r"/(?:.*/)?jupyter-agent/api/(.*)", Rest)]
        self._server = HTTPServer(Application(routes, peer=self))  # type: ignore[arg-type]
        if port is None:
            listening, self.port = bind_unused_port()
            self._server.add_sockets([listening])
        else:
            self.port = port
            self._server.listen(port, "127.0.0.1")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def journal(self, run_id: str = "run_peer") -> Journal:
        return self.journals.setdefault(run_id, Journal(run_id))

    def drop_all(self) -> None:
        """Cuts every connection without a word."""
        for socket in tuple(self.sockets):
            socket.cut()

    async def close(self) -> None:
        self._server.stop()
        self.drop_all()
        await self._server.close_all_connections()

    def commands(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.heard if frame["type"] == kind]


class Socket(WebSocketHandler):
    """One client."""

    async def prepare(self) -> None:
        peer: Peer = self.settings["peer"]
        peer.headers.append(self.request.headers)
        peer.uris.append(self.request.uri or "")
        await asyncio.sleep(peer.opens_after_s)
        if peer.refuse_with is not None:
            self.set_status(peer.refuse_with)
            self.finish()

    def open(self, *_: str) -> None:
        self.peer: Peer = self.settings["peer"]
        self.peer.sockets.add(self)

    def on_close(self) -> None:
        self.peer.sockets.discard(self)
        for journal in self.peer.journals.values():
            journal.sockets.discard(self)

    def cut(self) -> None:
        if self.ws_connection is not None:
            self.ws_connection._abort()

    def say(self, frame: bytes | dict[str, Any]) -> None:
        text = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        if self.ws_connection is not None and not self.ws_connection.is_closing():
            self.write_message(text).add_done_callback(lambda sent: sent.exception())

    def on_message(self, message: str | bytes) -> None:
        frame = json.loads(message)
        self.peer.heard.append(frame)
        if frame["type"] == "auth":
            good = self.request.headers.get("Authorization") == f"token {TOKEN}"
            self.say({"type": "auth_success"} if good else {"type": "auth_failed", "reason": "no"})
            if not good:
                self.close(4401)
        elif frame["type"] == "heartbeat":
            if self.peer.beats:
                self.say({"type": "heartbeat_ack"})
        elif frame["type"] == "follow":
            self._follow(frame)
        elif frame["type"] == "unfollow":
            self.peer.journal(frame["runId"]).sockets.discard(self)
        elif self.peer.acknowledges:
            self._acknowledge(frame)

    def _follow(self, frame: dict[str, Any]) -> None:
        run_id = frame["runId"]
        if run_id not in self.peer.journals:
            self.say({"type": "failed", "clientId": frame["clientId"], "code": "run_not_found",
                      "message": f"There is no run {run_id}."})  # fmt: skip
            return
        journal = self.peer.journals[run_id]
        cursor = ev.parse_cursor(frame.get("lastEventId") or "")
        at = (cursor.epoch, cursor.seq) if cursor else (0, 0)
        known = [ev.line_cursor(line) for line in journal.lines]
        if cursor and str(cursor) not in map(str, known):
            self.say({"type": "gap", "runId": run_id, "requested": str(cursor)})
            at = (journal.epoch, -1)
        for line, place in zip(journal.lines, known, strict=True):
            if place.place > at:
                self.say(line)
        status = next(
            (e.status for e in map(ev.decode_line, reversed(journal.lines)) if isinstance(e, ev.StatusChange)),
            RunStatus.PENDING,
        )
        self.say({"type": "replay_complete", "runId": run_id, "status": status, "lastEventId": str(known[-1])})
        journal.sockets.add(self)

    def _acknowledge(self, frame: dict[str, Any]) -> None:
        if (fault := self.peer.faults.get(frame["type"])) is not None:
            self.say({"type": "failed", "clientId": frame.get("clientId"), **fault})
        elif frame.get("clientId"):
            answer = self.peer.answers.get(frame["type"])
            self.say({"type": "ack", "clientId": frame["clientId"], "result": answer})


class Rest(RequestHandler):
    """What little REST these tests need."""

    def get(self, path: str) -> None:
        peer: Peer = self.settings["peer"]
        peer.headers.append(self.request.headers)
        if self.request.headers.get("Authorization") != f"token {TOKEN}":
            self.set_status(403)
            self.write({"code": "forbidden", "message": "No."})
        elif path in peer.answers:
            self.write(peer.answers[path])
        else:
            self.set_status(404)
            self.write({"code": "run_not_found", "message": f"There is no {path}."})


def run_record(run_id: str = "run_peer") -> dict[str, Any]:
    """A run as the gateway describes it."""
    return {
        "runId": run_id, "threadId": "thr_1", "userId": "owner", "status": "running", "agent": "main",
        "model": "demo", "createdAt": START.isoformat(), "updatedAt": START.isoformat(),
    }  # fmt: skip
