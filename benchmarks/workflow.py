"""What calls of a workflow take: live, and from the store; in a kernel and on the server; beside peers in the same run.

    python -m benchmarks.workflow [--quick] [--peers langgraph,dbos,prefect]

A client in this process stands for the kernel, over a real server with a data folder of its own. Every live call is a
whole run of an agent with the `echo` model: journal, blobs and rows on disk before its answer is told; every live step
is a call of a function that does nothing, on disk before the next one. Peers do as many of those, in environments of
their own, made once in the system's folder for temporary files; a peer that cannot be installed is named.
"""

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.fanout import Table
from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.outbox import folder_of_steps
from jupyter_agent.client.workflow import Workflow
from jupyter_agent.script.content import attachments
from tests.gateway.talk import api
from tests.live_server import TOKEN, LiveServer

PEERS: Final = {
    "langgraph": ("langgraph", "langgraph-checkpoint-sqlite", "langchain-core"),
    "dbos": ("dbos",),
    "prefect": ("prefect",),
}
ALONE: Final = 200
"""Live calls, one after the other, whose medians are told."""
PASSES: Final = 5
LINE_BYTES: Final = 250
KEYS: Final = 5
BARE: Final = 50
FRAME_BYTES: Final = 10 * 2**20
SCRIPTS: Final = {
    "one after the other": "[await agent(f'{{n}}', model='echo', tools=[]) for n in range({calls})]\nlen(args)",
    "all at once": "len(await parallel([agent(f'{{n}}', model='echo', tools=[]) for n in range({calls})]))",
}


# --- in the kernel ----------------------------------------------------------------------------------------------------


def opened(server: LiveServer, name: str) -> Workflow:
    """Returns a workflow of the echo model, as a kernel has it."""
    made = Workflow(Client(gateway_at(f"{server.url}/", TOKEN, source="the benchmark")), name)
    made.defaults = type(made.defaults)(model="echo")
    return made


async def alone(wf: Workflow, calls: int) -> list[float]:
    """Returns what each of so many calls took, one after the other."""
    took = []
    for number in range(calls):
        began = time.perf_counter()
        if await wf.agent(f"{number}", tools=[]) != f"{number}":
            raise RuntimeError("The echo model said something else.")
        took.append(time.perf_counter() - began)
    return took


async def at_once(wf: Workflow, calls: int) -> float:
    began = time.perf_counter()
    told = await wf.parallel([wf.agent(f"{number}", tools=[]) for number in range(calls)], on_error="raise")
    if told != [f"{number}" for number in range(calls)]:
        raise RuntimeError("The echo model said something else.")
    return time.perf_counter() - began


class BareLines:
    """A file where steps are kept, to which lines as long as theirs are appended, each on disk before the next."""

    def __enter__(self) -> "BareLines":
        self.took: list[float] = []
        folder = folder_of_steps()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self) -> None:
        began = time.perf_counter()
        self._file.write(bytes(LINE_BYTES))
        os.fdatasync(self._file.fileno())
        self.took.append(time.perf_counter() - began)


def same(number: int) -> int:
    return number


async def stepped(wf: Workflow, calls: int, *, beside: Callable[[], object] = lambda: None) -> list[float]:
    """Returns what each of so many steps took, one after the other, and last what the gateway took to know of all.
    `beside` is done in turns with them."""
    took = []
    for number in range(calls):
        began = time.perf_counter()
        if await wf.step(same, number) != number:
            raise RuntimeError("The function returned something else.")
        took.append(time.perf_counter() - began)
        beside()
    began = time.perf_counter()
    await asyncio.to_thread(wf.settle)
    return [*took, time.perf_counter() - began]


async def again(wf: Workflow, way: Callable[[Workflow], Any], calls: int) -> float:
    """Returns the median of what some passes take that find every call in the store."""
    took = []
    for _ in range(PASSES):
        wf.new_pass()
        began = time.perf_counter()
        await way(wf)
        took.append(time.perf_counter() - began)
        if sum(row.reused is True for row in wf.calls) != calls:
            raise RuntimeError("Not every call came from the store.")
    return statistics.median(took)


