"""Kills a real server at random instants while runs with side effects are on their way, and keeps the books.

What must hold, whatever the instant: a turn that was told of is kept; a client that comes back hears each event once,
as it heard it before; an approval is good for one execution and without one there is none; every run comes to its end.
"""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from jupyter_agent import events as ev
from jupyter_agent import failpoints
from jupyter_agent.testing import check_events
from tests.gateway.talk import closed
from tests.live_server import TOKEN, LiveServer

RUNS_AT_ONCE = 3
LONGEST_LIFE_S = 2.0
"""A server is killed at a random instant of its first seconds: runs take about as long."""
KILLED_WHILE_STARTING = 0.15
KILLED_IN_TRANSITION = 0.4
LONGEST_START_S = 1.5
END_TIMEOUT_S = 60.0

APPEND_LINE = {
    "name": "append_line",
    "description": "Appends a line to the client's file.",
    "parameters": {"type": "object", "properties": {"line": {"type": "string"}}, "required": ["line"]},
    "effects": ["write"],
    "client": True,
}


def script(name: str) -> list[dict[str, Any]]:
    """Streams, writes two files, appends two lines in the client, asks a question: about two seconds."""
    pause = {"delay_s": 0.01}

    def create(part: str) -> dict[str, Any]:
        return {"name": "create_file", "arguments": {"path": f"{name}-{part}.txt", "content": f"{name} {part}\n"}}

    def append(part: str) -> dict[str, Any]:
        return {"name": "append_line", "arguments": {"line": f"{name} {part}"}}

    question = {"name": "ask_user", "arguments": {"prompt": "Shall I go on?"}}
    return [
        {"thinking": "I think.", "text": "Two at once. " * 8, "calls": [create("file-1"), append("line-1")]} | pause,
        {"text": "I ask. " * 10, "calls": [question]} | pause,
        {"text": "You said {result}. " * 5, "calls": [append("line-2")]} | pause,
        {"text": "And the last file. " * 5, "calls": [create("file-2")]} | pause,
        {"text": "That is all. " * 10} | pause,
    ]


def effect_of(tool: str, arguments: str) -> str:
    """Names the side effect of a call: the run's name and which of its effects."""
    values = msgspec.json.decode(arguments)
    return (
        str(values["line"]) if tool == "append_line" else str(values["path"]).removesuffix(".txt").replace("-", " ", 1)
    )


