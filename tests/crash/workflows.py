"""Kills a real server at random instants of workflows with a fan-out, side effects and a gate, and keeps the books.

What must hold, whatever the instant: the result is that of an undisturbed run; a call that was answered is not answered
again; a person is asked once; what changes the world happens no more often than they consented to.
"""

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jupyter_agent.runtime.history import CUT_NOTE
from tests.live_server import LiveServer

NAME = "lasting"
CALLS = 40
LONGEST_LIFE_S = 3.0
KILLED_WHILE_STARTING = 0.15
LONGEST_START_S = 1.5
LONGEST_AT_GATE_S = 3.0
DUMP_LOST = 0.25
END_S = 120.0

SCRIPT = """
meta = {"name": "lasting"}
n = args["n"]

def say(text):
    return agent(f"{n} {text}", model="echo", tools=[])

first = await parallel([say(f"first {i}") for i in range(12)], on_error="raise")
# %%
sure = await gate(f"{n} Go on?", f"{len(first)} are read")
# %%
piped = await pipeline(
    first[:6],
    lambda p, item, i: say(f"a {p}"), lambda p, item, i: say(f"b {p}"), lambda p, item, i: say(f"c {p}"),
    on_error="raise",
)
# %%
def write(name):
    said = f"Create a file {n}-{name}.txt that says hello"
    return agent(said, model="demo", tools=["create_file"], side_effects=True)

written = await parallel([write(name) for name in ["one", "two", "three", "four"]], on_error="raise")
# %%
last = await parallel([say(f"last {i} of {len(written)}") for i in range(4)], on_error="raise")
[sure, piped, last, await say(f"merge {len(piped)} {len(last)}")]
"""


def undisturbed(n: int) -> list[Any]:
    """Returns the result of a run that nothing happened to."""
    piped = [f"{n} c {n} b {n} a {n} first {i}" for i in range(6)]
    return [True, piped, [f"{n} last {i} of 4" for i in range(4)], f"{n} merge 6 4"]


def prompts(n: int) -> set[str]:
    """Returns what echo and the person are asked, each once."""
    staged = {f"{n} first {i}" for i in range(12)}
    for i in range(6):
        first = f"{n} first {i}"
        staged |= {f"{n} a {first}", f"{n} b {n} a {first}", f"{n} c {n} b {n} a {first}"}
    return staged | {f"{n} last {i} of 4" for i in range(4)} | {f"{n} merge 6 4"}


@dataclass(eq=False)
class Books:
    """What happened, and what was found to be wrong."""

    kills: int = 0
    while_starting: int = 0
    at_the_gate: int = 0
    dumps_lost: int = 0
    workflows: int = 0
    answered: int = 0
    cut: int = 0
    written: Counter[str] = field(default_factory=Counter)
    consents: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0
    faults: list[str] = field(default_factory=list)