async def in_kernel(server: LiveServer, calls: int) -> dict[str, Any]:
    first, many, own = opened(server, "alone"), opened(server, "many"), opened(server, "own")
    try:
        await alone(first, 3)  # what is loaded once is not counted
        first.new_pass()
        took = await alone(first, calls)
        await stepped(own, 3)
        await asyncio.to_thread(own.forget)
        own.new_pass()
        with BareLines() as bare:
            steps = await stepped(own, calls, beside=bare.append)
        return {
            "steps": sorted(steps[:-1]),
            "bare lines": statistics.median(bare.took),
            "steps cold": sum(steps),
            "step hits": await again(own, lambda wf: stepped(wf, calls), calls),
            "live": sorted(took[-ALONE:]),
            "cold": sum(took),
            "hits": await again(first, lambda wf: alone(wf, calls), calls),
            "cold at once": await at_once(many, calls),
            "hits at once": await again(many, lambda wf: at_once(wf, calls), calls),
        }
    finally:
        for wf in (first, many, own):
            await asyncio.to_thread(wf._client.close)


# --- on the server ----------------------------------------------------------------------------------------------------


async def headless(server: LiveServer, calls: int, way: str) -> tuple[float, float]:
    """Returns what a script takes on the server, from its start to its end: cold, and the median of passes of hits."""
    name = way.replace(" ", "-")
    folder = server.root / ".jupyter_agent" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f'meta = {{"name": "{name}"}}\n# %%\n{SCRIPTS[way].format(calls=calls)}\n')
    _, told = await api(server, "GET", f"workflows/{name}")
    digest = hashlib.sha256(told["text"].encode()).hexdigest()
    await api(server, "POST", f"workflows/{name}/approve", {"digest": digest})
    took = []
    for turn in range(1 + PASSES):
        status, run = await api(server, "POST", f"workflows/{name}/runs", {})
        if status != 201:
            raise RuntimeError(f"The script was not started: {run}")
        while run["status"] not in ("completed", "error", "interrupted"):
            await asyncio.sleep(0.1)
            _, run = await api(server, "GET", f"workflow-runs/{run['workflowRunId']}/status")
        if run["status"] != "completed" or run.get("hits", 0) != (calls if turn else 0):
            raise RuntimeError(f"The script did not go as it should: {run}")
        began, ended = (datetime.fromisoformat(run[name]) for name in ("createdAt", "endedAt"))
        took.append((ended - began).total_seconds())
    return took[0], statistics.median(took[1:])


# --- beside it --------------------------------------------------------------------------------------------------------


