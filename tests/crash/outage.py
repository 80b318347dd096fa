"""Takes the database away from a live server while its runs stream, and keeps the books.

What must hold: every run comes to its end, its client hears each event once and in order, no tool is executed more
often than it was allowed, the server answers meanwhile, and whoever starts a run gets it, once, or is told why not.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from jupyter_agent import events as ev
from jupyter_agent.testing import check_events
from tests.crash.harness import APPEND_LINE, Books, Follower, script, without_announcements
from tests.gateway.talk import talking
from tests.live_server import LiveServer

END_TIMEOUT_S = 60.0
BEAT_S = 0.2


class Onlooker:
    """Runs on one server, each with a client, and one more client that only asks whether the server is there."""

    def __init__(self, server: LiveServer, *, seed: int) -> None:
        self.server = server
        self.books = Books()
        self.slowest_s = 0.0
        """The longest that a heartbeat waited for its answer."""
        self._chance = random.Random(seed)
        self._following: dict[asyncio.Task[None], Follower] = {}

    async def start(self, name: str) -> str:
        """Starts a run and follows it."""
        body = {"input": name, "model": "scripted", "script": script(name), "tools": ["create_file", "ask_user"],
                "clientTools": [APPEND_LINE], "metadata": {"name": name}}  # fmt: skip
        status, run = await self.server.request("POST", "jupyter-agent/api/runs", body)
        assert status == 201, run
        follower = Follower(run["runId"], self.server, self.books, random.Random(self._chance.random()))
        self._following[asyncio.create_task(follower.follow())] = follower
        return str(run["runId"])

    async def have_begun(self) -> None:
        """Returns when the client of each run has heard something of it."""
        async with asyncio.timeout(END_TIMEOUT_S):
            while not all(follower.seen for follower in self._following.values()):
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Sends heartbeats meanwhile, over one socket that must stay open."""
        async with talking(self.server) as talk:

            async def beat() -> None:
                while True:
                    sent_at = time.monotonic()
                    await talk.say({"type": "heartbeat"})
                    await talk.until("heartbeat_ack")
                    self.slowest_s = max(self.slowest_s, time.monotonic() - sent_at)
                    await asyncio.sleep(BEAT_S)

            beating = asyncio.create_task(beat())
            try:
                yield
                assert not beating.done(), beating.exception()
            finally:
                beating.cancel()
                with suppress(asyncio.CancelledError):
                    await beating

    async def come_to_an_end(self) -> Books:
        """Waits for all runs, and compares what each client heard with what a newcomer hears and with the rows."""
        following = dict(self._following)
        _, late = await asyncio.wait(following, timeout=END_TIMEOUT_S)
        for task in late:
            task.cancel()
            run = await self.server.run(following[task].run_id)
            self.books.faults.append(f"run {run['runId']} did not end: it is {run['status']}")
        await asyncio.gather(*following, return_exceptions=True)
        for follower in following.values():
            if follower.ended.is_set():
                await self._balance(follower)
        for path in self.server.root.glob("*-file-*.txt"):
            self.books.done[path.stem.replace("-", " ", 1)] += 1
        for effect, count in self.books.done.items():
            if count > len(self.books.approvals[effect]):
                allowed = len(self.books.approvals[effect])
                self.books.faults.append(f"{effect} happened {count} times and was allowed {allowed} times")
        return self.books

    async def _balance(self, follower: Follower) -> None:
        newcomer = Follower(follower.run_id, self.server, Books(), self._chance)
        await asyncio.wait_for(newcomer.follow(), END_TIMEOUT_S)
        run: dict[str, Any] = await self.server.run(follower.run_id)
        self.books.runs[run["status"]] += 1
        try:
            events = check_events(newcomer.seen, is_complete=True)
            check_events(follower.seen, is_complete=True)
        except AssertionError as fault:
            self.books.faults.append(f"run {follower.run_id}: {fault}")
            return
        self.books.events += len(events)
        if without_announcements(follower.seen) != newcomer.seen:
            self.books.faults.append(f"run {follower.run_id}: its client did not hear what the store tells")
        last = events[-1]
        if not isinstance(last, ev.SessionComplete) or run["status"] != last.status:
            self.books.faults.append(f"run {follower.run_id} is {run['status']} in its row and ended with {last}")