@dataclass(eq=False)
class Books:
    """What happened outside of the journals, and what was found to be wrong."""

    done: Counter[str] = field(default_factory=Counter)
    """How often each side effect was seen to happen."""
    decisions: dict[str, bool] = field(default_factory=dict)
    """What the person said to each approval."""
    approvals: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The approvals by which each side effect was allowed."""
    kills: int = 0
    kills_while_starting: int = 0
    kills_in_transition: int = 0
    runs_hit: int = 0
    asked_again: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    events: int = 0
    turns: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Follower:
    """A client of one run: shows it, decides, answers, carries out its tool, and comes back at its cursor.

    It does not know what it has carried out: every call that arrives is executed.
    """

    run_id: str
    server: LiveServer
    books: Books
    chance: random.Random
    is_promised: bool = True
    """Whether its start was answered: then the run is there."""
    seen: list[bytes] = field(default_factory=list)
    cursor: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Follows until the run's last event, over as many sockets as it takes."""
        while not self.ended.is_set():
            with contextlib.suppress(OSError, HTTPClientError, WebSocketClosedError):
                await self._visit()
            await asyncio.sleep(0.05)

    async def _visit(self) -> None:
        url = f"{self.server.url.replace('http', 'ws')}/jupyter-agent/ws"
        socket = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"}))
        stream = socket.protocol.stream if socket.protocol else None
        try:
            follow = {"type": "follow", "runId": self.run_id, "tools": ["append_line"], "lastEventId": self.cursor}
            await socket.write_message(msgspec.json.encode(follow))
            while not self.ended.is_set() and (text := await socket.read_message()) is not None:
                await self._hear(text.encode() if isinstance(text, str) else text, socket)
        finally:
            socket.close()
            await closed(stream)

    async def _hear(self, line: bytes, socket: WebSocketClientConnection) -> None:
        frame = msgspec.json.decode(line)
        if "id" in frame:
            self.seen.append(line)
            self.cursor = frame["id"]
        reply: dict[str, Any] | None = None
        match frame["type"]:
            case "gap" if self.is_promised or self.seen:
                self.books.faults.append(f"run {self.run_id}: the server does not know its own cursor: {frame}")
            case "tool_confirmation_request":
                reply = self._decide(frame)
            case "input_request":
                reply = {"type": "user_input", "requestId": frame["requestId"], "content": "yes"}
            case "client_tool_call":
                await asyncio.sleep(self.chance.random() * 0.1)
                self.books.done[effect_of(frame["name"], frame["arguments"])] += 1
                await asyncio.sleep(self.chance.random() * 0.1)
                reply = {"type": "client_tool_result", "toolCallId": frame["toolCallId"], "result": "appended"}
            case "session_complete":
                self.ended.set()
            case "failed" if frame["code"] == "run_not_found":
                if self.is_promised or self.seen:
                    self.books.faults.append(f"run {self.run_id} was started and is gone")
                self.ended.set()
        if reply is not None:
            await asyncio.sleep(self.chance.random() * 0.05)
            await socket.write_message(msgspec.json.encode(reply | {"runId": self.run_id}))

    def _decide(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Approves most of what is asked, and half of what may have run already: again, or never mind."""
        approval_id, effect = frame["approvalId"], effect_of(frame["tool"]["name"], frame["tool"]["arguments"])
        if approval_id not in self.books.decisions:
            may_have_run = "warning" in frame["preview"]
            if self.books.approvals[effect] and not may_have_run:
                self.books.faults.append(f"{effect} is asked for again without saying that it may have happened")
            self.books.asked_again += may_have_run
            self.books.decisions[approval_id] = self.chance.random() < (0.5 if may_have_run else 0.9)
        approved = self.books.decisions[approval_id]
        if approved:
            self.books.approvals[effect].add(approval_id)
        answer = {"type": "tool_confirmation", "toolCallId": frame["toolCallId"], "approved": approved}
        return answer | {"approvalId": approval_id}


class Campaign:
    """Runs that follow one another on one server, which is killed again and again."""

    def __init__(self, server: LiveServer, *, seed: int) -> None:
        self.server = server
        self.books = Books()
        self._chance = random.Random(seed)
        self._is_fed = False
        self._names = (f"run{number}" for number in range(1_000_000))
        self._known: dict[str, Follower] = {}
        self._following: dict[asyncio.Task[None], Follower] = {}

    async def wage(self, kills: int) -> Books:
        """Kills the server so often, lets everything come to its end, and returns the books."""
        while self.books.kills < kills:
            self._arm()
            await self.server.launch()
            if self._chance.random() < KILLED_WHILE_STARTING:
                await self.server.died(within_s=self._chance.random() * LONGEST_START_S)
                self.books.kills_while_starting += 1
            elif await self.server.ready():
                await self._live(self._chance.random() * LONGEST_LIFE_S)
            elif await self.server.died(within_s=0):
                self.books.kills_in_transition += 1
            else:
                self.books.faults.append(f"kill {self.books.kills}: the server does not get well after it")
            await self.server.kill()
            self._note_kill()
        self.server.environment.pop(failpoints.ENVIRONMENT, None)
        await self.server.start()
        await self._adopt()
        await self._come_to_an_end()
        return self.books

    def _arm(self) -> None:
        """Lets some servers die by themselves, in the middle of one of the transitions that must survive it."""
        self.server.environment.pop(failpoints.ENVIRONMENT, None)
        if self._chance.random() < KILLED_IN_TRANSITION:
            name, nth = self._chance.choice(sorted(failpoints.NAMES)), self._chance.randint(1, 12)
            self.server.environment[failpoints.ENVIRONMENT] = f"{name}=kill;nth={nth}"

    async def _live(self, life_s: float) -> None:
        """Lets runs go on for so long, or until the server dies."""
        with contextlib.suppress(OSError):
            await self._adopt()
        self._is_fed = True
        feeding = asyncio.create_task(self._feed())
        if await self.server.died(within_s=life_s):
            self.books.kills_in_transition += 1
        self._is_fed = False
        await self.server.kill()
        await feeding

    async def _feed(self) -> None:
        """Keeps some runs on their way. The server may be killed while it starts one."""
        while self._is_fed:
            if len(self._following) < RUNS_AT_ONCE:
                with contextlib.suppress(OSError):
                    tools = ["create_file", "ask_user"]
                    self._follow(
                        await self.server.start_run(script(next(self._names)), tools=tools, clientTools=[APPEND_LINE])
                    )
            await asyncio.sleep(0.02)

    def _follow(self, run_id: str, *, is_promised: bool = True) -> None:
        chance = random.Random(self._chance.random())
        follower = Follower(run_id, self.server, self.books, chance, is_promised=is_promised)
        self._known[run_id] = follower
        task = asyncio.create_task(follower.follow())
        self._following[task] = follower
        task.add_done_callback(self._following.pop)

    def _note_kill(self) -> None:
        self.books.kills += 1
        self.books.runs_hit += len(self._following)
        self._sweep()

    def _sweep(self) -> None:
        """Notes which files have appeared and takes them away: one that appears again was written again."""
        for path in self.server.root.glob("run*-file-*.txt"):
            effect = path.stem.replace("-", " ", 1)
            self.books.done[effect] += 1
            if path.read_text() != f"{effect}\n":
                self.books.faults.append(f"{path.name} was half written: {path.read_text()!r}")
            path.unlink()

    async def _adopt(self) -> None:
        """Follows runs too whose start was not answered: they were started or not, and must end as well."""
        for run_id in await self._run_ids():
            if run_id not in self._known:
                self._follow(run_id, is_promised=False)

    async def _run_ids(self) -> list[str]:
        found, cursor = [], ""
        while True:
            status, page = await self.server.request("GET", f"jupyter-agent/api/runs?limit=200{cursor}")
            assert status == 200, page
            found += [run["runId"] for run in page["items"]]
            if not page.get("nextCursor"):
                return found
            cursor = f"&cursor={page['nextCursor']}"

    # --- the balance ----------------------------------------------------------------------------------------

    async def _come_to_an_end(self) -> None:
        following = dict(self._following)
        if following:
            _, late = await asyncio.wait(following, timeout=END_TIMEOUT_S)
            for task in late:
                task.cancel()
                run = await self.server.run(following[task].run_id)
                self.books.faults.append(f"run {run['runId']} did not end: it is {run['status']}")
            await asyncio.gather(*late, return_exceptions=True)
        for task in following:
            if not task.cancelled() and (fault := task.exception()) is not None:
                self.books.faults.append(f"a follower failed: {fault!r}")
        self._sweep()
        for run_id in await self._run_ids():
            await self._balance(run_id)
        for effect, count in self.books.done.items():
            if count > len(self.books.approvals[effect]):
                allowed = len(self.books.approvals[effect])
                self.books.faults.append(f"{effect} happened {count} times and was allowed {allowed} times")

    async def _balance(self, run_id: str) -> None:
        """Compares what the client heard of a run with what a newcomer hears, and with the rows."""
        follower = self._known[run_id]
        replay = Follower(run_id, self.server, Books(), self._chance)
        await asyncio.wait_for(replay.follow(), END_TIMEOUT_S)
        run = await self.server.run(run_id)
        self.books.runs[run["status"]] += 1
        try:
            events = check_events(replay.seen, is_complete=True)
            check_events(follower.seen, is_complete=True)
        except AssertionError as fault:
            self.books.faults.append(f"run {run_id}: {fault}")
            return
        self.books.events += len(events)
        if without_announcements(follower.seen) != replay.seen:
            self.books.faults.append(f"run {run_id}: its client did not hear what the store tells")
        last = events[-1]
        if not isinstance(last, ev.SessionComplete) or run["status"] != last.status:
            self.books.faults.append(f"run {run_id} is {run['status']} in its row and ended with {last}")
        await self._balance_turns(run_id, [one for one in events if isinstance(one, ev.TurnCommitted)])
        effects = {
            one.tool_call_id: effect_of(one.tool_name, one.tool_input)
            for one in events
            if isinstance(one, ev.ToolTraceStart) and one.tool_name != "ask_user"
        }
        succeeded = (
            one.tool_call_id for one in events if isinstance(one, ev.ToolTraceFinish) and one.outcome == "success"
        )
        for effect in (effects[call] for call in succeeded if call in effects):
            if not self.books.done[effect]:
                self.books.faults.append(f"run {run_id}: {effect} is said to have succeeded and did not happen")

    async def _balance_turns(self, run_id: str, told: list[ev.TurnCommitted]) -> None:
        status, page = await self.server.request("GET", f"jupyter-agent/api/runs/{run_id}/turns?limit=200")
        kept = {turn["turn"]: turn["blob"] for turn in page["items"]} if status == 200 else {}
        self.books.turns += len(told)
        for turn in told:
            status, _ = await self.server.request("GET", f"jupyter-agent/api/blobs/{turn.blob}")
            if kept.get(turn.turn) != turn.blob or status != 200:
                self.books.faults.append(f"run {run_id}: turn {turn.turn} was told of and is lost")


def without_announcements(lines: list[bytes]) -> list[bytes]:
    """Leaves out the questions that were asked again under the cursor where the client stood."""
    return [
        line
        for before, line in zip([b"", *lines], lines, strict=False)
        if ev.line_cursor(before) != ev.line_cursor(line)
    ]