async def bare_agent() -> float:
    """Returns the median seconds of pydantic-ai's agent with a model that repeats what it is told, nothing kept."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    def echo(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart(str(messages[-1].parts[-1].content))])  # type: ignore[union-attr]

    agent = Agent(FunctionModel(echo))
    took = []
    for number in range(BARE):
        began = time.perf_counter()
        assert (await agent.run(f"say {number}")).output == f"say {number}"
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def peer(name: str, calls: int) -> dict[str, Any] | str:
    """Returns what a peer took, or why it could not be tried. It is installed once, into an environment of its own."""
    home = Path(tempfile.gettempdir()) / f"jupyter_agent-benchmark-{name}"
    with tempfile.TemporaryDirectory() as folder:
        python, done = home / "bin" / "python", home / "installed"
        try:
            if not done.exists():
                venv.create(home, with_pip=True, clear=True)
                command = [python, "-m", "pip", "install", "--quiet", *PEERS[name]]
                subprocess.run(command, check=True, capture_output=True)
                done.touch()
            asked = [python, Path(__file__).with_name("peer_calls.py"), name, folder, str(calls)]
            said = subprocess.run(asked, check=True, capture_output=True, text=True, cwd=folder, timeout=900)
        except subprocess.TimeoutExpired:
            return "it took longer than a quarter of an hour"
        except (OSError, subprocess.CalledProcessError) as fault:
            told = getattr(fault, "stderr", None) or str(fault)
            lines = str(told.decode() if isinstance(told, bytes) else told).strip().splitlines()
            return lines[-1] if lines else "it said nothing"
        found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
        return found


def keys(table: Table) -> None:
    """Adds what the content of frames of 10 MB takes to be known by, beside one SHA-256 of as many bytes."""
    import numpy as np
    import pandas as pd

    rows = FRAME_BYTES // 80
    numbers = pd.DataFrame({f"c{place}": np.arange(rows) * 1.5 + place for place in range(10)})
    count = FRAME_BYTES // 10
    words = pd.DataFrame({"word": [f"word {number % 90_000:05}" for number in range(count)]})
    times = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=FRAME_BYTES // 8, freq="s")})
    data = bytes(FRAME_BYTES)
    bare = median_of(lambda: hashlib.sha256(data).digest())
    for what, frame in (("numbers", numbers), (f"{count:,} short strings", words), ("times", times)):
        mine = median_of(lambda frame=frame: attachments(frame))
        table.add(f"a 10 MB frame of {what} is known", ms(mine), ms(bare), f"{mine / bare:.1f}", "< 50 ms")


def median_of(work: Callable[[], Any]) -> float:
    took = []
    for _ in range(KEYS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def at_95(took: list[float]) -> float:
    return took[int(len(took) * 0.95)]


# --- all of it --------------------------------------------------------------------------------------------------------


async def ours(calls: int, table: Table) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        # A thousand calls are more than a pass may spend where nobody says otherwise.
        async with LiveServer(Path(home), options=("--AgentGateway.workflow_budget_tokens=100_000_000",)) as server:
            told = await in_kernel(server, calls)
            live, bare = statistics.median(told["live"]), await bare_agent()
            beside = f"{live / bare:.1f}"
            table.add("a live echo call, p50, beside pydantic-ai's bare agent", ms(live), ms(bare), beside, "< 2 ms")
            table.add("a live echo call, p95", ms(at_95(told["live"])), "", "", "")
            step, line = statistics.median(told["steps"]), told["bare lines"]
            what = "a live step of a function that does nothing, p50, beside a bare write and fdatasync in turns"
            table.add(what, ms(step), ms(line), f"{step / line:.1f}", "< 0.5 ms")
            table.add("a live step, p95", ms(at_95(told["steps"])), "", "", "")
            what = f"{calls:,} live steps, one after the other, until the server knows of all"
            table.add(what, f"{told['steps cold']:.2f} s", "", "", "")
            table.add(f"a pass of {calls:,} steps that are hits", f"{told['step hits']:.2f} s", "", "", "< 0.5 s")
            for way, name in (("one after the other", "hits"), ("all at once", "hits at once")):
                what = f"a pass of {calls:,} hits in the kernel, {way}"
                table.add(what, f"{told[name]:.2f} s", "", "", "< 0.5 s")
            what = f"{calls:,} live echo calls, all at once"
            table.add(what, f"{told['cold at once']:.2f} s", "", "", "")
            for way in SCRIPTS:
                cold, hits = await headless(server, calls, way)
                told[f"headless {way}"] = cold, hits
                table.add(f"{calls:,} live echo calls, headless, {way}", f"{cold:.2f} s", "", "", "")
                table.add(f"a pass of {calls:,} hits, headless, {way}", f"{hits:.2f} s", "", "", "< 1 s")
    return told


def beside_peers(names: list[str], calls: int, told: dict[str, Any], table: Table) -> None:
    cold, resumed = told["cold"], told["hits"]
    head_cold, head_hits = told["headless one after the other"]
    for name in names:
        found = peer(name, calls)
        if isinstance(found, str):
            print(f"{name} was left out: {found}")
            continue
        who = f"{name} {found['version']}"
        for what, mine, theirs in (
            (f"{calls:,} steps cold", told["steps cold"], found["cold_s"]),
            (f"{calls:,} steps resumed", told["step hits"], found["resumed_s"]),
            (f"{calls:,} calls cold, kernel", cold, found["cold_s"]),
            (f"{calls:,} calls cold, headless", head_cold, found["cold_s"]),
            (f"{calls:,} calls resumed, kernel", resumed, found["resumed_s"]),
            (f"{calls:,} calls resumed, headless", head_hits, found["resumed_s"]),
        ):
            table.add(f"{what}, beside {who}", f"{mine:.2f} s", f"{theirs:.2f} s", f"{mine / theirs:.2f}", "< 1")
        if "agent_s" in found:
            live, theirs = statistics.median(told["live"]), found["agent_s"]
            ratio = f"{live / theirs:.2f}"
            table.add(f"a live echo call, beside an agent of {who}", ms(live), ms(theirs), ratio, "< 1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 calls, to see that it works")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of them, with commas; empty for none")
    asked = parser.parse_args()
    calls = 100 if asked.quick else 1_000
    names = [name for name in asked.peers.split(",") if name]
    if unknown := set(names) - PEERS.keys():
        parser.error(f"there is no peer {', '.join(sorted(unknown))}: {', '.join(PEERS)}")
    table = Table()
    before = os.getloadavg()[0]
    told = asyncio.run(ours(calls, table))
    keys(table)
    beside_peers(names, calls, told, table)
    print(f"\n{sys.platform}, load {before:.1f} before and {os.getloadavg()[0]:.1f} after\n\n{table}")


if __name__ == "__main__":
    main()