class Campaign:
    """Workflows that follow one another on one server, which is killed again and again."""

    def __init__(self, server: LiveServer, *, seed: int) -> None:
        self.server = server
        self.books = Books()
        self._chance = random.Random(seed)
        self._decided: set[str] = set()
        self._is_at_gate = False

    async def wage(self, kills: int) -> Books:
        """Kills the server so often, while one workflow after another comes to its end, and returns the books."""
        await self._begin()
        while self.books.kills < kills or not self.books.workflows:
            person = asyncio.create_task(self._decide_all())
            try:
                await self._play(self.books.workflows, kills)
            finally:
                person.cancel()
                await asyncio.wait({person})
            self.books.workflows += 1
        return self.books

    async def _begin(self) -> None:
        await self.server.start()
        await self._approve_script()

    async def _play(self, n: int, kills: int) -> None:
        run = None
        while True:
            life_s = self._chance.uniform(0.0, LONGEST_LIFE_S) if self.books.kills < kills else END_S
            living = asyncio.create_task(self._live(n, run))
            done, _ = await asyncio.wait({living}, timeout=life_s)
            if done:
                ended = living.result()
                break
            if self.books.kills >= kills:
                living.cancel()
                self.books.faults.append(f"workflow {n} did not end in {END_S:g} s")
                return
            self.books.at_the_gate += self._is_at_gate
            await self.server.kill()
            living.cancel()
            await asyncio.wait({living})
            self.books.kills += 1
            await self._come_back(kills)
            run = await self._found(n)
        await self._balance(n, ended)

    async def _live(self, n: int, run: str | None) -> dict[str, Any]:
        """Starts the workflow, if it was not, and returns how it ended."""
        if run is None:
            run = str((await self._api("POST", f"workflows/{NAME}/runs", {"args": {"n": n}}))["workflowRunId"])
        while True:
            told = await self._api("GET", f"workflow-runs/{run}/status")
            if told["status"] in ("completed", "error", "interrupted"):
                return told
            await asyncio.sleep(0.1)

    async def _come_back(self, kills: int) -> None:
        """Starts the server, which may be killed while it does, or has lost what it kept of the script's state."""
        if self._chance.random() < DUMP_LOST:
            for dump in self.server.home.glob("data/jupyter_agent/*/workflow-dumps/*"):
                dump.unlink()
                self.books.dumps_lost += 1
        while self.books.kills < kills and self._chance.random() < KILLED_WHILE_STARTING:
            await self.server.launch()
            await self.server.died(within_s=self._chance.random() * LONGEST_START_S)
            await self.server.kill()
            self.books.kills += 1
            self.books.while_starting += 1
        await self.server.start()

    async def _found(self, n: int) -> str | None:
        """Returns the run whose start may not have been answered."""
        runs = (await self._api("GET", f"workflows/{NAME}/runs"))["items"]
        found = [run["workflowRunId"] for run in runs if run["args"]["n"] == n]
        if len(found) > 1:
            self.books.faults.append(f"workflow {n} was started {len(found)} times")
        return found[0] if found else None

    # --- the person -----------------------------------------------------------------------------------------

    async def _decide_all(self) -> None:
        """Approves whatever is asked, after a while, and keeps count of what they consented to."""
        while True:
            with contextlib.suppress(OSError, AssertionError):
                await self._decide()
            self._sweep()
            await asyncio.sleep(0.1)

    async def _decide(self) -> None:
        waiting = (await self._api("GET", "runs?status=waiting_confirmation&limit=100"))["items"]
        self._is_at_gate = any(run["model"] == "person" for run in waiting)
        for run in waiting:
            for asked in (await self._api("GET", f"runs/{run['runId']}/approvals"))["items"]:
                if asked.get("decision") is None:
                    longest_s = LONGEST_AT_GATE_S if run["model"] == "person" else 0.3
                    await asyncio.sleep(self._chance.random() * longest_s)
                    self._consent(asked)
                    await self._api("POST", f"approvals/{asked['approvalId']}", {"approved": True})

    def _consent(self, asked: dict[str, Any]) -> None:
        # Before it is sent: one whose answer a killed server took along may have been given.
        if asked["approvalId"] in self._decided:
            return
        self._decided.add(asked["approvalId"])
        what = asked["preview"].get("path") or asked["preview"]["arguments"].get("path") or "gate"
        self.books.asked_again += "warning" in asked["preview"]
        self.books.consents[what] += 1

    def _sweep(self) -> None:
        """Takes away the files that have appeared: one that appears again was written again."""
        for path in self.server.root.glob("*-*.txt"):
            self.books.written[path.name] += 1
            path.unlink(missing_ok=True)

    # --- the balance ----------------------------------------------------------------------------------------

    async def _balance(self, n: int, ended: dict[str, Any]) -> None:
        if ended["status"] != "completed" or ended["result"] != undisturbed(n):
            self.books.faults.append(f"workflow {n} ended otherwise than an undisturbed one: {ended}")
        self._sweep()
        runs = [run for run in await self._all_runs() if run["metadata"].get("workflowRunId") == ended["workflowRunId"]]
        whole = [run for run in runs if run["status"] == "completed" and run.get("lastAiMessage") != CUT_NOTE]
        self.books.cut += sum(run["status"] == "completed" for run in runs) - len(whole)
        self.books.answered += len(whole)
        answers = Counter(run["firstHumanMessage"] for run in whole if run["model"] == "echo")
        if answers != Counter(prompts(n)):
            wrong = (answers - Counter(prompts(n))) + (Counter(prompts(n)) - answers)
            self.books.faults.append(f"workflow {n}: not answered once each: {dict(wrong)}")
        people = [run for run in runs if run["model"] == "person"]
        if len(people) != 1:
            self.books.faults.append(f"workflow {n}: the person was asked in {len(people)} runs")
        if open_runs := [run["runId"] for run in runs if run["status"] not in ("completed", "interrupted", "error")]:
            self.books.faults.append(f"workflow {n} is over, and these runs are not: {open_runs}")
        for name in ("one", "two", "three", "four"):
            file = f"{n}-{name}.txt"
            if not 1 <= self.books.written[file] <= max(1, self.books.consents[file]):
                allowed = self.books.consents[file]
                written = self.books.written[file]
                self.books.faults.append(f"{file} was written {written} times, allowed {allowed} times")

    async def _all_runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self._api("GET", f"runs?limit=200{cursor}")
            found += page["items"]
            if not page.get("nextCursor"):
                return found
            cursor = f"&cursor={page['nextCursor']}"

    async def _approve_script(self) -> None:
        folder = self.server.root / ".jupyter_agent" / "workflows"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{NAME}.py").write_text(SCRIPT)
        told = await self._api("GET", f"workflows/{NAME}")
        await self._api("POST", f"workflows/{NAME}/approve", {"digest": told["digest"]})

    async def _api(self, method: str, path: str, body: Any = None) -> Any:
        status, told = await self.server.request(method, f"jupyter-agent/api/{path}", body)
        assert status < 300, (path, told)
        return told
