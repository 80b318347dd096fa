"""Kills or stops one of two servers that share a database while a run with side effects is on its way there.

What must hold: the other server goes on with the run, nothing is executed more often than it was allowed, and a server
that was stopped and wakes up writes and starts nothing of it any more.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_agent import events as ev
from jupyter_agent.testing import check_events
from tests.crash.harness import APPEND_LINE, END_TIMEOUT_S, Books, Follower, without_announcements
from tests.live_server import LiveServer

LONGEST_WAY_S = 1.5
"""A run is hit at a random instant of its first seconds: it takes somewhat longer."""
TAKEOVER_TIMEOUT_S = 60.0
STOPPED_FOR = 3
"""For how many times its lease's length a server is stopped."""


def script(name: str) -> list[dict[str, Any]]:
    """Streams, appends four lines in the client, asks a question: about two seconds."""
    pause = {"delay_s": 0.01}

    def append(part: int) -> dict[str, Any]:
        return {"name": "append_line", "arguments": {"line": f"{name} line-{part}"}}

    question = {"name": "ask_user", "arguments": {"prompt": "Shall I go on?"}}
    return [
        {"text": "Two at once. " * 6, "calls": [append(1), append(2)]} | pause,
        {"text": "I ask. " * 6, "calls": [question]} | pause,
        {"text": "You said {result}. " * 5, "calls": [append(3)]} | pause,
        {"text": "One more. " * 5, "calls": [append(4)]} | pause,
        {"text": "That is all. " * 10} | pause,
    ]


@dataclass(eq=False)
class Account:
    """What came of all rounds."""

    killed: int = 0
    stopped: int = 0
    seconds: list[float] = field(default_factory=list)
    """From the blow to the first event of the other server, of runs that were still going on."""
    starts: int = 0
    double_starts: int = 0
    stale_writes: int = 0
    asked_again: int = 0
    events: int = 0
    faults: list[str] = field(default_factory=list)


class Pair:
    """Two servers over one database and one workspace. A killed one is started again for the next round."""

    def __init__(self, home: Path, database_url: str, *, ttl_s: float, seed: int) -> None:
        options = (f"--AgentGateway.database_url={database_url}", f"--AgentGateway.lease_ttl_s={ttl_s}")
        self.servers = tuple(LiveServer(home / name, options=options) for name in ("first", "second"))
        for server in self.servers:
            server.root = home / "root"
            server.home.mkdir(parents=True)
        self.ttl_s = ttl_s
        self.account = Account()
        self._chance = random.Random(seed)
        self._seed = seed
        self._rounds = 0

    async def __aenter__(self) -> "Pair":
        await asyncio.gather(*(server.start() for server in self.servers))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.__aexit__()

    async def round(self, *, kill: bool) -> None:
        """Strikes one server in the middle of a run, waits for the run's end and enters it into the account."""
        self._rounds += 1
        holder, other = self._chance.sample(self.servers, 2)
        name, books = f"s{self._seed}r{self._rounds}", Books()
        run_id = await holder.start_run(script(name), tools=["ask_user"], clientTools=[APPEND_LINE])
        followers = [
            Follower(run_id, server, books, random.Random(self._chance.random())) for server in (holder, other)
        ]
        following = [asyncio.create_task(follower.follow()) for follower in followers]
        await asyncio.sleep(self._chance.random() * LONGEST_WAY_S)
        struck_at = time.monotonic()
        waking = None
        if kill:
            self.account.killed += 1
            await holder.kill()
        else:
            self.account.stopped += 1
            os.kill(holder.pid, signal.SIGSTOP)
            waking = asyncio.create_task(self._wake(holder))
        await self._time(followers[1], struck_at)
        await asyncio.wait({following[1]}, timeout=END_TIMEOUT_S)
        if waking is not None:
            await waking
        else:
            await holder.start()
        _, late = await asyncio.wait(following, timeout=END_TIMEOUT_S)
        for task in late:
            task.cancel()
            self.account.faults.append(f"run {run_id} did not end for both its clients: {await other.run(run_id)}")
        await asyncio.gather(*following, return_exceptions=True)
        await self._enter(run_id, followers, books)

    async def _wake(self, server: LiveServer) -> None:
        await asyncio.sleep(STOPPED_FOR * self.ttl_s)
        os.kill(server.pid, signal.SIGCONT)

    async def _time(self, follower: Follower, struck_at: float) -> None:
        """Notes when the other server's first event is seen, unless the run was over before."""
        while time.monotonic() - struck_at < TAKEOVER_TIMEOUT_S:
            place = next((at for line in reversed(follower.seen) if (at := ev.line_cursor(line))), None)
            if place is not None and place.epoch > 1:
                self.account.seconds.append(time.monotonic() - struck_at)
                return
            if follower.ended.is_set():
                return
            await asyncio.sleep(0.02)
        self.account.faults.append(f"run {follower.run_id} was not taken over")

    async def _enter(self, run_id: str, followers: list[Follower], books: Books) -> None:
        """Compares what both clients heard with what each server tells a newcomer, and counts what happened."""
        account = self.account
        account.faults += books.faults
        told = []
        for server in self.servers:
            newcomer = Follower(run_id, server, Books(), self._chance)
            await asyncio.wait_for(newcomer.follow(), END_TIMEOUT_S)
            told.append(newcomer.seen)
        for heard in (told[1], *(without_announcements(follower.seen) for follower in followers)):
            if heard != told[0]:
                account.faults.append(f"run {run_id} was told differently")
        try:
            events = check_events(told[0], is_complete=True)
        except AssertionError as fault:
            account.stale_writes += 1
            account.faults.append(f"run {run_id}: {fault}")
            return
        account.events += len(events)
        account.asked_again += books.asked_again
        account.starts += books.done.total()
        for effect, count in books.done.items():
            if count > len(books.approvals[effect]):
                account.double_starts += 1
                account.faults.append(f"{effect} happened {count} times, allowed {len(books.approvals[effect])} times")
        rows = [await server.run(run_id) for server in self.servers]
        last = events[-1]
        if not isinstance(last, ev.SessionComplete) or any(row["status"] != last.status for row in rows):
            account.stale_writes += 1
            account.faults.append(f"run {run_id} is {[row['status'] for row in rows]} and ended with {last}")
